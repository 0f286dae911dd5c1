#!/usr/bin/env bash
# The CUDA backend's own source, run on the processor (tests/emulation/include/cuda_runtime.h), through the tests of every
# operation: against the plain references, in f32 and in bf16.
set -eu
ls "$OBJ"/emulated/test_* >/dev/null 2>&1 || { echo "skip: only beside the plain build"; exit 77; }
failed=0
for test in "$OBJ"/emulated/test_*; do
	case $test in *.o | *.d | */test_golden) continue ;; esac
	for device in cuda:0:f32 cuda:0; do
		if ! D2V_TEST_DEVICE=$device "$test" >"$TMPDIR/log" 2>&1; then
			echo "${test##*/} on $device:"
			grep -E '^(not ok|#|ERROR)' "$TMPDIR/log" || tail -n 20 "$TMPDIR/log"
			failed=1
		fi
	done
done
exit $failed
