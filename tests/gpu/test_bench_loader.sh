#!/usr/bin/env bash
# The measurement of what the loader adds to a step, made for a GPU, does its work on a processor: data sets out of nothing,
# a row for each modality; and it says what is wrong with a data set that is none. How long anything took is not looked at.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/tests/e2e/lib.sh"
export TMPDIR=$tmp SMALL=1 DEVICE=cpu:1 UPDATES=2 SKIP=1 TURNS=1

step "three data sets are made, and their batches trained on from memory and from shards"
expect_exit 0 "$root/tests/gpu/bench_loader.sh"
for recipe in image-tiny audio-tiny text-tiny; do
	grep -qE "^$recipe +[0-9.]+ ms from memory, +[0-9.]+ from shards: [-+][0-9.]+ %" "$tmp/out" || fail "no row of $recipe"
	grep -qE "\"recipe\":\"$recipe\",.*\"from_memory\":[0-9.e-]*[1-9].*\"from_shards\":[0-9.e-]*[1-9].*\"updates\":1}" "$tmp/out" ||
		fail "no figures of $recipe"
done
expect_equal "what is left behind" "$(find "$tmp" -mindepth 1 -maxdepth 1 ! -name out ! -name err)" ""

step "a data set that is none, and numbers that are none"
expect_exit 1 "$root/tests/gpu/bench_loader.sh" image-tiny="$tmp/nothing"
expect_said "task.data: $tmp/nothing"
SKIP=2 expect_exit 2 "$root/tests/gpu/bench_loader.sh" image-tiny="$tmp/nothing"
expect_said "SKIP=2: a number from 1 to 1"
