#!/usr/bin/env bash
# Text, killed at any moment and started again, also in the middle of a long line or of an inner archive: the bytes of an
# ingest never killed.
#     KILLS=3    data sets made with at least one kill each, of an archive of archives and of a folder
#     SEED=...   of the random moments; printed
#     JOBS=...   in every run; otherwise another number each time
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_text.sh"
need xz gzip tar
case $OBJ in */asan | */tsan) default_kills=2 ;; *) default_kills=3 ;; esac
kills=${KILLS:-$default_kills}
. "$(dirname "$0")/lib_kill.sh"

bpe=${D2V_SHARED:-}/data/gpt2 mini=${D2V_SHARED:-}/data/openwebtext/openwebtext.tar.xz
if [ -z "${D2V_SHARED:-}" ] || [ ! -f "$bpe/encoder.json" ] || [ ! -f "$mini" ]; then
	bpe=$tmp/bpe mini=$tmp/owt.tar.xz
	"$helpers/helper_vocabulary" "$bpe"
fi
for i in 0 1 2 3; do subset urlsf_subset0$i-$i ${i}000 300; done
subset urlsf_subset20-2 5000 50
(cd "$tmp" && tar -cJf owt.tar.xz --sort=name openwebtext)
# One is cut off, so that rejected.tsv is part of what must be the same.
cut=$tmp/openwebtext/urlsf_subset03-3_data.xz
head -c 600 "$cut" >"$tmp/cut" && cat "$tmp/cut" >"$cut"

if [ "$mini" = "$tmp/owt.tar.xz" ]; then size=64K shards=3; else size=256K shards=5; fi
ingest=("$BIN/d2v-ingest" openwebtext --from "$mini" --bpe "$bpe" --shard-size $size)
kill_often $shards

step "a folder of all kinds of files"
rm -r "$tmp/whole"
mkdir "$tmp/small"
yes 'the thing and the other, 12345!' | tr '\n' ' ' | head -c 3000000 >"$tmp/line" || true
{ echo "before"; cat "$tmp/line"; echo; echo "after"; } >"$tmp/small/one.txt"
{ printf '{"text": "'; head -c 2000000 "$tmp/line"; printf '"}\n{"text": "short"}\nno JSON\n'; } | gzip -1 >"$tmp/small/two.jsonl.gz"
documents "$tmp/small/a" 0 20
cp "$tmp"/openwebtext/* "$tmp/small"
ingest=("$BIN/d2v-ingest" text --from "$tmp/small" --bpe "$bpe" --shard-size 256K --max-rejected 9)
kill_often 5
