#!/usr/bin/env bash
# Whole updates of the original's cases on the CUDA backend's own source, run on the processor: f32 within 1e-4 of the
# original's numbers, bf16 and f16 with losses within 1 %. Device memory is out of bounds for everything but kernels and copies, so
# this also shows that nothing above kernels/ follows a device pointer. EMULATED_CASES="DIR..." names other cases.
set -eu
golden=$OBJ/emulated/test_golden
[ -x "$golden" ] || { echo "skip: only beside the plain build"; exit 77; }
cases=${EMULATED_CASES:-tests/golden/data/multi tests/golden/data/text-tiny}
for device in cuda:0:f32 cuda:0 cuda:0:f16; do
	D2V_TEST_DEVICE=$device GOLDEN_CASES=$cases "$golden" || exit 1
done
