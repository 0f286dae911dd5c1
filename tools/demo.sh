#!/usr/bin/env bash
# The whole way in a few minutes: speech in, shards, a look inside, a data2vec 2.0 model learning from it.
# `make demo` calls this. DEMO_SPEECH=archive takes a LibriSpeech archive of yours; otherwise the corpus is spoken by
# espeak-ng in LibriSpeech's layout, so that no network is needed. The training is as long as this machine does in about
# two minutes, 60 to 240 updates; DEMO_UPDATES says how long instead.
set -euo pipefail
bin=${BIN:-build/bin}
dir=${DEMO_DIR:-build/demo}
updates=${DEMO_UPDATES:-}
speech=${DEMO_SPEECH:-}

# What two minutes are good for, by the plan's own measurement of this machine.
updates_in_two_minutes() { # DATASET
	local per_hour
	per_hour=$("$bin/d2v-train" audio-tiny --plan --json task.data="$1" | sed -n 's/.*"updates_per_hour": *\([0-9]*\).*/\1/p')
	local updates=$((${per_hour:-0} / 30))
	echo $((updates < 60 ? 60 : updates > 240 ? 240 : updates))
}

step() { printf '\n\033[1m%s\033[0m\n' "$1"; }
run() { printf '  $ %s\n' "$*"; "$@"; }

# Sentences of our own, written for this demo; long enough to be kept (2 s and more).
sentences() {
	cat <<-'EOF'
		The morning train was late again and nobody on the platform seemed to mind it very much
		She kept a small garden behind the workshop where tomatoes climbed along the warm brick wall
		Every measurement begins with a question and a careful hand that writes down the answer
		The old lighthouse stood at the end of the pier and blinked across the dark water all night
		Seven boxes of books arrived on Tuesday and three of them were entirely about birds
		If the batter is too thick add a spoon of milk and stir it slowly until it falls from the ladle
		They walked for hours along the frozen river listening to the ice crack under the weak sun
		A good tool disappears in the hand and leaves only the work that is being done with it
		The orchestra tuned while the last guests hurried down the aisle and looked for their seats
		Nobody could remember who had planted the chestnut tree in the middle of the square
		He counted the coins twice and then a third time because the sum still refused to change
		Beyond the hills the road divides and either way will bring you to the harbour by evening
	EOF
}

speak_corpus() { # FOLDER
	local out=$1/LibriSpeech/demo speaker=0 voice pitch speed chapter n line base
	command -v espeak-ng >/dev/null || { echo "demo: espeak-ng is missing: apt-get install espeak-ng flac, or give DEMO_SPEECH=archive" >&2; exit 1; }
	for voice in en-us en-gb en-gb-scotland en+m1 en+m3 en+m5 en+m7 en+f1 en+f2 en+f3 en+f4 en+f5; do
		speaker=$((speaker + 1)) chapter=$((100 + speaker)) n=0
		pitch=$((30 + speaker * 4)) speed=$((125 + speaker * 5))
		mkdir -p "$out/$speaker/$chapter"
		: >"$out/$speaker/$chapter/$speaker-$chapter.trans.txt"
		while read -r line; do
			base=$speaker-$chapter-$(printf '%04d' $n)
			espeak-ng -v "$voice" -p $pitch -s $speed -w "$1/spoken.wav" "$line"
			flac --silent --force -o "$out/$speaker/$chapter/$base.flac" "$1/spoken.wav"
			echo "$base ${line^^}" >>"$out/$speaker/$chapter/$speaker-$chapter.trans.txt"
			n=$((n + 1))
		done < <(sentences)
	done
	rm -f "$1/spoken.wav"
}

if [ -n "$speech" ]; then
	[ -e "$speech" ] || { echo "demo: DEMO_SPEECH=$speech: no such archive or folder" >&2; exit 2; }
	dir=$dir/$(basename "$speech")
	mkdir -p "$dir"
else
	mkdir -p "$dir"
	speech=$dir/speech
	if [ ! -e "$speech/done" ]; then
		step "1. A small corpus: espeak-ng speaks 144 utterances in LibriSpeech's layout"
		rm -rf "$speech"
		speak_corpus "$speech"
		touch "$speech/done"
	fi
	speech=$speech/LibriSpeech
fi

step "2. Speech to shards"
run "$bin/d2v-ingest" librispeech --from "$speech" --out "$dir/data"

step "3. A look inside"
run "$bin/d2v-shard" stat "$dir/data"
run "$bin/d2v-shard" ls "$dir/data" --limit 3
rm -f "$dir/first.wav"
run "$bin/d2v-shard" show "$dir/data" 0 --out "$dir/first.wav"
run "$bin/d2v-shard" verify "$dir/data"

step "4. A data2vec 2.0 model learns from it, for about two minutes (Ctrl-C saves; the same command goes on)"
# Decided once, so that the same command goes on with the same run.
[ -n "$updates" ] || [ ! -s "$dir/updates" ] || updates=$(cat "$dir/updates")
[ -n "$updates" ] || updates=$(updates_in_two_minutes "$dir/data")
echo "$updates" >"$dir/updates"
run "$bin/d2v-train" audio-tiny task.data="$dir/data" checkpoint.save_dir="$dir/run" \
	optimization.max_update="$updates" lr_scheduler.warmup_updates=$((updates / 8))

step "5. What was made"
first=$(head -n 1 "$dir/run/metrics.jsonl") last=$(tail -n 1 "$dir/run/metrics.jsonl")
rounded() { LC_ALL=C printf "%.2f" "$1"; }
field() { sed -n "s/.*\"$2\": *\([-0-9.e+]*\).*/\1/p" <<<"$1"; }
cat <<EOF
  $dir/data                 the data set: dataset.json and LMDB shards
  $dir/first.wav            its first utterance
  $dir/run                  checkpoints, metrics.jsonl, TensorBoard events
  loss                      $(rounded "$(field "$first" loss)") at update $(field "$first" update), $(rounded "$(field "$last" loss)") at update $(field "$last" update)
  spread of predictions     $(rounded "$(field "$first" pred_var)") before, $(rounded "$(field "$last" pred_var)") after (0 would be a collapse)

  Next, the real thing:
    $bin/d2v-ingest librispeech --splits train-clean-100 --out librispeech     # 6.4 GB download, resumes
    $bin/d2v-train audio-base --plan task.data=librispeech                     # what it would cost
    $bin/d2v-train audio-base task.data=librispeech checkpoint.save_dir=runs/base
EOF
