#!/usr/bin/env bash
# Everything a GPU can be asked, in one go (`make check-gpu`, or ./check-gpu of a bundle on a machine with nothing but the
# driver): every operation against the plain references, every golden case, training on the CPU and on the GPU side by
# side, the same bytes twice and after a resume, and compute-sanitizer over the operations. Ends with a table and
# 'N passed, N failed'. DEVICE=cuda:1 takes another GPU; SANITIZERS=no leaves the last part out; JOBS=1 runs nothing side by side.
#     OBJ=build/cuda BIN=build/bin tests/gpu/check_gpu.sh
set -u
: "${OBJ:?OBJ is the folder of the test programs}" "${BIN:?BIN is the folder of the programs}"
device=${DEVICE:-cuda:0}
# Without a GPU every test would say so.
"$OBJ/tests/gpu/look_at_device" "$device" || exit
dir=$(mktemp -d "${TMPDIR:-/tmp}/d2v-gpu.XXXXXX")
trap 'rm -rf "$dir"' EXIT
jobs=${JOBS:-8}
names=() # of the checks, in the order they are shown

# Runs a check. What it printed is shown at the end if it failed.
run() { # NUMBER COMMAND...
	local log=$dir/check.$1 started=$SECONDS
	shift
	"$@" >"$log" 2>&1
	echo "$? $((SECONDS - started))" >"$log.rc"
}
check() { # NAME COMMAND...
	names+=("$1")
	run ${#names[@]} "${@:2}"
}
# The same of a program, ended after LIMIT seconds, beside others, at most $jobs at a time; `wait` ends them all.
queue() { # NAME COMMAND...
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
	names+=("$1")
	run ${#names[@]} timeout "${LIMIT:-300}" "${@:2}" &
}
# The table of all checks, and what the failed ones printed.
report() {
	local passed=0 failed=0 number=0 name code seconds word
	for name in "${names[@]}"; do
		number=$((number + 1))
		read -r code seconds <"$dir/check.$number.rc"
		[ "$code" = 0 ] || { echo "== $name (exit $code)"; tail -n 25 "$dir/check.$number" | sed 's/^/    | /'; }
	done
	number=0
	for name in "${names[@]}"; do
		number=$((number + 1)) word=passed
		read -r code seconds <"$dir/check.$number.rc"
		if [ "$code" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) word=FAILED; fi
		printf '%-44s %s  %4d s\n' "$name" $word "$seconds"
	done
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
for test in "$OBJ"/tests/kernels/test_*; do
	case $test in *.o | *.d) continue ;; esac
	for precision in f32 bf16 f16; do
		queue "${test##*/} $precision" env D2V_TEST_DEVICE="$device:$precision" "$test"
	done
done
for way in tiles wgmma short; do
	queue "test_attention bf16 $way" env D2V_TEST_DEVICE="$device" D2V_ATTENTION=$way "$OBJ/tests/kernels/test_attention"
done
for way in apart wgmma; do
	queue "test_linear bf16 $way" env D2V_TEST_DEVICE="$device" D2V_GELU=$way "$OBJ/tests/kernels/test_linear"
done
for test in conv1d conv2d; do
	for way in mma wgmma; do
		queue "test_$test bf16 $way" env D2V_TEST_DEVICE="$device" D2V_CONV=$way "$OBJ/tests/kernels/test_$test"
	done
done
for precision in f32 bf16; do
	queue "steps ahead and graphs $precision" env D2V_TEST_DEVICE="$device:$precision" "$OBJ/tests/train/test_step_ahead"
done
for way in tiles wgmma; do
	queue "kept draws $way" env D2V_TEST_DEVICE="$device" D2V_ATTENTION=$way "$OBJ/tests/train/test_kept_draws"
done
for precision in f32 tf32 bf16 f16; do
	queue "golden cases $precision" env D2V_TEST_DEVICE="$device:$precision" "$OBJ/tests/golden/test_golden"
done
wait

# ---- training

"$OBJ/tests/e2e/helper_speech_set" "$dir/data" 24 8000 32000 >/dev/null 2>&1
train() { # DEVICE SAVE_DIR [KEY=VALUE...]
	"$BIN/d2v-train" audio-tiny task.data="$dir/data" task.min_sample_size=8000 task.max_sample_size=32000 \
		dataset.max_tokens=128000 optimization.max_update=50 common.log_interval=1 lr_scheduler.warmup_updates=5 \
		d2v.device="$1" checkpoint.save_dir="$2" "${@:3}"
}
losses() { sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p' "$1/metrics.jsonl"; }
# The largest relative difference of two runs' losses is below the limit.
same_losses() { # DIR DIR LIMIT
	paste <(losses "$1") <(losses "$2") | awk -v limit="$3" '
		{ d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > worst) worst = d; n++ }
		END { printf "%d losses, largest difference %g, allowed %g\n", n, worst, limit; exit !(n >= 50 && worst <= limit) }'
}
check "50 updates on the CPU" train cpu "$dir/cpu"
check "50 updates f32" train "$device:f32" "$dir/f32"
check "50 updates bf16" train "$device" "$dir/bf16"
check "50 updates f16" train "$device:f16" "$dir/f16"
check "losses: CPU and f32" same_losses "$dir/cpu" "$dir/f32" 0.001
check "losses: CPU and bf16" same_losses "$dir/cpu" "$dir/bf16" 0.01
check "losses: CPU and f16" same_losses "$dir/cpu" "$dir/f16" 0.01
# The first scale is far too large: it has to fall before the first update happens, and it grows now and then.
scaled() { # SAVE_DIR
	train "$device:f16" "$1" common.fp16_init_scale=16777216 common.fp16_scale_window=10
	grep -q '"skipped": *[1-9]' "$1/metrics.jsonl"
}
check "50 updates f16, gradients overflow" scaled "$dir/scaled"
check "the same again" scaled "$dir/scaled-again"
check "the same bytes twice, f16" cmp "$dir/scaled/checkpoint_last.safetensors" "$dir/scaled-again/checkpoint_last.safetensors"
check "50 updates bf16 again" train "$device" "$dir/again"
check "the same bytes twice" cmp "$dir/bf16/checkpoint_last.safetensors" "$dir/again/checkpoint_last.safetensors"
check "50 updates bf16 with graphs" train "$device" "$dir/graphs" d2v.cuda_graph=true
check "the same bytes with graphs" cmp "$dir/bf16/checkpoint_last.safetensors" "$dir/graphs/checkpoint_last.safetensors"
check "50 updates bf16 recomputed" train "$device" "$dir/recomputed" d2v.recompute=true
check "the same bytes recomputed" cmp "$dir/bf16/checkpoint_last.safetensors" "$dir/recomputed/checkpoint_last.safetensors"
check "50 updates f32 in groups" train "$device:f32" "$dir/groups" d2v.clone_groups=2
check "losses: f32 and f32 in groups" same_losses "$dir/f32" "$dir/groups" 0.001
# Ended by a limit on time, not on updates: the schedule must not change.
resumed() {
	# The child is a shell: it is its program that must die.
	(train "$device" "$dir/resumed" checkpoint.save_interval_updates=10 & child=$!
	 while [ ! -e "$dir/resumed/checkpoint_20.safetensors" ] && kill -0 $child 2>/dev/null; do sleep 0.05; done
	 pkill -9 -P $child; wait $child)
	train "$device" "$dir/resumed" checkpoint.save_interval_updates=10
	cmp "$dir/bf16/checkpoint_last.safetensors" "$dir/resumed/checkpoint_last.safetensors"
}
check "the same bytes after a kill and a resume" resumed

# ---- compute-sanitizer

if [ "${SANITIZERS:-yes}" = yes ] && command -v compute-sanitizer >/dev/null; then
	for tool in memcheck racecheck; do
		for test in attention conv1d conv2d embedding losses masked_copies norm targets; do
			queue "$tool $test" env D2V_TEST_DEVICE="$device" compute-sanitizer --tool $tool --error-exitcode 9 \
				"$OBJ/tests/kernels/test_$test"
		done
		queue "$tool attention short" env D2V_TEST_DEVICE="$device" D2V_ATTENTION=short D2V_TEST_ONLY=test_short \
			compute-sanitizer --tool $tool --error-exitcode 9 "$OBJ/tests/kernels/test_attention"
		for test in conv1d conv2d; do
			queue "$tool $test wgmma" env D2V_TEST_DEVICE="$device" D2V_CONV=wgmma compute-sanitizer --tool $tool \
				--error-exitcode 9 "$OBJ/tests/kernels/test_$test"
		done
	done
	wait
fi
report
