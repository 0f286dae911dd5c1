#!/usr/bin/env bash
# One model on three data sets: every modality has its curve, shares are kept, and a run killed (-9) at random moments and
# started again ends with the final checkpoint of the run never killed, byte for byte.
#     KILLS=20 SEED=7 tests/e2e/test_train_joint.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
RANDOM=${SEED:=$RANDOM}
kills=${KILLS:-3}
echo "SEED=$SEED KILLS=$kills"
updates=$((18 + 6 * kills))
last=checkpoint_last.safetensors

step "three small data sets"
"$helpers/helper_speech_set" "$tmp/speech" 24 6000 12000
mkdir -p "$tmp/pictures" "$tmp/documents"
"$helpers/helper_picture" 40 36 1 "$tmp/pictures/"{01,02,03,04,05,06,07,08,09,10,11,12}.jpg
for i in $(seq 40); do printf 'The thing number %d and the %d other things are in the world.\n' $i $((i * i)); done >"$tmp/documents/all.txt"
"$helpers/helper_vocabulary" "$tmp/bpe"
expect_exit 0 "$BIN/d2v-ingest" images --from "$tmp/pictures" --out "$tmp/images"
expect_exit 0 "$BIN/d2v-ingest" text --bpe "$tmp/bpe" --from "$tmp/documents" --out "$tmp/text"

cat >"$tmp/run" <<END
#!/bin/sh
# SAVE_DIR LOADER_THREADS [KEY=VALUE...]
save=\$1 workers=\$2
shift 2
exec "$BIN/d2v-train" joint-tiny --threads 1 task.audio.data="$tmp/speech" task.image.data="$tmp/images" \\
	task.text.data="$tmp/text" checkpoint.save_dir="\$save" dataset.num_workers="\$workers" dataset.batch_size=4 \\
	task.audio.batch_size=4 task.min_sample_size=4000 task.max_sample_size=8000 task.tokens_per_sample=32 \\
	model.modalities.text.max_source_positions=32 model.modalities.text.vocab_size=400 \\
	distributed_training.distributed_world_size=2 optimization.max_update=$updates lr_scheduler.warmup_updates=5 \\
	checkpoint.save_interval_updates=3 common.log_interval=1 d2v.collapse_interval=4 model.depth=2 \\
	model.average_top_k_layers=2 model.embed_dim=32 model.num_heads=2 model.clone_batch=2 \\
	model.modalities.image.embed_dim=32 model.modalities.image.decoder.decoder_dim=16 \\
	model.modalities.audio.decoder.decoder_dim=16 model.modalities.text.decoder.decoder_dim=16 \\
	"model.modalities.audio.feature_encoder_spec=[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2" "\$@"
END
chmod +x "$tmp/run"
updates_of() { # RUN MODALITY: how many updates it had
	"$helpers/helper_json" "modalities.$2.updates" <"$1/metrics.jsonl" 2>/dev/null | wc -l
}

step "a run never killed: all three learn, and each has its curve"
expect_exit 0 "$tmp/run" "$tmp/never" 1
all=0
for modality in audio image text; do
	count=$(updates_of "$tmp/never" $modality)
	[ "$count" -gt 0 ] || fail "no update of $modality"
	all=$((all + count))
	"$helpers/helper_json" "modalities.$modality.loss" <"$tmp/never/metrics.jsonl" >"$tmp/losses"
	expect_equal "losses of $modality" "$(grep -cE '^[0-9.e+-]+$' "$tmp/losses")" "$count"
	"$helpers/helper_json" "modalities.$modality.watched.targets.spread" <"$tmp/never/metrics.jsonl" >"$tmp/spreads" ||
		fail "no spread of $modality"
done
expect_equal "updates" "$all" "$updates"
awk -f "$(dirname "$0")/../../docs/curve.awk" "$tmp/never/metrics.jsonl" >"$tmp/curve.svg"
expect_equal "lines of losses, predictions and targets" "$(grep -oE '<polyline points="[0-9.]+,[0-9.]+ [0-9.]+,' "$tmp/curve.svg" | wc -l)" 9
expect_said 'audio [0-9.]+ .*image [0-9.]+ .*text|audio [0-9.]+|image [0-9.]+'

step "killed at random moments"
began=$(date +%s%3N)
expect_exit 0 "$tmp/run" "$tmp/other" 1 common.seed=2
longest=$((($(date +%s%3N) - began) * 2 / (kills + 1)))
hits=0
for ((k = 0; k < kills || (hits == 0 && k < kills + 10); k++)); do
	"$tmp/run" "$tmp/killed" $((1 << RANDOM % 3)) >>"$tmp/log" 2>&1 &
	child=$!
	life=$((1 + RANDOM % longest))
	sleep "$((life / 1000)).$(printf '%03d' $((life % 1000)))"
	kill -9 $child 2>/dev/null || true
	status=0
	wait $child 2>/dev/null || status=$?
	[ $status != 137 ] || hits=$((hits + 1))
	if [ $hits = 0 ]; then # it was over before the kill: the machine has become quicker
		rm -rf "$tmp/killed"
		longest=$((longest / 2 + 1))
	fi
done
[ $hits -gt 0 ] || fail "no kill hit a running program"
expect_exit 0 "$tmp/run" "$tmp/killed" 2
cmp "$tmp/never/$last" "$tmp/killed/$last" || fail "the final checkpoints differ after $hits kills"
! cmp -s "$tmp/never/$last" "$tmp/other/$last" || fail "another seed made no difference"
echo "$hits of $kills kills hit a running program"

step "shares"
expect_exit 0 "$tmp/run" "$tmp/shares" 1 task.audio.share=1 task.image.share=0 task.text.share=3 optimization.max_update=16
expect_equal "updates on pictures" "$(updates_of "$tmp/shares" image)" 0
[ "$(updates_of "$tmp/shares" text)" -gt "$(updates_of "$tmp/shares" audio)" ] || fail "text has not more updates than speech"

step "what is refused"
expect_exit 2 "$tmp/run" "$tmp/never" 1 task.text.share=2 optimization.max_update=99
expect_said 'shares'
expect_exit 2 "$tmp/run" "$tmp/none" 1 task.image.data=
expect_said 'task.image.data=DIR'
expect_exit 2 "$tmp/run" "$tmp/none" 1 task.image.data="$tmp/text"
expect_said 'task.image.data: .*holds text'
expect_exit 2 "$tmp/run" "$tmp/none" 1 model.modalities.text.vocab_size=16
expect_said 'vocab_size'
