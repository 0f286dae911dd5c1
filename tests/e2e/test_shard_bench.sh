#!/usr/bin/env bash
# d2v-shard bench on speech, pictures and text: each counted in its own unit, the same stream for any number of threads, and no
# options that belong to other data.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
fact() { "$helpers/helper_json" "$1" <"$tmp/out"; }
is() { awk "BEGIN { exit !($1) }"; }
bench() { expect_exit 0 "$BIN/d2v-shard" bench --json --quiet "$@"; }

step "three small data sets"
"$helpers/helper_speech_set" "$tmp/audio" 24 4000 48000
mkdir -p "$tmp/pictures" "$tmp/documents"
"$helpers/helper_picture" 40 36 1 "$tmp/pictures/"{01,02,03,04,05,06,07,08,09,10,11}.jpg
for i in $(seq 40); do printf 'The thing number %d and the %d other things are in the world.\n' $i $((i * i)); done >"$tmp/documents/all.txt"
"$helpers/helper_vocabulary" "$tmp/bpe"
expect_exit 0 "$BIN/d2v-ingest" images --from "$tmp/pictures" --out "$tmp/image"
expect_exit 0 "$BIN/d2v-ingest" text --bpe "$tmp/bpe" --from "$tmp/documents" --out "$tmp/text"
tokens=$(dataset_fact "$tmp/text" splits.0.units)
options_audio=(--min-sample-size 4000 --max-tokens 100000)
options_image=(--input-size 32 --patch-size 4 --batch-size 4)
options_text=(--tokens-per-sample 32 --batch-size 4)

step "one epoch of each, with 1 thread and with 3"
for modality in audio image text; do
	declare -n options=options_$modality
	bench "$tmp/$modality" "${options[@]}"
	expect_equal "modality" "$(fact modality)" $modality
	expect_equal "batches of an epoch" "$(fact batches)" "$(fact epoch_batches)"
	is "$(fact bytes_read) > 0 && $(fact bytes_per_second) > 0 && $(fact stage_seconds.read) >= 0" || fail "$modality: nothing was read"
	cp "$tmp/out" "$tmp/$modality.json"
	digest=$(fact digest)
	bench "$tmp/$modality" "${options[@]}" --threads 3
	expect_equal "digest of $modality with 3 threads" "$(fact digest)" "$digest"
	bench "$tmp/$modality" "${options[@]}" --seed 2
	[ "$(fact digest)" != "$digest" ] || fail "$modality: another seed made no difference"
done
of() { "$helpers/helper_json" "$2" <"$tmp/$1.json"; }
is "$(of audio hours_of_speech) > 0 && $(of audio real_time) > 0" || fail "no speech"
expect_equal "pictures" "$(of image pictures)" 11
is "$(of image pictures_per_second) > 0" || fail "no rate of pictures"
# All tokens, and one <s> for each block.
expect_equal "tokens" "$(of text tokens)" $((tokens + $(of text blocks)))

step "in words"
expect_exit 0 "$BIN/d2v-shard" bench "$tmp/image" "${options_image[@]}"
grep -qE '[0-9] pictures/s, .* per core' "$tmp/out" || fail "no pictures a second: $(cat "$tmp/out")"
expect_exit 0 "$BIN/d2v-shard" bench "$tmp/text" "${options_text[@]}"
grep -qE 'million tokens/s' "$tmp/out" || fail "no tokens a second: $(cat "$tmp/out")"

step "what belongs to other data is refused"
expect_exit 2 "$BIN/d2v-shard" bench "$tmp/text" --input-size 32
expect_said 'input-size means nothing for a data set of text'
expect_exit 2 "$BIN/d2v-shard" bench "$tmp/image" --max-tokens 0
expect_exit 2 "$BIN/d2v-shard" bench "$tmp/audio" --tokens-per-sample 32
expect_exit 1 "$BIN/d2v-shard" bench "$tmp/pictures"
expect_said 'is no data set'
