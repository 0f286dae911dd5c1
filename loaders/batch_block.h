// The one block of memory in which all arrays of a batch lie, at 256-byte aligned offsets, so that one copy uploads
// them.
//
// A source says what a batch is to hold (a shape), asks how many bytes that takes, and has the arrays placed in a block
// that is at least as large. Threads: plain functions on plain values.
#ifndef D2V_LOADERS_BATCH_BLOCK_H
#define D2V_LOADERS_BATCH_BLOCK_H

#include "loaders/batch.h"
#include "loaders/source.h"

// Sizes as in d2v_batch; the flags say which arrays there are.
typedef struct d2v_block_shape {
	d2v_modality modality;
	int32_t samples, clones, tokens;
	int32_t length;        // audio
	int32_t height, width; // images
	bool normalised;       // wave or pixels (f32) instead of audio or image
	bool valid;            // there is padding
	bool unmasked;         // no masks at all
	uint64_t noise;        // floats of given decoder noise
} d2v_block_shape;

// The arrays of a d2v_batch as whoever fills them sees them. NULL: not in this shape.
typedef struct d2v_block_arrays {
	int16_t *audio;
	float *audio_mean, *audio_rstd, *wave;
	int32_t *valid;
	uint8_t *image;
	float *pixels;
	int32_t *text;
	uint8_t *mask;
	int32_t *keep, *restore, *masked; // keep and masked have one spare entry (d2v_masks_index)
	float *noise;
	uint64_t *ids;
} d2v_block_arrays;

// D2V_INVALID when a number is negative or the rows times tokens do not fit the index lists.
d2v_status d2v_block_check(const d2v_block_shape *shape, d2v_error *err);
size_t d2v_block_size(const d2v_block_shape *shape);
// Places the arrays in `memory` (of at least d2v_block_size bytes, 64-byte aligned), says where in *arrays and *batch,
// and sets the batch's sizes, block and block_size. The other fields become zero; the bytes stay as they are.
void d2v_block_place(const d2v_block_shape *shape, void *memory, d2v_block_arrays *arrays, d2v_batch *batch);

// Fills keep, restore, masked and the counts from the batch's mask.
void d2v_block_index_masks(const d2v_block_arrays *arrays, d2v_batch *batch);
// XXH3-64 over the sizes and every array that decides the step; noise_count: floats of batch->noise.
uint64_t d2v_block_digest(const d2v_batch *batch, uint64_t noise_count);

// Through the allocator, or from the heap when it is NULL or empty.
d2v_status d2v_block_alloc(const d2v_source_allocator *allocator, void *out, size_t bytes, d2v_error *err);
void d2v_block_free(const d2v_source_allocator *allocator, void *block); // NULL is allowed

#endif
