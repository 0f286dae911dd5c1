#!/usr/bin/env bash
# Downloads from servers good and bad: a real nginx, and one that misbehaves on purpose. Whatever happens on the way, the data
# set is the one the archive gives, or there is none and the message says why.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need flac curl
start_nginx
start_bad_server
synthetic_speech "$tmp/speech" dev-clean 3 4 5
archive=$tmp/www/a.tar.gz
(cd "$tmp/speech" && tar -czf "$archive" --sort=name LibriSpeech)
size=$(stat -c %s "$archive")
third=$((size / 3))
librispeech=("$BIN/d2v-ingest" librispeech --jobs 2)
quick=(--retries 3 --retry-delay 0.05)

# What the archive gives when it is a file; the address of the source is the only thing that may differ.
expect_exit 0 "${librispeech[@]}" --from "$archive" --out "$tmp/wanted"
wanted_digest=$(dataset_fact "$tmp/wanted" splits.0.digest)
expect_good() { # WHAT FOLDER
	expect_verified "$2"
	expect_equal "$1: digest" "$(dataset_fact "$2" splits.0.digest)" "$wanted_digest"
	expect_equal "$1: bytes of the source" "$(dataset_fact "$2" sources.0.bytes)" "$size"
	expect_equal "$1: checksum of the source" "$(dataset_fact "$2" sources.0.checksum)" "sha256:$(sha256sum "$archive" | cut -d ' ' -f 1)"
}
out=$tmp/out-dir times=0
# Both ways of downloading: straight into the ingest, and kept.
succeeds() { # WHAT URL [OPTION...]
	local what=$1 from=$2 keep
	shift 2
	for keep in "" --keep-archives; do
		step "$what${keep:+, kept}"
		rm -rf "$out"
		# shellcheck disable=SC2086
		expect_exit 0 "${librispeech[@]}" "${quick[@]}" --from "$from?$((times++))" --out "$out" $keep "$@"
		expect_good "$what" "$out"
		if [ -n "$keep" ]; then
			kept=$(find "$out" -type f -name 'a.tar.gz')
			cmp "$kept" "$archive" || fail "$what: the archive kept is another"
			[ -z "$(find "$out" -name '*.part*')" ] || fail "$what: a part was left behind"
		fi
	done
}
refuses() { # WHAT URL MESSAGE [OPTION...]
	local what=$1 from=$2 message=$3 keep
	shift 3
	for keep in "" --keep-archives; do
		step "$what${keep:+, kept}"
		rm -rf "$out"
		# shellcheck disable=SC2086
		expect_exit 1 "${librispeech[@]}" "${quick[@]}" --from "$from?$((times++))" --out "$out" $keep "$@"
		expect_said "$message"
		expect_no_data_set "$out"
		[ -z "$(find "$out" -name a.tar.gz 2>/dev/null)" ] || fail "$what: an archive that is not whole was kept as if it were"
	done
}

succeeds "plain" "$url/plain/a.tar.gz"
succeeds "redirect" "$url/moved/a.tar.gz"
refuses "redirect loop" "$url/loop/a.tar.gz" 'redirect'
[ "$(requests /loop/)" -le 40 ] || fail "the loop was followed $(requests /loop/) times"
refuses "redirect to a file of this machine" "$url/elsewhere/a.tar.gz" 'protocol|redirect'
refuses "403" "$url/forbidden/a.tar.gz" '403'
expect_requests 403 2 /forbidden/ # one each: it does not get better by asking
refuses "401" "$url/locked/a.tar.gz" '401'
refuses "404" "$url/plain/nothing/a.tar.gz" '404'
expect_requests 404 2 /plain/nothing
refuses "503 for ever" "$url/busy/a.tar.gz" '503'
expect_requests 503 8 /busy/ # with three retries each
refuses "no server" "http://127.0.0.1:1/a.tar.gz" 'connect|refused'
refuses "an empty file" "$url/plain/empty/a.tar.gz" '.' 
refuses "an unknown scheme" "gopher://127.0.0.1/a.tar.gz" 'gopher'

bad() { echo "$bad_url/$1/$2/a.tar.gz"; }
starts() { grep -F "/$1/" "$tmp/bad.log" | cut -d ' ' -f 2 | tr '\n' ' '; } # Range starts asked for in a mode
succeeds "503 twice" "$(bad busy 2)"
succeeds "dropped again and again" "$(bad drop $third)"
case $(starts drop) in "- "[1-9]*" - "[1-9]*) ;; *) fail "after a drop the rest must be asked for by Range: $(starts drop)" ;; esac
succeeds "dropped, then Range ignored" "$(bad ignore $((third + 1)))"
succeeds "silence in the middle" "$(bad stall $((third + 2)))" --stall 0.5 --retries 20
refuses "no answer" "$(bad silent 0)" 'no byte|time' --stall 0.5
refuses "the file changes under the download" "$(bad changed $third)" 'changed'
refuses "the rest of another file" "$(bad replaced $third)" 'changed'
refuses "another range than asked for" "$(bad offbyone $third)" 'asked for|range'
refuses "an endless body" "$(bad endless 0)" 'max-download|more than' --max-download 8M
refuses "endless header lines" "$(bad headers 0)" '.'
refuses "larger than allowed" "$url/plain/a.tar.gz" 'max-download' --max-download 100K
for mode in short close; do
	rm -rf "$out"
	step "cut off without notice ($mode)"
	expect_exit 3 "${librispeech[@]}" "${quick[@]}" --from "$(bad $mode $third)" --out "$out"
	expect_no_data_set "$out"
done

# Killed as soon as something was kept of the download, which is slow until then.
killed_download() {
	local pid
	rm -rf "$out"
	: >"$tmp/slow"
	"${big[@]}" >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	until [ -n "$(find "$out" -name 'big.tar.gz.part' -size +0 2>/dev/null)" ]; do
		kill -0 $pid 2>/dev/null || fail "the download was over before the kill: $(find "$out")"
		sleep 0.02
	done
	kill -KILL $pid
	wait $pid 2>/dev/null || true
	rm "$tmp/slow"
	expect_no_data_set "$out"
}
big=("${librispeech[@]}" "${quick[@]}" --from "$url/slow/big.tar.gz" --out "$out" --keep-archives)

step "killed in the middle: the same command asks for the rest"
head -c 6000000 /dev/urandom >"$tmp/speech/LibriSpeech/README.TXT" # a minute and a half from the slow place
(cd "$tmp/speech" && tar -czf "$tmp/www/big.tar.gz" --sort=name LibriSpeech)
killed_download
forget_requests
expect_exit 0 "${big[@]}"
expect_equal "killed: digest" "$(dataset_fact "$out" splits.0.digest)" "$wanted_digest"
expect_requests "the rest" 1 '^GET /slow/big.tar.gz 206 [0-9]* "bytes=[1-9][0-9]*-"'
cmp "$(find "$out" -name big.tar.gz)" "$tmp/www/big.tar.gz" || fail "the archive is not the server's"

step "killed, and the file on the server is another one when it goes on"
killed_download
cp "$archive" "$tmp/www/big.tar.gz" # with another time and size
touch -d @1000000000 "$tmp/www/big.tar.gz"
expect_exit 0 "${big[@]}"
expect_equal "another file: digest" "$(dataset_fact "$out" splits.0.digest)" "$wanted_digest"
cmp "$(find "$out" -name big.tar.gz)" "$archive" || fail "two files were put together"

step "an official split from a mirror: another size, and the right size with another MD5"
rm -rf "$out"
cp "$archive" "$tmp/www/dev-clean.tar.gz"
expect_exit 1 "${librispeech[@]}" "${quick[@]}" --splits dev-clean --mirror "$url/plain" --out "$out"
expect_said '337926286'
expect_no_data_set "$out"
# A tar ends before its file does: padding makes it as long as the real one.
(cd "$tmp/speech" && rm LibriSpeech/README.TXT && tar -cf "$tmp/www/dev-clean.tar.gz" --sort=name LibriSpeech)
truncate -s 337926286 "$tmp/www/dev-clean.tar.gz"
sum=$(md5sum "$tmp/www/dev-clean.tar.gz" | cut -d ' ' -f 1)
for keep in "" --keep-archives; do
	rm -rf "$out"
	# shellcheck disable=SC2086
	expect_exit 3 "${librispeech[@]}" "${quick[@]}" --splits dev-clean --mirror "$url/plain" --out "$out" $keep
	expect_said "$sum"
	expect_said 42e2234ba48799c1f50f24a7926300a1
	expect_no_data_set "$out"
done
