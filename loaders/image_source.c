#include "loaders/image_source.h"

#include "base/memory.h"
#include "loaders/image_filler.h"
#include "loaders/image_options.h"
#include "loaders/order.h"
#include "loaders/prefetcher.h"

#include <stdio.h>

static d2v_status filler_new(void *self, d2v_dataset *dataset, d2v_filler **filler, d2v_error *err) {
	return d2v_image_filler_new(filler, dataset, self, err);
}

static void name_settings(const d2v_image_options *o, char *text, size_t size) {
	snprintf(text, size,
		"seed %llu, batch_size %u, size %d, patch_size %d, scale %g to %g, ratio %g to %g, clone_batch %d or mask_*",
		(unsigned long long)o->common.seed, o->batch_size, (int)o->size, (int)o->patch_size, o->scale[0], o->scale[1],
		o->ratio[0], o->ratio[1], (int)o->clone_batch);
}

static d2v_status largest_block(const d2v_image_options *o, uint64_t records, size_t *largest, d2v_error *err) {
	d2v_block_shape shape =
		d2v_image_filler_shape(o, records, records ? 0 : D2V_ORDER_NONE); // the first is the largest
	D2V_TRY(d2v_block_check(&shape, err));
	*largest = d2v_block_size(&shape);
	return D2V_OK;
}

static d2v_status plan_batches(void *context, d2v_dataset *dataset, d2v_prefetch_plan *plan, d2v_error *err) {
	d2v_image_options *self = context;
	uint64_t records = d2v_dataset_records(dataset);
	D2V_TRY(largest_block(self, records, &plan->largest_block, err));
	plan->items = records / self->batch_size + (records % self->batch_size != 0);
	plan->sequential = self->eval;
	plan->largest_samples = self->batch_size;
	plan->digest = d2v_image_options_digest(self, dataset);
	name_settings(self, plan->settings, sizeof plan->settings);
	self->common.data = self->common.split = NULL; // were borrowed
	return D2V_OK;
}

static const d2v_prefetch_kind kind = { .modality = D2V_IMAGE,
	.stages = 1u << D2V_STAGE_READ | 1u << D2V_STAGE_DECODE | 1u << D2V_STAGE_RESIZE | 1u << D2V_STAGE_MASK |
			  1u << D2V_STAGE_DIGEST,
	.plan = plan_batches,
	.filler_new = filler_new,
	.release = d2v_free };

d2v_status d2v_image_source_open(d2v_source **source, const d2v_image_options *options, d2v_error *err) {
	d2v_image_options *self; // what decides the stream, read by all threads
	*source = NULL;
	D2V_TRY(d2v_alloc(&self, 1, sizeof *self, err));
	*self = *options;
	d2v_status status = d2v_image_options_check(self, err);
	if (status != D2V_OK) {
		d2v_free(self);
		return status;
	}
	return d2v_prefetcher_open(source, &kind, self, &self->common, err);
}

d2v_dataset *d2v_image_source_dataset(const d2v_source *source) {
	return d2v_prefetcher_dataset_of(source);
}

int32_t d2v_image_source_label(const d2v_source *source, uint64_t id) {
	const d2v_dataset *dataset = d2v_prefetcher_dataset_of(source);
	D2V_ASSERT(id < d2v_dataset_records(dataset));
	return d2v_dataset_rows(dataset)[id].label;
}
