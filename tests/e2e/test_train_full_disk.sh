#!/usr/bin/env bash
# The disk is full when a checkpoint is to be saved: the run says so and goes on, the checkpoint before stays as it was; only the
# last save fails the run, and with room the same command ends with the bytes of a run that always had room.
set -euo pipefail
if [ -z "${D2V_OWN_MOUNTS:-}" ]; then
	for how in "unshare --mount" "unshare --map-root-user --mount"; do
		if $how sh -c 'mount -t tmpfs -o size=1m none /mnt' 2>/dev/null; then D2V_OWN_MOUNTS=1 exec $how "$0"; fi
	done
	echo "skip: a small file system cannot be mounted here"
	exit 77
fi
. "$(dirname "$0")/lib.sh"
clean_up_more() { umount -q "$tmp/disk" || true; }
"$helpers/helper_speech_set" "$tmp/data" 24 8000 16000
last=checkpoint_last.safetensors

train() { # STATUS SAVE_DIR [KEY=VALUE...]
	expect_exit "$1" "$BIN/d2v-train" audio-tiny --threads 1 task.data="$tmp/data" checkpoint.save_dir="$2" \
		task.min_sample_size=8000 task.max_sample_size=16000 dataset.max_tokens=64000 optimization.max_update=12 \
		checkpoint.save_interval_updates=3 checkpoint.keep_interval_updates=0 common.tensorboard_logdir= \
		lr_scheduler.warmup_updates=2 model.depth=2 model.average_top_k_layers=2 model.embed_dim=32 \
		model.modalities.audio.decoder.decoder_dim=32 \
		"model.modalities.audio.feature_encoder_spec=[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2" "${@:3}"
}

step "a run that always has room"
train 0 "$tmp/whole"
size=$(($(stat -c %s "$tmp/whole/$last") / 1024))

step "room for one checkpoint and a half: a new one is written beside the old one"
mkdir "$tmp/disk"
mount -t tmpfs -o size=$((size * 3 / 2 + 64))k none "$tmp/disk"
train 1 "$tmp/disk/run"
expect_said 'space'
expect_said 'previous checkpoint is intact'
[ "$(grep -c 'previous checkpoint is intact' "$tmp/err")" -ge 2 ] || fail "the run did not go on"
[ -z "$(find "$tmp/disk/run" -name '*.tmp*')" ] || fail "half a checkpoint was left: $(ls "$tmp/disk/run")"
cp "$tmp/disk/run/$last" "$tmp/kept"

step "with room the same command goes on from the checkpoint that is there"
mount -o remount,size=$((size * 4 + 64))k "$tmp/disk"
train 0 "$tmp/disk/run"
expect_said 'going on from update 3'
cmp "$tmp/disk/run/$last" "$tmp/whole/$last" || fail "the run ends with other bytes"
! cmp -s "$tmp/kept" "$tmp/whole/$last" || fail "the comparison cannot fail: the checkpoint kept is already the last"
