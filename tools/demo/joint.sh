# One model on all three data sets, for a minute; sourced by tools/demo.sh, which has made them.
demo_joint() {
	local home
	home=$dir/joint
	step "One model learns from all three, for about a minute (Ctrl-C saves; the same command goes on)"
	train "$home/run" 60 60 900 joint-tiny task.audio.data="$speech_data" task.image.data="$image_data" \
		task.text.data="$text_data" "${text_keys[@]}"

	step "What was made"
	there_is "$home/run" "checkpoints, metrics.jsonl, TensorBoard events"
	draw_curve "$home/run" "$home/curve.svg" "loss and spread of each kind of data"
}
