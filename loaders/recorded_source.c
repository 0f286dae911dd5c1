#include "loaders/recorded_source.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/progress.h"
#include "loaders/batch_block.h"

#include <string.h>

typedef struct recorded_source {
	d2v_source source;
	d2v_source_allocator allocator;
	d2v_batch *batches; // (count)
	size_t count, capacity;
	d2v_batch out[2]; // what is handed out: the same recording may be out twice, with two indexes
	uint64_t index;   // of the next one
	int lent;
	uint64_t plan;
	double opened;
	d2v_source_stats stats;
} recorded_source;

static d2v_status check_padding(const uint8_t *padding, int32_t rows, int32_t columns, int32_t *valid, d2v_error *err) {
	for (int32_t r = 0; r < rows; r++) {
		const uint8_t *row = padding + (size_t)r * (size_t)columns;
		int32_t count = 0;
		while (count < columns && !row[count])
			count++;
		for (int32_t i = count; i < columns; i++)
			if (!row[i])
				return d2v_fail(err, D2V_INVALID, "recorded batch: row %d has padding at %d before data at %d", (int)r,
					(int)count, (int)i);
		valid[r] = count;
	}
	return D2V_OK;
}

static d2v_status copy_text(const int64_t *text, size_t count, int32_t *out, d2v_error *err) {
	for (size_t i = 0; i < count; i++) {
		if (text[i] < 0 || text[i] > INT32_MAX)
			return d2v_fail(err, D2V_INVALID, "recorded batch: token %zu is %lld", i, (long long)text[i]);
		out[i] = (int32_t)text[i];
	}
	return D2V_OK;
}

// The lists of one row: restore must be a permutation that sends the kept positions to 0, 1, ..., K-1 in their order.
static d2v_status copy_row_lists(const int64_t *ids_keep, const int64_t *ids_restore, int32_t row, int32_t tokens,
	int32_t kept, int32_t *keep, int32_t *restore, uint8_t *seen, d2v_error *err) {
	memset(seen, 0, (size_t)tokens);
	for (int32_t t = 0; t < tokens; t++) {
		int64_t place = ids_restore[t];
		if (place < 0 || place >= tokens || seen[place])
			return d2v_fail(err, D2V_INVALID, "recorded batch: ids_restore of row %d is no permutation (%lld at %d)",
				(int)row, (long long)place, (int)t);
		seen[place] = 1;
		restore[t] = (int32_t)place;
	}
	for (int32_t k = 0; k < kept; k++) {
		int64_t position = ids_keep[k];
		if (position < 0 || position >= tokens || restore[position] != k)
			return d2v_fail(err, D2V_INVALID, "recorded batch: ids_keep of row %d has %lld at %d, ids_restore differs",
				(int)row, (long long)position, (int)k);
		keep[k] = (int32_t)position;
	}
	return D2V_OK;
}

static d2v_status copy_lists(
	const d2v_recorded *given, const d2v_block_arrays *arrays, d2v_batch *batch, d2v_error *err) {
	int32_t rows = given->samples * given->clones, tokens = given->tokens, kept = given->kept;
	if (!given->ids_restore || kept < 1 || kept > tokens)
		return d2v_fail(err, D2V_INVALID, "recorded batch: ids_keep needs ids_restore and 1..%d kept positions, not %d",
			(int)tokens, (int)kept);
	uint8_t *seen;
	D2V_TRY(d2v_alloc(&seen, (size_t)tokens, 1, err));
	d2v_status status = D2V_OK;
	for (int32_t r = 0; status == D2V_OK && r < rows; r++) {
		size_t row = (size_t)r;
		status = copy_row_lists(given->ids_keep + row * (size_t)kept, given->ids_restore + row * (size_t)tokens, r,
			tokens, kept, arrays->keep + row * (size_t)kept, arrays->restore + row * (size_t)tokens, seen, err);
	}
	d2v_free(seen);
	batch->kept = kept;
	return status;
}

static d2v_status copy_masks(
	const d2v_recorded *given, const d2v_block_arrays *arrays, d2v_batch *batch, d2v_error *err) {
	if (!given->mask)
		return D2V_OK;
	size_t positions = (size_t)given->samples * (size_t)given->clones * (size_t)given->tokens;
	for (size_t i = 0; i < positions; i++) {
		if (given->mask[i] > 1)
			return d2v_fail(err, D2V_INVALID, "recorded batch: mask value %d", given->mask[i]);
		arrays->mask[i] = given->mask[i];
	}
	d2v_block_index_masks(arrays, batch);
	return given->ids_keep ? copy_lists(given, arrays, batch, err) : D2V_OK;
}

static d2v_status copy_arrays(
	const d2v_recorded *given, const d2v_block_arrays *arrays, d2v_batch *batch, d2v_error *err) {
	size_t samples = (size_t)given->samples;
	if (arrays->wave)
		memcpy(arrays->wave, given->wave, samples * (size_t)given->length * sizeof *given->wave);
	if (arrays->pixels)
		memcpy(arrays->pixels, given->pixels,
			samples * 3 * (size_t)given->height * (size_t)given->width * sizeof *given->pixels);
	if (arrays->text)
		D2V_TRY(copy_text(given->text, samples * (size_t)given->tokens, arrays->text, err));
	if (arrays->valid)
		D2V_TRY(check_padding(given->padding, given->samples,
			given->modality == D2V_AUDIO ? given->length : given->tokens, arrays->valid, err));
	if (arrays->noise)
		memcpy(arrays->noise, given->noise, given->noise_count * sizeof *given->noise);
	for (size_t i = 0; i < samples; i++)
		arrays->ids[i] = i;
	return copy_masks(given, arrays, batch, err);
}

static d2v_status shape_of(const d2v_recorded *given, d2v_block_shape *shape, d2v_error *err) {
	bool there = (given->modality == D2V_AUDIO && given->wave && given->length > 0) ||
				 (given->modality == D2V_IMAGE && given->pixels && given->height > 0 && given->width > 0) ||
				 (given->modality == D2V_TEXT && given->text);
	if (!there || given->samples < 1)
		return d2v_fail(err, D2V_INVALID, "recorded batch: %s without its data", d2v_modality_name(given->modality));
	*shape = (d2v_block_shape){ .modality = given->modality,
		.samples = given->samples,
		.clones = given->clones,
		.tokens = given->tokens,
		.length = given->modality == D2V_AUDIO ? given->length : 0,
		.height = given->modality == D2V_IMAGE ? given->height : 0,
		.width = given->modality == D2V_IMAGE ? given->width : 0,
		.normalised = true,
		.valid = given->padding && given->modality != D2V_IMAGE,
		.unmasked = !given->mask,
		.noise = given->noise ? given->noise_count : 0 };
	return d2v_block_check(shape, err);
}

d2v_status d2v_recorded_source_add(d2v_source *source, const d2v_recorded *given, d2v_error *err) {
	recorded_source *self = (recorded_source *)source;
	d2v_block_shape shape;
	d2v_block_arrays arrays;
	d2v_batch batch;
	void *block = NULL;
	D2V_TRY(shape_of(given, &shape, err));
	D2V_TRY(d2v_reserve(&self->batches, &self->capacity, self->count + 1, sizeof *self->batches, err));
	D2V_TRY(d2v_block_alloc(&self->allocator, &block, d2v_block_size(&shape), err));
	d2v_block_place(&shape, block, &arrays, &batch);
	d2v_status status = copy_arrays(given, &arrays, &batch, err);
	if (status != D2V_OK) {
		d2v_block_free(&self->allocator, block);
		return status;
	}
	batch.digest = d2v_block_digest(&batch, shape.noise);
	batch.owner = self;
	self->plan = d2v_hash64_chain(self->plan, batch.digest);
	self->batches[self->count++] = batch;
	return D2V_OK;
}

static d2v_status next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	recorded_source *self = (recorded_source *)source;
	if (!self->count)
		return d2v_fail(err, D2V_INVALID, "no batch was recorded");
	D2V_ASSERT(self->lent < 2);
	d2v_batch *out = &self->out[self->index % 2];
	*out = self->batches[self->index % self->count];
	out->index = self->index;
	out->epoch = self->index / self->count + 1;
	self->index++;
	self->lent++;
	self->stats.batches++;
	self->stats.samples += (uint64_t)out->samples;
	*batch = out;
	return D2V_OK;
}

static void give(d2v_source *source, const d2v_batch *batch) {
	recorded_source *self = (recorded_source *)source;
	D2V_ASSERT(batch->owner == self && self->lent > 0);
	self->lent--;
}

static d2v_source_position tell(const d2v_source *source) {
	const recorded_source *self = (const recorded_source *)source;
	uint64_t count = self->count ? self->count : 1;
	return (d2v_source_position){
		.epoch = self->index / count + 1, .step = self->index % count, .index = self->index, .plan = self->plan
	};
}

static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	recorded_source *self = (recorded_source *)source;
	if (position->plan != self->plan)
		return d2v_fail(err, D2V_INVALID, "the position belongs to other recorded batches");
	self->index = position->index;
	return D2V_OK;
}

static d2v_source_stats statistics(d2v_source *source) {
	recorded_source *self = (recorded_source *)source;
	self->stats.elapsed = d2v_clock() - self->opened;
	return self->stats;
}

static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	(void)epoch;
	return ((const recorded_source *)source)->count;
}

static void close_source(d2v_source *source) {
	recorded_source *self = (recorded_source *)source;
	for (size_t i = 0; i < self->count; i++)
		d2v_block_free(&self->allocator, (void *)(uintptr_t)self->batches[i].block);
	d2v_free(self->batches);
	d2v_free(self);
}

static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

d2v_status d2v_recorded_source_open(d2v_source **source, const d2v_source_allocator *allocator, d2v_error *err) {
	recorded_source *self;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->source.methods = &methods;
	if (allocator)
		self->allocator = *allocator;
	self->opened = d2v_clock();
	*source = &self->source;
	return D2V_OK;
}
