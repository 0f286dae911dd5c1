#!/usr/bin/env bash
# A tar of tars, killed at any moment and started again, also in the middle of an inner tar: the bytes of one never killed.
#     KILLS=3    data sets made with at least one kill each
#     SEED=...   of the random moments; printed
set -euo pipefail
. "$(dirname "$0")/lib.sh"
case $OBJ in */asan | */tsan) default_kills=2 ;; *) default_kills=3 ;; esac
kills=${KILLS:-$default_kills}
. "$(dirname "$0")/lib_kill.sh"

mkdir "$tmp/classes" "$tmp/train"
for class in 1 2 3 4 5 6; do
	mkdir "$tmp/c"
	names=()
	for i in $(seq 24); do names+=("$tmp/c/n0000000${class}_$i.JPEG"); done
	"$helpers/helper_picture" 300 240 $((class * 1000)) "${names[@]}"
	head -c 3000 "${names[7]}" >"$tmp/cut" && cat "$tmp/cut" >"${names[7]}" # something is rejected, too
	tar -cf "$tmp/train/n0000000$class.tar" -C "$tmp/c" --sort=name .
	rm -r "$tmp/c"
done
head -c 120000 "$tmp/train/n00000003.tar" >"$tmp/cut" && cat "$tmp/cut" >"$tmp/train/n00000003.tar" # and an archive
make_tar "$tmp/train.tar" "$tmp/train"
ingest=("$BIN/d2v-ingest" imagenet --from "$tmp/train.tar" --shard-size 160K --max-rejected 20 --resize 200)
kill_often 8
