#include "loaders/text_options.h"

#include "base/hash.h"

void d2v_text_options_init(d2v_text_options *options) {
	*options = (d2v_text_options){ .common = { .seed = 1 },
		.limits = { .tokens_per_sample = 512, .batch_size = 4, .required_batch_size_multiple = 8 },
		.clone_batch = 8,
		.masks = { .mask_prob = .48, .mask_length = 1 } };
}

d2v_status d2v_text_options_check(d2v_text_options *o, d2v_error *err) {
	D2V_TRY(d2v_prefetch_options_check(&o->common, err));
	if (o->clone_batch < 1)
		return d2v_fail(err, D2V_INVALID, "clone_batch is %d; it must be at least 1", (int)o->clone_batch);
	D2V_TRY(d2v_masks_check(&o->masks, err));
	if (o->masks.mask_length != 1 || o->masks.inverse_mask || o->masks.mask_dropout > 0)
		return d2v_fail(err, D2V_INVALID,
			"text is masked position by position: mask_length must be 1 (it is %d), inverse_mask false and "
			"mask_dropout 0",
			(int)o->masks.mask_length);
	return D2V_OK;
}

uint64_t d2v_text_options_digest(const d2v_text_options *o, d2v_dataset *dataset, uint64_t dictionary) {
	uint64_t records = d2v_dataset_records(dataset);
	const uint64_t numbers[] = { 1 /* version of the stream */, d2v_manifest_digest(d2v_dataset_manifest(dataset)),
		records, dictionary, o->common.seed, o->limits.tokens_per_sample, o->limits.batch_size, o->limits.max_tokens,
		o->limits.required_batch_size_multiple, (uint64_t)o->clone_batch, o->common.imitated_world_size, o->eval };
	uint64_t digest = d2v_hash64(numbers, sizeof numbers);
	digest = d2v_hash64_chain(digest, d2v_hash64(&o->masks.mask_prob, sizeof o->masks.mask_prob));
	return d2v_hash64_chain(digest, d2v_hash64(d2v_dataset_rows(dataset), records * sizeof(d2v_index_row)));
}
