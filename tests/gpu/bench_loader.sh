#!/usr/bin/env bash
# What the loader costs a GPU: each RECIPE in one process at its published global batch, its trainer's loop over the same
# batches from memory and from the loader at work (tests/gpu/bench_feed.c). A row each.
#     OBJ=build/cuda BIN=build/bin tests/gpu/bench_loader.sh [RECIPE=DATASET...]
# Without arguments it makes data sets first, out of nothing: 768 JPEGs, 600 utterances, 6 MB of text, for image-base,
# audio-base and text-base. DEVICE=cuda:1 takes another GPU; UPDATES, SKIP and TURNS are bench_feed's. SMALL=1: the tiny
# recipes on little data and in little batches, to try all of it on a processor (DEVICE=cpu).
set -euo pipefail
: "${OBJ:?OBJ is the folder of the test programs}" "${BIN:?BIN is the folder of the programs}"
small=${SMALL:-} device=${DEVICE:-cuda:0}
"$OBJ/tests/gpu/look_at_device" "$device" || exit # before data sets are made for it
dir=$(mktemp -d "${TMPDIR:-/tmp}/d2v-loader.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# What a step says beside its row is only of interest when it fails.
quietly() { "$@" >"$dir/log" 2>&1 || { tail -n 20 "$dir/log"; echo "bench_loader: failed: $*"; exit 1; }; }

make_data_sets() {
	local count=(768 600 6) size=base # three batches of pictures
	[ -z "$small" ] || { count=(40 12 1) size=tiny; }
	quietly "$OBJ/tests/gpu/make_samples" "$dir/made" "${count[@]}"
	quietly "$OBJ/tools/demo/learn_merges" "$dir/bpe" 700 <"$dir/made/text.txt"
	quietly "$BIN/d2v-ingest" images --out "$dir/pictures" "$dir/made/pictures"
	quietly "$BIN/d2v-ingest" audio --out "$dir/speech" "$dir/made/speech"
	quietly "$BIN/d2v-ingest" text --bpe "$dir/bpe" --out "$dir/text" "$dir/made/text"
	pairs=("image-$size=$dir/pictures" "audio-$size=$dir/speech" "text-$size=$dir/text")
}

# Sets batch: of all workers of the published run together.
batch_of() { # RECIPE
	local published=() little=()
	case $1 in
	image-*) published=(dataset.batch_size=256) little=(dataset.batch_size=4) ;;
	audio-*) published=(dataset.max_tokens=8000000) # 500 s
		little=(dataset.max_tokens=64000 task.max_sample_size=32000) ;;
	text-*) published=(dataset.batch_size=64)
		little=(dataset.batch_size=4 task.tokens_per_sample=64 model.modalities.text.vocab_size=1200) ;;
	*) echo "bench_loader: $1: image-, audio- or text-"; exit 2 ;;
	esac
	batch=("${published[@]}")
	[ -z "$small" ] || batch=("${little[@]}" model.clone_batch=2 model.depth=1)
}

pairs=("$@")
[ $# -gt 0 ] || make_data_sets
for pair in "${pairs[@]}"; do
	batch_of "${pair%%=*}"
	"$OBJ/tests/gpu/bench_feed" "${pair%%=*}" task.data="${pair#*=}" "${batch[@]}" distributed_training.distributed_world_size=1 \
		d2v.device="$device"
done
