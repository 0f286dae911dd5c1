#!/usr/bin/env bash
# d2v-shard export and merge: what is taken out comes in again as the same samples; what is joined is all there, once.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need flac tar
shard=("$BIN/d2v-shard")
field() { "$helpers/helper_json" "$1" <"$tmp/out"; }
# Name, label, text and the samples' sum of every record of a folder's data set.
content() {
	local record rest
	"$helpers/helper_records" list "$1" | while IFS=$'\t' read -r record rest; do
		echo "$rest $("$helpers/helper_records" samples "$1" "$record" | sha256sum)"
	done
}
synthetic_speech "$tmp/speech" dev 3 4 1
ingest() { # OUT SOURCE OPTION...
	expect_exit 0 "$BIN/d2v-ingest" "${@:3}" --from "$2" --out "$1" --quiet
}
ingest "$tmp/data" "$tmp/speech/LibriSpeech" librispeech --shard-size 128K
records=$(dataset_fact "$tmp/data" splits.0.records)

step "a folder: recordings and transcripts, which an ingest takes in again as they were"
expect_exit 0 "${shard[@]}" export "$tmp/data" --out "$tmp/folder" --json
expect_equal "records" "$(field records)" "$records"
expect_equal "files" "$(field files)" $((2 * records + 1))
expect_equal "wav files" "$(find "$tmp/folder/dev" -name '*.wav' | wc -l)" "$records"
ingest "$tmp/again" "$tmp/folder/dev" audio --split dev --shard-size 128K
content "$tmp/data" | cut -f 1,2,4 | LC_ALL=C sort >"$tmp/wanted"
content "$tmp/again" | cut -f 1,2,4 | LC_ALL=C sort >"$tmp/got"
diff "$tmp/wanted" "$tmp/got" >"$tmp/diff" || fail "other content after export and ingest: $(head -n 5 "$tmp/diff")"
first=$("$helpers/helper_records" list "$tmp/data" | sed -n 1p | cut -f 2)
expect_equal "its label" "$(grep -P "^dev/$first\t" "$tmp/folder/labels.tsv" | cut -f 2)" "${first%%-*}"
expect_exit 1 "${shard[@]}" export "$tmp/data" --out "$tmp/folder"
expect_said 'is there already'

step "tar archives: the same files, labels beside, the same bytes every time, cut where asked for"
for i in 1 2; do expect_exit 0 "${shard[@]}" export "$tmp/data" --out "$tmp/one$i.tar"; done
cmp "$tmp/one1.tar" "$tmp/one2.tar" || fail "two exports differ"
mkdir "$tmp/unpacked"
tar -xf "$tmp/one1.tar" -C "$tmp/unpacked"
cmp "$tmp/unpacked/dev/$first.wav" "$tmp/folder/dev/$first.wav" || fail "the archive holds another file"
expect_equal "label in the archive" "$(cat "$tmp/unpacked/dev/$first.cls")" "${first%%-*}"
expect_exit 0 "${shard[@]}" export "$tmp/data" --out "$tmp/parts.tar" --tar-size 200K --as flac
parts=$(find "$tmp" -name 'parts-0*.tar' | wc -l)
[ "$parts" -gt 1 ] || fail "--tar-size made $parts archives"
expect_equal "files in all archives" "$(for part in "$tmp"/parts-0*.tar; do tar -tf "$part"; done | wc -l)" $((3 * records))
for part in "$tmp"/parts-0*.tar; do
	expect_equal "samples are not cut apart" $(($(tar -tf "$part" | wc -l) % 3)) 0
done
expect_exit 0 "${shard[@]}" export "$tmp/data" --out "$tmp/two" --start 3 --limit 2
expect_equal "a limited export" "$(find "$tmp/two" -name '*.wav' | wc -l)" 2
expect_exit 2 "${shard[@]}" export "$tmp/data" --out "$tmp/png" --as png
[ ! -e "$tmp/png" ] && [ ! -e "$tmp/png.partial" ] || fail "a failed export left something behind"
expect_exit 2 "${shard[@]}" export "$tmp/data"
expect_exit 2 "${shard[@]}" export "$tmp/data" --out "$tmp/x" --tar-size 1M

step "a limit on the size of files is an error like a full disk"
(ulimit -f 20 && expect_exit 1 "${shard[@]}" export "$tmp/data" --out "$tmp/small.tar" && expect_said 'small.tar')
[ -z "$(find "$tmp" -name 'small.tar*')" ] || fail "a failed export left something behind"
(ulimit -f 20 && expect_exit 1 "${shard[@]}" show "$tmp/data" 0 --out "$tmp/small.wav" && expect_said 'small.wav')
[ -z "$(find "$tmp" -name 'small.wav*')" ] || fail "a failed show left something behind"

step "a damaged record ends an export, named, and nothing is left"
cp -r "$tmp/data" "$tmp/damaged"
file=$(dataset_fact "$tmp/damaged" splits.0.shards.0.file)
at=$(grep -obaF "$first" "$tmp/damaged/$file" | sed -n 1p | cut -d : -f 1)
printf '\x7f\x7f\x7f' | dd of="$tmp/damaged/$file" bs=1 seek=$((at + 700)) conv=notrunc status=none
expect_exit 3 "${shard[@]}" export "$tmp/damaged" --out "$tmp/x"
expect_said "$file: record 0: its digest differs"
expect_exit 3 "${shard[@]}" export "$tmp/damaged" --out "$tmp/x.tar"
[ ! -e "$tmp/x" ] && [ ! -e "$tmp/x.partial" ] && [ ! -e "$tmp/x.tar" ] || fail "a failed export left something behind"

step "merge: everything is there once, by links and by copies, and verifies"
synthetic_speech "$tmp/more" dev 2 3 2
synthetic_speech "$tmp/more" train 2 3 3
mkdir -p "$tmp/more/LibriSpeech/dev/7/7"
echo damaged >"$tmp/more/LibriSpeech/dev/7/7/7-7-0000.flac" # to be rejected
ingest "$tmp/other" "$tmp/more/LibriSpeech" librispeech --max-rejected 1
expect_exit 0 "${shard[@]}" merge --out "$tmp/merged" "$tmp/data" "$tmp/other" --json
expect_equal "shards" "$(field shards)" "$(field linked)"
digest=$(field digest)
expect_exit 0 "${shard[@]}" verify "$tmp/merged" --quiet
expect_exit 0 "${shard[@]}" stat "$tmp/merged" --json
expect_equal "splits" "$(field splits.0.name) $(field splits.1.name)" "dev train"
all=$(($(field splits.0.records) + $(field splits.1.records)))
expect_equal "rejected" "$(field splits.0.rejected) $(wc -l <"$tmp/merged/dev/rejected.tsv")" "1 1"
expect_exit 0 "${shard[@]}" ls "$tmp/merged" --json
expect_equal "records" "$(grep -c '"name"' "$tmp/out")" "$all"
expect_equal "an inode is shared" "$(stat -c %i "$tmp/merged/dev/00000.mdb")" "$(stat -c %i "$tmp/data/dev/00000.mdb")"
expect_exit 0 "${shard[@]}" merge --copy --out "$tmp/copied" "$tmp/data" "$tmp/other" --json
expect_equal "linked" "$(field linked)" 0
expect_equal "digest of the copy" "$(field digest)" "$digest"
expect_same_data_set "$tmp/copied" "$tmp/merged"
rm -r "$tmp/data" "$tmp/other"
expect_exit 0 "${shard[@]}" verify "$tmp/merged" --decode --quiet

step "merge: what cannot be joined is refused, and leaves nothing"
expect_exit 1 "${shard[@]}" merge --out "$tmp/copied" "$tmp/merged"
expect_said 'is there already'
expect_exit 1 "${shard[@]}" merge --out "$tmp/twice" "$tmp/merged" "$tmp/copied"
expect_said 'given twice'
cp -r "$tmp/copied" "$tmp/broken"
printf '\x7f' | dd of="$tmp/broken/dev/00000.mdb" bs=1 seek=$((at + 700)) conv=notrunc status=none
expect_exit 3 "${shard[@]}" merge --copy --out "$tmp/twice" "$tmp/broken"
expect_said 'dev/00000.mdb: its digest differs'
expect_exit 1 "${shard[@]}" merge --out "$tmp/twice" "$tmp/merged" "$tmp/nowhere"
[ ! -e "$tmp/twice" ] && [ ! -e "$tmp/twice.partial" ] || fail "a failed merge left something behind"

step "a full disk fails an export and a merge, says so, and leaves nothing"
mkdir "$tmp/small"
if mount -t tmpfs -o size=300k none "$tmp/small" 2>/dev/null; then
	clean_up_more() { umount "$tmp/small" 2>/dev/null || true; }
	for out in folder x.tar; do
		expect_exit 1 "${shard[@]}" export "$tmp/merged" --out "$tmp/small/$out"
		expect_said 'no space'
	done
	expect_exit 1 "${shard[@]}" merge --out "$tmp/small/merged" "$tmp/merged"
	expect_said 'no space'
	expect_equal "what is left on the full disk" "$(find "$tmp/small" -mindepth 1 | wc -l)" 0
fi
