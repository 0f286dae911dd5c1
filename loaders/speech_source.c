#include "loaders/speech_source.h"

#include "base/memory.h"
#include "loaders/order.h"
#include "loaders/prefetcher.h"
#include "loaders/speech_filler.h"
#include "loaders/speech_options.h"

#include <stdio.h>

// What decides a stream of speech, read by all threads.
typedef struct speech {
	d2v_speech_options options;
	d2v_speech_plan plan;
} speech;

static void release(void *self) {
	speech *made = self;
	d2v_speech_plan_release(&made->plan);
	d2v_free(made);
}

static d2v_status filler_new(void *self, d2v_dataset *dataset, d2v_filler **filler, d2v_error *err) {
	const speech *made = self;
	return d2v_speech_filler_new(filler, dataset, &made->plan, &made->options, err);
}

static d2v_status make_plan(speech *self, d2v_dataset *dataset, d2v_error *err) {
	const d2v_speech_options *o = &self->options;
	const d2v_manifest *manifest = d2v_dataset_manifest(dataset);
	if (manifest->rate != o->rate)
		return d2v_fail(err, D2V_INVALID, "%s has %u samples per second, %u are expected; ingest it again at that rate",
			o->common.data, manifest->rate, o->rate);
	uint64_t records = d2v_dataset_records(dataset);
	D2V_TRY(d2v_speech_plan_make(&self->plan, d2v_dataset_rows(dataset), records, &o->limits, o->common.seed, err));
	uint32_t shortest = d2v_speech_plan_target(&self->plan, self->plan.batches - 1);
	if (d2v_frames_count(&o->frames, shortest) < 1)
		return d2v_fail(err, D2V_INVALID,
			"%s has an utterance of %u samples, which gives no frame; raise min_sample_size", o->common.data, shortest);
	return D2V_OK;
}

static d2v_status largest_block(const speech *self, size_t *largest, d2v_error *err) {
	d2v_block_shape empty = d2v_speech_filler_shape(&self->plan, &self->options, D2V_ORDER_NONE);
	*largest = d2v_block_size(&empty);
	for (uint64_t b = 0; b < self->plan.batches; b++) {
		d2v_block_shape shape = d2v_speech_filler_shape(&self->plan, &self->options, b);
		D2V_TRY(d2v_block_check(&shape, err));
		size_t size = d2v_block_size(&shape);
		*largest = size > *largest ? size : *largest;
	}
	return D2V_OK;
}

static void name_settings(const d2v_speech_options *o, char *text, size_t size) {
	snprintf(text, size,
		"seed %llu, max_tokens %llu, batch_size %u, min_sample_size %u, max_sample_size %u, clone_batch %d, mask_* or "
		"the extractor",
		(unsigned long long)o->common.seed, (unsigned long long)o->limits.max_tokens, o->limits.batch_size,
		o->limits.min_sample_size, o->limits.max_sample_size, (int)o->clone_batch);
}

static d2v_status plan_batches(void *context, d2v_dataset *dataset, d2v_prefetch_plan *plan, d2v_error *err) {
	speech *self = context;
	D2V_TRY(make_plan(self, dataset, err));
	D2V_TRY(largest_block(self, &plan->largest_block, err));
	plan->items = self->plan.batches;
	plan->sequential = self->options.eval;
	plan->largest_samples = self->plan.largest_batch;
	plan->digest = d2v_speech_options_digest(&self->options, dataset);
	plan->units_per_second = self->options.rate;
	name_settings(&self->options, plan->settings, sizeof plan->settings);
	self->options.common.data = self->options.common.split = NULL; // were borrowed
	return D2V_OK;
}

static const d2v_prefetch_kind kind = { .modality = D2V_AUDIO,
	.stages = 1u << D2V_STAGE_READ | 1u << D2V_STAGE_DECODE | 1u << D2V_STAGE_MASK | 1u << D2V_STAGE_DIGEST,
	.plan = plan_batches,
	.filler_new = filler_new,
	.release = release };

d2v_status d2v_speech_source_open(d2v_source **source, const d2v_speech_options *options, d2v_error *err) {
	speech *self;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->options = *options;
	if (self->options.eval)
		self->options.limits.frames = &self->options.frames;
	d2v_status status = d2v_speech_options_check(&self->options, err);
	if (status != D2V_OK) {
		release(self);
		return status;
	}
	return d2v_prefetcher_open(source, &kind, self, &self->options.common, err);
}

const d2v_speech_plan *d2v_speech_source_plan(const d2v_source *source) {
	return &((const speech *)d2v_prefetcher_self(source))->plan;
}
