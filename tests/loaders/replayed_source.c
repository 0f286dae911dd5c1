#include "tests/loaders/replayed_source.h"

#include "base/memory.h"
#include "base/progress.h"
#include "loaders/batch_block.h"

#include <string.h>

typedef struct replayed {
	d2v_batch batch;
	d2v_source_position after; // where the live source stood with it handed out
} replayed;

typedef struct replayed_source {
	d2v_source source;
	const d2v_source *live; // borrowed
	d2v_source_allocator allocator;
	d2v_source_position start; // before the first batch
	replayed *list;            // (count)
	size_t count, at;          // at: of the next one
	int lent;
	double opened;
	d2v_source_stats stats;
} replayed_source;

static d2v_block_shape shape_of(const d2v_batch *batch) {
	return (d2v_block_shape){ .modality = batch->modality,
		.samples = batch->samples,
		.clones = batch->clones,
		.tokens = batch->tokens,
		.length = batch->length,
		.height = batch->height,
		.width = batch->width,
		.normalised = batch->wave || batch->pixels,
		.valid = batch->valid,
		.unmasked = !batch->mask };
}

// The arrays of a shape lie in their block as those of any other of that shape do, so one copy takes all.
static d2v_status copy_batch(replayed_source *self, const d2v_batch *from, d2v_batch *to, d2v_error *err) {
	d2v_block_shape shape = shape_of(from);
	d2v_block_arrays arrays;
	void *block;
	if (from->noise || d2v_block_size(&shape) != from->block_size)
		return d2v_fail(err, D2V_UNSUPPORTED, "only the batches of loaders can be replayed");
	D2V_TRY(d2v_block_alloc(&self->allocator, &block, from->block_size, err));
	memcpy(block, from->block, from->block_size);
	d2v_block_place(&shape, block, &arrays, to);
	to->kept = from->kept, to->masked_count = from->masked_count;
	to->index = from->index, to->epoch = from->epoch, to->digest = from->digest, to->owner = self;
	D2V_ASSERT(d2v_block_digest(to, 0) == from->digest);
	return D2V_OK;
}

static d2v_status take(replayed_source *self, d2v_source *live, d2v_error *err) {
	const d2v_batch *batch;
	replayed *into = &self->list[self->count];
	D2V_TRY(d2v_source_next(live, &batch, err));
	into->after = d2v_source_tell(live);
	d2v_status status = copy_batch(self, batch, &into->batch, err);
	d2v_source_give(live, batch);
	self->count += status == D2V_OK;
	return status;
}

static d2v_status next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	replayed_source *self = (replayed_source *)source;
	if (self->at == self->count)
		return d2v_fail(err, D2V_INVALID, "only %zu batches are replayed", self->count);
	D2V_ASSERT(self->lent < 2);
	*batch = &self->list[self->at++].batch;
	self->lent++;
	self->stats.batches++;
	self->stats.samples += (uint64_t)(*batch)->samples;
	return D2V_OK;
}

static void give(d2v_source *source, const d2v_batch *batch) {
	replayed_source *self = (replayed_source *)source;
	D2V_ASSERT(batch->owner == self && self->lent > 0);
	self->lent--;
}

static d2v_source_position tell(const d2v_source *source) {
	const replayed_source *self = (const replayed_source *)source;
	return self->at ? self->list[self->at - 1].after : self->start;
}

static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	replayed_source *self = (replayed_source *)source;
	size_t at = (size_t)(position->index - self->start.index);
	if (position->plan != self->start.plan || position->index < self->start.index || at > self->count)
		return d2v_fail(err, D2V_INVALID, "the position is not among the batches that are replayed");
	self->at = at;
	return D2V_OK;
}

static d2v_source_stats statistics(d2v_source *source) {
	replayed_source *self = (replayed_source *)source;
	self->stats.elapsed = d2v_clock() - self->opened;
	return self->stats;
}

static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	return d2v_source_epoch_steps(((const replayed_source *)source)->live, epoch);
}

static void close_source(d2v_source *source) {
	replayed_source *self = (replayed_source *)source;
	for (size_t i = 0; i < self->count; i++)
		d2v_block_free(&self->allocator, (void *)(uintptr_t)self->list[i].batch.block);
	d2v_free(self->list);
	d2v_free(self);
}

static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

d2v_status replayed_source_open(
	d2v_source **source, d2v_source *live, size_t count, const d2v_source_allocator *allocator, d2v_error *err) {
	replayed_source *self;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->source.methods = &methods;
	self->live = live;
	self->start = d2v_source_tell(live);
	self->opened = d2v_clock();
	if (allocator)
		self->allocator = *allocator;
	d2v_status status = d2v_alloc_zero(&self->list, count ? count : 1, sizeof *self->list, err);
	while (status == D2V_OK && self->count < count)
		status = take(self, live, err);
	if (status != D2V_OK) {
		close_source(&self->source);
		return status;
	}
	*source = &self->source;
	return D2V_OK;
}
