#!/usr/bin/env bash
# The page of results, made from runs of a few updates: its tables, curves and settings are there, what is finished is not run
# again, and runs that do not exceed their untrained encoders are said to.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
data=${D2V_SHARED:-}/data
[ -n "${D2V_SHARED:-}" ] && [ -d "$data/cifar10" ] && [ -d "$data/fsdd" ] || skip "D2V_SHARED has no samples"
mkdir "$tmp/docs"
short="optimization.max_update=3 lr_scheduler.warmup_updates=1 d2v.probe_interval=3 d2v.probe_samples=100 common.log_interval=1"
results=(env RESULTS_DIR="$tmp/results" DOCS_DIR="$tmp/docs" SEEDS="1 2" ONLY="image audio" EVAL_EXTRA="--samples 100" tools/results.sh)
export IMAGE_EXTRA="$short dataset.batch_size=4 model.modalities.image.embed_dim=24 model.embed_dim=24"
export AUDIO_EXTRA="$short dataset.max_tokens=40000"

step "three updates teach nothing, and the page says so"
expect_exit 1 "${results[@]}"
expect_said "do not exceed .*: *image-1 image-2"
cp "$tmp/out" "$tmp/page"
for title in Pictures "Spoken digits"; do grep -qx "## $title" "$tmp/page" || fail "no chapter $title"; done
expect_equal "rows" "$(grep -cE '^\| [12] \| (linear probe|20 neighbours) \| [0-9.]+ \| [0-9.]+ \([0-9.]+ to [0-9.]+\) \| ' "$tmp/page")" 8
grep -q "took, of 20: [0-9]*\.[0-9] [0-9]*\.[0-9]\. .*'model.modalities.audio.feature_encoder_spec=\[" "$tmp/page" || fail "no settings"
for curve in image-probe image-loss audio-probe audio-loss; do
	grep -q "(results-$curve.svg)" "$tmp/page" || fail "$curve is not shown"
	grep -q '<polyline points="[0-9.]*,[0-9.]* [0-9.]*,' "$tmp/docs/results-$curve.svg" || fail "$curve has no line"
done

step "finished runs are kept, one that was stopped is made anew"
rm "$tmp/results/audio-2/done" "$tmp/results/audio-2".*.json
expect_exit 1 "${results[@]}"
expect_equal "runs" "$(grep -c '^results: .*-tiny, seed' "$tmp/err")" 1
expect_equal "the page again" "$(grep '^| ' "$tmp/out")" "$(grep '^| ' "$tmp/page")"

step "the exit status follows the interval"
sed -i '/"difference"/,/}/s/"low":.*/"low": 0.01,/' "$tmp/results"/*.probe.json
expect_exit 0 "${results[@]}"
echo 1201 >"$tmp/results/audio-1/done"
expect_exit 1 "${results[@]}"
expect_said ": audio-1$"
