#!/usr/bin/env bash
# Runs tests one after another, each with a timeout and an empty folder, and ends with 'N passed, N failed'.
#     tests/run.sh [--only=WORD] PROGRAM|SCRIPT...
# A program speaks TAP (cmocka does, when asked): each of its cases counts. A fuzz_* program replays its corpus and counts once, as a
# script does. Exit status 77 means skipped. Output is shown only for what failed; D2V_TEST_VERBOSE=1 shows all.
set -u
only=
passed=0 failed=0 skipped=0
timeout_s=${D2V_TEST_TIMEOUT:-600}
root=$(pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/d2v-tests.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export CMOCKA_MESSAGE_OUTPUT=TAP

count() { # FILE REGEX
	grep -cE "$2" "$1" || true
}

for test in "$@"; do
	case $test in --only=*) only=${test#--only=}; continue ;; esac
	name=${test##*/}
	case $test in *"$only"*) ;; *) continue ;; esac
	mkdir -p "$scratch/tmp"
	log=$scratch/log
	arguments=()
	case $name in fuzz_*) arguments=("$root/tests/fuzz/corpus/${name#fuzz_}") ;; esac
	case $test in /*) program=$test ;; *) program=$root/$test ;; esac
	started=$SECONDS
	TMPDIR=$scratch/tmp timeout --kill-after=10 "$timeout_s" "$program" ${arguments[@]+"${arguments[@]}"} >"$log" 2>&1 </dev/null
	status=$?
	case $name in
	test_*.sh | fuzz_*)
		ok=$((status == 0)) bad=$((status != 0 && status != 77)) skip=$((status == 77)) ;;
	*)
		skip=$(count "$log" '^ok .*# *[Ss][Kk][Ii][Pp]')
		ok=$(($(count "$log" '^ok ') - skip)) bad=$(count "$log" '^not ok ')
		# A program that died, or that failed without saying which case, is a failure of its own.
		if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
		if [ $status -eq 0 ] && [ $((ok + bad + skip)) -eq 0 ]; then bad=1; echo "no case was run" >>"$log"; fi ;;
	esac
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	[ $status -eq 124 ] && echo "timed out after $timeout_s s" >>"$log"
	printf '%-44s %4d passed %3d failed %3d skipped  %3d s\n' "$name" "$ok" "$bad" "$skip" $((SECONDS - started))
	[ "$skip" -gt 0 ] && [ $status -eq 77 ] && sed -n 's/^skip: /    skipped: /p' "$log"
	if [ "$bad" -gt 0 ] || [ -n "${D2V_TEST_VERBOSE:-}" ]; then sed 's/^/    | /' "$log" | tail -n 80; fi
	rm -rf "$scratch/tmp"
done
[ $((passed + failed)) -gt 0 ] || { echo "no test was run"; failed=1; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
