#!/usr/bin/env bash
# Pictures in, a labelled data set out: folders, tars, zips and ImageNet's tar of tars; how they are stored; what is left out;
# addresses that want a login. The pictures are made here; test_ingest_samples.sh takes real ones.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
picture="$helpers/helper_picture"
images=("$BIN/d2v-ingest" images)
imagenet=("$BIN/d2v-ingest" imagenet)
sums() { "$helpers/helper_records" sums "$@"; } # FOLDER [SPLIT]
classes() { # FOLDER: names of the classes in order, in a line
	local i=0 name all=
	while name=$("$helpers/helper_json" classes.$i.name <"$1/dataset.json" 2>/dev/null) && [ -n "$name" ]; do
		all="$all $name" i=$((i + 1))
	done
	echo ${all# }
}

step "folders: splits, classes in ascending order, bytes untouched"
mkdir -p "$tmp/pets/train/"{dog,cat,bird} "$tmp/pets/test/"{dog,bird}
for class in dog cat bird; do
	"$picture" 60 40 ${#class} "$tmp/pets/train/$class/"{1,2,3}.jpg "$tmp/pets/train/$class/4.png"
done
"$picture" 33 47 77 "$tmp/pets/test/dog/1.jpg" "$tmp/pets/test/bird/2.JPEG"
cp "$tmp/pets/train/dog/4.png" "$tmp/pets/train/dog/called.jpg" # a PNG called JPEG
echo "no picture" >"$tmp/pets/README.txt"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/one" --jobs 1
expect_verified "$tmp/one"
expect_equal "classes" "$(classes "$tmp/one")" "bird cat dog"
expect_equal "records" "$(dataset_fact "$tmp/one" splits.0.records) $(dataset_fact "$tmp/one" splits.1.records)" "2 13"
expect_equal "birds, cats, dogs" "$(for i in 0 1 2; do dataset_fact "$tmp/one" splits.1.statistics.labels.counts.$i; done | xargs)" "4 4 5"
while IFS=$'\t' read -r name label codec size sum; do
	file=$(ls "$tmp/pets/$name".*) folder=$(basename "$(dirname "$name")")
	expect_equal "$name: payload" "$sum" "$(sha256sum <"$file" | cut -d ' ' -f 1)"
	case $folder in bird) expect_equal "$name" "$label" 0 ;; cat) expect_equal "$name" "$label" 1 ;; dog) expect_equal "$name" "$label" 2 ;; esac
	case $name in */4 | */called) expect_equal "$name: codec" "$codec" png ;; *) expect_equal "$name: codec" "$codec" jpeg ;; esac
	case $name in test/*) expect_equal "$name: size" "$size" 33x47 ;; *) expect_equal "$name: size" "$size" 60x40 ;; esac
done < <(sums "$tmp/one" train,test)

step "the same bytes for any number of jobs; the same records from tars and zips"
for jobs in 2 4; do
	expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/jobs" --jobs $jobs
	expect_same_data_set "$tmp/jobs" "$tmp/one"
	rm -rf "$tmp/jobs"
done
sums "$tmp/one" train,test | LC_ALL=C sort >"$tmp/wanted"
make_tar "$tmp/pets.tar" "$tmp/pets"
gzip -k "$tmp/pets.tar"
others=("$tmp/pets.tar" "$tmp/pets.tar.gz")
if command -v zip >/dev/null; then (cd "$tmp/pets" && zip -q -r "$tmp/pets.zip" .) && others+=("$tmp/pets.zip"); fi
for source in "${others[@]}"; do
	expect_exit 0 "${images[@]}" --from "$source" --out "$tmp/other" --jobs 2
	sums "$tmp/other" train,test | LC_ALL=C sort | cmp - "$tmp/wanted" || fail "$source gives other records"
	rm -rf "$tmp/other"
done

step "classes and splits as the user says"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/none" --label-by none --split-by none --split all
expect_equal "split" "$(dataset_fact "$tmp/none" splits.0.name) $(dataset_fact "$tmp/none" splits.0.records)" "all 15"
! grep -q '"classes"' "$tmp/none/dataset.json" || fail "classes without --label-by"
[ -z "$(sums "$tmp/none" | cut -f 2 | grep -v '^-1$')" ] || fail "labels without --label-by"
printf 'dog a friend\ncat\n' >"$tmp/classes.txt"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/given" --classes "$tmp/classes.txt"
expect_equal "classes in the file's order" "$(classes "$tmp/given")" "dog cat"
expect_equal "words" "$(dataset_fact "$tmp/given" classes.0.words)" "a friend"
grep -q '5 without a class' "$tmp/out" || fail "birds are not said to be without a class"
expect_equal "dogs, cats, others" "$(for i in counts.0 counts.1 none; do dataset_fact "$tmp/given" splits.1.statistics.labels.$i; done | xargs)" "5 4 4"
expect_exit 0 "${images[@]}" --from "$tmp/pets/train/cat" --out "$tmp/single" --label-by '([0-9])\.jpg$' --split-by 'test=[12]\.'
expect_equal "classes by rule" "$(classes "$tmp/single")" "1 2 3"
expect_equal "splits by rule" "$(dataset_fact "$tmp/single" splits.0.name) $(dataset_fact "$tmp/single" splits.0.records)" "test 2"
! grep -q split-by "$tmp/err" || fail "a warning of a rule that matches: $(cat "$tmp/err")"
expect_exit 0 "${images[@]}" --from "$tmp/pets/train/cat" --out "$tmp/whole" --label-by none --split-by 'test=nobody'
expect_said 'split-by matches no path'
if [ -c /dev/full ]; then
	! "${images[@]}" --from "$tmp/pets" --out "$tmp/unheard" --json >/dev/full 2>"$tmp/err" || fail "what could not be printed was well"
	expect_said 'standard output: .*space'
	expect_verified "$tmp/unheard"
fi
mkdir "$tmp/flat" && cp -r "$tmp/pets/train/cat" "$tmp/flat/album"
expect_exit 0 "${images[@]}" --from "$tmp/flat" --out "$tmp/album"
! grep -q '"classes"' "$tmp/album/dataset.json" || fail "one folder for all was taken for a class"
for bad in "--label-by (" "--classes $tmp/nothing.txt" "--split-by x=("; do
	# shellcheck disable=SC2086
	! "${images[@]}" --from "$tmp/pets" --out "$tmp/bad" $bad >"$tmp/out" 2>"$tmp/err" || fail "$bad was taken"
	expect_said "$(cut -d ' ' -f 2 <<<"$bad" | sed 's/[(]/[(]/; s/^x=//')"
done
expect_exit 2 "${images[@]}" --from "$tmp/pets" --out "$tmp/one" --label-by none # a finished data set of other options
expect_said 'label_by'

step "smaller, and as pixels"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/small" --resize 20 --jobs 1
expect_verified "$tmp/small"
expect_equal "sizes" "$(sums "$tmp/small" train,test | cut -f 3,4 | LC_ALL=C sort -u | xargs)" "jpeg 20x28 jpeg 30x20"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/small3" --resize 20 --jobs 3
expect_same_data_set "$tmp/small3" "$tmp/small"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/best" --resize 20 --quality 100
[ "$(dataset_fact "$tmp/best" splits.1.digest)" != "$(dataset_fact "$tmp/small" splits.1.digest)" ] || fail "--quality changes nothing"
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/large" --resize 41
expect_equal "pictures that are no larger stay as they are" "$(sums "$tmp/large" train | cmp - <(sums "$tmp/one" train) && echo same)" same
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/pixels" --store rgb8
expect_verified "$tmp/pixels"
expect_equal "codecs" "$(sums "$tmp/pixels" train,test | cut -f 3 | LC_ALL=C sort -u)" rgb8
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/small-pixels" --store rgb8 --resize 20 --jobs 2
expect_equal "sizes" "$(sums "$tmp/small-pixels" train,test | cut -f 3,4 | LC_ALL=C sort -u | xargs)" "rgb8 20x28 rgb8 30x20"

step "damaged pictures are left out, each with a reason; --check says how much is looked at"
mkdir -p "$tmp/hurt/a" "$tmp/hurt/b"
"$picture" 80 80 5 "$tmp/hurt/a/"{good,cut,head,end,bits}.jpg "$tmp/hurt/b/"{good,cut}.png
size=$(stat -c %s "$tmp/hurt/a/cut.jpg")
shorten() { head -c "$2" "$1" >"$tmp/piece" && cat "$tmp/piece" >"$1"; }
shorten "$tmp/hurt/a/cut.jpg" $((size * 6 / 10))
shorten "$tmp/hurt/a/head.jpg" 100
shorten "$tmp/hurt/a/end.jpg" $(($(stat -c %s "$tmp/hurt/a/end.jpg") - 2))
shorten "$tmp/hurt/b/cut.png" $(($(stat -c %s "$tmp/hurt/b/cut.png") / 2))
: >"$tmp/hurt/b/empty.jpg"
{ printf noise; head -c 4096 /dev/urandom; } >"$tmp/hurt/b/noise.jpg"
expect_exit 3 "${images[@]}" --from "$tmp/hurt" --out "$tmp/hurt1"
expect_said 'rejected'
expect_no_data_set "$tmp/hurt1"
expect_exit 0 "${images[@]}" --from "$tmp/hurt" --out "$tmp/hurt1" --max-rejected 6 --jobs 1
for name in a/cut a/head a/end b/cut b/empty b/noise; do
	grep -qP "^$name\tundecodable\t.+" "$tmp/hurt1/train/rejected.tsv" || { cat "$tmp/hurt1/train/rejected.tsv"; fail "rejected.tsv does not name $name"; }
done
expect_exit 0 "${images[@]}" --from "$tmp/hurt" --out "$tmp/hurt4" --max-rejected 6 --jobs 4
expect_same_data_set "$tmp/hurt4" "$tmp/hurt1"
expect_exit 0 "${images[@]}" --from "$tmp/hurt" --out "$tmp/header" --max-rejected 6 --check header
expect_equal "left out by --check header" "$(wc -l <"$tmp/header/train/rejected.tsv")" 6
expect_exit 0 "${images[@]}" --from "$tmp/hurt" --out "$tmp/unseen" --max-rejected 6 --check none
expect_equal "left out by --check none" "$(wc -l <"$tmp/unseen/train/rejected.tsv")" 3
expect_exit 0 "${images[@]}" --from "$tmp/pets" --out "$tmp/few" --max-pixels 2000 --max-rejected 100%
grep -qP "\ttoo-large\t.*--max-pixels" "$tmp/few/train/rejected.tsv" || fail "60 x 40 pixels are more than 2000"
expect_equal "33 x 47 pixels are fewer" "$(dataset_fact "$tmp/few" splits.0.records)" 2
mkdir "$tmp/nothing" && echo text >"$tmp/nothing/a.txt"
expect_exit 1 "${images[@]}" --from "$tmp/nothing" --out "$tmp/none2"
expect_said 'no picture was found'
expect_exit 2 "${images[@]}" --out "$tmp/none2"

step "imagenet: tars in a tar, validation labels, indexes of all synsets"
mkdir "$tmp/tars" "$tmp/val"
for class in n00000030 n00000010 n00000020; do
	mkdir "$tmp/c"
	"$picture" 50 50 ${class#n} "$tmp/c/${class}_"{1,2,17}.JPEG
	tar -cf "$tmp/tars/$class.tar" -C "$tmp/c" --sort=name .
	rm -r "$tmp/c"
done
"$picture" 40 30 3 "$tmp/val/ILSVRC2012_val_0000000"{1,2,3}.JPEG
printf 'n00000020\nn00000010\nn00000005\n' >"$tmp/val.txt"
printf 'n00000005 five\nn00000010 ten\nn00000020 twenty, a score\nn00000030 thirty\n' >"$tmp/words.txt"
# The classes do not come in order.
tar -cf "$tmp/train.tar" -C "$tmp/tars" n00000030.tar n00000010.tar n00000020.tar
make_tar "$tmp/val.tar" "$tmp/val"
net=("${imagenet[@]}" --train "$tmp/train.tar" --val "$tmp/val.tar" --val-labels "$tmp/val.txt")
expect_exit 0 "${net[@]}" --synset-words "$tmp/words.txt" --out "$tmp/net"
expect_verified "$tmp/net"
expect_equal "classes" "$(classes "$tmp/net")" "n00000005 n00000010 n00000020 n00000030"
expect_equal "words" "$(dataset_fact "$tmp/net" classes.2.words)" "twenty, a score"
expect_equal "train" "$(sums "$tmp/net" train | cut -f 1,2 | xargs)" \
	"n00000030_1 3 n00000030_17 3 n00000030_2 3 n00000010_1 1 n00000010_17 1 n00000010_2 1 n00000020_1 2 n00000020_17 2 n00000020_2 2"
expect_equal "val" "$(sums "$tmp/net" val | cut -f 1,2 | xargs)" "ILSVRC2012_val_00000001 2 ILSVRC2012_val_00000002 1 ILSVRC2012_val_00000003 0"
expect_exit 0 "${net[@]}" --out "$tmp/own" # without words: the indexes of the train set's classes; val has one more
expect_equal "classes of the train set" "$(classes "$tmp/own")" "n00000010 n00000020 n00000030"
expect_equal "val" "$(sums "$tmp/own" val | cut -f 2 | xargs)" "1 0 -1"
for jobs in 1 4; do
	expect_exit 0 "${net[@]}" --out "$tmp/own$jobs" --jobs $jobs --shard-size 64K
	[ $jobs = 1 ] || expect_same_data_set "$tmp/own4" "$tmp/own1"
done
# As people unpack it: class tars in a folder, folders of pictures.
sums "$tmp/net" train | LC_ALL=C sort >"$tmp/wanted"
expect_exit 0 "${imagenet[@]}" --train "$tmp/tars" --synset-words "$tmp/words.txt" --out "$tmp/folder"
sums "$tmp/folder" | LC_ALL=C sort | cmp - "$tmp/wanted" || fail "a folder of class tars gives other records"
mkdir -p "$tmp/unpacked/train"
for class in n00000010 n00000020 n00000030; do mkdir "$tmp/unpacked/train/$class" && tar -xf "$tmp/tars/$class.tar" -C "$tmp/unpacked/train/$class"; done
expect_exit 0 "${imagenet[@]}" --from "$tmp/unpacked" --synset-words "$tmp/words.txt" --out "$tmp/unpacked-d2v"
sums "$tmp/unpacked-d2v" train | LC_ALL=C sort | cmp - "$tmp/wanted" || fail "unpacked folders give other records"
printf 'n0000002\n' >"$tmp/bad.txt"
expect_exit 2 "${imagenet[@]}" --val "$tmp/val.tar" --val-labels "$tmp/bad.txt" --out "$tmp/none3"
expect_said 'bad.txt.*line 1'

step "addresses: classes first, logins to their own server alone"
start_nginx
cp "$tmp/pets.tar.gz" "$tmp/train.tar" "$tmp/www/"
cp "$tmp/val.tar" "$tmp/val.txt" "$tmp/www/"
expect_exit 2 "${images[@]}" --from "$url/plain/pets.tar.gz" --out "$tmp/web"
expect_said 'classes must be known.*--classes'
printf 'bird\ncat\ndog\n' >"$tmp/three.txt"
expect_exit 0 "${images[@]}" --from "$url/plain/pets.tar.gz" --out "$tmp/web" --classes "$tmp/three.txt"
sums "$tmp/one" train,test | LC_ALL=C sort >"$tmp/wanted"
sums "$tmp/web" train,test | LC_ALL=C sort | cmp - "$tmp/wanted" || fail "an address gives other records"
expect_exit 0 "${images[@]}" --from "$url/plain/pets.tar.gz" --out "$tmp/kept" --keep-archives
sums "$tmp/kept" train,test | LC_ALL=C sort | cmp - "$tmp/wanted" || fail "a kept archive gives other records"
quick=(--retries 2 --retry-delay 0.05)
netweb=("${imagenet[@]}" "${quick[@]}" --train "$url/login/train.tar" --val "$url/login/val.tar" --val-labels "$url/plain/val.txt")
expect_exit 1 "${netweb[@]}" --out "$tmp/locked"
expect_said '403.*login.*--cookie.*D2V_COOKIE.*--from'
secret=sesame-$RANDOM
expect_exit 1 "${netweb[@]}" --cookie "session=wrong-$secret" --out "$tmp/locked"
expect_said '403.*the login it was given'
forget_requests
expect_exit 0 env D2V_COOKIE="session=open; x=$secret" "${netweb[@]}" --out "$tmp/locked"
expect_equal "val" "$(sums "$tmp/locked" val | cut -f 2 | xargs)" "2 1 0" # classes of the labels, since the train set is streamed
! grep -rqaF "$secret" "$tmp/locked" || fail "the login was stored"
expect_requests "archives with the login" 2 "/login/\(train\|val\).tar 200 .*$secret"
expect_requests "labels with the login" 0 "/plain/val.txt .*$secret"
expect_requests "labels" 1 '/plain/val.txt 200'
for how in "--header" "--token" "--cookie"; do
	forget_requests
	rm -rf "$tmp/away"
	value=$secret
	[ $how = --token ] || value="X-Login: $secret"
	[ $how != --cookie ] || value="session=open; x=$secret"
	printf '%s\n' "$value" >"$tmp/login"
	expect_exit 0 "${images[@]}" --from "$url/away/pets.tar.gz" --out "$tmp/away" --label-by none $how "@$tmp/login"
	expect_requests "$how at the server it is for" 1 "/away/pets.tar.gz .*$secret"
	expect_requests "$how where that led" 1 '/plain/pets.tar.gz 200'
	expect_requests "$how at another server" 0 "/plain/pets.tar.gz .*$secret"
	expect_exit 0 "${images[@]}" --from "$url/moved/pets.tar.gz" --out "$tmp/moved$how" --label-by none $how "@$tmp/login"
	expect_requests "$how sent on to the same server" 1 "/plain/pets.tar.gz .*$secret"
done
forget_requests
rm -rf "$tmp/away"
expect_exit 0 "${images[@]}" --from "http://me:$secret@${url#http://}/away/pets.tar.gz?key=$secret" --out "$tmp/away" --label-by none
basic=$(printf 'me:%s' "$secret" | base64)
expect_requests "user and password at their server" 1 "/away/pets.tar.gz .*$basic"
expect_requests "user and password at another server" 0 "/plain/pets.tar.gz .*$basic"
! grep -rqaF "$secret" "$tmp/away" || fail "user, password or key were stored"
for bad in "no header" $'A: b\r\nC: d'; do
	expect_exit 2 "${images[@]}" --from "$url/plain/pets.tar.gz" --out "$tmp/none4" --header "$bad"
	expect_said 'no header'
done
forget_requests
! env D2V_TOKEN="$secret" "$BIN/d2v-ingest" librispeech --splits dev-clean --mirror "$url/plain" --out "$tmp/none5" >"$tmp/out" 2>"$tmp/err" || fail "LibriSpeech from nowhere"
expect_requests "the official split" 1 '/plain/dev-clean.tar.gz 404'
expect_requests "what is public with a login" 0 "$secret"
