#include "loaders/batch_block.h"

#include "base/arena.h"
#include "base/hash.h"
#include "base/memory.h"
#include "loaders/masks.h"

#include <string.h>

static size_t rows_of(const d2v_block_shape *shape) {
	return (size_t)shape->samples * (size_t)shape->clones;
}

d2v_status d2v_block_check(const d2v_block_shape *shape, d2v_error *err) {
	if (shape->samples < 0 || shape->clones < 1 || shape->tokens < 1 || shape->length < 0 || shape->height < 0 ||
		shape->width < 0)
		return d2v_fail(err, D2V_INVALID, "a batch of %d samples, %d clones and %d tokens is none", (int)shape->samples,
			(int)shape->clones, (int)shape->tokens);
	int32_t rows, positions;
	if (__builtin_mul_overflow(shape->samples, shape->clones, &rows) ||
		__builtin_mul_overflow(rows, shape->tokens, &positions) || positions == INT32_MAX)
		return d2v_fail(err, D2V_INVALID,
			"a batch of %d samples x %d clones x %d tokens has more positions than 32 bits count; make it smaller",
			(int)shape->samples, (int)shape->clones, (int)shape->tokens);
	return D2V_OK;
}

// One walk for both uses: with a measuring arena it says the size, with a real one the places.
static void take_arrays(const d2v_block_shape *shape, d2v_arena *arena, d2v_block_arrays *a) {
	size_t samples = (size_t)shape->samples, positions = rows_of(shape) * (size_t)shape->tokens;
	size_t sound = samples * (size_t)shape->length;
	size_t pixels = samples * (size_t)shape->height * (size_t)shape->width * 3;
	*a = (d2v_block_arrays){ 0 };
	if (shape->modality == D2V_AUDIO && shape->normalised)
		a->wave = d2v_arena_take(arena, sound * sizeof *a->wave);
	else if (shape->modality == D2V_AUDIO) {
		a->audio = d2v_arena_take(arena, sound * sizeof *a->audio);
		a->audio_mean = d2v_arena_take(arena, samples * sizeof *a->audio_mean);
		a->audio_rstd = d2v_arena_take(arena, samples * sizeof *a->audio_rstd);
	} else if (shape->modality == D2V_IMAGE && shape->normalised)
		a->pixels = d2v_arena_take(arena, pixels * sizeof *a->pixels);
	else if (shape->modality == D2V_IMAGE)
		a->image = d2v_arena_take(arena, pixels);
	else
		a->text = d2v_arena_take(arena, samples * (size_t)shape->tokens * sizeof *a->text);
	if (shape->valid)
		a->valid = d2v_arena_take(arena, samples * sizeof *a->valid);
	if (!shape->unmasked) {
		a->mask = d2v_arena_take(arena, positions);
		a->keep = d2v_arena_take(arena, (positions + 1) * sizeof *a->keep);
		a->restore = d2v_arena_take(arena, positions * sizeof *a->restore);
		a->masked = d2v_arena_take(arena, (positions + 1) * sizeof *a->masked);
	}
	if (shape->noise)
		a->noise = d2v_arena_take(arena, shape->noise * sizeof *a->noise);
	a->ids = d2v_arena_take(arena, samples * sizeof *a->ids);
}

size_t d2v_block_size(const d2v_block_shape *shape) {
	d2v_arena arena;
	d2v_block_arrays arrays;
	d2v_arena_init_measuring(&arena);
	take_arrays(shape, &arena, &arrays);
	return arena.used;
}

void d2v_block_place(const d2v_block_shape *shape, void *memory, d2v_block_arrays *arrays, d2v_batch *batch) {
	d2v_arena arena;
	d2v_arena_init(&arena, memory, d2v_block_size(shape));
	take_arrays(shape, &arena, arrays);
	*batch = (d2v_batch){ .modality = shape->modality,
		.samples = shape->samples,
		.clones = shape->clones,
		.tokens = shape->tokens,
		.kept = shape->tokens,
		.length = shape->length,
		.height = shape->height,
		.width = shape->width,
		.audio = arrays->audio,
		.audio_mean = arrays->audio_mean,
		.audio_rstd = arrays->audio_rstd,
		.wave = arrays->wave,
		.valid = arrays->valid,
		.image = arrays->image,
		.pixels = arrays->pixels,
		.text = arrays->text,
		.mask = arrays->mask,
		.keep = arrays->keep,
		.restore = arrays->restore,
		.masked = arrays->masked,
		.noise = arrays->noise,
		.ids = arrays->ids,
		.block = memory,
		.block_size = arena.used };
}

void d2v_block_index_masks(const d2v_block_arrays *arrays, d2v_batch *batch) {
	d2v_masks_index(arrays->mask, batch->samples * batch->clones, batch->tokens, arrays->keep, arrays->restore,
		arrays->masked, &batch->kept, &batch->masked_count);
}

static void add_array(uint64_t *running, uint64_t tag, const void *bytes, size_t size) {
	if (bytes)
		*running = d2v_hash64_chain(*running, d2v_hash64_seeded(bytes, size, tag));
}

uint64_t d2v_block_digest(const d2v_batch *batch, uint64_t noise_count) {
	size_t samples = (size_t)batch->samples, rows = samples * (size_t)batch->clones, tokens = (size_t)batch->tokens;
	size_t sound = samples * (size_t)batch->length, pixels = samples * (size_t)batch->height * (size_t)batch->width * 3;
	int32_t sizes[] = { (int32_t)batch->modality, batch->samples, batch->clones, batch->tokens, batch->kept,
		batch->length, batch->height, batch->width, batch->masked_count };
	uint64_t digest = d2v_hash64(sizes, sizeof sizes);
	add_array(&digest, 1, batch->audio, sound * sizeof *batch->audio);
	add_array(&digest, 2, batch->audio_mean, samples * sizeof *batch->audio_mean);
	add_array(&digest, 3, batch->audio_rstd, samples * sizeof *batch->audio_rstd);
	add_array(&digest, 4, batch->wave, sound * sizeof *batch->wave);
	add_array(&digest, 5, batch->valid, samples * sizeof *batch->valid);
	add_array(&digest, 6, batch->image, pixels);
	add_array(&digest, 7, batch->pixels, pixels * sizeof *batch->pixels);
	add_array(&digest, 8, batch->text, samples * tokens * sizeof *batch->text);
	add_array(&digest, 9, batch->mask, rows * tokens);
	add_array(&digest, 10, batch->keep, rows * (size_t)batch->kept * sizeof *batch->keep);
	add_array(&digest, 11, batch->restore, rows * tokens * sizeof *batch->restore);
	add_array(&digest, 12, batch->masked, (size_t)batch->masked_count * sizeof *batch->masked);
	add_array(&digest, 13, batch->noise, noise_count * sizeof *batch->noise);
	add_array(&digest, 14, batch->ids, samples * sizeof *batch->ids);
	return digest;
}

d2v_status d2v_block_alloc(const d2v_source_allocator *allocator, void *out, size_t bytes, d2v_error *err) {
	if (!allocator || !allocator->alloc)
		return d2v_alloc(out, bytes, 1, err);
	return allocator->alloc(allocator->context, out, bytes, err);
}

void d2v_block_free(const d2v_source_allocator *allocator, void *block) {
	if (!block)
		return;
	if (!allocator || !allocator->free)
		d2v_free(block);
	else
		allocator->free(allocator->context, block);
}
