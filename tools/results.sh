#!/usr/bin/env bash
# What the smallest recipes learn in ten minutes on two cores: trains image-tiny on the sample of CIFAR-10 and audio-tiny on the
# spoken digits, on three seeds each, holds the probe against an untrained encoder's, and prints docs/results.md. Curves go to
# DOCS_DIR (docs). Ends with 1 when a run does not exceed its untrained encoder by more than the 95 % interval, or took too long.
#     make results            or: SEEDS="1 2 3" ONLY=image RESULTS_DIR=build/results tools/results.sh > docs/results.md
# IMAGE_EXTRA and AUDIO_EXTRA are further KEY=VALUEs, EVAL_EXTRA further options of d2v-eval. Needs D2V_SHARED with data/cifar10
# and data/fsdd. Finished runs are kept, one that was stopped starts anew. "Ten minutes on two cores" are 20 minutes of
# processor time, which is what the page gives and what a run may not exceed; MINUTES (ten) ends a run whatever it has reached,
# so give more on a machine that has other things to do.
set -euo pipefail
export LC_ALL=C # numbers have a point, not a comma
BIN=${BIN:-build/bin} dir=${RESULTS_DIR:-build/results} seeds=${SEEDS:-1 2 3} only=${ONLY:-image audio}
shared=${D2V_SHARED:-../shared}
docs=${DOCS_DIR:-docs} threads=${THREADS:-1} minutes=${MINUTES:-10} processor_minutes=20
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

# What is changed of a recipe, and how often to look. In these minutes many small updates teach more than few large ones, so both
# work at half the width and at a multiple of the learning rate, with a schedule that ends in time. Digits further have three
# blocks, an extractor of four layers, a thirteenth of the recipe's in work, no dropout, a teacher with an extractor of its own
# (so that the student cannot make its targets easy), and a decoder that sees four frames around it: what lies farther away has
# to come from the encoder.
image_settings=(task.data="$dir/cifar10" d2v.probe_interval=200 d2v.probe_samples=1000 model.embed_dim=96 model.modalities.image.embed_dim=96
	model.modalities.image.decoder.decoder_dim=48 optimization.max_update=1200 'optimization.lr=[0.002]'
	lr_scheduler.warmup_updates=40 model.ema_anneal_end_step=1200 ${IMAGE_EXTRA:-})
audio=model.modalities.audio
audio_settings=(task.data="$dir/digits" task.min_sample_size=3000 dataset.max_tokens=160000 d2v.probe_interval=150
	d2v.probe_samples=1000 model.embed_dim=96 model.depth=3 model.average_top_k_layers=3 model.encoder_dropout=0
	model.post_mlp_drop=0 model.attention_dropout=0 model.ema_end_decay=0.999 model.ema_anneal_end_step=800 $audio.ema_local_encoder=true
	"$audio.feature_encoder_spec=[(32, 16, 8), (64, 7, 5), (96, 6, 4), (96, 3, 2)]" $audio.conv_pos_width=9
	$audio.conv_pos_depth=1 $audio.conv_pos_groups=2 $audio.prenet_dropout=0 $audio.decoder.decoder_dim=64
	$audio.decoder.decoder_layers=2 $audio.decoder.decoder_kernel=5 $audio.decoder.decoder_groups=1
	$audio.decoder.input_dropout=0 optimization.max_update=600 'optimization.lr=[0.003]' lr_scheduler.warmup_updates=40
	${AUDIO_EXTRA:-})
layer=${LAYER:-last}

train() { # MODALITY SEED: leaves the processor's seconds that it took in the run's folder
	local -n settings=$1_settings
	local run=$dir/$1-$2 TIMEFORMAT='%U %S'
	rm -rf "$run"
	{ time "$BIN/d2v-train" "$1-tiny" "${settings[@]}" common.seed="$2" checkpoint.save_dir="$run" d2v.threads="$threads" \
		optimization.stop_time_hours="$(awk "BEGIN { print $minutes / 60 }")" >&3 2>&3; } 3>&2 2>"$run.seconds"
	awk '{ print $1 + $2 }' "$run.seconds" >"$run/done"
	rm "$run.seconds"
}
look() { # MODALITY SEED METHOD
	local data=$dir/cifar10
	[ "$1" = image ] || data=$dir/digits
	[ -s "$dir/$1-$2.$3.json" ] || "$BIN/d2v-eval" "$3" "$dir/$1-$2" "$data" --layer "$layer" --compare-random --seed "$2" \
		--threads "$threads" --json ${EVAL_EXTRA:-} >"$dir/$1-$2.$3.json"
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
bad=
row() { # MODALITY SEED METHOD
	local file=$dir/$1-$2.$3.json low name
	low=$(value "$file" difference low)
	[ "$3" = knn ] && name="20 neighbours" || name="linear probe"
	if [ "$3" = probe ] && ! awk "BEGIN { exit !($low > 0) }"; then bad+=" $1-$2"; fi
	echo "| $2 | $name | $(percent "$(value "$file" untrained accuracy)") | $(percent "$(value "$file" trained accuracy)") ($(percent "$(value "$file" trained low)") to $(percent "$(value "$file" trained high)")) | $(percent "$(value "$file" difference accuracy)") ($(percent "$low") to $(percent "$(value "$file" difference high)")) | $(printf %.2g "$(value "$file" difference p)") |"
}
changes() { # MODALITY: the settings of its runs without the folder, quoted where a shell wants it
	local -n settings=$1_settings
	local setting said=()
	for setting in "${settings[@]:1}"; do
		[[ $setting =~ ^[a-zA-Z0-9_.=-]+$ ]] || setting="'$setting'"
		said+=("$setting")
	done
	echo "${said[*]}"
}
took() { # MODALITY: the processor's minutes of each of its runs
	local seed seconds said=()
	for seed in $seeds; do
		seconds=$(cat "$dir/$1-$seed/done")
		awk "BEGIN { exit !($seconds <= 60 * $processor_minutes) }" || bad+=" $1-$seed"
		said+=("$(awk "BEGIN { printf \"%.1f\", $seconds / 60 }")")
	done
	echo "Processor minutes that the runs took, of $processor_minutes: ${said[*]}. Changed of the recipe: \`$(changes "$1")\`."
}
cat <<-'PAGE'
	# What the smallest recipes learn

	`make results` makes this page: each run trains at most ten minutes on two cores, then `d2v-eval` holds it against the same
	encoder before training, on the same test samples, which no training saw. Accuracies in per cent, with 95 % intervals:
	Wilson's for an accuracy, Agresti and Min's for a difference of pairs; p is McNemar's exact test. The linear probe is ridge
	regression on the student's features of the last block, averaged over a sample's tokens.
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
	took $modality
	echo
	echo "| seed | method | untrained | trained | difference | p |"
	echo "|---|---|---|---|---|---|"
	metrics=()
	for seed in $seeds; do
		for method in probe knn; do row $modality "$seed" $method; done
		metrics+=("$dir/$modality-$seed/metrics.jsonl")
	done
	awk -v title="$title" -f docs/probe_curve.awk "${metrics[@]}" >"$docs/results-$modality-probe.svg"
	awk -f docs/curve.awk "${metrics[0]}" >"$docs/results-$modality-loss.svg"
	echo
	echo "![neighbours right during the runs](results-$modality-probe.svg)"
	echo "![loss of the first run](results-$modality-loss.svg)"
done
echo
cat docs/results-notes.md
[ -z "$bad" ] || say "these do not exceed their untrained encoders by more than the interval, or took too long:$bad"
[ -z "$bad" ]
