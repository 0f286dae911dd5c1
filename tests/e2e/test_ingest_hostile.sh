#!/usr/bin/env bash
# Archives made to do harm: nothing is written outside the data set, memory stays bounded, the good members are all there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need flac
# Sanitizers have a memory of their own.
case $OBJ in */asan | */tsan) limit=2000 ;; *) limit=300 ;; esac

synthetic_speech "$tmp/good" train-clean-5 2 5 3
good=$(find "$tmp/good" -name '*.flac' | LC_ALL=C sort | sed -n 1p)
mkdir "$tmp/box" "$tmp/box/work" "$tmp/box/outside"
cd "$tmp/box/work"
echo untouched >"$tmp/box/outside/file"

tar_member() { "$helpers/helper_tar" "$@"; }
# The good utterances as members, without the two blocks that end an archive: what follows comes from the test.
(cd "$tmp/good" && tar -cf "$tmp/good.tar" -b 1 --sort=name LibriSpeech)
good_members() { head -c -1024 "$tmp/good.tar"; }
p=LibriSpeech/train-clean-5/100/5000

box_state() { (cd "$tmp/box" && find . -path ./work/out -prune -o -printf '%p %y %s\n' | LC_ALL=C sort); }
# Ingests ARCHIVE and expects the ten good utterances, STATUS, REASON (a pattern for rejected.tsv, or - for none), an unharmed
# box and little memory.
try() { # WHAT STATUS REASON ARCHIVE [OPTION...]
	local what=$1 status=$2 reason=$3 hostile=$4
	shift 4
	step "$what"
	box_state >"$tmp/before"
	expect_exit "$status" "$helpers/helper_peak" $limit "$BIN/d2v-ingest" librispeech --from "$hostile" --out out --max-rejected 90% --jobs 2 "$@"
	box_state | diff "$tmp/before" - || fail "$what: something was written outside the data set"
	if [ "$status" = 0 ]; then
		expect_equal "$what: records" "$(dataset_fact out splits.0.records)" 10
		cat out/rejected.tsv out/*/rejected.tsv >"$tmp/rejected" 2>/dev/null || true
		if [ "$reason" != - ]; then grep -qE "$reason" "$tmp/rejected" || { cat "$tmp/rejected"; fail "$what: rejected.tsv does not say $reason"; }; fi
		expect_verified out
		[ -z "$(find out -type l)" ] || fail "$what: a link in the data set"
	else
		expect_no_data_set out
	fi
	rm -rf out
}

{ good_members; tar_member "$tmp/box/outside/absolute.flac" 0 - "$good"; tar_member end; } >"$tmp/absolute.tar"
try "an absolute name" 0 unsafe-name "$tmp/absolute.tar"
{ good_members; tar_member "LibriSpeech/train-clean-5/../../../outside/up.flac" 0 - "$good"; tar_member end; } >"$tmp/up.tar"
try "a name with .." 0 unsafe-name "$tmp/up.tar"
{ good_members; tar_member "LibriSpeech/../../evil/1/2/1-2-0000.flac" 0 - "$good"; tar_member end; } >"$tmp/split.tar"
try "a split called .." 0 unsafe-name "$tmp/split.tar"
{
	good_members
	tar_member "$p/link.flac" 2 - - /etc/hostname
	tar_member "$p/hard.flac" 1 - - /etc/hostname
	tar_member "$p/100-5000-0090.flac" 2 - - ../../../../../../outside/file
	tar_member end
} >"$tmp/links.tar"
try "links" 0 not-a-file "$tmp/links.tar"
{
	good_members
	tar_member "LibriSpeech/train-clean-5/200" 2 - - "$tmp/box/outside"
	tar_member "LibriSpeech/train-clean-5/200/200-1-0000.flac" 0 - "$tmp/box/outside/file"
	tar_member end
} >"$tmp/through.tar"
try "a member behind a link to a folder" 0 - "$tmp/through.tar"
{ good_members; tar_member "$p/pipe.flac" 6 - -; tar_member "$p/device.flac" 3 - -; tar_member end; } >"$tmp/device.tar"
try "a pipe and a device" 0 not-a-file "$tmp/device.tar"
{ good_members; tar_member "$p/100-5000-0000.flac" 0 - "$good"; tar_member end; } >"$tmp/twice.tar"
try "a name that comes twice" 0 duplicate "$tmp/twice.tar"
{ good_members; tar_member "$p/"$'100-5000-\xff\xfe01.flac' 0 - "$good"; tar_member "$p/"$'100-5000-\t\n\e[31m.flac' 0 - "$good"; tar_member end; } >"$tmp/names.tar"
try "names that are no text, or would write on the terminal" 0 . "$tmp/names.tar"
[ "$(grep -c . "$tmp/rejected")" = 2 ] || fail "rejected.tsv has more lines than rejections"
! grep -qP '[\x00-\x08\x0b-\x1f\x7f]' "$tmp/rejected" || fail "rejected.tsv has control characters"
{ good_members; tar_member "$p/100-5000-0077.flac" 0 1099511627776 "$good"; } >"$tmp/lie.tar"
try "a member that says it has a terabyte" 3 - "$tmp/lie.tar"
{ good_members; tar_member "$p/100-5000-0077.flac" 0 18446744073709551615 "$good"; } >"$tmp/lie2.tar"
try "a member that says it has 2^64 - 1 bytes" 3 - "$tmp/lie2.tar"
{ good_members; tar_member "$p/100-5000-0077.flac" L 4294967296 "$good"; } >"$tmp/longname.tar"
try "a name of four gigabytes" 3 - "$tmp/longname.tar"
{ good_members; tar_member "$p/pax" x 2147483648 "$good"; } >"$tmp/pax.tar"
try "a pax header of two gigabytes" 3 - "$tmp/pax.tar"

mkdir -p "$tmp/sparse/$p"
truncate -s 500G "$tmp/sparse/$p/100-5000-0088.flac" 2>/dev/null && {
	{ good_members; (cd "$tmp/sparse" && tar -cSf - "$p/100-5000-0088.flac"); } >"$tmp/sparse.tar"
	try "a sparse member of half a terabyte" 0 too-large "$tmp/sparse.tar"
	rm "$tmp/sparse/$p/100-5000-0088.flac"
}
{ good_members; tar_member "$p/100-5000-0089.flac" 0 700000000 - | cat - <(head -c 700000256 /dev/zero); tar_member end; } | gzip -1 >"$tmp/zeros.tar.gz"
try "700 MB of zeros in 3 MB of gzip" 0 too-large "$tmp/zeros.tar.gz" --max-member 64M
{ good_members; for i in 1 2 3; do
	tar_member "$p/100-5000-009$i.trans.txt" 0 200000000 -
	head -c 200000000 /dev/zero
	head -c 256 /dev/zero
done; tar_member end; } | gzip -1 >"$tmp/transcripts.tar.gz"
try "transcripts of 200 MB" 0 - "$tmp/transcripts.tar.gz"

# Two hours of silence are a small FLAC file.
head -c 230400000 /dev/zero | flac --silent --force-raw-format --endian=little --sign=signed --channels=1 --bps=16 \
	--sample-rate=16000 -o "$tmp/silence.flac" -
{ good_members; tar_member "$p/100-5000-0066.flac" 0 - "$tmp/silence.flac"; tar_member end; } >"$tmp/silence.tar"
try "two hours of silence in a small file" 0 too-long "$tmp/silence.tar"
# The header says 2^36 - 1 samples.
cp "$good" "$tmp/boast.flac"
printf '\x0f\xff\xff\xff\xff' >"$tmp/count"
byte=$(od -An -tu1 -j21 -N1 "$good" | tr -d ' ')
{ head -c 21 "$good"; printf "\\x$(printf '%02x' $((byte | 15)))\xff\xff\xff\xff"; tail -c +27 "$good"; } >"$tmp/boast.flac"
{ good_members; tar_member "$p/100-5000-0065.flac" 0 - "$tmp/boast.flac"; tar_member end; } >"$tmp/boast.tar"
try "a FLAC header that promises 2^36 - 1 samples" 0 'too-long|undecodable' "$tmp/boast.tar"

if command -v zip >/dev/null; then
	cp -r "$tmp/good" "$tmp/zipped"
	head -c 400000000 /dev/zero >"$tmp/zipped/$p/100-5000-0055.flac"
	(cd "$tmp/zipped" && zip -q -r -1 "$tmp/bomb.zip" LibriSpeech)
	rm -r "$tmp/zipped"
	try "400 MB of zeros in a zip" 0 too-large "$tmp/bomb.zip" --max-member 64M
fi

step "gzip in gzip in gzip"
gzip -c "$tmp/zeros.tar.gz" | gzip -c >"$tmp/nested.gz"
timeout 300 "$helpers/helper_peak" $limit "$BIN/d2v-ingest" librispeech --from "$tmp/nested.gz" --out out --max-rejected 90% >"$tmp/out" 2>"$tmp/err" ||
	[ $? -lt 99 ] || fail "nested compression"
