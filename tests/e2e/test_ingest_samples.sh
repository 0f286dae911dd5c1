#!/usr/bin/env bash
# Real samples: ImageNet, CIFAR-10 and spoken digits come in with the counts, labels and bytes that their lists state; one
# digest for any number of jobs; the broken pictures are rejected with a reason each.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
data=${D2V_SHARED:-}/data
[ -n "${D2V_SHARED:-}" ] && [ -d "$data/imagenet" ] && [ -d "$data/cifar10" ] && [ -d "$data/fsdd" ] || skip "D2V_SHARED has no samples"
sums() { "$helpers/helper_records" sums "$@"; }
facts() { # FOLDER: split and records, by name
	local i
	for i in 0 1; do echo "$(dataset_fact "$1" splits.$i.name) $(dataset_fact "$1" splits.$i.records)"; done | xargs
}
same_for_jobs() { # FOLDER COMMAND...
	local folder=$1 jobs
	shift
	for jobs in 1 4; do
		expect_exit 0 "$@" --jobs $jobs --out "$tmp/jobs"
		expect_same_data_set "$tmp/jobs" "$folder"
		rm -rf "$tmp/jobs"
	done
}

step "imagenet: 302 + 50 pictures, labels and SHA-256 of every one"
net=("$BIN/d2v-ingest" imagenet --train "$data/imagenet/ILSVRC2012_img_train.tar" --val "$data/imagenet/ILSVRC2012_img_val.tar"
	--val-labels "$data/imagenet/imagenet_2012_validation_synset_labels.txt" --synset-words "$data/imagenet/synset_words.txt")
expect_exit 0 "${net[@]}" --jobs 2 --out "$tmp/net"
expect_verified "$tmp/net"
expect_equal "splits" "$(facts "$tmp/net")" "train 302 val 50"
expect_equal "class 0" "$(dataset_fact "$tmp/net" classes.0.name) $(dataset_fact "$tmp/net" classes.999.name)" "n01440764 n15075141"
same_for_jobs "$tmp/net" "${net[@]}"
# Name, class index, size and sum, as the list has them.
awk -F '\t' 'NR > 1 { n = split($2, part, "/"); sub(/\.JPEG$/, "", part[n]); print part[n] "\t" $4 "\t" tolower($6) "\t" $7 "x" $8 "\t" $12 }' \
	"$data/imagenet/manifest.tsv" | grep -E '^(n[0-9]|ILSVRC)' | LC_ALL=C sort >"$tmp/wanted"
expect_equal "pictures in the list" "$(wc -l <"$tmp/wanted")" 352
sums "$tmp/net" train,val | LC_ALL=C sort >"$tmp/got"
diff "$tmp/wanted" "$tmp/got" >"$tmp/diff" || { head "$tmp/diff"; fail "records are not those of the list"; }
expect_exit 3 "$BIN/d2v-ingest" images --from "$data/imagenet/broken" --out "$tmp/broken"
mkdir "$tmp/some" && ln -s "$data/imagenet/broken/"* "$tmp/some" && tar -xf "$data/imagenet/ILSVRC2012_img_val.tar" -C "$tmp/some"
rm -rf "$tmp/broken"
expect_exit 0 "$BIN/d2v-ingest" images --from "$tmp/some" --out "$tmp/broken" --max-rejected 5
expect_equal "good ones" "$(dataset_fact "$tmp/broken" splits.0.records)" 50
for name in garbage no_eoi truncated_60pct truncated_header zero_byte; do
	grep -qP "^$name\tundecodable\t.+" "$tmp/broken/train/rejected.tsv" || fail "rejected.tsv does not name $name"
done

step "cifar10: 5000 + 1000 pictures in ten classes"
cifar=("$BIN/d2v-ingest" images --from "$data/cifar10/cifar10-mini.tar.gz")
expect_exit 0 "${cifar[@]}" --jobs 2 --out "$tmp/cifar"
expect_verified "$tmp/cifar"
expect_equal "splits" "$(facts "$tmp/cifar")" "test 1000 train 5000"
expect_equal "classes" "$(for i in $(seq 0 9); do dataset_fact "$tmp/cifar" classes.$i.name; done | xargs)" \
	"airplane automobile bird cat deer dog frog horse ship truck"
same_for_jobs "$tmp/cifar" "${cifar[@]}"
awk -F '\t' 'NR > 1 { sub(/\.jpg$/, "", $1); print $1 "\t" $4 }' "$data/cifar10/manifest.tsv" | LC_ALL=C sort >"$tmp/wanted"
sums "$tmp/cifar" train,test | cut -f 1,2 | LC_ALL=C sort | cmp - "$tmp/wanted" || fail "labels are not those of the list"

step "fsdd: 2700 + 300 recordings of ten digits"
fsdd=("$BIN/d2v-ingest" audio --from "$data/fsdd/free-spoken-digit-dataset.tar.gz" --label-by '([0-9])_[a-z]+_[0-9]+\.wav$'
	--split-by 'test=_[0-4]\.wav$')
expect_exit 0 "${fsdd[@]}" --jobs 2 --out "$tmp/fsdd"
expect_equal "splits" "$(facts "$tmp/fsdd")" "test 300 train 2700"
awk -F '\t' 'NR > 1 { sub(/\.wav$/, "", $1); print $5 "\t" $1 "\t" $2 }' "$data/fsdd/manifest.tsv" | LC_ALL=C sort >"$tmp/wanted"
for split in train test; do "$helpers/helper_records" list "$tmp/fsdd" $split | cut -f 2,4 | sed "s/^/$split\t/"; done | LC_ALL=C sort |
	cmp - "$tmp/wanted" || fail "splits and labels are not those of the list"

# What earlier versions made of the same sources, option by option: these bytes are not to change.
step "data sets of sound keep their bytes"
digest() { expect_exit 0 "$BIN/d2v-ingest" "$@" --out "$tmp/old" --json && "$helpers/helper_json" digest <"$tmp/out"; sha256sum "$tmp/old/dataset.json" | cut -c 1-16; rm -rf "$tmp/old"; }
expect_equal "fsdd" "$(digest audio --from "$data/fsdd/free-spoken-digit-dataset.tar.gz" | xargs)" "86a161a1bb2ff876 db102cf813ee5d3a"
expect_equal "librispeech" "$(digest librispeech --from "$data/librispeech/train-clean-5-mini.tar.gz" --store flac --shard-size 1M | xargs)" "3c112a1ebb171389 11d5d5f1e00bf56f"
