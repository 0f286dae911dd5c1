# d2v: the only build file. `make help` lists what it can do, `make config` what it found.
#
# Layout of a build: build/<variant>/ holds objects, libd2v.a and tests; build/bin/ the programs of the plain variant.
# Sources are found by wildcard: a new file under a part's folder is built, a new tools/NAME.c is a program, a new
# tests/<part>/test_*.c is a test program that `make check` runs.

MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all

VARIANT ?= plain
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
WERROR  ?=
CC      := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
CFLAGS  ?=
LDFLAGS ?=

O   := $(BUILD)/$(VARIANT)
BIN := $(if $(filter plain,$(VARIANT)),$(BUILD)/bin,$(O)/bin)

# ---- what the machine must have ------------------------------------------------------------------------------------

PACKAGES := gcc libc6-dev libgomp1 pkg-config liblmdb-dev libsndfile1-dev libsoxr-dev libarchive-dev libcurl4-openssl-dev \
            libssl-dev libxxhash-dev libdnnl-dev libyaml-dev libjansson-dev
CHECK_PACKAGES := $(PACKAGES) libcmocka-dev flac nginx-light xz-utils zstd zip
DEMO_PACKAGES  := $(PACKAGES) espeak-ng
SANITIZER_PACKAGES := $(CHECK_PACKAGES)
FUZZ_PACKAGES  := $(PACKAGES) clang libclang-rt-dev

# ---- flags ---------------------------------------------------------------------------------------------------------

ARCH ?= -march=native
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings \
            -Wvla -Wundef -Wformat=2 -Wno-format-nonliteral
BASE_CFLAGS := -std=c17 -D_GNU_SOURCE -I. -O3 -g $(ARCH) -fopenmp -fno-math-errno -fno-trapping-math -fvisibility=default \
               $(WARNINGS) $(if $(WERROR),-Werror)
SANITIZE_plain :=
SANITIZE_asan  := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
SANITIZE_tsan  := -fsanitize=thread -O1
SANITIZE := $(SANITIZE_$(VARIANT))
LIBS := -llmdb -lsndfile -lsoxr -larchive -lcurl -lcrypto -lxxhash -ldnnl -lyaml -ljansson -lpthread -lm

# ---- sources -------------------------------------------------------------------------------------------------------

PARTS    := base shards ingest loaders kernels kernels/cpu train
LIB_SRC  := $(foreach part,$(PARTS),$(wildcard $(part)/*.c))
TOOL_SRC := $(wildcard tools/d2v-*.c)
# tests/<part>/test_*.c are programs; every other tests/<part>/*.c and tests/ref/*.c is shared by them.
TEST_SRC := $(wildcard tests/*/test_*.c)
BENCH_SRC := $(wildcard tests/bench/bench_*.c)
SUPPORT_SRC := $(filter-out $(TEST_SRC) $(BENCH_SRC) $(wildcard tests/fuzz/*.c),$(wildcard tests/*/*.c))

LIB_OBJ   := $(LIB_SRC:%.c=$(O)/%.o)
LIB       := $(O)/libd2v.a
SUPPORT_OBJ := $(SUPPORT_SRC:%.c=$(O)/%.o)
TOOLS     := $(TOOL_SRC:tools/%.c=$(BIN)/%)
TESTS     := $(TEST_SRC:%.c=$(O)/%)
BENCHES   := $(BENCH_SRC:%.c=$(O)/%)

# Recipes travel inside the library: a program needs no data files beside it.
RECIPES    := $(sort $(wildcard train/recipes/*.yaml))
RECIPE_OBJ := $(O)/train/recipes_embedded.o

all: $(TOOLS) ## build the programs into build/bin/ (default)

$(O)/%.o: %.c | deps
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(SANITIZE) $(CFLAGS) -MMD -MP -c -o $@ $<

$(O)/gen/recipes_embedded.c: $(RECIPES) Makefile
	@mkdir -p $(@D)
	@{ echo '// Generated from train/recipes/*.yaml by the Makefile.'; \
	  echo '#include "train/recipes_embedded.h"'; \
	  for f in $(RECIPES); do n=$$(basename $$f .yaml); echo "static const char text_$${n//-/_}[] ="; \
	    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/' $$f; echo ';'; done; \
	  echo 'const d2v_recipe_text d2v_recipes_embedded[] = {'; \
	  for f in $(RECIPES); do n=$$(basename $$f .yaml); echo "{ \"$$n\", text_$${n//-/_} },"; done; \
	  echo '{ 0, 0 } };'; } > $@

$(RECIPE_OBJ): $(O)/gen/recipes_embedded.c
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(SANITIZE) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ) $(if $(RECIPES),$(RECIPE_OBJ))
	@rm -f $@
	ar rcs $@ $^

$(BIN)/%: $(O)/tools/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $< $(LIB) $(LIBS)

$(TESTS): $(O)/%: $(O)/%.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(BASE_CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $< $(SUPPORT_OBJ) $(LIB) -lcmocka $(LIBS)

$(BENCHES): $(O)/%: $(O)/%.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(BASE_CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $< $(SUPPORT_OBJ) $(LIB) -lcmocka $(LIBS)

-include $(LIB_OBJ:.o=.d) $(SUPPORT_OBJ:.o=.d) $(TOOL_SRC:%.c=$(O)/%.d) $(TESTS:=.d) $(BENCHES:=.d)

.PRECIOUS: $(O)/%.o
.PHONY: all deps
deps:
