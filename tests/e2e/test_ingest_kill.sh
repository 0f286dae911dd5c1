#!/usr/bin/env bash
# An ingest killed at any moment and started again ends with the bytes of one never killed, and keeps the shards it had.
#     KILLS=8    data sets made with at least one kill each
#     SEED=...   of the random moments; printed
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need flac
case $OBJ in */asan | */tsan) default_kills=3 ;; *) default_kills=8 ;; esac
kills=${KILLS:-$default_kills}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "SEED=$seed KILLS=$kills"
RANDOM=$seed

some_speech
if [ $real = yes ]; then size=2M; else size=256K; fi
# Something is rejected, so that rejected.tsv is part of what must be the same.
mkdir "$tmp/more"
tar -xf "$archive" -C "$tmp/more"
damaged=$(find "$tmp/more" -name '*.flac' | LC_ALL=C sort | sed -n 3p)
head -c 5000 "$damaged" >"$tmp/cut" && cat "$tmp/cut" >"$damaged"
(cd "$tmp/more" && tar -czf "$tmp/archive.tar.gz" --sort=name LibriSpeech)
rm -rf "$tmp/more"
archive=$tmp/archive.tar.gz

ingest=("$BIN/d2v-ingest" librispeech --from "$archive" --shard-size $size --max-rejected 5)

random_below() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
published() { # FOLDER: the shards that are there, with their inodes
	(cd "$1" 2>/dev/null && find . -name '*.mdb' -printf '%p %i\n' | LC_ALL=C sort) || true
}

step "never killed"
started=$(now_ms)
expect_exit 0 "${ingest[@]}" --jobs 2 --out "$tmp/whole"
took=$(($(now_ms) - started))
shards=$(published "$tmp/whole" | wc -l)
[ "$shards" -ge 5 ] || fail "only $shards shards: the test has nothing to lose between them"
expect_verified "$tmp/whole"
echo "$took ms, $shards shards"

# A kill between a shard and the note that it is there makes the last one anew; all others stay as they are.
expect_kept() { # BEFORE FOLDER
	published "$2" >"$tmp/after"
	[ -z "$1" ] || [ -z "$(head -n -1 <<<"$1" | grep -vxFf "$tmp/after" || true)" ] || fail "published shards were made again or vanished"
}

# One run: killed until the dice let it finish. Counts in $killed and $kept.
one_run() { # FOLDER
	local pid chances=$((1 + $(random_below 3))) before delay status
	while [ $chances -gt 0 ]; do
		chances=$((chances - 1))
		before=$(published "$1")
		delay=$(random_below $((took + 1)))
		"${ingest[@]}" --jobs $((1 + $(random_below 4))) --out "$1" >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
		status=0
		kill -KILL $pid 2>/dev/null || true
		wait $pid 2>/dev/null || status=$?
		[ $status = 0 ] || [ $status = 137 ] || fail "exit status $status of a run to be killed"
		[ $status = 0 ] || killed=$((killed + 1))
		expect_kept "$before" "$1"
		# A data set is there only when it is whole.
		if [ -e "$1/dataset.json" ]; then cmp "$1/dataset.json" "$tmp/whole/dataset.json" || fail "another manifest"; fi
	done
	before=$(published "$1")
	[ -z "$before" ] || kept=$((kept + $(wc -l <<<"$before")))
	expect_exit 0 "${ingest[@]}" --jobs $((1 + $(random_below 4))) --out "$1"
	expect_kept "$before" "$1"
	expect_same_data_set "$1" "$tmp/whole"
}

killed=0 kept=0
for run in $(seq "$kills"); do
	one_run "$tmp/run"
	rm -rf "$tmp/run"
done
echo "$kills data sets, $killed kills, $kept shards kept over a kill"
[ $killed -gt 0 ] || fail "no run was killed: the moments are all too late"

step "Ctrl-C: exit status 130, and the same command goes on"
status=0
"${ingest[@]}" --jobs 2 --out "$tmp/run" >"$tmp/out" 2>"$tmp/err" &
pid=$!
for i in $(seq 500); do
	[ -n "$(published "$tmp/run")" ] && break
	sleep 0.01
done
kill -INT $pid 2>/dev/null || true
wait $pid || status=$?
[ $status = 130 ] || [ $status = 0 ] || fail "exit status $status after SIGINT"
before=$(published "$tmp/run")
[ $status = 0 ] || [ ! -e "$tmp/run/dataset.json" ] || fail "interrupted, but the data set is there"
expect_exit 0 "${ingest[@]}" --out "$tmp/run"
expect_kept "$before" "$tmp/run"
expect_same_data_set "$tmp/run" "$tmp/whole"

step "the comparison can fail"
shard=$(find "$tmp/run" -name '00000.mdb' | head -n 1)
printf 'x' | dd of="$shard" bs=1 seek=5000 conv=notrunc status=none
! (expect_same_data_set "$tmp/run" "$tmp/whole") >/dev/null || fail "a changed byte was not noticed"
