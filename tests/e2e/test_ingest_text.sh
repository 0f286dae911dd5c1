#!/usr/bin/env bash
# Text in, a data set out: OpenWebText's archive of archives, plain files, JSON lines, packed or not; one data set for any
# number of jobs; lines of any size in bounded memory; what is left out; and that it all decodes again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_text.sh"
need xz gzip tar
case $OBJ in */asan | */tsan) large=3 ;; *) large=24 ;; esac
"$helpers/helper_vocabulary" "$tmp/bpe"
text=("$BIN/d2v-ingest" text --bpe "$tmp/bpe") owt=("$BIN/d2v-ingest" openwebtext --bpe "$tmp/bpe")
stat_of() { dataset_fact "$1" "splits.$2.statistics.$3"; }

archive() { (cd "$tmp" && tar -cJf "$1" --sort=name openwebtext); }

step "an archive of archives: documents, splits, and the same for any number of jobs"
subset urlsf_subset00-1 0 60
subset urlsf_subset01-3 100 50
subset urlsf_subset20-2 200 20
archive owt.tar.xz
expect_exit 0 "${owt[@]}" --from "$tmp/owt.tar.xz" --out "$tmp/one" --jobs 1 --check
grep -q 'checked: 130 documents' "$tmp/out" || fail "not 130 documents were checked: $(cat "$tmp/out")"
expect_verified "$tmp/one"
expect_equal "documents of train" "$(stat_of "$tmp/one" 0 documents)" 110
expect_equal "documents of valid" "$(stat_of "$tmp/one" 1 documents)" 20
for jobs in 2 4; do
	expect_exit 0 "${owt[@]}" --from "$tmp/owt.tar.xz" --out "$tmp/jobs" --jobs $jobs
	expect_same_data_set "$tmp/jobs" "$tmp/one"
	rm -rf "$tmp/jobs"
done
for file in encoder.json vocab.bpe; do cmp "$tmp/bpe/$file" "$tmp/one/tokenizer/$file"; done
[ $(($(wc -l <"$tmp/one/tokenizer/dict.txt") % 8)) = 4 ] || fail "the dictionary is no multiple of 8 with its specials"
cp -r "$tmp/one" "$tmp/bitten"
truncate -s 300 "$tmp/bitten/tokenizer/vocab.bpe"
expect_exit 3 "$BIN/d2v-shard" show "$tmp/bitten" 0
expect_said 'tokenizer/vocab.bpe: .*it is damaged'

step "damaged archives inside are left out with a reason, and only they"
subset urlsf_subset02-1 300 10
subset urlsf_subset03-1 310 10
subset urlsf_subset04-1 320 10
data=$tmp/openwebtext
head -c $(($(stat -c %s "$data/urlsf_subset02-1_data.xz") / 2)) "$data/urlsf_subset02-1_data.xz" >"$tmp/half"
mv "$tmp/half" "$data/urlsf_subset02-1_data.xz"
printf '\x55\xaa\x55' | dd of="$data/urlsf_subset03-1_data.xz" bs=1 seek=$(($(stat -c %s "$data/urlsf_subset03-1_data.xz") - 40)) conv=notrunc status=none
echo 'this is no archive' >"$data/urlsf_subset04-1_data.xz"
archive damaged.tar.xz
expect_exit 0 "${owt[@]}" --from "$tmp/damaged.tar.xz" --out "$tmp/damaged" --jobs 2 --max-rejected 3 --check
expect_equal "documents of train" "$(stat_of "$tmp/damaged" 0 documents)" 110
for subset in 02-1 03-1 04-1; do
	grep -qP "urlsf_subset${subset}_data.xz\tundecodable\t.+" "$tmp/damaged/train/rejected.tsv" || fail "rejected.tsv does not name $subset"
done
expect_exit 3 "${owt[@]}" --from "$tmp/damaged.tar.xz" --out "$tmp/none" --max-rejected 2
expect_no_data_set "$tmp/none"
rm "$data"/urlsf_subset0[234]*

step "plain files, JSON lines, packed or not, in a folder, an archive, or by themselves"
documents "$tmp/mine/a" 0 5
printf ' \n\r\n\xe3\x80\x80' >"$tmp/mine/a/white.txt"
: >"$tmp/mine/a/nothing.txt"
cat >"$tmp/mine/lines.jsonl" <<-'LINES'
	{"id": 1, "text": "one\nand the other \u00e9", "meta": {"text": "not this"}}

	{"id": 2, "text": "  "}
	{"id": 3, "text": "three \ud83d\ude00"}
	{"id": 4, "title": "no text"}
	{"id": 5, "text": "cut
LINES
cat "$tmp"/mine/a/000000[01]-text.txt | gzip >"$tmp/mine/packed.txt.gz"
cp "$tmp/mine/lines.jsonl" "$tmp/mine/more.jsonl" && xz "$tmp/mine/more.jsonl"
documents=$((5 + 2 + 1 + 2)) empty=$((2 + 1 + 1)) sources=("$tmp/mine")
if command -v zstd >/dev/null; then
	zstd -q "$tmp/mine/lines.jsonl" -o "$tmp/mine/zstd.jsonl.zst"
	documents=$((documents + 2)) empty=$((empty + 1))
fi
echo ignored >"$tmp/mine/readme.md"
expect_exit 0 "${text[@]}" --from "$tmp/mine" --out "$tmp/folder" --jobs 2 --max-rejected 10 --check
expect_equal "documents" "$(stat_of "$tmp/folder" 0 documents)" $documents
expect_equal "empty documents" "$(stat_of "$tmp/folder" 0 empty_documents)" $empty
for line in 5 6; do
	grep -qP "^lines.jsonl:$line\tbad-text\t.+" "$tmp/folder/train/rejected.tsv" || fail "rejected.tsv does not name line $line"
done
make_tar "$tmp/mine.tar.gz" "$tmp/mine"
expect_exit 0 "${text[@]}" --from "$tmp/mine.tar.gz" --out "$tmp/packed" --max-rejected 10 --check
expect_equal "documents" "$(stat_of "$tmp/packed" 0 documents)" $documents
mkdir "$tmp/archives" && cp "$tmp/mine.tar.gz" "$tmp/mine/a/0000001-text.txt" "$tmp/archives"
expect_exit 0 "${text[@]}" --from "$tmp/archives" --out "$tmp/inside" --max-rejected 10 --shard-size 64K --check
expect_equal "documents" "$(stat_of "$tmp/inside" 0 documents)" $((documents + 1))
expect_exit 0 "${text[@]}" "$tmp/mine/lines.jsonl" "$tmp/mine/packed.txt.gz" --out "$tmp/single" --max-rejected 10 --valid 'packed*' --check
expect_equal "documents of valid" "$(stat_of "$tmp/single" 1 documents)" 1
expect_exit 0 "${text[@]}" "$tmp/mine/lines.jsonl" --field title --out "$tmp/title" --max-rejected 10 --check
expect_equal "documents with a title" "$(stat_of "$tmp/title" 0 documents)" 1
expect_equal "names of texts" "$("$helpers/helper_records" list "$tmp/title")" "$(printf '0\t00000000\t9\t-1\tlines.jsonl')"

step "a packed file that is cut off: what came before stays, and it is named"
head -c $(($(stat -c %s "$tmp/mine/packed.txt.gz") - 20)) "$tmp/mine/packed.txt.gz" >"$tmp/cut.txt.gz"
expect_exit 0 "${text[@]}" "$tmp/cut.txt.gz" "$tmp/mine/lines.jsonl" --out "$tmp/cut" --max-rejected 10 --check
grep -qP '^cut.txt.gz\tunreadable\t.*gzip' "$tmp/cut/train/rejected.tsv" || fail "rejected.tsv does not name the file that is cut off"
expect_equal "documents" "$(stat_of "$tmp/cut" 0 documents)" 3

step "the check finds what it is for"
cp -r "$tmp/mine" "$tmp/changed"
sed -i 's/thing number 3/thing number 4/' "$tmp/changed/a/0000003-text.txt"
cp -r "$tmp/folder" "$tmp/other"
mv "$tmp/mine" "$tmp/kept" && mv "$tmp/changed" "$tmp/mine"
expect_exit 3 "${text[@]}" --from "$tmp/mine" --out "$tmp/other" --max-rejected 10 --check
expect_said '0000003-text.txt.*other bytes'
rm -rf "$tmp/mine" && mv "$tmp/kept" "$tmp/mine"

step "one line of $large megabytes, in a text and in JSON, below 400 MB"
yes 'the thing and the other, 12345!' | tr '\n' ' ' | head -c $((large << 20)) >"$tmp/line" || true
mkdir "$tmp/large"
{ echo "before"; cat "$tmp/line"; echo; echo "after"; } >"$tmp/large/one.txt"
{ printf '{"text": "'; cat "$tmp/line"; printf '"}\n{"text": "short"}\n'; } >"$tmp/large/two.jsonl"
tr -d ' ' <"$tmp/line" | head -c $((2 << 20)) >"$tmp/large/word.txt" || true
limit=400
case $OBJ in */asan | */tsan) limit=4000 ;; esac
expect_exit 0 "$helpers/helper_peak" $limit "${text[@]}" --from "$tmp/large" --out "$tmp/large.d2v" --jobs 4 --shard-size 4M --check
expect_equal "documents" "$(stat_of "$tmp/large.d2v" 0 documents)" 4

step "tokenizers and dictionaries"
expect_exit 1 "$BIN/d2v-ingest" text "$tmp/mine" --out "$tmp/fetched" --bpe-url http://127.0.0.1:1 --retries 0
expect_said '--bpe DIR'
expect_no_data_set "$tmp/fetched"
expect_exit 0 "${text[@]}" "$tmp/mine" --out "$tmp/given" --dict "$tmp/folder/tokenizer/dict.txt" --max-rejected 10
cmp "$tmp/folder/tokenizer/dict.txt" "$tmp/given/tokenizer/dict.txt"
expect_exit 0 "${text[@]}" "$tmp/mine/lines.jsonl" --out "$tmp/part" --dict "$tmp/folder/tokenizer/dict.txt" --max-rejected 10
expect_exit 0 "$BIN/d2v-shard" merge "$tmp/given" "$tmp/part" --out "$tmp/joined"
for count in documents empty_documents; do
	expect_equal "$count of both" "$(stat_of "$tmp/joined" 0 $count)" $(($(stat_of "$tmp/given" 0 $count) + $(stat_of "$tmp/part" 0 $count)))
	[ "$(stat_of "$tmp/joined" 0 $count)" -gt 0 ] || fail "no $count: the test compares nothing"
done
echo 'nonsense 1' >"$tmp/dict"
expect_exit 2 "${text[@]}" "$tmp/mine" --out "$tmp/none" --dict "$tmp/dict"
expect_said 'dict.*1'
start_nginx
cp "$tmp/bpe/encoder.json" "$tmp/bpe/vocab.bpe" "$tmp/www/"
expect_exit 3 "$BIN/d2v-ingest" text "$tmp/mine" --out "$tmp/fetched" --bpe-url "$url/plain"
expect_said 'SHA-256'
gpt2=${D2V_SHARED:-}/data/gpt2
[ -n "${D2V_SHARED:-}" ] && [ -f "$gpt2/encoder.json" ] || { echo "no real samples: the rest is left out"; exit 0; }
cp "$gpt2/encoder.json" "$gpt2/vocab.bpe" "$tmp/www/"
expect_exit 0 "$BIN/d2v-ingest" text "$tmp/mine" --out "$tmp/fetched" --bpe-url "$url/plain" --max-rejected 10 --check
cmp "$gpt2/vocab.bpe" "$tmp/fetched/tokenizer/vocab.bpe"

step "OpenWebText in miniature"
mini=$D2V_SHARED/data/openwebtext/openwebtext.tar.xz
[ -f "$mini" ] || exit 0
expect_exit 0 "$BIN/d2v-ingest" openwebtext --bpe "$gpt2" --from "$mini" --out "$tmp/mini" --jobs 2 --check
expect_equal "documents" "$(stat_of "$tmp/mini" 0 documents)" 2403
expect_equal "empty documents" "$(stat_of "$tmp/mini" 0 empty_documents)" 0
expect_equal "rejected" "$(dataset_fact "$tmp/mini" splits.0.rejected)" 0
expect_verified "$tmp/mini"
for jobs in 1 4; do
	expect_exit 0 "$BIN/d2v-ingest" openwebtext --bpe "$gpt2" --from "$mini" --out "$tmp/jobs" --jobs $jobs
	expect_same_data_set "$tmp/jobs" "$tmp/mini"
	rm -rf "$tmp/jobs"
done
