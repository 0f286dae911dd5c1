#include "tools/shard_bench_source.h"

#include "loaders/image_source.h"
#include "loaders/speech_source.h"
#include "loaders/text_source.h"
#include "shards/manifest.h"

static int64_t number(int64_t given, int64_t published) {
	return given == SHARD_BENCH_PUBLISHED ? published : given;
}

static double real(double given, double published) {
	return given == SHARD_BENCH_PUBLISHED ? published : given;
}

static void set_common(d2v_prefetch_options *common, const char *data, const shard_bench_settings *s) {
	common->data = data;
	common->split = s->split;
	common->seed = (uint64_t)s->seed;
	common->world_size = (uint32_t)s->world_size;
	common->rank = (uint32_t)s->rank;
	common->threads = (int)s->threads;
	common->slots = (int)s->slots;
	common->max_damaged = (uint64_t)s->max_damaged;
}

static void set_masks(d2v_mask_settings *masks, const shard_bench_settings *s) {
	masks->mask_prob = real(s->mask_prob, masks->mask_prob);
	masks->mask_prob_adjust = real(s->mask_prob_adjust, masks->mask_prob_adjust);
	masks->mask_length = (int32_t)number(s->mask_length, masks->mask_length);
}

static d2v_status open_speech(d2v_source **source, const char *data, const shard_bench_settings *s, d2v_error *err) {
	d2v_speech_options options;
	d2v_speech_options_init(&options);
	set_common(&options.common, data, s);
	set_masks(&options.masks, s);
	options.clone_batch = (int32_t)number(s->clones, options.clone_batch);
	options.limits.batch_size = (uint32_t)number(s->batch_size, options.limits.batch_size);
	options.limits.max_tokens = (uint64_t)number(s->max_tokens, (int64_t)options.limits.max_tokens);
	options.limits.min_sample_size = (uint32_t)number(s->min_sample_size, options.limits.min_sample_size);
	options.limits.max_sample_size = (uint32_t)number(s->max_sample_size, options.limits.max_sample_size);
	return d2v_speech_source_open(source, &options, err);
}

static d2v_status open_pictures(d2v_source **source, const char *data, const shard_bench_settings *s, d2v_error *err) {
	d2v_image_options options;
	d2v_image_options_init(&options);
	set_common(&options.common, data, s);
	set_masks(&options.masks, s);
	options.clone_batch = (int32_t)number(s->clones, options.clone_batch);
	options.batch_size = (uint32_t)number(s->batch_size, options.batch_size);
	options.size = (int32_t)number(s->input_size, options.size);
	options.patch_size = (int32_t)number(s->patch_size, options.patch_size);
	return d2v_image_source_open(source, &options, err);
}

static d2v_status open_text(d2v_source **source, const char *data, const shard_bench_settings *s, d2v_error *err) {
	d2v_text_options options;
	d2v_text_options_init(&options);
	options.limits.required_batch_size_multiple = 1; // nothing is dropped: small data sets can be timed too
	set_common(&options.common, data, s);
	set_masks(&options.masks, s);
	options.clone_batch = (int32_t)number(s->clones, options.clone_batch);
	options.limits.batch_size = (uint32_t)number(s->batch_size, options.limits.batch_size);
	options.limits.max_tokens = (uint64_t)number(s->max_tokens, (int64_t)options.limits.max_tokens);
	options.limits.tokens_per_sample = (uint32_t)number(s->tokens_per_sample, options.limits.tokens_per_sample);
	return d2v_text_source_open(source, &options, err);
}

// What a data set of this kind has no use for must not be given.
static d2v_status check_given(const char *data, d2v_modality modality, const shard_bench_settings *s, d2v_error *err) {
	const struct {
		const char *option;
		int64_t value;
		bool suits;
	} own[] = {
		{ "max-tokens", s->max_tokens, modality != D2V_IMAGE },
		{ "min-sample-size", s->min_sample_size, modality == D2V_AUDIO },
		{ "max-sample-size", s->max_sample_size, modality == D2V_AUDIO },
		{ "input-size", s->input_size, modality == D2V_IMAGE },
		{ "patch-size", s->patch_size, modality == D2V_IMAGE },
		{ "tokens-per-sample", s->tokens_per_sample, modality == D2V_TEXT },
	};
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (own[i].value != SHARD_BENCH_PUBLISHED && !own[i].suits)
			return d2v_fail(err, D2V_INVALID, "%s: --%s means nothing for a data set of %s", data, own[i].option,
				d2v_modality_name(modality));
	return D2V_OK;
}

d2v_status shard_bench_open(
	d2v_source **source, const char *data, const shard_bench_settings *settings, d2v_error *err) {
	d2v_modality modality;
	*source = NULL;
	D2V_TRY(d2v_manifest_modality(data, &modality, err));
	D2V_TRY(check_given(data, modality, settings, err));
	switch (modality) {
	case D2V_IMAGE:
		return open_pictures(source, data, settings, err);
	case D2V_TEXT:
		return open_text(source, data, settings, err);
	default:
		return open_speech(source, data, settings, err);
	}
}
