#!/usr/bin/env bash
# The measurement of a GPU does its work on a processor, on little: a row of everything asked for, and at the end the table of
# what is wanted. How fast anything was is not looked at; the marks are far beyond a processor.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/tests/e2e/lib.sh"
[ -x "$OBJ/tests/gpu/bench_gpu" ] || skip "only beside the plain build"
export TMPDIR=$tmp SMALL=1 DEVICE=cpu:1 LOG=$tmp/log
bench=$root/tests/gpu/bench_gpu.sh

step "rows of all kinds, and the table of what is wanted"
expect_exit 0 "$bench" 'out 163840' 'gelu 163840x3072' '197 tokens' '40 tokens' '3x3, g16' 'audio decoder' 'extractor 1' 'layer norm' \
	gather 'targets by' Adam 'image-base, 256 a batch at once' 'text-base, 64 a batch at once'
for row in 'out 163840x768x768, backward' 'attention 256x12, 197 tokens, wgmma' 'attention 4096x12, 40 tokens, short, backward' \
	"image decoder 14x14x768, 3x3, g16, mma, weights' gradient" 'extractor 1: 512, k3, s2' 'targets by token, 12 layers'; do
	grep -qE "^$row +[0-9.]+ ms +[0-9.]+ (TFLOP|GB)/s +[0-9.]+ % of (products|copying)" "$tmp/out" || fail "no row: $row"
done
grep -qE '^text-base, 64 a batch at once +[0-9.]*[1-9][0-9.]* ms .* of 989, wanted 50: MISSED$' "$tmp/out" || fail "no row of a step"
while IFS='|' read -r name wanted; do
	grep -qE "^$name +-?[0-9.]+  $wanted +(met|MISSED)$" "$tmp/out" || fail "the table lacks: $name $wanted"
done <<'TABLE'
attention 256x12, 197 tokens|>= 300    TFLOP/s
attention 256x12, 197 tokens, backward|>= 260    TFLOP/s
layer norm\+residual 163840x768, backward|>= 75     % of copying
gather 64x8 of 512|>= 75     % of copying
Adam, 93.8 M parameters|>= 75     % of copying
image-base, 256 a batch at once|>= 45     % of 989 TFLOP/s
image-base, 256 a batch at once|<= 5      % off the planned memory
TABLE
marks=$(grep -c '^{"bench":"mark"' "$LOG")
read -r met _ missed _ <<<"$(tail -n 1 "$tmp/out")"
expect_equal "marks counted" $((met + missed)) "$marks"

step "a word that no row has, and a device that is none"
expect_exit 0 "$bench" nothing
tail -n 1 "$tmp/out" | grep -qx '0 met, 0 missed' || fail "a table of nothing: $(tail -n 1 "$tmp/out")"
DEVICE=tuba expect_exit 2 "$bench"
expect_said '^tuba'
