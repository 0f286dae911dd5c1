#!/usr/bin/env bash
# A training run killed (-9) at random moments and started again, each time with another number of loader threads, with
# layers computed again or kept, ends with the final checkpoint of the run never killed, byte for byte, and so with the same
# digest of all batches consumed.
#     KILLS=20 SEED=7 tests/e2e/test_train_kill.sh
set -euo pipefail
train=${BIN:-build/bin}/d2v-train
make_set=${OBJ:-build/plain}/tests/e2e/helper_speech_set
case ${OBJ:-} in */asan | */tsan) default_kills=3 ;; *) default_kills=5 ;; esac
kills=${KILLS:-$default_kills}
seed=${SEED:-$$}
updates=$((24 + 8 * kills))
dir=$(mktemp -d "${TMPDIR:-/tmp}/d2v-kill.XXXXXX")
child=
trap '[ -z "$child" ] || kill -9 "$child" 2>/dev/null || true; rm -rf "$dir"' EXIT
echo "SEED=$seed KILLS=$kills"
RANDOM=$seed
[ -x "$train" ] || { echo "skip: $train is not built"; exit 77; }

"$make_set" "$dir/data" 24 4000 8000

# A model so small that the moments of saving and loading are often hit.
start() { # SAVE_DIR LOADER_THREADS [KEY=VALUE...]
	exec "$train" audio-tiny --threads 1 task.data="$dir/data" checkpoint.save_dir="$1" dataset.num_workers="$2" \
		task.min_sample_size=4000 task.max_sample_size=8000 dataset.max_tokens=16000 optimization.max_update=$updates \
		distributed_training.distributed_world_size=2 checkpoint.save_interval_updates=3 checkpoint.keep_interval_updates=2 \
		common.log_interval=1 lr_scheduler.warmup_updates=5 model.depth=2 model.average_top_k_layers=2 model.embed_dim=32 \
		model.clone_batch=4 model.layerdrop=0.2 model.encoder_dropout=0.1 model.modalities.audio.decoder.decoder_dim=32 \
		"model.modalities.audio.feature_encoder_spec=[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2" \
		d2v.collapse_interval=4 d2v.clone_groups=2 "${@:3}"
}
last=checkpoint_last.safetensors

now() { date +%s%3N; }
began=$(now)
(start "$dir/short" 1 optimization.max_update=6) >"$dir/log.short" 2>&1 || { cat "$dir/log.short"; exit 1; }
opening=$(($(now) - began)) # and six updates, in milliseconds
began=$(now)
(start "$dir/never" 1) >"$dir/log.never" 2>&1 || { cat "$dir/log.never"; echo "the run never killed failed"; exit 1; }

# Each life is long enough to get a little further on average, and not so long that the run ends before the last kill.
longest=$((opening + 2 * ($(now) - began - opening) / (kills + 2)))
hits=0
for ((k = 0; k < kills || (hits == 0 && k < kills + 10); k++)); do
	threads=$((1 << RANDOM % 3))
	(start "$dir/killed" $threads d2v.recompute=$( ((RANDOM % 2)) && echo true || echo false)) >>"$dir/log.killed" 2>&1 &
	child=$!
	life=$((1 + RANDOM % longest))
	sleep "$((life / 1000)).$(printf '%03d' $((life % 1000)))"
	kill -9 "$child" 2>/dev/null || true
	status=0
	wait "$child" 2>/dev/null || status=$?
	[ $status != 137 ] || hits=$((hits + 1))
	child=
	if [ -e "$dir/killed/$last" ] && cmp -s "$dir/never/$last" "$dir/killed/$last"; then
		[ "$hits" -eq 0 ] || break
		rm -r "$dir/killed" # it was over before the first kill: the machine has become quicker
		longest=$((longest / 2 + 1))
	fi
done
(start "$dir/killed" 2) >>"$dir/log.killed" 2>&1 || { tail -20 "$dir/log.killed"; echo "the run did not go on after $hits kills"; exit 1; }

[ "$hits" -gt 0 ] || { echo "no kill hit a running program"; exit 1; }
cmp "$dir/never/$last" "$dir/killed/$last" || { tail -40 "$dir/log.killed"; echo "the final checkpoints differ after $hits kills"; exit 1; }
kept=checkpoint_$((updates / 3 * 3)).safetensors
cmp "$dir/never/$kept" "$dir/killed/$kept"
for run in never killed; do
	[ "$(ls "$dir/$run" | grep -c '^checkpoint_[0-9]')" = 2 ] || { ls "$dir/$run"; echo "two numbered checkpoints are to be kept"; exit 1; }
	[ -z "$(find "$dir/$run" -name '*.tmp-*')" ] || { ls "$dir/$run"; echo "temporary files were left"; exit 1; }
done
# Every update once, in order, in the metrics of both.
for run in never killed; do
	sed -n 's/.*"update": *\([0-9]*\).*/\1/p' "$dir/$run/metrics.jsonl" | cmp - <(seq 1 $updates) || { echo "metrics of the run $run"; exit 1; }
done

# The comparison can fail: another seed gives other bytes.
(start "$dir/other" 1 common.seed=2 optimization.max_update=6) >"$dir/log.other" 2>&1 || { cat "$dir/log.other"; exit 1; }
! cmp -s "$dir/short/$last" "$dir/other/$last" || { echo "another seed made no difference"; exit 1; }
echo "$hits of $kills kills hit a running program; $(grep -c "going on from" "$dir/log.killed") times it went on; the same bytes"
