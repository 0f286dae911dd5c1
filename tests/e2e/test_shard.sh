#!/usr/bin/env bash
# d2v-shard ls, stat, show, verify: what they print, --json, what they find damaged, exit statuses.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
shard=("$BIN/d2v-shard")
data=$tmp/data
"$helpers/helper_speech_set" "$data" 24 4000 48000
records=$(dataset_fact "$data" splits.0.records)
first=$(dataset_fact "$data" splits.0.shards.0.records)
file=$(dataset_fact "$data" splits.0.shards.0.file) second=$(dataset_fact "$data" splits.0.shards.1.file)
field() { "$helpers/helper_json" "$1" <"$tmp/out"; }

step "ls: every record in order, as the records themselves say"
expect_exit 0 "${shard[@]}" ls "$data"
expect_equal "lines of ls" "$(wc -l <"$tmp/out")" $((records + 1))
expect_exit 0 "${shard[@]}" ls "$data" --start 3 --limit 2 --json
"$helpers/helper_records" list "$data" | sed -n 4p >"$tmp/fourth"
expect_equal "name of record 3" "$(field 0.name)" "$(cut -f 2 "$tmp/fourth")"
expect_equal "its ordinal" "$(field 0.record)" 3
expect_equal "the other's" "$(field 1.record)" 4
expect_exit 0 "${shard[@]}" ls "$data" --start $records --json
expect_equal "an empty list" "$(tr -d '\n' <"$tmp/out")" "[]"
expect_exit 0 "${shard[@]}" ls "$data" --shards --json
expect_equal "the first shard" "$(field 0.file)" "$file"
expect_equal "its records" "$(field 0.records)" "$first"

step "stat: counts, histogram, labels"
expect_exit 0 "${shard[@]}" stat "$data" --json
expect_equal "records" "$(field splits.0.records)" "$records"
expect_equal "records of the statistics" "$(field splits.0.statistics.records)" "$records"
expect_exit 0 "${shard[@]}" stat "$data"
grep -q '#\|█' "$tmp/out" || fail "stat draws no histogram"
LC_ALL=C expect_exit 0 "${shard[@]}" stat "$data"
! LC_ALL=C grep -q '[^ -~]' "$tmp/out" || fail "stat draws with letters that the locale does not have"

step "show: by ordinal, by name, by place; the samples as WAV, FLAC and raw bytes"
need flac
expect_exit 0 "${shard[@]}" show "$data" 3 --json
expect_equal "name by ordinal" "$(field name)" "$(cut -f 2 "$tmp/fourth")"
digest=$(field digest)
expect_exit 0 "${shard[@]}" show "$data" "$(cut -f 2 "$tmp/fourth")" --json
expect_equal "digest by name" "$(field digest)" "$digest"
expect_exit 0 "${shard[@]}" show "$data" "$second:1" --json
expect_equal "ordinal by place" "$(field record)" $((first + 1))
expect_equal "place" "$(field shard):$(field shard_record)" "$second:1"
"$helpers/helper_records" samples "$data" 3 >"$tmp/wanted.raw"
for ending in wav flac raw; do expect_exit 0 "${shard[@]}" show "$data" 3 --out "$tmp/x.$ending"; done
cmp "$tmp/x.raw" "$tmp/wanted.raw" || fail "show --out x.raw: other bytes"
tail -c +45 "$tmp/x.wav" | cmp - "$tmp/wanted.raw" || fail "show --out x.wav: other samples"
flac --silent --decode --stdout --force-raw-format --endian=little --sign=signed "$tmp/x.flac" | cmp - "$tmp/wanted.raw" ||
	fail "show --out x.flac: other samples"
expect_exit 1 "${shard[@]}" show "$data" 3 --out "$tmp/x.wav"
expect_said 'is there already'
expect_exit 0 "${shard[@]}" show "$data" 3 --out "$tmp/x.wav" --force
expect_exit 2 "${shard[@]}" show "$data" 3 --out "$tmp/x.docx"
expect_said 'wav, flac or raw, and png'
expect_exit 2 "${shard[@]}" show "$data" 3 --out "$tmp/none"
expect_said 'has no ending'

step "what is not there, and wrong usage"
expect_exit 1 "${shard[@]}" ls "$tmp/nowhere"
expect_said 'nowhere: there is no such folder'
mkdir "$tmp/unfinished"
for command in ls stat verify; do
	expect_exit 1 "${shard[@]}" $command "$tmp/unfinished"
	expect_said 'is its ingest finished'
done
expect_exit 1 "${shard[@]}" show "$data" "$records"
expect_said "there are $records"
expect_exit 1 "${shard[@]}" show "$data" nobody
expect_said "no record named 'nobody'"
expect_exit 1 "${shard[@]}" show "$data" "$second:100000"
expect_exit 1 "${shard[@]}" ls "$data" --split dev
expect_said "no split 'dev'"
expect_exit 1 "${shard[@]}" ls "$data" --shards --split dev
expect_said "no split 'dev'"
expect_exit 2 "${shard[@]}" ls "$data" --split train,train
expect_said 'named twice'
expect_exit 2 "${shard[@]}" ls "$data" --limit 3x
expect_exit 2 "${shard[@]}" veryfi "$data"
expect_said "did you mean 'verify'"
for command in ls stat show verify; do
	expect_exit 0 "${shard[@]}" $command --help
	grep -q "d2v-shard $command data" "$tmp/out" || fail "$command --help has no example"
done
if [ -c /dev/full ]; then
	! "${shard[@]}" ls "$data" >/dev/full 2>"$tmp/err" || fail "ls to a full disk ends well"
	expect_said 'space'
fi

step "verify: whole; then one flipped bit at a time, named with file and record"
expect_exit 0 "${shard[@]}" verify "$data" --jobs 2 --decode --json
expect_equal "whole" "$(field whole)" true
expect_equal "records checked" "$(field records)" "$records"
flip() { # FILE OFFSET
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	# shellcheck disable=SC2059 # the format is the byte
	printf "$(printf '\\x%02x' $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# Record 2 of the second shard begins where its name first stands.
name=$("$helpers/helper_records" list "$data" | sed -n $((first + 3))p | cut -f 2)
at=$(grep -obaF "$name" "$data/$second" | sed -n 1p | cut -d : -f 1)
flip "$data/$second" $((at + 500))
expect_exit 3 "${shard[@]}" verify "$data" --quiet
grep -qF "$second: record 2: its digest differs" "$tmp/out" || fail "verify does not name the damage: $(cat "$tmp/out")"
expect_said '1 damage found'
expect_exit 3 "${shard[@]}" verify "$data" --quiet --json
expect_equal "whole" "$(field whole)" false
expect_equal "damage" "$(field damages.0.file) $(field damages.0.record)" "$second 2"
expect_exit 3 "${shard[@]}" show "$data" "$second:2"
expect_said 'record 2: its digest differs'
expect_exit 0 "${shard[@]}" show "$data" "$second:3"
expect_exit 0 "${shard[@]}" ls "$data"
flip "$data/$second" $((at + 500))

size=$(stat -c %s "$data/$file")
for offset in 100 5000 $((size / 2)) $((size - 300)) $((size - 50)); do
	flip "$data/$file" $offset
	expect_exit 3 "${shard[@]}" verify "$data" --quiet
	grep -q "^$file: " "$tmp/out" || fail "a flipped bit at byte $offset is not named: $(cat "$tmp/out")"
	flip "$data/$file" $offset
done
flip "$data/dataset.json" 40
expect_exit 3 "${shard[@]}" verify "$data" --quiet
grep -q '^dataset.json: ' "$tmp/out" || fail "a flipped bit in the manifest is not named: $(cat "$tmp/out")"
for command in ls stat; do
	expect_exit 3 "${shard[@]}" $command "$data"
	expect_said 'dataset.json'
done
flip "$data/dataset.json" 40
mv "$data/$second" "$tmp/away"
expect_exit 3 "${shard[@]}" verify "$data" --quiet
grep -qF "$second: is not there" "$tmp/out" || fail "verify does not miss a shard: $(cat "$tmp/out")"
head -c 70000 "$tmp/away" >"$data/$second"
expect_exit 3 "${shard[@]}" verify "$data" --quiet
expect_exit 0 "${shard[@]}" show "$data" 0
expect_said 'warning'
expect_exit 3 "${shard[@]}" ls "$data"
grep -q "^ *$first  damaged: .*$second: record 0" "$tmp/out" || fail "ls does not show what it cannot read"
expect_said 'of these records cannot be read'
expect_exit 3 "${shard[@]}" ls "$data" --start "$first" --limit 1 --json
expect_equal "damage of the first that is gone" "$(field 0.record)" "$first"
expect_exit 0 "${shard[@]}" ls "$data" --limit "$first"
mv "$tmp/away" "$data/$second"
expect_exit 0 "${shard[@]}" verify "$data" --quiet

step "a shard that is cut off while it is read ends the reading with a sentence"
"$helpers/helper_speech_set" "$tmp/many" 3000 16 32 # whose list is longer than a pipe holds
file=$(dataset_fact "$tmp/many" splits.0.shards.1.file)
{
	status=0
	"${shard[@]}" ls "$tmp/many" 2>"$tmp/err" || status=$?
	echo $status >"$tmp/status"
} | {
	read -r _ # it has begun, and will wait for the pipe within the first shard
	truncate -s 8192 "$tmp/many/$file"
	cat >/dev/null
}
expect_equal "exit status" "$(cat "$tmp/status")" 3
expect_said 'cut off while it was in use'
