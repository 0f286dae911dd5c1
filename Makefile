# d2v: the only build file. `make help` lists what it can do, `make config` what it found.
#
# Layout of a build: build/<variant>/ holds objects, libd2v.a and tests; build/bin/ the programs of the plain variant.
# Sources are found by wildcard: a new file under a part's folder is built, a new tools/d2v-NAME.c is a program, a new
# tests/<part>/test_*.c or .sh is a test that `make check` runs, a new tests/fuzz/fuzz_*.c a fuzzer, a new
# tests/bench/bench_*.c a benchmark.

MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all

# ---- what a user may set -------------------------------------------------------------------------------------------------

CUDA    ?=
VARIANT ?= $(if $(CUDA),cuda,plain)
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
ARCH    ?= -march=native
CFLAGS  ?=
LDFLAGS ?=
WERROR  ?=
V       ?=
CASES   ?=
ONLY    ?=
MINUTES ?= 10
# Which GPUs machine code is made for; PTX of the last one serves later ones.
CUDA_ARCHS ?= 80 90
# What the demo shows: speech, image, text or all; and data of yours for it instead of what it makes.
DEMO        ?= speech
DEMO_SPEECH ?=
DEMO_IMAGES ?=
DEMO_TEXT   ?=
DEMO_UPDATES ?=
DEMO_DIR    ?= $(BUILD)/demo
# Real samples to test with, when they lie beside the project; tests that want them skip otherwise.
D2V_SHARED ?= $(abspath $(wildcard ../shared))
ifneq ($(origin CC),environment)
ifneq ($(origin CC),command line)
CC := $(if $(filter fuzz,$(VARIANT)),clang,gcc)
endif
endif

O   := $(BUILD)/$(VARIANT)
BIN := $(if $(filter plain cuda,$(VARIANT)),$(BUILD)/bin,$(O)/bin)

# Looked for only when it matters: nothing else depends on CUDA being there.
NVCC = $(or $(shell command -v nvcc),$(wildcard /usr/local/cuda/bin/nvcc))
ifneq ($(CUDA),)
ifeq ($(NVCC),)
$(error CUDA=1: nvcc was not found; install the CUDA toolkit (12 or later, with cuBLAS) or put its bin folder into PATH)
endif
CUDA_PATH := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
endif

# ---- what the machine must have ------------------------------------------------------------------------------------------

PACKAGES := gcc libc6-dev liblmdb-dev libsndfile1-dev libsoxr-dev libarchive-dev libcurl4-openssl-dev libssl-dev zlib1g-dev \
            libxxhash-dev libdnnl-dev libyaml-dev libjansson-dev libjpeg-dev libpng-dev
CHECK_PACKAGES := $(PACKAGES) g++ libcmocka-dev flac curl nginx-light zip zstd xz-utils
DEMO_PACKAGES  := $(PACKAGES) espeak-ng flac
FUZZ_PACKAGES  := $(PACKAGES) clang libclang-rt-14-dev

# $(call need,PACKAGES): nothing when all are there; otherwise installs them (as root or through sudo) or prints the line
# that would and stops. Systems without dpkg are only told the names.
define need
command -v dpkg-query >/dev/null || { echo "d2v: not a Debian system: make sure that the counterparts of these are installed: $(1)"; exit 0; }; \
missing=; for p in $(1); do \
  dpkg-query -W -f='$${Status}' "$$p" 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$p"; done; \
[ -n "$$missing" ] || exit 0; \
if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as="sudo -n"; \
else echo "d2v: packages are missing. Run this, then make again:"; echo "    sudo apt-get install -y --no-install-recommends$$missing"; exit 1; fi; \
echo "d2v: installing$$missing"; \
$$as apt-get update -q >/dev/null || echo "d2v: apt-get update failed; trying with the package lists that are there"; \
$$as env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing >/dev/null || { \
  echo "d2v: installing failed. Run this, then make again:"; echo "    sudo apt-get install -y --no-install-recommends$$missing"; exit 1; }
endef

# ---- flags -----------------------------------------------------------------------------------------------------------------

comma := ,
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings \
            -Wvla -Wundef -Wformat=2 -Wno-format-nonliteral
OPENMP   := $(if $(filter fuzz,$(VARIANT)),-Wno-unknown-pragmas,-fopenmp)
SANITIZE_plain :=
SANITIZE_cuda  :=
SANITIZE_bundle :=
SANITIZE_asan  := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
SANITIZE_tsan  := -fsanitize=thread -fno-omit-frame-pointer -O1
SANITIZE_fuzz  := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
SANITIZE := $(SANITIZE_$(VARIANT))
# The bundle's programs and tests share one library: the kernels, for every architecture, are most of their size.
PIC      := $(if $(filter bundle,$(VARIANT)),-fPIC)
# No fast-math: it would remove the guards against NaN. What is switched off here only concerns errno and FP traps.
COMPILE := $(CC) -std=c17 -D_GNU_SOURCE -I. -O3 -g $(ARCH) $(PIC) $(OPENMP) -fno-math-errno -fno-trapping-math $(WARNINGS) \
           $(if $(CUDA),-isystem $(CUDA_PATH)/include) $(SANITIZE) $(CFLAGS)
# Warpgroups (kernels/cuda/wgmma.cuh) are an affair of Hopper alone: no later chip runs its code. Bulk copies came with it.
CUDA_CODE = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
           -gencode arch=compute_$(lastword $(CUDA_ARCHS)),code=compute_$(lastword $(CUDA_ARCHS))
CUDA_HOPPER := -gencode arch=compute_90a,code=sm_90a
# Fused multiply-adds are the GPU's way; where two roundings must be two (Adam, the teacher's average) the source says so.
CUDA_COMPILE = $(NVCC) -std=c++17 -I. -O3 -lineinfo $(if $(findstring _groups_,$<)$(findstring _short_,$<),$(CUDA_HOPPER),$(CUDA_CODE)) \
           -Xcompiler -Wall,-Wextra$(if $(PIC),$(comma)$(PIC)) $(if $(WERROR),--Werror all-warnings)
# The kernels' source as C++ for the processor (tests/emulation/).
EMULATE  := $(filter ccache,$(CC)) g++ -std=c++17 -Itests/emulation/include -I. -include tests/emulation/include/cuda_runtime.h -O2 -g \
           -ffp-contract=off -fno-strict-aliasing -Wall -Wextra -Wno-unknown-pragmas
LINK    := $(CC) $(OPENMP) $(SANITIZE) $(LDFLAGS)
LIBS    := -llmdb -lsndfile -lsoxr -larchive -lcurl -lcrypto -lz -lxxhash $(if $(filter fuzz,$(VARIANT)),,-ldnnl) -lyaml -ljansson -ljpeg -lpng -lpthread -lm \
           $(if $(CUDA),-L$(CUDA_PATH)/lib64 -Wl$(comma)-rpath$(comma)$(CUDA_PATH)/lib64 -lcublasLt -lcudart_static -ldl -lrt -lstdc++)

# Recipes say what they do in one word; V=1 shows the whole command.
Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-4s %s\n' '$(1)' '$@')

# ---- sources ---------------------------------------------------------------------------------------------------------------

# The fuzzers' build leaves out the parts that read no foreign bytes (and need OpenMP).
PARTS     := base shards ingest loaders train eval $(if $(filter fuzz,$(VARIANT)),,kernels kernels/cpu)
LIB_SRC   := $(filter-out $(if $(CUDA),kernels/cuda_none.c),$(foreach part,$(PARTS) $(if $(CUDA),kernels/cuda),$(wildcard $(part)/*.c)))
CU_SRC    := $(wildcard kernels/cuda/*.cu)
TOOL_SRC  := $(wildcard tools/d2v-*.c)
TEST_SRC  := $(wildcard tests/*/test_*.c)
BENCH_SRC := $(wildcard tests/bench/bench_*.c)
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)
HELPER_SRC := $(wildcard tests/e2e/helper_*.c)
# What the tests of a folder share: every other C file under tests/.
SUPPORT_SRC := $(filter-out $(TEST_SRC) $(BENCH_SRC) $(HELPER_SRC) tests/fuzz/% tests/gpu/%,$(wildcard tests/*/*.c))

LIB      := $(O)/libd2v.$(if $(PIC),so,a)
LIB_OBJ  := $(LIB_SRC:%.c=$(O)/%.o) $(if $(CUDA),$(CU_SRC:%.cu=$(O)/%.o))
# Tests of whole steps that any device can be asked.
STEP_TESTS := test_step_ahead test_kept_draws
# Only beside the plain build: the sanitizers do not know fibers.
EMULATED := $(if $(filter plain,$(VARIANT)),$(patsubst tests/kernels/%.c,$(O)/emulated/%,$(wildcard tests/kernels/test_*.c)) \
            $(addprefix $(O)/emulated/,test_golden $(STEP_TESTS)))
RACES    := $(if $(filter plain,$(VARIANT)),$(patsubst tests/kernels/%.c,$(O)/races/%,$(wildcard tests/kernels/test_*.c)))
RACE_SAMPLES := $(if $(RACES),$(O)/races/race_samples)
EMULATED_OBJ := $(CU_SRC:%.cu=$(O)/emulated/%.o) $(patsubst %.cc,$(O)/emulated/%.o,$(wildcard tests/emulation/*.cc)) \
            $(O)/emulated/kernels/cuda/cuda_device.o $(O)/emulated/kernels/cuda/cuda_graph.o
SUPPORT_OBJ := $(SUPPORT_SRC:%.c=$(O)/%.o)
SUPPORT_LIB := $(O)/tests/libsupport.a
# tools/shard_*.c belong to d2v-shard alone, and so for every program; what belongs to none is shared by all.
TOOL_OWN    := $(foreach t,$(TOOL_SRC),$(wildcard $(t:tools/d2v-%.c=tools/%)_*.c))
TOOL_SHARED := $(filter-out $(TOOL_SRC) $(TOOL_OWN),$(wildcard tools/*.c))
TOOL_LIB    := $(O)/tools/libshared.a
TOOLS    := $(TOOL_SRC:tools/%.c=$(BIN)/%)
TESTS    := $(TEST_SRC:%.c=$(O)/%)
BENCHES  := $(BENCH_SRC:%.c=$(O)/%)
# What a loader costs can be measured on any device, for want of a GPU on a processor.
FEED_BENCH := $(addprefix $(O)/tests/gpu/,bench_feed make_samples look_at_device)
GPU_BENCH := $(O)/tests/gpu/bench_gpu $(O)/tests/gpu/bench_choices $(FEED_BENCH)
FUZZERS  := $(FUZZ_SRC:%.c=$(O)/%)
HELPERS  := $(HELPER_SRC:tests/e2e/%.c=$(O)/tests/e2e/%)
# Small programs that make the demo's data.
DEMO_TOOLS := $(patsubst %.c,$(O)/%,$(wildcard tools/demo/*.c))
RECIPES  := $(sort $(wildcard train/recipes/*.yaml))

all: $(TOOLS) ## build the programs into build/bin/ (default)

# ---- how things are made ---------------------------------------------------------------------------------------------------

$(BUILD)/have-%: Makefile
	@mkdir -p $(@D)
	@$(call need,$($*_PACKAGES))
	@touch $@
BASE_PACKAGES := $(PACKAGES)

# Changes only when the flags do: then everything is compiled anew.
$(O)/flags: always
	@mkdir -p $(@D)
	@echo '$(COMPILE)' | cmp -s - $@ || echo '$(COMPILE)' > $@
.PHONY: always
always:

$(O)/%.o: %.c $(O)/flags | $(BUILD)/have-BASE
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(COMPILE) $(if $(WERROR),-Werror) -MMD -MP -c -o $@ $<

$(O)/%.o: %.cu $(O)/flags
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(CUDA_COMPILE) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

# The CUDA backend on the processor: a device like any other for the tests of the operations.
$(O)/emulated/%.o: %.cu $(O)/flags | $(BUILD)/have-CHECK
	@mkdir -p $(@D)
	$(call say,EMUL)
	$(Q)$(EMULATE) $(if $(WERROR),-Werror) -MMD -MP -x c++ -c -o $@ $<
$(O)/emulated/%.o: %.cc $(O)/flags | $(BUILD)/have-CHECK
	@mkdir -p $(@D)
	$(call say,EMUL)
	$(Q)$(EMULATE) $(if $(WERROR),-Werror) -MMD -MP -c -o $@ $<
$(O)/emulated/%.o: %.c $(O)/flags | $(BUILD)/have-CHECK
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(COMPILE) -Itests/emulation/include $(if $(WERROR),-Werror) -MMD -MP -c -o $@ $<
$(O)/emulated/test_golden: $(O)/tests/golden/test_golden.o
$(addprefix $(O)/emulated/,$(STEP_TESTS)): $(O)/emulated/%: $(O)/tests/train/%.o
$(filter-out %/test_golden $(addprefix %/,$(STEP_TESTS)),$(EMULATED)): $(O)/emulated/%: $(O)/tests/kernels/%.o
$(EMULATED): $(EMULATED_OBJ) $(SUPPORT_LIB) $(TOOL_LIB) $(LIB)
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(SUPPORT_LIB) $(TOOL_LIB) $(LIB) -lcmocka $(LIBS) -lstdc++

# The same with a look at every access of the kernels to memory (tests/emulation/emulated_races.cc).
$(O)/races/%.o: %.cu $(O)/flags | $(BUILD)/have-CHECK
	@mkdir -p $(@D)
	$(call say,EMUL)
	$(Q)$(EMULATE) -fsanitize=thread --param tsan-instrument-func-entry-exit=0 $(if $(WERROR),-Werror) -MMD -MP -x c++ -c -o $@ $<
$(RACES): $(O)/races/%: $(O)/tests/kernels/%.o $(CU_SRC:%.cu=$(O)/races/%.o) \
  $(filter-out $(CU_SRC:%.cu=$(O)/emulated/%.o),$(EMULATED_OBJ)) $(SUPPORT_LIB) $(TOOL_LIB) $(LIB)
$(RACE_SAMPLES): $(addprefix $(O)/,races/tests/emulation/race_samples.o emulated/kernels/cuda/cuda_graph.o) \
  $(patsubst %.cc,$(O)/emulated/%.o,$(wildcard tests/emulation/*.cc)) $(SUPPORT_LIB) $(TOOL_LIB) $(LIB)
$(RACES) $(RACE_SAMPLES):
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(SUPPORT_LIB) $(TOOL_LIB) $(LIB) -lcmocka $(LIBS) -lstdc++

# Recipes travel inside the library: a program needs no data files beside it.
$(O)/gen/recipes_embedded.c: $(RECIPES) Makefile
	@mkdir -p $(@D)
	@{ echo '// Made from train/recipes/*.yaml by the Makefile.'; echo '#include "train/recipes_embedded.h"'; \
	  echo 'const d2v_recipe_text d2v_recipes_embedded[] = {'; \
	  for f in $(RECIPES); do echo "{ \"$$(basename $$f .yaml)\","; \
	    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/' $$f; echo '},'; done; \
	  echo '{ 0, 0 } };'; } > $@
$(O)/gen/recipes_embedded.o: $(O)/gen/recipes_embedded.c $(O)/flags | $(BUILD)/have-BASE
	$(Q)$(COMPILE) -Wno-overlength-strings -MMD -MP -c -o $@ $<

$(O)/libd2v.a: $(LIB_OBJ) $(O)/gen/recipes_embedded.o
	@rm -f $@
	$(call say,AR)
	$(Q)ar rcs $@ $^
$(O)/libd2v.so: $(LIB_OBJ) $(O)/gen/recipes_embedded.o
	$(call say,LINK)
	$(Q)$(LINK) -shared -Wl,-soname,libd2v.so -o $@ $^ $(LIBS)

$(TOOL_LIB): $(TOOL_SHARED:%.c=$(O)/%.o)
	@rm -f $@
	$(call say,AR)
	$(Q)ar rcs $@ $^
$(foreach t,$(TOOL_SRC),$(eval $(t:tools/%.c=$(BIN)/%): $(patsubst %.c,$(O)/%.o,$(wildcard $(t:tools/d2v-%.c=tools/%)_*.c))))
# build/bin/ may hold programs with CUDA or without: the last build asked for.
$(BIN)/.variant: always
	@mkdir -p $(@D)
	@echo '$(VARIANT)' | cmp -s - $@ || echo '$(VARIANT)' > $@
$(TOOLS): $(BIN)/%: $(O)/tools/%.o $(TOOL_LIB) $(LIB) $(BIN)/.variant
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(TOOL_LIB) $(LIB) $(LIBS)

$(TESTS:=.o) $(SUPPORT_OBJ) $(BENCHES:=.o): | $(BUILD)/have-CHECK
# Of what the tests and the programs share everybody takes what it uses.
$(SUPPORT_LIB): $(SUPPORT_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)ar rcs $@ $^
$(TESTS) $(BENCHES) $(GPU_BENCH): %: %.o $(SUPPORT_LIB) $(TOOL_LIB) $(LIB)
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(SUPPORT_LIB) $(TOOL_LIB) $(LIB) -lcmocka $(LIBS)
$(O)/tests/gpu/bench_gpu: $(patsubst %.c,$(O)/%.o,$(wildcard tests/gpu/*_rows.c) tests/gpu/mark.c tests/gpu/whole_step.c)
$(O)/tests/gpu/bench_feed: $(O)/tests/gpu/mark.o
# Without CUDA it has the emulation in it, and is there to be tried.
ifeq ($(VARIANT),plain)
$(O)/tests/gpu/attention_rows.o: override CFLAGS += -Itests/emulation/include
$(O)/tests/gpu/bench_gpu: override LIBS += -lstdc++
$(O)/tests/gpu/bench_gpu: $(EMULATED_OBJ)
endif
$(HELPERS): %: %.o $(SUPPORT_LIB) $(LIB)
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $^ $(LIBS)

$(DEMO_TOOLS): %: %.o $(LIB)
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $^ $(LIBS)

# A fuzzer's main is libFuzzer's in the fuzz variant; elsewhere it replays the corpus.
$(FUZZERS): %: %.o $(if $(filter fuzz,$(VARIANT)),,$(O)/tests/fuzz/replay.o) $(LIB)
	$(call say,LINK)
	$(Q)$(LINK) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer) -o $@ $(filter %.o,$^) $(LIB) $(LIBS)

# What a fuzzer is held against.
$(O)/tests/fuzz/fuzz_bpe: $(O)/tests/ref/ref_bpe.o $(O)/tests/ref/small_vocabulary.o

-include $(wildcard $(LIB_OBJ:.o=.d) $(SUPPORT_OBJ:.o=.d) $(patsubst %.c,$(O)/%.d,$(wildcard tools/*.c)) $(TESTS:=.d) $(BENCHES:=.d) $(FUZZERS:=.d) $(HELPERS:=.d) $(DEMO_TOOLS:=.d) \
  $(O)/tests/gpu/*.d \
  $(EMULATED_OBJ:.o=.d) $(CU_SRC:%.cu=$(O)/races/%.d) $(O)/races/tests/emulation/race_samples.d)
.PRECIOUS: $(O)/%.o

# ---- checking --------------------------------------------------------------------------------------------------------------

SHELL_TESTS = $(sort $(wildcard tests/*/test_*.sh))
RUN_TESTS = BIN=$(abspath $(BIN)) OBJ=$(abspath $(O)) D2V_SHARED=$(D2V_SHARED) CC='$(CC)' tests/run.sh
# ThreadSanitizer does not know libgomp, so it sees the parts whose threads are ours.
TSAN_TESTS = $(filter $(foreach part,base shards ingest loaders,$(O)/tests/$(part)/%),$(TESTS))

# The scripts take longest: they begin, so that none of them is alone in the end.
check: | $(BUILD)/have-CHECK ## build with warnings as errors and run all tests; ONLY=word runs those whose name has it
	@$(MAKE) --no-print-directory WERROR=1 build-tests
	@$(RUN_TESTS) --only='$(ONLY)' $(SHELL_TESTS) $(TESTS) $(FUZZERS)

asan: | $(BUILD)/have-CHECK ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory VARIANT=asan run-asan
run-asan: build-tests
	@UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=1 \
	  $(RUN_TESTS) --only='$(ONLY)' $(SHELL_TESTS) $(TESTS) $(FUZZERS)

tsan: | $(BUILD)/have-CHECK ## the tests of our own threads under ThreadSanitizer
	@$(MAKE) --no-print-directory VARIANT=tsan run-tsan
run-tsan: build-tsan
	@TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 $(RUN_TESTS) --only='$(ONLY)' $(TSAN_TESTS)

# Of the tests only those that ONLY names, and what scripts among them want.
chosen = $(if $(ONLY),$(strip $(foreach test,$1,$(if $(findstring $(ONLY),$(test)),$(test)))),$1)
build-tests: $(TOOLS) $(call chosen,$(TESTS) $(FUZZERS)) $(if $(call chosen,$(SHELL_TESTS)),$(DEMO_TOOLS) $(HELPERS)) \
  $(if $(filter tests/emulation/%,$(call chosen,$(SHELL_TESTS))),$(EMULATED) $(RACE_SAMPLES)) \
  $(if $(filter tests/gpu/%,$(call chosen,$(SHELL_TESTS))),$(FEED_BENCH) $(if $(filter plain,$(VARIANT)),$(O)/tests/gpu/bench_gpu))
build-tsan: $(TSAN_TESTS)

races: | $(BUILD)/have-CHECK ## look for data races in the GPU's kernels, emulated (tests/emulation/emulated_races.cc); some minutes
	@$(MAKE) --no-print-directory WERROR=1 build-races
	@D2V_EMULATED=races D2V_TEST_TIMEOUT=5400 $(RUN_TESTS) tests/emulation/test_emulated_kernels.sh
build-races: $(RACES)

golden: | $(BUILD)/have-CHECK ## compare with the original's numbers; CASES="DIR..." chooses cases, default tests/golden/data/*
	@$(MAKE) --no-print-directory $(O)/tests/golden/test_golden
	@GOLDEN_CASES='$(CASES)' $(O)/tests/golden/test_golden

fuzz: | $(BUILD)/have-FUZZ ## run each fuzzer MINUTES (10) minutes with libFuzzer; ONLY=word chooses
	@$(MAKE) --no-print-directory VARIANT=fuzz build-fuzz
	@for f in $(FUZZ_SRC:tests/fuzz/%.c=%); do case $$f in *'$(ONLY)'*) ;; *) continue;; esac; \
	  n=$${f#fuzz_}; mkdir -p $(BUILD)/fuzz/found/$$n $(BUILD)/fuzz/corpus/$$n; echo "== $$f, $(MINUTES) minutes"; \
	  $(BUILD)/fuzz/tests/fuzz/$$f -max_total_time=$$(($(MINUTES)*60)) -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(BUILD)/fuzz/found/$$n/ $(BUILD)/fuzz/corpus/$$n tests/fuzz/corpus/$$n 2>&1 | tee $(BUILD)/fuzz/$$f.log | \
	    grep -E 'ERROR|SUMMARY|stat::|Test unit' || true; \
	  [ -z "$$(ls $(BUILD)/fuzz/found/$$n)" ] || { echo "$$f found: $(BUILD)/fuzz/found/$$n; log $(BUILD)/fuzz/$$f.log"; exit 1; }; done
build-fuzz: $(FUZZERS)

bench: | $(BUILD)/have-CHECK ## print each benchmark as a ratio to a limit measured in the same run; ONLY=word chooses
	@$(MAKE) --no-print-directory $(BENCHES) $(TOOLS)
	@for b in $(BENCHES); do case $$b in *'$(ONLY)'*) ;; *) continue;; esac; \
	  echo "== $${b##*/}"; BIN=$(abspath $(BIN)) D2V_SHARED=$(D2V_SHARED) $$b; done

results: all ## train the smallest recipes on the samples, three seeds each, and write docs/results.md (twenty minutes; with ONLY=audio|image only build/results.md)
	@status=0; BIN=$(BIN) D2V_SHARED=$(D2V_SHARED) RESULTS_DIR=$(BUILD)/results tools/results.sh > $(BUILD)/results.md || status=$$?; \
	[ $$status = 77 ] || [ -n '$(ONLY)' ] || cp $(BUILD)/results.md docs/results.md; exit $$status

# ---- on a machine with a GPU -----------------------------------------------------------------------------------------------

GPU_TESTS := $(filter $(O)/tests/kernels/% $(O)/tests/golden/%,$(TESTS)) $(addprefix $(O)/tests/train/,$(STEP_TESTS))
# Where a program's GPU time goes, kernel by kernel; needs the toolkit's CUPTI.
GPU_TRACE := $(if $(CUDA),$(if $(wildcard $(CUDA_PATH)/include/cupti.h),$(O)/tests/gpu/trace_kernels.so))
build-gpu: $(TOOLS) $(GPU_TESTS) $(GPU_BENCH) $(GPU_TRACE) $(O)/tests/e2e/helper_speech_set $(O)/tools/demo/learn_merges
$(O)/tests/gpu/trace_kernels.so: tests/gpu/trace_kernels.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(COMPILE) $(if $(WERROR),-Werror) -fPIC -shared -o $@ $< -L$(CUDA_PATH)/lib64 -lcupti

check-gpu: | $(BUILD)/have-CHECK ## with a GPU: operations, golden cases, training and resume on it, against the references and the CPU
	@$(MAKE) --no-print-directory CUDA=1 build-gpu
	@OBJ=$(abspath $(BUILD)/cuda) BIN=$(abspath $(BUILD)/bin) tests/gpu/check_gpu.sh

bench-gpu: | $(BUILD)/have-CHECK ## with a GPU: operations, whole steps, what the loader adds (ONLY=word: not that), and a table of what was wanted and reached; TRACE=1 adds the time of every kernel
	@$(MAKE) --no-print-directory CUDA=1 build-gpu
	@OBJ=$(abspath $(BUILD)/cuda) BIN=$(abspath $(BUILD)/bin) LOG=$(BUILD)/bench-gpu.log \
	  $(if $(TRACE),CUPTI_LIBRARY=$(abspath $(BUILD))/cuda/tests/gpu/trace_kernels.so) tests/gpu/bench_gpu.sh $(ONLY)

# Processors since 2013 run it. What a program needs beyond CUDA, the C library and the driver travels in lib/.
bundle: | $(BUILD)/have-CHECK ## a tarball of the CUDA programs, tests and benchmark with their libraries, for a GPU machine without packages
	@$(MAKE) --no-print-directory CUDA=1 VARIANT=bundle ARCH=-march=x86-64-v3 LDFLAGS='-Wl,-rpath,\$$$$ORIGIN/../lib:\$$$$ORIGIN/../../../lib' build-gpu
	@tests/gpu/make_bundle.sh $(BUILD)/bundle $(BUILD)/d2v-bundle.tar.gz

# Only speech needs packages of its own.
demo: | $(BUILD)/have-$(if $(filter image text,$(DEMO)),BASE,DEMO) ## make small data, look at it, train on it; DEMO=speech|image|text|all; DEMO_SPEECH, DEMO_IMAGES, DEMO_TEXT take yours
	@$(MAKE) --no-print-directory build-demo
	@BIN=$(BIN) OBJ=$(O) DEMO_DIR=$(DEMO_DIR) DEMO_SPEECH='$(DEMO_SPEECH)' DEMO_IMAGES='$(DEMO_IMAGES)' DEMO_TEXT='$(DEMO_TEXT)' \
	  DEMO_UPDATES='$(DEMO_UPDATES)' tools/demo.sh '$(DEMO)'
build-demo: $(TOOLS) $(DEMO_TOOLS)

# ---- the rest --------------------------------------------------------------------------------------------------------------

man: $(TOOLS) ## man pages, generated from the programs' option tables
	@mkdir -p $(BUILD)/man
	@for t in $(TOOLS); do $$t --man > $(BUILD)/man/$${t##*/}.1; done; ls $(BUILD)/man/*.1

VERSION = $(shell sed -n 's/.*D2V_VERSION "\(.*\)"/\1/p' base/version.h)
install: all man ## copy programs, library, headers and man pages below PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(TOOLS) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib/
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	@printf '%s\n' 'prefix=$(PREFIX)' 'Name: d2v' 'Description: data2vec 2.0: shards, loaders, training' 'Version: $(VERSION)' \
	  'Cflags: -I$${prefix}/include/d2v' 'Libs: -L$${prefix}/lib -ld2v -fopenmp $(LIBS)' > $(DESTDIR)$(PREFIX)/lib/pkgconfig/d2v.pc
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	for h in $(wildcard base/*.h shards/*.h ingest/*.h loaders/*.h kernels/*.h train/*.h eval/*.h) d2v.h; do \
	  install -D -m 644 $$h $(DESTDIR)$(PREFIX)/include/d2v/$$h; done

config: ## say what was found on this machine
	@echo "compiler    $$($(CC) --version 2>/dev/null | head -1 || echo 'none: make installs gcc')"
	@echo "flags       $(ARCH), OpenMP"
	@for p in $(sort $(CHECK_PACKAGES) $(DEMO_PACKAGES) $(FUZZ_PACKAGES)); do \
	  printf '%-24s %s\n' $$p "$$(dpkg-query -W -f='$${Version}' $$p 2>/dev/null | grep . || echo 'not installed')"; done
	@echo "CUDA        $$(command -v nvcc >/dev/null && nvcc --version | sed -n 's/.*release //p' || echo 'not found (not needed)')"
	@echo "samples     $(if $(D2V_SHARED),$(D2V_SHARED),none beside the project: tests that want real data skip)"

format: ## clang-format the .c files; headers and tables are laid out by hand
	clang-format -i $(filter-out ingest/char_class_table.c,$(wildcard $(foreach p,base shards ingest loaders kernels kernels/cpu train \
	  eval tools tests/*,$(p)/*.c)))

clean: ## remove the build folder
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

.PHONY: check-gpu bench-gpu bundle build-gpu all check races build-races asan tsan run-asan run-tsan build-tests build-tsan golden fuzz build-fuzz bench demo build-demo results man install config format clean help
