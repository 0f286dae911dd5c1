#!/usr/bin/env bash
# What the smallest recipes learn in ten minutes on two cores: trains image-tiny on the sample of CIFAR-10 and audio-tiny on the
# spoken digits, on three seeds each, holds the probe against an untrained encoder's, and prints docs/results.md. Curves go to
# docs/. Ends with 1 when a run does not exceed its untrained encoder by more than the 95 % interval.
#     make results            or: SEEDS="1 2 3" ONLY=image MINUTES=5 RESULTS_DIR=build/results tools/results.sh > docs/results.md
# IMAGE_EXTRA and AUDIO_EXTRA are further KEY=VALUEs. Needs D2V_SHARED with data/cifar10 and data/fsdd. Goes on where it was
# stopped. About an hour for six runs; the machine should have nothing else to do, since a run ends after MINUTES (ten)
# whatever it has reached.
set -euo pipefail
BIN=${BIN:-build/bin} dir=${RESULTS_DIR:-build/results} seeds=${SEEDS:-1 2 3} only=${ONLY:-image audio}
shared=${D2V_SHARED:-../shared}
threads=${THREADS:-2} minutes=${MINUTES:-10}
mkdir -p "$dir"
say() { echo "results: $*" >&2; }
[ -f "$shared/data/cifar10/cifar10-mini.tar.gz" ] || { say "no $shared/data/cifar10: set D2V_SHARED"; exit 77; }

# ---- data

[ -f "$dir/cifar10/dataset.json" ] || "$BIN/d2v-ingest" images --quiet --from "$shared/data/cifar10/cifar10-mini.tar.gz" \
	--split-by folder --label-by folder --out "$dir/cifar10" >&2
[ -f "$dir/digits/dataset.json" ] || "$BIN/d2v-ingest" audio --quiet \
	--from "$shared/data/fsdd/free-spoken-digit-dataset.tar.gz" --split-by 'test=_[0-4]\.wav$' \
	--label-by '/([0-9])_[a-z]+_[0-9]+\.wav$' --out "$dir/digits" >&2

# ---- runs

# What is changed of a recipe, and how often to look. Pictures: half the width and twice the learning rate, with a schedule that
# ends in time: in these minutes many small updates teach more than few large ones. Digits last half a second, so that where
# in the recording a frame lies says much of what it holds: a teacher that moves as fast as the recipe's soon agrees with the
# student on that alone (the loss falls to a thirtieth while neighbours get worse), a slow one keeps its targets about the sound.
image_settings=(task.data="$dir/cifar10" d2v.probe_interval=100 model.embed_dim=96 model.modalities.image.embed_dim=96
	model.modalities.image.decoder.decoder_dim=48 optimization.max_update=300 'optimization.lr=[0.002]'
	lr_scheduler.warmup_updates=40 model.ema_anneal_end_step=300 ${IMAGE_EXTRA:-})
audio_settings=(task.data="$dir/digits" task.min_sample_size=3000 dataset.max_tokens=160000 d2v.probe_interval=200
	optimization.max_update=1000 lr_scheduler.warmup_updates=100 model.ema_decay=0.9995 model.ema_end_decay=0.9999
	model.ema_anneal_end_step=1000 ${AUDIO_EXTRA:-})
layer=${LAYER:-last}

train() { # MODALITY SEED: leaves the seconds that it took in the run's folder
	local -n settings=$1_settings
	local start=$SECONDS
	"$BIN/d2v-train" "$1-tiny" "${settings[@]}" common.seed="$2" checkpoint.save_dir="$dir/$1-$2" d2v.threads="$threads" \
		optimization.stop_time_hours="$(awk "BEGIN { print $minutes / 60 }")" d2v.probe_samples=1000 >&2
	echo $((SECONDS - start)) >"$dir/$1-$2/done"
}
look() { # MODALITY SEED METHOD
	local data=$dir/cifar10
	[ "$1" = image ] || data=$dir/digits
	[ -s "$dir/$1-$2.$3.json" ] || "$BIN/d2v-eval" "$3" "$dir/$1-$2" "$data" --layer "$layer" --compare-random --seed "$2" \
		--threads "$threads" --json >"$dir/$1-$2.$3.json"
}
for modality in $only; do
	for seed in $seeds; do
		[ -e "$dir/$modality-$seed/done" ] || { say "$modality-tiny, seed $seed"; train $modality "$seed"; }
		for method in probe knn; do look $modality "$seed" $method; done
	done
done

# ---- the page

value() { # FILE SECTION KEY: of d2v-eval's JSON, whose keys stand one a line
	awk -v section="\"$2\"" -v key="\"$3\"" '$1 == section ":" { inside = 1 } inside && $1 == key ":" { gsub(/[,]/, "", $2); print $2; exit }' "$1"
}
percent() { awk "BEGIN { printf \"%.1f\", 100 * $1 }"; }
bad=0
row() { # MODALITY SEED METHOD
	local file=$dir/$1-$2.$3.json low name
	low=$(value "$file" difference low)
	[ "$3" = knn ] && name="20 neighbours" || name="linear probe"
	if [ "$3" = probe ] && awk "BEGIN { exit !($low <= 0) }"; then bad=1; fi
	echo "| $2 | $name | $(percent "$(value "$file" untrained accuracy)") | $(percent "$(value "$file" trained accuracy)") ($(percent "$(value "$file" trained low)") to $(percent "$(value "$file" trained high)")) | $(percent "$(value "$file" difference accuracy)") ($(percent "$low") to $(percent "$(value "$file" difference high)")) | $(printf %.2g "$(value "$file" difference p)") |"
}
changes() { # MODALITY: the settings of its runs without the folder
	local -n settings=$1_settings
	echo "${settings[*]:1}"
}
cat <<-'PAGE'
	# What the smallest recipes learn

	`make results` makes this page: each run trains at most ten minutes on two cores, then `d2v-eval` holds it against the same
	encoder before training, on the same test samples. Accuracies in per cent, with 95 % intervals: Wilson's for an accuracy,
	Agresti and Min's for a difference of pairs; p is McNemar's exact test. The linear probe is ridge regression on the student's
	features, averaged over a sample's tokens.
PAGE
for modality in $only; do
	case $modality in
	image) title="Pictures" text="\`image-tiny\` on the CIFAR-10 sample: 5,000 pictures of ten classes to learn from, 1,000 to be tried on." ;;
	audio) title="Spoken digits" text="\`audio-tiny\` on the Free Spoken Digit Dataset: 2,700 recordings of ten digits, 300 to be tried on." ;;
	esac
	echo
	echo "## $title"
	echo
	echo "$text"
	echo
	took=()
	for seed in $seeds; do took+=("$(awk '{ printf "%.1f", $1 / 60 }' "$dir/$modality-$seed/done")"); done
	echo "Minutes that the runs took: ${took[*]}. Changed of the recipe: \`$(changes $modality)\`."
	echo
	echo "| seed | method | untrained | trained | difference | p |"
	echo "|---|---|---|---|---|---|"
	metrics=()
	for seed in $seeds; do
		for method in probe knn; do row $modality "$seed" $method; done
		metrics+=("$dir/$modality-$seed/metrics.jsonl")
	done
	awk -v title="$title" -f docs/probe_curve.awk "${metrics[@]}" >docs/results-$modality-probe.svg
	awk -f docs/curve.awk "${metrics[0]}" >docs/results-$modality-loss.svg
	echo
	echo "![neighbours right during the runs](results-$modality-probe.svg)"
	echo "![loss of the first run](results-$modality-loss.svg)"
done
echo
cat docs/results-notes.md
[ $bad = 0 ] || say "not every probe exceeds its untrained encoder's by more than the interval"
exit $bad
