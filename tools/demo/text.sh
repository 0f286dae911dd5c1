# Text: made-up sentences with some grammar, and a tokenizer learnt from them, since GPT-2's would have to be fetched;
# sourced by tools/demo.sh.

# Documents of our own: who, what and where go on from sentence to sentence, so that there is something to predict.
write_documents() { # FOLDER
	mkdir -p "$1/documents"
	awk -v folder="$1/documents" '
		function draw(n) { state = state * 16807 % 2147483647; return 1 + state % n }
		function one_of(list, words) { return words[draw(split(list, words, ","))] }
		function person() { return one_of("Anna,Boris,Clara,the old captain,the miller,her brother,the young teacher,the gardener") }
		function thing() { return one_of("lamp,boat,letter,violin,basket of apples,map,clock,wooden chair,key,kettle") }
		function place() { return one_of("harbour,mill,market square,station,garden,school,library,lighthouse") }
		function sentence(who, what, where, kind) {
			kind = draw(8)
			if (kind == 1) return "In the morning " who " carried the " what " to the " where "."
			if (kind == 2) return "Nobody at the " where " had seen such a " what " before."
			if (kind == 3) return "\"Where did you find the " what "?\" asked " person() "."
			if (kind == 4) return "It was " one_of("raining,snowing,warm,windy,quiet") " when " who " came back from the " where "."
			if (kind == 5) return "The " what " was " one_of("heavy,broken,older than the house,worth very little,still wet") ", but " who " kept it."
			if (kind == 6) return "For " (1 + draw(11)) " days the " what " stood in the " where " and waited."
			if (kind == 7) return "Then " who " and " person() " went to the " where " together."
			return "Perhaps the " what " belonged to " person() ", who lived behind the " where "."
		}
		BEGIN {
			for (state = d = 1; d <= 400; d++) {
				file = sprintf("%s/%03d.txt", folder, d)
				for (paragraph = 1; paragraph <= 6; paragraph++) {
					who = person(); what = thing(); where = place(); line = ""
					for (s = 1; s <= 5; s++) line = line (s > 1 ? " " : "") toupper(substr(text = sentence(who, what, where), 1, 1)) substr(text, 2)
					print line >file
				}
				close(file)
			}
		}'
}
# About a megabyte of what is to be tokenized, or of our own text when that is packed.
sample_of() { # FILE-OR-FOLDER
	{
		find "$1" -type f -name '*.txt' -exec cat {} +
		cat "$(home_of text)"/written/documents/*.txt
	} 2>/dev/null | head -c 1000000 || true
}
learn_tokenizer() { # TEXT FOLDER
	sample_of "$1" | "$made/learn_merges" "$2/bpe" 600
}

# Sets text_data, and makes it.
prepare_text() {
	local home from=${DEMO_TEXT:-}
	check_given DEMO_TEXT
	home=$(home_of text "$from") text_data=$(home_of text "$from")/data
	mkdir -p "$home"
	if [ -n "$from" ]; then
		step "A tokenizer of byte pairs learnt from it"
	else
		step "Small text: 400 documents of made-up sentences, and a tokenizer of byte pairs learnt from them"
	fi
	make_once "$(home_of text)/written" write_documents
	[ -n "$from" ] || from=$home/written/documents
	make_once "$home/tokenizer" learn_tokenizer "$from"
	step "Text to shards"
	run "$bin/d2v-ingest" text --bpe "$home/tokenizer/bpe" --from "$from" --out "$text_data" --check
}
# The embedding needs a row for each of the tokenizer's tokens, not for each of GPT-2's.
text_keys=(model.modalities.text.vocab_size=1024)

demo_text() {
	local home
	prepare_text
	home=$(dirname "$text_data")

	step "A look inside"
	run "$bin/d2v-shard" stat "$text_data"
	run "$bin/d2v-shard" ls "$text_data" --limit 3
	run "$bin/d2v-shard" show "$text_data" 0 --force --out "$home/first.txt"
	run "$bin/d2v-shard" gallery "$text_data" --recipe text-tiny --samples 12 --force --out "$home/look"
	run "$bin/d2v-shard" verify "$text_data"

	step "A data2vec 2.0 model learns from it, for about two minutes (Ctrl-C saves; the same command goes on)"
	train "$home/run" 120 60 400 text-tiny task.data="$text_data" "${text_keys[@]}"

	step "What was made"
	there_is "$text_data" "the data set: dataset.json, LMDB shards and its tokenizer"
	there_is "$home/first.txt" "its first record, made text again"
	there_is "$home/look/index.html" "some of it with masks, to be opened in a browser"
	there_is "$home/run" "checkpoints, metrics.jsonl, TensorBoard events"
	draw_curve "$home/run" "$home/curve.svg" "its loss and spread"
	learnt "$home/run"
	cat <<-END

		  Next, text of yours, with GPT-2's tokenizer, which is fetched:
		    $bin/d2v-ingest text --from corpus/ --out corpus-d2v --check
		    $bin/d2v-train text-base --plan task.data=corpus-d2v                       # what it would cost
	END
}
