#include "loaders/speech_options.h"

#include "base/hash.h"

void d2v_speech_options_init(d2v_speech_options *options) {
	*options = (d2v_speech_options){ .common = { .seed = 1 },
		.limits = { .max_tokens = 1000000, .min_sample_size = 32000, .max_sample_size = 320000 },
		.clone_batch = 8,
		.masks = { .mask_prob = .5, .mask_prob_adjust = .05, .mask_length = 5 },
		.frames = d2v_frames_published(),
		.normalize = true };
}

d2v_status d2v_speech_options_check(d2v_speech_options *o, d2v_error *err) {
	D2V_TRY(d2v_prefetch_options_check(&o->common, err));
	o->rate = o->rate ? o->rate : 16000;
	if (o->clone_batch < 1)
		return d2v_fail(err, D2V_INVALID, "clone_batch is %d; it must be at least 1", (int)o->clone_batch);
	for (int32_t i = 0; i < o->frames.count; i++)
		if (o->frames.layer[i].kernel < 1 || o->frames.layer[i].stride < 1)
			return d2v_fail(err, D2V_INVALID, "conv layer %d has kernel %d and stride %d", (int)i,
				(int)o->frames.layer[i].kernel, (int)o->frames.layer[i].stride);
	if (o->eval)
		o->clone_batch = 1;
	return d2v_masks_check(&o->masks, err);
}

// Lengths and order of the records, what is in them, and every option that reaches the stream.
uint64_t d2v_speech_options_digest(const d2v_speech_options *o, d2v_dataset *dataset) {
	uint64_t records = d2v_dataset_records(dataset);
	const uint64_t numbers[] = { 1 /* version of the stream */, d2v_manifest_digest(d2v_dataset_manifest(dataset)),
		records, o->common.seed, o->limits.max_tokens, o->limits.batch_size, o->limits.required_batch_size_multiple,
		o->limits.min_sample_size, o->limits.max_sample_size, (uint64_t)o->clone_batch, (uint64_t)o->masks.mask_length,
		o->masks.inverse_mask, o->masks.any_count, o->normalize, o->common.imitated_world_size,
		(uint64_t)o->frames.count, o->eval };
	const size_t count = sizeof numbers / sizeof numbers[0] - !o->eval; // as before there was anything to evaluate
	const double shares[] = { o->masks.mask_prob, o->masks.mask_prob_adjust, o->masks.mask_dropout };
	uint64_t digest = d2v_hash64(numbers, count * sizeof numbers[0]);
	digest = d2v_hash64_chain(digest, d2v_hash64(shares, sizeof shares));
	digest = d2v_hash64_chain(digest, d2v_hash64(o->frames.layer, (size_t)o->frames.count * sizeof o->frames.layer[0]));
	return d2v_hash64_chain(digest, d2v_hash64(d2v_dataset_rows(dataset), records * sizeof(d2v_index_row)));
}
