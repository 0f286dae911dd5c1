#!/usr/bin/env bash
# What a GPU reaches, in one go (`make bench-gpu`, or ./bench-gpu of a bundle): operations and whole steps (bench_gpu.c), what
# the loader adds to steps (bench_loader.sh), and at the end a table of all that something is wanted of: reached, wanted,
# met or MISSED. The marks are an H200's. Exits with 0 if all could be measured, whatever was reached.
#     OBJ=build/cuda BIN=build/bin tests/gpu/bench_gpu.sh [WORD...]
# WORDs choose rows by their names, and leave the loader out. DEVICE=cuda:1 takes another GPU. What is printed is kept in LOG
# (bench-gpu.log), JSON lines and all; ended early, the table has what there was until then. SMALL=1 DEVICE=cpu tries all of it
# on little. CUPTI_LIBRARY=.../trace_kernels.so adds the time of every kernel.
set -uo pipefail
: "${OBJ:?OBJ is the folder of the test programs}" "${BIN:?BIN is the folder of the programs}"
device=${DEVICE:-cuda:0} log=${LOG:-bench-gpu.log} here=$(dirname "$0")
"$OBJ/tests/gpu/look_at_device" "$device" || exit

# Of the JSON lines of marks (mark.h).
summary() {
	sed -n 's/^{"bench":"mark","name":"\(.*\)","unit":"\(.*\)","reached":\(.*\),"wanted":\(.*\),"at_most":\(.*\),"met":\(.*\)}$/\1\t\2\t\3\t\4\t\5\t\6/p' "$log" |
		awk -F'\t' '
			BEGIN { printf "\n%-44s %9s  %-12s\n", "", "reached", "wanted" }
			{
				printf "%-44s %9.1f  %s %-6g %-26s %s\n", $1, $3, $5 == "true" ? "<=" : ">=", $4, $2, $6 == "true" ? "met" : "MISSED"
				if ($6 == "true") met++; else missed++
			}
			END { printf "%d met, %d missed\n", met, missed }'
}
: >"$log" || exit
trap summary EXIT
trap 'exit 1' INT TERM HUP
status=0
env ${CUPTI_LIBRARY:+CUDA_INJECTION64_PATH="$CUPTI_LIBRARY"} "$OBJ/tests/gpu/bench_gpu" "$device" "$@" | tee -a "$log" || status=1
[ $# -gt 0 ] || "$here/bench_loader.sh" | tee -a "$log" || status=1
exit $status
