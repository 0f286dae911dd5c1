#!/usr/bin/env bash
# Runs tests, as many at a time as there are processors (up to four), each with a timeout and an empty folder, and ends with
# 'N passed, N failed, N skipped'.
#     tests/run.sh [--only=WORD] PROGRAM|SCRIPT...
# A program speaks TAP (cmocka does, when asked): each of its cases counts. A fuzz_* program replays its corpus and counts once, as a
# script does. Exit status 77 means skipped. Output is shown only for what failed; D2V_TEST_VERBOSE=1 shows all. D2V_TEST_JOBS=1 runs one
# after another.
set -u
only=
timeout_s=${D2V_TEST_TIMEOUT:-1200}
processors=$(nproc)
jobs=${D2V_TEST_JOBS:-$((processors < 4 ? processors : 4))} # tests bring threads of their own
root=$(pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/d2v-tests.XXXXXX")
# Programs, which let every write and sync fail once, sync little files by the ten thousand: in memory where there is a
# gigabyte of it. Scripts keep to the disk.
memory=$scratch
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -ge 1048576 ] 2>/dev/null; then
	memory=$(mktemp -d /dev/shm/d2v-tests.XXXXXX 2>/dev/null) || memory=$scratch
fi
trap 'rm -rf "$scratch" "$memory"' EXIT
export CMOCKA_MESSAGE_OUTPUT=TAP
unset CDPATH TAR_OPTIONS GZIP XZ_OPT XZ_DEFAULTS ZIPOPT D2V_HEADER D2V_COOKIE D2V_TOKEN # users' own ways and logins
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} # threads that wait leave the processors to the other tests

count() { # FILE REGEX
	grep -cE "$2" "$1" || true
}

run_test() { # TEST NUMBER: leaves "PASSED FAILED SKIPPED" in NUMBER.verdict
	local test=$1 log=$scratch/$2.log folder=$memory/$2 name=${1##*/} program=$root/$1 arguments=() started=$SECONDS
	local status ok bad skip
	case $name in *.sh) folder=$scratch/$2 ;; esac
	mkdir -p "$folder"
	case $name in fuzz_*) arguments=("$root/tests/fuzz/corpus/${name#fuzz_}") ;; esac
	case $test in /*) program=$test ;; esac
	TMPDIR=$folder timeout --kill-after=10 "$timeout_s" "$program" ${arguments[@]+"${arguments[@]}"} >"$log" 2>&1 </dev/null
	status=$?
	case $name in
	test_*.sh | fuzz_*)
		ok=$((status == 0)) bad=$((status != 0 && status != 77)) skip=$((status == 77)) ;;
	*)
		# cmocka says "not ok 1 # SKIP name" of a case that was skipped.
		skip=$(count "$log" '^(not )?ok [0-9]+ # SKIP')
		ok=$(count "$log" '^ok [0-9]+ - ') bad=$(count "$log" '^not ok [0-9]+ - ')
		# A program that died, or that failed without saying which case, is a failure of its own.
		if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
		if [ $status -eq 0 ] && [ $((ok + bad + skip)) -eq 0 ]; then bad=1; echo "no case was run" >>"$log"; fi ;;
	esac
	[ $status -eq 124 ] && echo "timed out after $timeout_s s" >>"$log"
	echo "$ok $bad $skip" >"$scratch/$2.verdict"
	(
		flock 9
		printf '%-44s %4d passed %3d failed %3d skipped  %3d s\n' "$name" "$ok" "$bad" "$skip" $((SECONDS - started))
		[ "$skip" -gt 0 ] && [ $status -eq 77 ] && sed -n 's/^skip: /    skipped: /p' "$log"
		if [ "$bad" -gt 0 ] || [ -n "${D2V_TEST_VERBOSE:-}" ]; then sed 's/^/    | /' "$log" | tail -n 80; fi
	) 9>"$scratch/lock"
	rm -rf "$folder" "$log"
}

tests=()
for test in "$@"; do
	case $test in --only=*) only=${test#--only=}; continue ;; esac
	case $test in *"$only"*) tests+=("$test") ;; esac
done
for i in "${!tests[@]}"; do
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
	run_test "${tests[$i]}" "$i" &
done
wait

passed=0 failed=0 skipped=0 bad_ones=
for i in "${!tests[@]}"; do
	# No verdict: not even the test's own shell came to its end.
	read -r ok bad skip <"$scratch/$i.verdict" || { ok=0 bad=1 skip=0; echo "${tests[$i]##*/}: came to no end"; }
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	[ "$bad" -eq 0 ] || bad_ones+=" ${tests[$i]##*/}"
done
[ $((passed + failed)) -gt 0 ] || { echo "no test was run"; failed=1; }
[ -z "$bad_ones" ] || echo "failed:$bad_ones"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
