#!/usr/bin/env bash
# The CUDA backend's own source, run on the processor (tests/emulation/include/cuda_runtime.h), through the tests of every
# operation: against the plain references, in f32, bf16 and f16; attention, convolutions and linear layers in bf16 all
# ways there are (kernels/cuda/cuda_attention.cu, cuda_conv_grouped.cu, cuda_linear.cu). D2V_EMULATED=races runs the programs that look
# for data races (make races) instead.
set -eu
programs=$OBJ/${D2V_EMULATED:-emulated}
ls "$programs"/test_* >/dev/null 2>&1 || { echo "skip: only beside the plain build"; exit 77; }
failed=$TMPDIR/failed jobs=$(nproc)
run() { # TEST DEVICE [VARIABLE=VALUE]
	local log=$TMPDIR/log.$BASHPID
	env D2V_TEST_DEVICE="$2" "${@:3}" "$1" >"$log" 2>&1 && return
	{
		echo "${1##*/} on ${*:2}:"
		grep -E '^(not ok|#|ERROR|emulation:)' "$log" || tail -n 20 "$log"
	} >>"$failed"
}
# As many at a time as there are processors: one test of these is a minute and more by itself.
check() {
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
	run "$@" &
}
for test in "$programs"/test_*; do
	case $test in *.o | *.d | */test_golden) continue ;; esac
	case $test in # of a whole step types make no difference
	*/test_step_ahead | */test_kept_draws) ;;
	*) check "$test" cuda:0:f32; check "$test" cuda:0:f16 ;;
	esac
	case $test in
	*/test_attention)
		check "$test" cuda:0 D2V_ATTENTION=tiles; check "$test" cuda:0 D2V_ATTENTION=wgmma
		check "$test" cuda:0 D2V_ATTENTION=wgmma D2V_EMULATED_SHARED=120000 D2V_EMULATED_PROCESSORS=1 # rings come round
		check "$test" cuda:0 D2V_ATTENTION=short D2V_TEST_ONLY=test_short ;;
	*/test_kept_draws) check "$test" cuda:0 D2V_ATTENTION=tiles; check "$test" cuda:0 D2V_ATTENTION=wgmma ;;
	*/test_linear) check "$test" cuda:0 D2V_GELU=apart; check "$test" cuda:0 D2V_GELU=wgmma ;;
	*/test_conv?d) check "$test" cuda:0 D2V_CONV=mma; check "$test" cuda:0 D2V_CONV=wgmma ;;
	*/test_norm) check "$test" cuda:0; check "$test" cuda:0 D2V_EMULATED_PROCESSORS=132 ;; # cut as for a card
	*) check "$test" cuda:0 ;;
	esac
done
wait
[ ! -s "$failed" ] || { cat "$failed"; exit 1; }
