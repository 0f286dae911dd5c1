#!/usr/bin/env bash
# What make demo does without packages of its own: makes pictures and text, packs and shows them, trains for a moment; text of
# one's own; what is refused. Making data again gives the same bytes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
export DEMO_DIR=$tmp/demo DEMO_UPDATES=2
demo=("$root/tools/demo.sh")

step "pictures"
"$OBJ/tools/demo/draw_shapes" "$tmp/drawn" 4 2
"$OBJ/tools/demo/draw_shapes" "$tmp/again" 4 2
expect_equal "pictures" "$(find "$tmp/drawn" -name '*.jpg' | wc -l)" 36
diff -r "$tmp/drawn" "$tmp/again" || fail "drawn again, other pictures"
DEMO_IMAGES=$tmp/drawn expect_exit 0 "${demo[@]}" image
expect_equal "classes" "$(dataset_fact "$DEMO_DIR/image-drawn/data" classes.5.name)" triangle
grep -q 'untrained .* %' "$tmp/out" || fail "no answer beside the untrained encoder's"
[ -s "$DEMO_DIR/image-drawn/look/index.html" ] || fail "no gallery"
grep -q '<polyline points="0.0,' "$DEMO_DIR/image-drawn/curve.svg" || fail "no curve"

step "text: made here"
expect_exit 0 "${demo[@]}" text
grep -q 'decode to the [0-9]* bytes they came from' "$tmp/out" || fail "the text was not held against its tokens"
grep -qE 'loss +[0-9.]+ at update 1, [0-9.]+ at update 2' "$tmp/out" || fail "no loss"
sort "$DEMO_DIR/text/tokenizer/bpe/vocab.bpe" | uniq -d | grep . && fail "a merge was learnt twice"

step "what is refused"
expect_exit 2 "${demo[@]}" video
expect_said 'speech, image, text or all'
DEMO_TEXT=$tmp/none expect_exit 2 "${demo[@]}" text
expect_said 'DEMO_TEXT=.*there is no such'
