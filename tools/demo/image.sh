# Pictures: shapes of six kinds, which a model that never hears their names should learn to tell apart; sourced by
# tools/demo.sh.

draw_pictures() { # FOLDER
	"$made/draw_shapes" "$1/pictures" 300 60
}

# Sets image_data, and makes it.
prepare_image() {
	local home from=${DEMO_IMAGES:-}
	check_given DEMO_IMAGES
	home=$(home_of image "$from") image_data=$(home_of image "$from")/data
	mkdir -p "$home"
	if [ -z "$from" ]; then
		step "Small pictures: 2,160 shapes of six kinds"
		make_once "$home/drawn" draw_pictures
		from=$home/drawn/pictures
	fi
	step "Pictures to shards"
	run "$bin/d2v-ingest" images --from "$from" --out "$image_data"
}

demo_image() {
	local home
	prepare_image
	home=$(dirname "$image_data")

	step "A look inside"
	run "$bin/d2v-shard" stat "$image_data"
	run "$bin/d2v-shard" ls "$image_data" --limit 3
	run "$bin/d2v-shard" show "$image_data" 0 --force --out "$home/first.png"
	run "$bin/d2v-shard" gallery "$image_data" --recipe image-tiny --force --out "$home/look"
	run "$bin/d2v-shard" verify "$image_data"

	step "A data2vec 2.0 model learns from them, for about two minutes (Ctrl-C saves; the same command goes on)"
	train "$home/run" 120 60 1000 image-tiny task.data="$image_data"

	if grep -q '"classes"' "$image_data/dataset.json"; then
		step "Do neighbours in its features show the same? Beside them those of the untrained encoder"
		run "$bin/d2v-eval" knn "$home/run" "$image_data" --compare-random
	fi

	step "What was made"
	there_is "$image_data" "the data set: dataset.json and LMDB shards"
	there_is "$home/first.png" "its first picture"
	there_is "$home/look/index.html" "some of it with masks, to be opened in a browser"
	there_is "$home/run" "checkpoints, metrics.jsonl, TensorBoard events"
	draw_curve "$home/run" "$home/curve.svg" "its loss and spread"
	learnt "$home/run"
	cat <<-END

		  Next, pictures of yours:
		    make demo DEMO=image DEMO_IMAGES=photos/                                   # a folder for each class
		    $bin/d2v-ingest images --from photos/ --out photos-d2v
		    $bin/d2v-train image-base --plan task.data=photos-d2v                      # what it would cost
	END
}
