#!/usr/bin/env bash
# --plan for a card that is not here: what it advises is said to fit when it is done, and only asked for together with --plan.
set -euo pipefail
train=${BIN:-build/bin}/d2v-train
[ -x "$train" ] || { echo "skip: $train is not built"; exit 77; }
fail() { echo "$*"; exit 1; }
plan() { "$train" image-base --plan dataset.batch_size=256 distributed_training.distributed_world_size=1 "$@"; }

for memory in 24G 48G 16G; do
	said=$(plan --memory $memory)
	advice=$(sed -n 's/.*does not fit as it is, but does with \([^;]*\).*/\1/p' <<<"$said")
	[ -n "$advice" ] || fail "no advice for a card of $memory: $said"
	read -ra options <<<"$advice"
	said=$(plan --memory $memory "${options[@]}")
	! grep -q 'does not fit as it is' <<<"$said" || fail "with $advice it does not fit $memory: $said"
	! grep -q 'updates an hour' <<<"$said" || fail "the speed of a card that nobody measured: $said"
done
! plan --memory 80G | grep -q 'does not fit as it is' || fail "80 GB are enough"
[ "$(plan --memory 24G --json | grep -c '"needed_clone_groups": [1-9]\|"fits": true')" = 2 ] || fail "not in JSON"
plan --memory 24G | grep -q '^memory' || fail "no line of memory"
plan --memory 2G | grep -q 'batches of\|not even a batch' || fail "2 GB are enough"
# Threads wait as tools/thread_waiting.h says, unless the user has chosen.
spins() { # NAME=VALUE...: what libgomp shows of the program that is left in the end
	env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose "$@" "$train" --list 2>&1 >/dev/null | sed -n "s/.*GOMP_SPINCOUNT = '\(.*\)'/\1/p" | tail -n 1
}
if [ -n "$(spins A=1)" ]; then # another OpenMP than libgomp shows nothing
	[ "$(spins A=1)" = 1000 ] || fail "threads spin $(spins A=1) times"
	[ "$(spins GOMP_SPINCOUNT=77)" = 77 ] || fail "the user's GOMP_SPINCOUNT is not kept"
	[ "$(spins OMP_WAIT_POLICY=passive)" = 0 ] || fail "the user's OMP_WAIT_POLICY is not kept"
fi
status=0
"$train" image-base --memory 24G 2>/dev/null || status=$?
[ $status = 2 ] || fail "--memory without --plan: exit status $status"
