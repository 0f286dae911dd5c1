#!/usr/bin/env bash
# Where there is no GPU, what is made for one says so once, with the reason and what helps, before it does anything.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/tests/e2e/lib.sh"
export TMPDIR=$tmp LOG=$tmp/log

step "a GPU that there is not"
for script in check_gpu bench_gpu bench_loader; do
	DEVICE=cuda:77 expect_exit 1 "$root/tests/gpu/$script.sh"
	expect_said '^cuda:77: .*nothing was run; DEVICE=cuda:N'
	expect_equal "lines of $script" "$(cat "$tmp/out" "$tmp/err" | wc -l)" 1
done

step "no device at all, and one that works"
expect_exit 2 "$OBJ/tests/gpu/look_at_device" tuba
expect_exit 0 "$OBJ/tests/gpu/look_at_device" cpu:1
expect_equal "what is said of it" "$(cat "$tmp/out" "$tmp/err")" ""
expect_equal "what is left behind" "$(find "$tmp" -mindepth 1 -maxdepth 1 ! -name out ! -name err)" ""
