#!/usr/bin/env bash
# LibriSpeech in, a data set out: every sample and transcript, one digest for any number of jobs, what is left out and when
# that is too much, and what the same or another command does with a data set that is there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need flac
some_speech
mkdir "$tmp/plain"
tar -xf "$archive" -C "$tmp/plain"
find "$tmp/plain" -name '*.flac' | LC_ALL=C sort >"$tmp/files"
utterances=$(wc -l <"$tmp/files") first=$(sed -n 1p "$tmp/files")
[ $real = no ] || expect_equal "utterances in the archive" "$utterances" 122
ingest=("$BIN/d2v-ingest" librispeech)

records() { dataset_fact "$1" splits.0.records; }
decode() { flac --silent --decode --stdout --force-raw-format --endian=little --sign=signed "$1"; }

step "every utterance, sample and transcript"
expect_exit 0 "${ingest[@]}" --from "$archive" --out "$tmp/one" --jobs 1
expect_verified "$tmp/one"
"$helpers/helper_records" list "$tmp/one" >"$tmp/list"
expect_equal "records" "$(wc -l <"$tmp/list")" "$utterances"
expect_equal "rejected.tsv" "$(cat "$tmp/one/$split/rejected.tsv")" ""
while IFS=$'\t' read -r record name _ label text; do
	file=$(grep -F "/$name.flac" "$tmp/files") || fail "record $record: no file is called $name"
	decode "$file" >"$tmp/wanted.raw"
	"$helpers/helper_records" samples "$tmp/one" "$record" | cmp - "$tmp/wanted.raw" || fail "$name: other samples than flac -d gives"
	expect_equal "$name: transcript" "$name $text" "$(grep -h "^$name " "$(dirname "$file")"/*.trans.txt)"
	expect_equal "$name: label" "$label" "${name%%-*}"
done <"$tmp/list"

step "the same bytes for any number of jobs, and from a folder, a tar and a zip the same samples"
for jobs in 2 4; do
	expect_exit 0 "${ingest[@]}" --from "$archive" --out "$tmp/jobs" --jobs $jobs
	expect_same_data_set "$tmp/jobs" "$tmp/one"
	rm -rf "$tmp/jobs"
done
for jobs in 1 3; do
	expect_exit 0 "${ingest[@]}" --from "$archive" --out "$tmp/flac$jobs" --jobs $jobs --store flac --shard-size 1M
done
expect_same_data_set "$tmp/flac3" "$tmp/flac1"
expect_verified "$tmp/flac1"
"$helpers/helper_records" samples "$tmp/flac1" $((utterances - 1)) | cmp - "$tmp/wanted.raw" || fail "--store flac: other samples"

list() { "$helpers/helper_records" list "$1" | cut -f 2- | LC_ALL=C sort; }
list "$tmp/one" >"$tmp/wanted.list"
tar -cf "$tmp/other.tar" -C "$tmp/plain" LibriSpeech
others=("$tmp/plain" "$tmp/plain/LibriSpeech" "$tmp/other.tar")
if command -v zip >/dev/null; then (cd "$tmp/plain" && zip -q -r "$tmp/other.zip" LibriSpeech) && others+=("$tmp/other.zip"); fi
if command -v zstd >/dev/null; then zstd -q "$tmp/other.tar" -o "$tmp/other.tar.zst" && others+=("$tmp/other.tar.zst"); fi
for source in "${others[@]}"; do
	expect_exit 0 "${ingest[@]}" --from "$source" --out "$tmp/other" --jobs 2
	list "$tmp/other" | cmp - "$tmp/wanted.list" || fail "$source gives other records"
	rm -rf "$tmp/other"
done

step "a finished data set and the same command: nothing is done; other options: refused"
stamps() { find "$1" -type f ! -name '*lock*' -printf '%p %i %T@ %s\n' | LC_ALL=C sort; }
before=$(stamps "$tmp/flac1")
expect_exit 0 "${ingest[@]}" --from "$archive" --out "$tmp/flac1" --jobs 2 --store flac --shard-size 1M
expect_equal "files of the finished data set" "$(stamps "$tmp/flac1")" "$before"
for other in "--store pcm16 --shard-size 1M" "--store flac --shard-size 2M"; do
	# shellcheck disable=SC2086 # two options and two values
	! "${ingest[@]}" --from "$archive" --out "$tmp/flac1" $other >"$tmp/out" 2>"$tmp/err" || fail "$other was taken for the same data set"
	expect_equal "files of the finished data set" "$(stamps "$tmp/flac1")" "$before"
done
expect_exit 2 "${ingest[@]}" --from "$archive" --out "$tmp/none" --jobs 4x
expect_exit 2 "${ingest[@]}" --from "$archive" --out "$tmp/none" --shard-sise 1M
expect_said 'shard-size'
expect_exit 2 "${ingest[@]}" --out "$tmp/none"
expect_exit 2 "${ingest[@]}" --splits dev-klean --out "$tmp/none"
expect_said 'dev-clean'
expect_exit 1 "${ingest[@]}" --from "$tmp/nothing-here.tar.gz" --out "$tmp/none"
expect_said 'nothing-here'
expect_no_data_set "$tmp/none"

step "damaged files are left out, counted and named; too many of them fail the ingest"
damage() { # FILE HOW
	case $2 in
	cut) head -c 3000 "$1" >"$tmp/cut" && cat "$tmp/cut" >"$1" ;;
	empty) : >"$1" ;;
	text) echo "this is no sound" >"$1" ;;
	bits) printf '\xff\x00\xff\x00\xff\x00\xff\x00' | dd of="$1" bs=1 seek=$(($(stat -c %s "$1") / 2)) conv=notrunc status=none ;;
	esac
}
line=0
for how in cut empty text bits; do
	line=$((line + 7))
	file=$(sed -n ${line}p "$tmp/files")
	damage "$file" $how
	basename "$file" .flac
done >"$tmp/damaged"
(cd "$tmp/plain" && tar -czf "$tmp/damaged.tar.gz" --sort=name LibriSpeech)
expect_exit 0 "${ingest[@]}" --from "$tmp/damaged.tar.gz" --out "$tmp/damaged1" --jobs 1 --max-rejected 4
expect_equal "records" "$(records "$tmp/damaged1")" $((utterances - 4))
expect_equal "lines of rejected.tsv" "$(wc -l <"$tmp/damaged1/$split/rejected.tsv")" 4
while read -r name; do
	grep -qP "$name[^\t]*\tundecodable\t.+" "$tmp/damaged1/$split/rejected.tsv" || fail "rejected.tsv does not name $name"
done <"$tmp/damaged"
expect_equal "rejected, as stat says" "$(dataset_fact "$tmp/damaged1" splits.0.rejected)" 4
expect_verified "$tmp/damaged1"
expect_exit 0 "${ingest[@]}" --from "$tmp/damaged.tar.gz" --out "$tmp/damaged4" --jobs 4 --max-rejected 20%
expect_same_data_set "$tmp/damaged4" "$tmp/damaged1" # the limit is none of the options that decide the bytes
for limit in "--max-rejected 3" "--max-rejected 0" "--max-rejected 2%" ""; do
	# shellcheck disable=SC2086
	expect_exit 3 "${ingest[@]}" --from "$tmp/damaged.tar.gz" --out "$tmp/too-many" $limit
	expect_said 'rejected, more than'
	[ "$limit" != "--max-rejected 3" ] || expect_said 'the last one: [0-9-]*: '
	list=$(grep -o "$tmp/too-many/[^ ]* lists them all" "$tmp/err")
	[ -s "$(echo ${list% lists them all})" ] || fail "there is no list at $list"
	expect_no_data_set "$tmp/too-many"
done
expect_exit 0 "${ingest[@]}" --from "$tmp/damaged.tar.gz" --out "$tmp/too-many" --max-rejected 4
expect_same_data_set "$tmp/too-many" "$tmp/damaged1"

step "damaged archives are no data sets"
size=$(stat -c %s "$archive")
head -c $((size / 2)) "$archive" >"$tmp/half.tar.gz"
expect_exit 3 "${ingest[@]}" --from "$tmp/half.tar.gz" --out "$tmp/half"
expect_said 'half.tar.gz'
flip() { printf '\x55\xaa\x55\xaa\x55\xaa' | dd of="$1" bs=1 seek=$(($(stat -c %s "$1") / 3)) conv=notrunc status=none; }
# What is packed hardly notices (FLAC does not compress), but the file inside does.
cp "$archive" "$tmp/flipped.tar.gz"
flip "$tmp/flipped.tar.gz"
status=0
"${ingest[@]}" --from "$tmp/flipped.tar.gz" --out "$tmp/flipped" --max-rejected 1 >"$tmp/out" 2>"$tmp/err" || status=$?
[ $status = 3 ] || [ -s "$tmp/flipped/$split/rejected.tsv" ] || fail "a damaged archive was taken for whole"
# What is inside may look well all the same: gzip's own checksum is looked at.
cp "$archive" "$tmp/sum.tar.gz"
printf '\x01\x02\x03\x04' | dd of="$tmp/sum.tar.gz" bs=1 seek=$((size - 8)) conv=notrunc status=none
expect_exit 3 "${ingest[@]}" --from "$tmp/sum.tar.gz" --out "$tmp/sum"
expect_said 'sum.tar.gz.*gzip'
expect_no_data_set "$tmp/sum"
# Two gzip members, the second with an end of its own, and padding after them.
gzip -cd "$archive" >"$tmp/plain.tar"
{ head -c 1000000 "$tmp/plain.tar" | gzip -1; tail -c +1000001 "$tmp/plain.tar" | gzip -1; head -c 3000 /dev/zero; } >"$tmp/members.tar.gz"
expect_exit 0 "${ingest[@]}" --from "$tmp/members.tar.gz" --out "$tmp/members"
list "$tmp/members" | cmp - "$tmp/wanted.list" || fail "an archive of two gzip members gives other records"
if command -v xz >/dev/null; then
	chapter=$(dirname "$first")
	tar -cJf "$tmp/flipped.tar.xz" -C "$tmp/plain" "${chapter#"$tmp/plain/"}"
	flip "$tmp/flipped.tar.xz"
	expect_exit 3 "${ingest[@]}" --from "$tmp/flipped.tar.xz" --out "$tmp/none-xz" --max-rejected 100%
	expect_said 'flipped.tar.xz'
	expect_no_data_set "$tmp/none-xz"
fi
head -c 100000 /dev/urandom >"$tmp/noise.tar.gz"
expect_exit 3 "${ingest[@]}" --from "$tmp/noise.tar.gz" --out "$tmp/none"
: >"$tmp/empty.tar"
expect_exit 3 "${ingest[@]}" --from "$tmp/empty.tar" --out "$tmp/none"
mkdir "$tmp/nothing"
echo "no sound" >"$tmp/nothing/file.txt"
tar -cf "$tmp/nothing.tar" -C "$tmp/nothing" file.txt
for source in "$tmp/nothing.tar" "$tmp/nothing"; do
	expect_exit 1 "${ingest[@]}" --from "$source" --out "$tmp/none" # other sources: nothing had been begun
	expect_said 'no recording'
done
expect_no_data_set "$tmp/none"

step "audio: recordings of any kind and rate"
mkdir -p "$tmp/mine/a" "$tmp/mine/b"
cp "$first" "$tmp/mine/a/first.flac"
flac --silent --decode -o "$tmp/mine/a/second.wav" "$first"
decode "$first" >"$tmp/stereo.raw"
head -c $(($(stat -c %s "$tmp/stereo.raw") / 4 * 4)) "$tmp/stereo.raw" >"$tmp/even.raw"
flac --silent --force-raw-format --endian=little --sign=signed --channels=2 --bps=16 --sample-rate=32000 \
	-o "$tmp/mine/b/third.flac" "$tmp/even.raw"
echo "not sound" >"$tmp/mine/readme.txt"
expect_exit 0 "$BIN/d2v-ingest" audio --from "$tmp/mine" --out "$tmp/audio" --split mine
expect_equal "records" "$(dataset_fact "$tmp/audio" splits.0.records)" 3
list "$tmp/audio" >"$tmp/list"
units() { grep -P "$1" "$tmp/list" | cut -f 2; }
expect_equal "samples of the same sound in WAV" "$(units second)" "$(units first)"
quarter=$(($(units first) / 4)) third=$(units third)
[ $((third - quarter)) -ge -2 ] && [ $((third - quarter)) -le 2 ] || fail "half the rate and two channels: $third samples, not about $quarter"
