# Speech: espeak-ng speaks a corpus in LibriSpeech's layout; sourced by tools/demo.sh.

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

# Sets speech_data, and makes it.
prepare_speech() {
	local home from=${DEMO_SPEECH:-}
	check_given DEMO_SPEECH
	home=$(home_of speech "$from") speech_data=$(home_of speech "$from")/data
	mkdir -p "$home"
	if [ -z "$from" ]; then
		step "A small corpus: espeak-ng speaks 144 utterances in LibriSpeech's layout"
		make_once "$home/corpus" speak_corpus
		from=$home/corpus/LibriSpeech
	fi
	step "Speech to shards"
	run "$bin/d2v-ingest" librispeech --from "$from" --out "$speech_data"
}

demo_speech() {
	local home
	prepare_speech
	home=$(dirname "$speech_data")

	step "A look inside"
	run "$bin/d2v-shard" stat "$speech_data"
	run "$bin/d2v-shard" ls "$speech_data" --limit 3
	run "$bin/d2v-shard" show "$speech_data" 0 --force --out "$home/first.wav"
	run "$bin/d2v-shard" gallery "$speech_data" --recipe audio-tiny --samples 12 --sound --force --out "$home/look"
	run "$bin/d2v-shard" verify "$speech_data"

	step "A data2vec 2.0 model learns from it, for about two minutes (Ctrl-C saves; the same command goes on)"
	train "$home/run" 120 60 240 audio-tiny task.data="$speech_data"

	step "What was made"
	there_is "$speech_data" "the data set: dataset.json and LMDB shards"
	there_is "$home/first.wav" "its first utterance"
	there_is "$home/look/index.html" "some of it with masks, to be opened in a browser"
	there_is "$home/run" "checkpoints, metrics.jsonl, TensorBoard events"
	draw_curve "$home/run" "$home/curve.svg" "its loss and spread"
	learnt "$home/run"
	cat <<-END

		  Next, the real thing:
		    $bin/d2v-ingest librispeech --splits train-clean-100 --out librispeech     # 6.4 GB download, resumes
		    $bin/d2v-train audio-base --plan task.data=librispeech                     # what it would cost
		    $bin/d2v-train audio-base task.data=librispeech checkpoint.save_dir=runs/base
	END
}
