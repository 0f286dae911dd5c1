#include "loaders/synthetic_source.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/philox.h"
#include "base/progress.h"
#include "loaders/batch_block.h"
#include "loaders/moments.h"

#define OUT 2        // batches that may be out at a time
#define FIRST_WORD 4 // smaller token ids are special

typedef struct synthetic_slot {
	void *block;
	d2v_block_arrays arrays;
	d2v_batch batch;
} synthetic_slot;

typedef struct synthetic_source {
	d2v_source source;
	d2v_synthetic_options options;
	d2v_block_shape shape;
	synthetic_slot *slots; // (slot_count)
	size_t slot_count;
	d2v_batch out[OUT]; // what is handed out
	int32_t *scratch;
	uint64_t index; // of the next one
	int lent;
	uint64_t plan;
	double opened;
	d2v_source_stats stats;
} synthetic_source;

static d2v_status shape_of(const d2v_synthetic_options *o, d2v_block_shape *shape, d2v_error *err) {
	int64_t tokens = 0;
	*shape = (d2v_block_shape){ .modality = o->modality, .samples = o->samples, .clones = o->clones };
	if (o->modality == D2V_AUDIO) {
		tokens = d2v_frames_count(&o->frames, o->length);
		shape->length = o->length;
	} else if (o->modality == D2V_IMAGE && o->patch > 0 && o->side > 0 && o->side % o->patch == 0) {
		tokens = (int64_t)(o->side / o->patch) * (o->side / o->patch);
		shape->height = shape->width = o->side;
	} else if (o->modality == D2V_TEXT && o->vocabulary > FIRST_WORD)
		tokens = o->tokens;
	if (o->samples < 1 || tokens < 1 || tokens > INT32_MAX || o->repeat < 0)
		return d2v_fail(err, D2V_INVALID, "no synthetic %s batch has this shape", d2v_modality_name(o->modality));
	shape->tokens = (int32_t)tokens;
	D2V_TRY(d2v_masks_check(&o->masks, err));
	return d2v_block_check(shape, err);
}

// The four words of a block as they come: little-endian machines and others draw the same numbers.
static void fill_audio(d2v_random_key key, int16_t *audio, size_t count) {
	for (size_t i = 0; i < count; i += 8) {
		d2v_philox words = d2v_philox_block(key.word[0], key.word[1], i / 8, 0);
		for (size_t j = 0; j < 8 && i + j < count; j++)
			audio[i + j] = (int16_t)((int32_t)(words.word[j / 2] >> 16 * (j % 2) & 0xFFFF) - 32768);
	}
}

static void fill_image(d2v_random_key key, uint8_t *image, size_t count) {
	for (size_t i = 0; i < count; i += 16) {
		d2v_philox words = d2v_philox_block(key.word[0], key.word[1], i / 16, 0);
		for (size_t j = 0; j < 16 && i + j < count; j++)
			image[i + j] = (uint8_t)(words.word[j / 4] >> 8 * (j % 4));
	}
}

static void fill_sample(synthetic_source *self, synthetic_slot *slot, uint64_t index, int32_t sample) {
	const d2v_synthetic_options *o = &self->options;
	d2v_random_key key = d2v_random_key_make(o->seed, D2V_RANDOM_SYNTHETIC, index, (uint64_t)sample);
	size_t at = (size_t)sample, length = (size_t)o->length;
	if (o->modality == D2V_AUDIO) {
		int16_t *audio = slot->arrays.audio + at * length;
		fill_audio(key, audio, length);
		d2v_moments moments = d2v_moments_of(audio, length);
		slot->arrays.audio_mean[sample] = moments.mean;
		slot->arrays.audio_rstd[sample] = moments.rstd;
	} else if (o->modality == D2V_IMAGE) {
		size_t bytes = (size_t)o->side * (size_t)o->side * 3;
		fill_image(key, slot->arrays.image + at * bytes, bytes);
	} else {
		d2v_random random;
		d2v_random_start(&random, key);
		for (int32_t t = 0; t < o->tokens; t++)
			slot->arrays.text[at * (size_t)o->tokens + (size_t)t] =
				FIRST_WORD + (int32_t)d2v_random_below(&random, (uint32_t)(o->vocabulary - FIRST_WORD));
	}
	slot->arrays.ids[sample] = index * (uint64_t)o->samples + (uint64_t)sample;
}

static void fill_masks(synthetic_source *self, synthetic_slot *slot, uint64_t index, int32_t sample) {
	const d2v_synthetic_options *o = &self->options;
	int32_t tokens = self->shape.tokens;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->seed, D2V_RANDOM_MASK, index, (uint64_t)sample));
	for (int32_t clone = 0; clone < o->clones; clone++) {
		uint8_t *mask = slot->arrays.mask + (size_t)(sample * o->clones + clone) * (size_t)tokens;
		if (o->modality == D2V_TEXT)
			d2v_masks_random(o->masks.mask_prob, &random, tokens, mask, self->scratch);
		else if (o->modality == D2V_IMAGE && o->masks.mask_length > 1)
			d2v_masks_block_2d(&o->masks, &random, o->side / o->patch, mask, self->scratch);
		else
			d2v_masks_block_1d(&o->masks, &random, tokens, mask, self->scratch);
	}
}

static void fill(synthetic_source *self, synthetic_slot *slot, uint64_t index) {
	for (int32_t sample = 0; sample < self->options.samples; sample++) {
		fill_sample(self, slot, index, sample);
		fill_masks(self, slot, index, sample);
	}
	d2v_block_index_masks(&slot->arrays, &slot->batch);
	slot->batch.owner = self;
	slot->batch.digest = d2v_block_digest(&slot->batch, 0);
}

static d2v_status next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	(void)err;
	synthetic_source *self = (synthetic_source *)source;
	D2V_ASSERT(self->lent < OUT);
	synthetic_slot *slot = &self->slots[self->index % self->slot_count];
	if (!self->options.repeat) {
		double start = d2v_clock();
		fill(self, slot, self->index);
		self->stats.waited += d2v_clock() - start;
		self->stats.stage_seconds[0] = self->stats.waited;
	}
	d2v_batch *out = &self->out[self->index % OUT];
	*out = slot->batch;
	out->index = self->index++;
	out->epoch = 1;
	self->lent++;
	self->stats.batches++;
	self->stats.samples += (uint64_t)out->samples;
	*batch = out;
	return D2V_OK;
}

// Batches come back in the order they went out, so that the slot of the next but one is free by then.
static void give(d2v_source *source, const d2v_batch *batch) {
	synthetic_source *self = (synthetic_source *)source;
	D2V_ASSERT(self->lent > 0 && batch == &self->out[(self->index - (uint64_t)self->lent) % OUT]);
	self->lent--;
}

static d2v_source_position tell(const d2v_source *source) {
	const synthetic_source *self = (const synthetic_source *)source;
	return (d2v_source_position){ .epoch = 1, .step = self->index, .index = self->index, .plan = self->plan };
}

static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	synthetic_source *self = (synthetic_source *)source;
	if (position->plan != self->plan)
		return d2v_fail(err, D2V_INVALID, "the position belongs to synthetic batches of another shape or seed");
	D2V_ASSERT(!self->lent);
	self->index = position->index;
	return D2V_OK;
}

static d2v_source_stats statistics(d2v_source *source) {
	synthetic_source *self = (synthetic_source *)source;
	self->stats.elapsed = d2v_clock() - self->opened;
	self->stats.stage_name[0] = "draw";
	return self->stats;
}

static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	(void)source, (void)epoch;
	return 0;
}

static void close_source(d2v_source *source) {
	synthetic_source *self = (synthetic_source *)source;
	for (size_t i = 0; i < self->slot_count; i++)
		d2v_block_free(&self->options.allocator, self->slots[i].block);
	d2v_free(self->slots);
	d2v_free(self->scratch);
	d2v_free(self);
}

static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

static uint64_t plan_of(const d2v_synthetic_options *o) {
	const uint64_t numbers[] = { o->modality, o->seed, (uint64_t)o->samples, (uint64_t)o->clones, (uint64_t)o->length,
		(uint64_t)o->side, (uint64_t)o->patch, (uint64_t)o->tokens, (uint64_t)o->vocabulary, (uint64_t)o->repeat,
		(uint64_t)o->masks.mask_length, o->masks.inverse_mask, o->masks.any_count };
	const double shares[] = { o->masks.mask_prob, o->masks.mask_prob_adjust, o->masks.mask_dropout };
	uint64_t plan = d2v_hash64(numbers, sizeof numbers);
	plan = d2v_hash64_chain(plan, d2v_hash64(shares, sizeof shares));
	for (int32_t i = 0; o->modality == D2V_AUDIO && i < o->frames.count; i++)
		plan = d2v_hash64_chain(plan, (uint64_t)o->frames.layer[i].kernel << 32 | (uint32_t)o->frames.layer[i].stride);
	return plan;
}

static d2v_status make_slots(synthetic_source *self, d2v_error *err) {
	size_t count = self->options.repeat ? (size_t)self->options.repeat : OUT;
	D2V_TRY(d2v_alloc(&self->scratch, d2v_masks_scratch(self->shape.tokens), sizeof *self->scratch, err));
	D2V_TRY(d2v_alloc_zero(&self->slots, count, sizeof *self->slots, err));
	for (size_t i = 0; i < count; i++) {
		synthetic_slot *slot = &self->slots[i];
		D2V_TRY(d2v_block_alloc(&self->options.allocator, &slot->block, d2v_block_size(&self->shape), err));
		self->slot_count = i + 1;
		d2v_block_place(&self->shape, slot->block, &slot->arrays, &slot->batch);
		if (self->options.repeat)
			fill(self, slot, i);
	}
	return D2V_OK;
}

d2v_status d2v_synthetic_source_open(d2v_source **source, const d2v_synthetic_options *options, d2v_error *err) {
	synthetic_source *self;
	d2v_block_shape shape;
	*source = NULL;
	D2V_TRY(shape_of(options, &shape, err));
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->source.methods = &methods;
	self->options = *options;
	self->shape = shape;
	self->plan = plan_of(options);
	self->opened = d2v_clock();
	d2v_status status = make_slots(self, err);
	if (status != D2V_OK) {
		close_source(&self->source);
		return status;
	}
	*source = &self->source;
	return D2V_OK;
}
