#!/usr/bin/env bash
# Pictures and nested archives made to do harm: nothing is written outside the data set, memory stays bounded, what is good
# around them is all there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# Sanitizers have a memory of their own.
case $OBJ in */asan | */tsan) limit=2500 ;; *) limit=400 ;; esac

mkdir "$tmp/box" "$tmp/box/work" "$tmp/box/outside" "$tmp/c"
cd "$tmp/box/work"
echo untouched >"$tmp/box/outside/file"
tar_member() { "$helpers/helper_tar" "$@"; }
"$helpers/helper_picture" 64 64 1 "$tmp/c/n00000001_"{1,2,3}.JPEG
good=$tmp/c/n00000001_1.JPEG
(cd "$tmp/c" && tar -cf "$tmp/class.tar" -b 1 --sort=name n00000001_*)
class_members() { head -c -1024 "$tmp/class.tar"; }
box_state() { (cd "$tmp/box" && find . -path ./work/out -prune -o -printf '%p %y %s\n' | LC_ALL=C sort); }

# The hostile inner tar between two good ones (six pictures); expects STATUS, REASON (a pattern for rejected.tsv), RECORDS.
wrap() { # INNER-TAR: an outer tar of it on standard output
	tar_member n00000001.tar 0 - "$tmp/class.tar"
	tar_member n00000002.tar 0 - "$1"
	tar_member n00000003.tar 0 - "$tmp/third.tar"
	tar_member end
}
mkdir "$tmp/d"
for i in 1 2 3; do cp "$tmp/c/n00000001_$i.JPEG" "$tmp/d/n00000003_$i.JPEG"; done
tar -cf "$tmp/third.tar" -C "$tmp/d" --sort=name .
ingest() { # STATUS SOURCE [OPTION...]
	local status=$1 source=$2
	shift 2
	box_state >"$tmp/before"
	expect_exit "$status" "$helpers/helper_peak" $limit "$BIN/d2v-ingest" imagenet --from "$source" --out out --max-rejected 90% --jobs 2 "$@"
	box_state | diff "$tmp/before" - || fail "$source: something was written outside the data set"
}
try() { # WHAT REASON RECORDS INNER-TAR [OPTION...]
	local what=$1 reason=$2 records=$3 inner=$4
	shift 4
	step "$what"
	wrap "$inner" >"$tmp/outer.tar"
	ingest 0 "$tmp/outer.tar" "$@"
	expect_equal "$what: records" "$(dataset_fact out splits.0.records)" "$records"
	cat out/rejected.tsv out/*/rejected.tsv >"$tmp/rejected" 2>/dev/null || true
	if [ "$reason" != - ]; then grep -qE "$reason" "$tmp/rejected" || { cat "$tmp/rejected"; fail "$what: rejected.tsv does not say $reason"; }; fi
	expect_verified out
	[ -z "$(find out -type l)" ] || fail "$what: a link in the data set"
	rm -rf out
}

{ tar_member "$tmp/box/outside/n00000002_1.JPEG" 0 - "$good"; tar_member "../../outside/n00000002_2.JPEG" 0 - "$good"; tar_member end; } >"$tmp/inner.tar"
try "names in an inner tar that lead out" unsafe-name 6 "$tmp/inner.tar"
{ tar_member n00000002_1.JPEG 2 - - /etc/hostname; tar_member n00000002_2.JPEG 1 - - ../../outside/file; tar_member n00000002_3.JPEG 6 - -; tar_member end; } >"$tmp/inner.tar"
try "links and a pipe in an inner tar" not-a-file 6 "$tmp/inner.tar"
{ class_members; tar_member n00000002_1.JPEG 0 1099511627776 "$good"; } >"$tmp/inner.tar"
try "a member of an inner tar that says it has a terabyte" 'n00000002.tar.unreadable|too-large' 6 "$tmp/inner.tar"
{ tar_member n00000002_1.JPEG 0 - "$good"; tar_member n00000002_2.JPEG L 4294967296 "$good"; } >"$tmp/inner.tar"
try "a name of four gigabytes in an inner tar" 'n00000002.tar.unreadable' 7 "$tmp/inner.tar"
head -c 100000 /dev/urandom >"$tmp/inner.tar"
try "an inner tar that is noise" 'n00000002.tar.unreadable' 6 "$tmp/inner.tar"
: >"$tmp/inner.tar"
try "an empty inner tar" 'n00000002.tar.unreadable' 6 "$tmp/inner.tar"
{ tar_member n00000002_1.JPEG 0 - "$good"; tar_member n00000002_2.JPEG 0 - "$good"; } | head -c -700 >"$tmp/inner.tar"
try "an inner tar that is cut off" 'n00000002.tar.unreadable' 7 "$tmp/inner.tar"
{ tar_member n00000009.tar 0 - "$tmp/class.tar"; tar_member end; } >"$tmp/inner.tar"
try "a tar in a tar in a tar stays closed" 'n00000009.tar.layout' 6 "$tmp/inner.tar"
{ tar_member n00000002_1.JPEG 0 700000000 - | cat - <(head -c 700000256 /dev/zero); tar_member end; } | gzip -1 >"$tmp/inner.tar"
try "700 MB of zeros in an inner tar that is packed" too-large 6 "$tmp/inner.tar" --max-member 64M
cp "$tmp/class.tar" "$tmp/inner.tar"
try "names that were met in another inner tar" duplicate 6 "$tmp/inner.tar"

step "the outer tar lies about an inner one, and is cut off within one"
{ tar_member n00000001.tar 0 - "$tmp/class.tar"; tar_member n00000002.tar 0 1099511627776 "$tmp/class.tar"; } >"$tmp/outer.tar"
ingest 3 "$tmp/outer.tar"
expect_said 'outer.tar'
expect_no_data_set out
rm -rf out
{ wrap "$tmp/third.tar" || true; } | head -c $(($(stat -c %s "$tmp/class.tar") + 3000)) >"$tmp/outer.tar"
ingest 3 "$tmp/outer.tar"
expect_said 'outer.tar'
expect_no_data_set out
rm -rf out

# ---- pictures
# A JPEG or PNG header that promises a picture of 60000 x 60000: its size is in the header alone.
patch() { # FILE OFFSET HEX...
	local file=$1 offset=$2 byte
	shift 2
	for byte in "$@"; do printf "\\x$byte"; done | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
}
mkdir "$tmp/p"
"$helpers/helper_picture" 64 64 9 "$tmp/p/a.jpg" "$tmp/p/b.png" "$tmp/p/good.jpg"
frame=$(LC_ALL=C grep -obUaP '\xff\xc0' "$tmp/p/a.jpg" | sed -n 1p | cut -d : -f 1)
patch "$tmp/p/a.jpg" $((frame + 5)) ea 60 ea 60
patch "$tmp/p/b.png" 16 00 00 ea 60 00 00 ea 60
images() { # OPTION...
	rm -rf out
	expect_exit 0 "$helpers/helper_peak" $limit "$BIN/d2v-ingest" images --from "$tmp/p" --out out --max-rejected 90% --jobs 2 "$@"
}
step "pictures that promise 60000 x 60000 pixels"
for how in "" "--check none" "--store rgb8" "--resize 32"; do
	# shellcheck disable=SC2086
	images $how
	expect_equal "records${how:+ with $how}" "$(dataset_fact out splits.0.records)" 1
	expect_equal "rejected" "$(wc -l <out/train/rejected.tsv)" 2
	grep -qE 'a.(too-large|undecodable)' out/train/rejected.tsv || fail "the JPEG is not named"
done
step "pictures of many pixels in few bytes"
rm "$tmp/p/"*
"$helpers/helper_picture" 3000 3000 9 "$tmp/p/large.jpg"
images
expect_equal "a picture of 9 million pixels is stored as it is" "$(dataset_fact out splits.0.records)" 1
expect_verified out
images --resize 100
expect_verified out
rm -rf out

step "names that are no text stand in the list once escaped, so that they can be found again"
rm "$tmp/p/"*
"$helpers/helper_picture" 16 16 9 "$tmp/p/good.jpg"
cp "$tmp/p/good.jpg" "$tmp/p/"$'new\nline\xff.jpg'
: >"$tmp/p/back\\slash.jpg"
images
expect_equal "above the splits" "$(cut -f 1,2 out/rejected.tsv)" $'new\\x0aline\\xff.jpg\tunsafe-name'
expect_equal "in the split" "$(cut -f 1,2 out/train/rejected.tsv)" $'back\\x5cslash\tundecodable'
