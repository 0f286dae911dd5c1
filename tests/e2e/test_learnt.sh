#!/usr/bin/env bash
# A first look at what was learnt: probes while training, d2v-eval with and without an untrained encoder beside it, features of
# data sets and of loose files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
fact() { "$helpers/helper_json" "$1" <"$tmp/out"; } # of the last command's standard output
is() { awk "BEGIN { exit !($1) }"; }                # a comparison of numbers
header() { head -c $((8 + $(od -An -tu8 -N8 "$1"))) "$1" | tail -c +9 >"$tmp/out"; } # of a safetensors file

step "two classes of pictures that are easy to tell apart"
for split in train test; do
	count=16
	[ $split = train ] || count=8
	for class in one two; do
		mkdir -p "$tmp/pictures/$split/$class"
		for i in $(seq -w $count); do
			"$helpers/helper_picture" 3$((10#$i % 8 + 2)) 36 ${#class}$([ $class = one ] || echo 9) "$tmp/pictures/$split/$class/$i.jpg"
		done
	done
done
expect_exit 0 "$BIN/d2v-ingest" images --from "$tmp/pictures" --out "$tmp/data"
train=("$BIN/d2v-train" image-tiny --threads 1 task.data="$tmp/data" optimization.max_update=4 lr_scheduler.warmup_updates=2
	dataset.batch_size=8 model.depth=2 model.average_top_k_layers=2 model.embed_dim=32 model.num_heads=2 model.clone_batch=2
	model.modalities.image.embed_dim=32 model.modalities.image.decoder.decoder_dim=16 model.modalities.image.prenet_depth=0
	common.log_interval=1)

step "a probe while training: said, written down, and without influence on the run"
expect_exit 0 "${train[@]}" checkpoint.save_dir="$tmp/plain"
expect_exit 0 "${train[@]}" checkpoint.save_dir="$tmp/run" d2v.probe_interval=2 d2v.probe_k=5
grep -c "neighbours are right in" "$tmp/err" | grep -qx 3 || fail "not three looks: before, after 2 and after 4 updates"
expect_said 'looking took [0-9.]+ s, all looks [0-9]+ % of this run'
"$helpers/helper_json" probe.update <"$tmp/run/metrics.jsonl" | xargs >"$tmp/looks"
expect_equal "looks in metrics.jsonl" "$(cat "$tmp/looks")" "0 2 4"
cmp "$tmp/plain/checkpoint_last.safetensors" "$tmp/run/checkpoint_last.safetensors" || fail "looking changed the run"
expect_exit 1 "${train[@]}" checkpoint.save_dir="$tmp/none" d2v.probe_interval=2 d2v.probe_data="$tmp/pictures"

step "neighbours and probe"
for method in knn probe; do
	expect_exit 0 "$BIN/d2v-eval" $method "$tmp/run" "$tmp/data" --compare-random --json --threads 1
	expect_equal "classes" "$(fact classes)" 2
	expect_equal "samples" "$(fact learnt_from) $(fact trained.count)" "32 16"
	expect_equal "split" "$(fact tried_on)" test
	is "$(fact trained.accuracy) > 0.9" || fail "$method: right in $(fact trained.accuracy)"
	is "$(fact trained.low) < $(fact trained.accuracy) && $(fact trained.high) <= 1" || fail "the interval"
	is "$(fact difference.low) <= 0 && $(fact difference.p) > 0.05" || fail "both know all: there is no difference"
	cp "$tmp/out" "$tmp/first"
	expect_exit 0 "$BIN/d2v-eval" $method "$tmp/run/checkpoint_last.safetensors" "$tmp/data" --compare-random --json --threads 1 --workers 3
	sed '/seconds/d' "$tmp/first" | cmp - <(sed '/seconds/d' "$tmp/out") || fail "another number of loader threads, another answer"
done
expect_exit 0 "$BIN/d2v-eval" knn "$tmp/run" "$tmp/data" --layer 1 --weights teacher --pool cls --neighbours 3 --samples 16
grep -q '3 neighbours .* %  (95 %: ' "$tmp/out" || fail "no answer in words: $(cat "$tmp/out")"

step "without a test split a fifth is held out"
rm -r "$tmp/pictures/test"
expect_exit 0 "$BIN/d2v-ingest" images --from "$tmp/pictures" --out "$tmp/single"
expect_exit 0 "$BIN/d2v-eval" knn "$tmp/run" "$tmp/single" --json
expect_equal "samples" "$(fact learnt_from) $(fact trained.count) $(fact tried_on)" "26 6 held out of train"

step "features of a data set and of loose files"
expect_exit 0 "$BIN/d2v-embed" "$tmp/run" "$tmp/data" --split test --out "$tmp/data.safetensors" --threads 1
header "$tmp/data.safetensors"
expect_equal "shape" "$(fact features.shape.[] | xargs)" "16 32"
expect_equal "labels" "$(fact labels.shape.[])" 16
grep -q 'test/one/1\b' "$tmp/out" || fail "no names: $(cat "$tmp/out")"
files=("$tmp/pictures/train/two/03.jpg" "$tmp/pictures/train/one/01.jpg" "$tmp/pictures/train/one/02.jpg")
expect_exit 0 "$BIN/d2v-embed" "$tmp/run" "${files[@]}" --pool none --layer mean --out "$tmp/files.safetensors" --threads 1
header "$tmp/files.safetensors"
expect_equal "shape" "$(fact features.shape.[] | xargs)" "192 32" # 64 patches each
expect_equal "offsets" "$(fact offsets.shape.[])" 4
expect_equal "names" "$(fact __metadata__.names)" '["03","01","02"]'
TMPDIR=$tmp/temporary && mkdir "$TMPDIR" && export TMPDIR
expect_exit 0 "$BIN/d2v-embed" "$tmp/run" "${files[@]}" --out "$tmp/again.safetensors"
[ -z "$(ls "$TMPDIR")" ] || fail "temporary files were left: $(ls "$TMPDIR")"

step "the features of a recording do not depend on what is embedded beside it"
synthetic_speech "$tmp/sound" dev 1 6 7
audio=model.modalities.audio
expect_exit 0 "$BIN/d2v-ingest" librispeech --from "$tmp/sound" --out "$tmp/recordings"
expect_exit 0 "$BIN/d2v-train" audio-tiny --threads 1 task.data="$tmp/recordings" optimization.max_update=2 \
	lr_scheduler.warmup_updates=1 task.min_sample_size=16000 model.depth=1 model.average_top_k_layers=1 model.embed_dim=24 \
	model.num_heads=2 model.clone_batch=2 "$audio.feature_encoder_spec=[(8, 10, 10), (8, 8, 8), (8, 4, 4)]" \
	$audio.conv_pos_groups=1 $audio.decoder.decoder_dim=16 checkpoint.save_dir="$tmp/audio"
mapfile -t files < <(find "$tmp/sound" -name '*.flac' | sort)
features() { # FILE.safetensors: its numbers, one a line
	od -An -v -w4 -tf4 -j $((8 + $(od -An -tu8 -N8 "$1"))) -N $((4 * 24 * $2)) "$1"
}
expect_exit 0 "$BIN/d2v-embed" "$tmp/audio" "${files[@]}" --out "$tmp/together.safetensors" --threads 1
for file in "${files[@]}"; do
	expect_exit 0 "$BIN/d2v-embed" "$tmp/audio" "$file" --out "$tmp/alone.safetensors" --threads 1
	features "$tmp/alone.safetensors" 1
done >"$tmp/alone"
features "$tmp/together.safetensors" ${#files[@]} | paste - "$tmp/alone" >"$tmp/both"
expect_equal "numbers" "$(wc -l <"$tmp/both")" $((24 * ${#files[@]}))
# numbers of about 1 in sums of at most 96 products, blocked differently: far below 1e-4
awk '{ off = $1 - $2; if (!(off * off <= 1e-8)) exit 1; sum += $1 * $1 } END { exit !(sum > 1) }' "$tmp/both" ||
	fail "features differ: $(paste -sd '|' "$tmp/both" | cut -c 1-400)"

step "what is refused"
expect_exit 2 "$BIN/d2v-eval" knn "$tmp/run" "$tmp/data" --layer 9
expect_said "blocks are 1 to 2"
expect_exit 2 "$BIN/d2v-eval" knn "$tmp/run" "$tmp/data" --pool none
expect_exit 2 "$BIN/d2v-embed" "$tmp/run" "$tmp/looks" --out "$tmp/x"
expect_said "neither a data set nor a file"
good=$tmp/pictures/train/two/03.jpg
head -c 600 "$good" >"$tmp/cut.png"
expect_exit 3 "$BIN/d2v-embed" "$tmp/run" "$good" "$tmp/cut.png" --out "$tmp/x"
expect_said "$tmp/cut.png: .*JPEG"
expect_exit 3 "$BIN/d2v-embed" "$tmp/run" "$tmp/cut.png" --out "$tmp/x"
expect_said "$tmp/cut.png: .*JPEG"
"$helpers/helper_speech_set" "$tmp/speech" 4 6000 8000
expect_exit 2 "$BIN/d2v-eval" probe "$tmp/run" "$tmp/speech"
expect_said "holds audio, which the model has no encoder for"
expect_exit 1 "$BIN/d2v-eval" knn "$tmp/pictures" "$tmp/data"
expect_said "holds no checkpoint"
