#!/usr/bin/env bash
# What the loader costs a GPU: trains RECIPE from DATASET for a while, the published global batch in one process, and says
# how long an update took, how much of that the GPU waited for the loader, and how many processors were busy. Beside it
# stands what bench_gpu measures with synthetic batches.
#     BIN=build/bin tests/gpu/bench_loader.sh image-base=pictures-d2v audio-base=librispeech-d2v text-base=owt-d2v
set -euo pipefail
: "${BIN:?BIN is the folder of the programs}"
updates=${UPDATES:-60} skip=10 # updates at the start that do not count: the first shapes' plans, cold files
dir=$(mktemp -d "${TMPDIR:-/tmp}/d2v-loader.XXXXXX")
trap 'rm -rf "$dir"' EXIT

for pair in "$@"; do
	recipe=${pair%%=*} data=${pair#*=}
	case $recipe in
	image-*) batch=(dataset.batch_size=256) ;;
	audio-*) batch=(dataset.max_tokens=8000000) ;; # 500 s
	text-*) batch=(dataset.batch_size=64) ;;
	*) echo "bench_loader: $recipe: image-, audio- or text-"; exit 2 ;;
	esac
	save=$dir/$recipe
	TIMEFORMAT='%R %U %S'
	{ time "$BIN/d2v-train" "$recipe" --quiet task.data="$data" "${batch[@]}" distributed_training.distributed_world_size=1 \
		optimization.max_update="$updates" lr_scheduler.warmup_updates=10 common.log_interval=1 d2v.device="${DEVICE:-cuda:0}" \
		checkpoint.save_dir="$save" "${EXTRA:-common.seed=1}" 2>"$dir/log" >&2; } 2>"$dir/time" || { cat "$dir/log"; exit 1; }
	read -r real user sys < <(tail -n 1 "$dir/time")
	awk -v name="$recipe" -v real="$real" -v cpu="$user $sys" -v skip=$skip '
		function field(key,   at, rest) {
			at = index($0, "\"" key "\": ")
			if (!at) at = index($0, "\"" key "\":")
			rest = substr($0, at); sub(/^[^:]*: */, "", rest)
			return rest + 0
		}
		field("update") > skip { n++; seconds += field("step_seconds"); wait += field("loader_wait") * field("step_seconds"); flop += field("gflops") * field("step_seconds") }
		END {
			split(cpu, part, " ")
			if (!n) { print name ": no updates"; exit 1 }
			printf "%-14s %8.1f ms an update, %5.2f %% of it waiting for the loader, %6.1f TFLOP/s, %.1f processors busy (start included)\n",
				name, 1e3 * seconds / n, 100 * wait / seconds, flop / seconds * 1e-3, (part[1] + part[2]) / real
		}' "$save/metrics.jsonl"
done
