#!/usr/bin/env bash
# `make install` into an empty prefix: programs, manual pages, headers and the library, and a program compiled against
# nothing but them. `make help` and `make config` say what they are for.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
case $OBJ in */plain) ;; *) skip "the plain build is what is installed" ;; esac
root=$(pwd)
prefix=$tmp/prefix

step "install"
make --no-print-directory -s install PREFIX="$prefix" DESTDIR= >"$tmp/out" 2>"$tmp/err" || fail "make install"
for program in "$BIN"/*; do
	name=${program##*/}
	expect_exit 0 "$prefix/bin/$name" --version
	expect_exit 0 "$prefix/bin/$name" --help
	grep -q '^\.TH' "$prefix/share/man/man1/$name.1" || fail "$name.1 is no manual page"
done

step "a program that embeds the library"
[ -f "$prefix/include/d2v/d2v.h" ] || fail "d2v.h was not installed"
flags() { sed -n "s|^$1: ||p" "$prefix/lib/pkgconfig/d2v.pc" | sed "s|\${prefix}|$prefix|g"; }
mkdir "$tmp/elsewhere"
cp tests/e2e/helper_embed.c "$tmp/elsewhere/embed.c"
# shellcheck disable=SC2046,SC2086
(cd "$tmp/elsewhere" && ${CC:-gcc} -std=c17 -Wall -Werror $(flags Cflags) -o embed embed.c $(flags Libs)) >"$tmp/out" 2>"$tmp/err" ||
	fail "the program does not compile"
synthetic_speech "$tmp/speech" dev-clean 1 3 7
(cd "$tmp/elsewhere" && ./embed "$tmp/speech/LibriSpeech" "$tmp/data") >"$tmp/out" 2>"$tmp/err" || fail "the program failed"
for line in 'records 3' 'first 100-5000-0000 [0-9]+' 'updates 2' 'version [0-9.]+'; do
	grep -qE "^$line\$" "$tmp/out" || { cat "$tmp/out"; fail "the program does not say $line"; }
done

step "make help, make config"
cd "$root"
make --no-print-directory -s help >"$tmp/out"
for target in demo check asan tsan golden fuzz bench man install config help; do
	grep -qE "^ *$target +[a-z]" "$tmp/out" || fail "make help does not speak of $target"
done
make --no-print-directory -s config >"$tmp/out"
grep -qE '^compiler +[^ ]' "$tmp/out" || fail "make config names no compiler"
grep -qE '^CUDA ' "$tmp/out" || fail "make config does not speak of CUDA"
