#!/usr/bin/env bash
# An ingest killed at any moment and started again ends with the bytes of one never killed, and keeps the shards it had.
#     KILLS=8    data sets made with at least one kill each
#     SEED=...   of the random moments; printed
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need flac
case $OBJ in */asan | */tsan) default_kills=3 ;; *) default_kills=8 ;; esac
kills=${KILLS:-$default_kills}
. "$(dirname "$0")/lib_kill.sh"

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

kill_often 5

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
shard=$(find "$tmp/run" -name '00000.mdb' | sed -n 1p)
printf 'x' | dd of="$shard" bs=1 seek=5000 conv=notrunc status=none
! (expect_same_data_set "$tmp/run" "$tmp/whole") >/dev/null || fail "a changed byte was not noticed"
