#!/usr/bin/env bash
# d2v-shard show and gallery of sound, pictures and text: what is drawn, what is written, a page that needs nothing else.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
shard=("$BIN/d2v-shard")
field() { "$helpers/helper_json" "$1" <"$tmp/out"; }
png_size() { od -An -tu1 -j 16 -N 8 "$1" | awk '{ print $1*16777216+$2*65536+$3*256+$4, $5*16777216+$6*65536+$7*256+$8 }'; }

# What any gallery must be: whole, of so many figures, and without a word about another file or address.
expect_page() { # FILE FIGURES
	expect_equal "figures of $1" "$(grep -o '<figure' "$1" | wc -l)" "$2"
	tail -n 1 "$1" | grep -q '</html>' || fail "$1 has no end"
	! grep -oiE '(src|href)="[^"]{0,40}' "$1" | grep -v '="data:' || fail "$1 needs other files"
	! grep -qiE 'https?://|<script|@import|url\(' "$1" || fail "$1 names an address or runs a script"
}
# In headless Chromium, where there is one: the page is read as it was meant.
browser=$(command -v chromium || command -v chromium-browser || true)
expect_shown() { # FILE FIGURES
	[ -n "$browser" ] || return 0
	timeout 100 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/browser" --dump-dom "file://$1" \
		>"$tmp/dom" 2>/dev/null || { echo "chromium does not run here"; browser=; return 0; }
	expect_equal "figures in the browser" "$(grep -o '<figure' "$tmp/dom" | wc -l)" "$2"
}

step "sound: a spectrogram in the terminal and as PNG"
"$helpers/helper_speech_set" "$tmp/sound" 30 8000 64000
expect_exit 0 "${shard[@]}" show "$tmp/sound" 2 --draw always
grep -q $'\033\[38;2;[0-9]*;[0-9]*;[0-9]*m' "$tmp/out" || fail "--draw always draws nothing"
expect_exit 0 env COLORTERM=truecolor "${shard[@]}" show "$tmp/sound" 2
! grep -q $'\033' "$tmp/out" || fail "draws although standard output is no terminal"
expect_exit 0 "${shard[@]}" show "$tmp/sound" 2 --out "$tmp/sound.png"
expect_exit 0 "${shard[@]}" show "$tmp/sound" 2 --json
expect_equal "size of the spectrogram" "$(png_size "$tmp/sound.png")" "$(($(field units) / 160)) 256"

step "sound: the gallery, whose first mask hides the share of frames that the recipe says"
expect_exit 0 "${shard[@]}" gallery "$tmp/sound" --out "$tmp/page" --samples 12 --json
expect_equal "samples" "$(field samples) $(field recipe)" "12 audio-base"
page=$tmp/page/index.html
expect_page "$page" 12
expect_shown "$page" 12
frames=$(grep -o 'viewBox="0 0 [0-9]* 1"' "$page" | sed -n 1p | tr -dc '0-9 ' | awk '{ print $3 }')
masked=$(grep -o '<path d="[^"]*"' "$page" | sed -n 1p | grep -oE 'h[0-9]+v' | tr -dc '0-9\n' | awk '{ sum += $1 } END { print sum }')
expect_equal "masked of $frames frames" "$masked" $((frames / 2))
cp "$page" "$tmp/before.html"
expect_exit 1 "${shard[@]}" gallery "$tmp/sound" --out "$tmp/page" --samples 12
expect_said 'is there already'
expect_exit 0 "${shard[@]}" gallery "$tmp/sound" --out "$tmp/page" --samples 12 --force
cmp "$page" "$tmp/before.html" || fail "the same gallery twice is not the same page"
expect_exit 0 "${shard[@]}" gallery "$tmp/sound" --out "$tmp/heard" --samples 2 --sound
expect_equal "players" "$(grep -o '<audio' "$tmp/heard/index.html" | wc -l)" 2
expect_exit 2 "${shard[@]}" gallery "$tmp/sound" --out "$tmp/none" --recipe image-base
expect_said 'knows nothing of audio'

step "texts of records are text on the page"
mkdir "$tmp/voices"
expect_exit 0 "${shard[@]}" show "$tmp/sound" 0 --out "$tmp/voices/one.wav"
echo '<script>alert("&")</script>' >"$tmp/voices/one.txt"
expect_exit 0 "$BIN/d2v-ingest" audio --from "$tmp/voices" --out "$tmp/voiced" --quiet
expect_exit 0 "${shard[@]}" gallery "$tmp/voiced" --out "$tmp/voiced.page"
expect_page "$tmp/voiced.page/index.html" 1
grep -qF '&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;' "$tmp/voiced.page/index.html" || fail "the transcript is not on the page"

step "pictures: drawn, written as PNG, with patches masked; classes by name; taken out into folders of classes"
for class in cat dog; do
	mkdir -p "$tmp/pictures/$class"
	"$helpers/helper_picture" 60 40 "${#class}" "$tmp/pictures/$class/small.png" >/dev/null
	"$helpers/helper_picture" 300 200 7 "$tmp/pictures/$class/large.jpg" >/dev/null
done
expect_exit 0 "$BIN/d2v-ingest" images --from "$tmp/pictures" --out "$tmp/image" --quiet
expect_exit 0 "${shard[@]}" ls "$tmp/image" --json
record=$("$helpers/helper_json" 0.name <"$tmp/out")
[ "$("$helpers/helper_json" 0.codec <"$tmp/out")" = jpeg ] || fail "record 0 is no JPEG"
expect_exit 0 "${shard[@]}" show "$tmp/image" "$record" --draw always --out "$tmp/picture.png"
grep -q $'\033\[48;2;' "$tmp/out" || fail "--draw always draws nothing"
expect_equal "size of the picture" "$(png_size "$tmp/picture.png")" "300 200"
expect_exit 0 "${shard[@]}" show "$tmp/image" "$record" --out "$tmp/picture.jpg"
cmp "$tmp/picture.jpg" "$tmp/pictures/cat/large.jpg" || fail "a stored JPEG comes out as other bytes"
expect_exit 2 "${shard[@]}" show "$tmp/image" "$record" --out "$tmp/picture.wav"
expect_exit 0 "${shard[@]}" stat "$tmp/image"
grep -qE '^ +2 +0 +cat$' "$tmp/out" || fail "stat does not list the class: $(cat "$tmp/out")"
expect_exit 0 "${shard[@]}" gallery "$tmp/image" --out "$tmp/image.page"
expect_page "$tmp/image.page/index.html" 4
expect_shown "$tmp/image.page/index.html" 4
masked=$(grep -o '<path d="[^"]*"' "$tmp/image.page/index.html" | sed -n 1p | grep -oE 'h[0-9]+v' | tr -dc '0-9\n' | awk '{ sum += $1 } END { print sum }')
expect_equal "masked of 196 patches" "$masked" 157 # int(196 x 0.2) are kept
expect_exit 0 "${shard[@]}" export "$tmp/image" --out "$tmp/taken"
expect_equal "files" "$(find "$tmp/taken" -path '*/cat/*' -type f | wc -l) $(find "$tmp/taken" -path '*/dog/*' -type f | wc -l)" "2 2"
find "$tmp/taken" -name 'large.jpg' -path '*/dog/*' -exec cmp {} "$tmp/pictures/dog/large.jpg" \; || fail "other pictures taken out"
expect_exit 0 "${shard[@]}" verify "$tmp/image" --decode --quiet

step "text: printed again through the tokenizer, taken out as documents, with tokens masked"
mkdir "$tmp/bpe" "$tmp/texts"
{ # every byte is a token, and there are no merges but one
	other=256
	echo '{'
	for byte in $(seq 0 255); do
		letter=$byte
		if [ "$byte" -lt 33 ] || { [ "$byte" -gt 126 ] && [ "$byte" -lt 161 ]; } || [ "$byte" = 173 ]; then
			letter=$other other=$((other + 1))
		fi
		printf '"\\u%04x": %d,\n' "$letter" "$byte"
	done
	echo '"th": 256, "<|endoftext|>": 257}'
} >"$tmp/bpe/encoder.json"
printf '#version: 0.2\nt h\n' >"$tmp/bpe/vocab.bpe"
for i in 1 2 3; do
	for line in $(seq 20); do echo "the $i. text, line $line — with <b>markup</b>"; done >"$tmp/texts/$i.txt"
done
expect_exit 0 "$BIN/d2v-ingest" text --from "$tmp/texts" --bpe "$tmp/bpe" --out "$tmp/text" --quiet
expect_exit 0 "${shard[@]}" show "$tmp/text" 0
grep -qF 'the 1. text, line 2 — with <b>markup</b>' "$tmp/out" || fail "show prints no text: $(head -n 20 "$tmp/out")"
expect_exit 0 "${shard[@]}" show "$tmp/text" 0 --out "$tmp/block.txt"
expect_equal "lines of the block" "$(grep -c markup "$tmp/block.txt")" 60
expect_exit 0 "${shard[@]}" export "$tmp/text" --out "$tmp/documents" --json
expect_equal "documents" "$(field records)" 3
cat "$tmp"/documents/*/*.txt | cmp - <(cat "$tmp"/texts/*.txt) || fail "other documents come out"
expect_exit 0 "${shard[@]}" export "$tmp/text" --out "$tmp/second" --start 1 --limit 1
cmp "$tmp"/second/*/00000001.txt "$tmp/texts/2.txt" || fail "another document than the second"
expect_exit 0 "${shard[@]}" gallery "$tmp/text" --out "$tmp/text.page"
expect_page "$tmp/text.page/index.html" 1
[ "$(grep -o '<s>' "$tmp/text.page/index.html" | wc -l)" -gt 20 ] || fail "no tokens are masked"
grep -qF '&lt;' "$tmp/text.page/index.html" || fail "markup in the text is not escaped"
expect_exit 0 "${shard[@]}" merge --out "$tmp/joined" "$tmp/text"
expect_exit 0 "${shard[@]}" verify "$tmp/joined" --quiet
rm -r "$tmp/text/tokenizer"
expect_exit 0 "${shard[@]}" show "$tmp/text" 0
expect_said 'tokenizer: is not there'
expect_exit 3 "${shard[@]}" verify "$tmp/text" --quiet
