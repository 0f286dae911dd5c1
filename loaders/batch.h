// A batch: what the trainer eats. Filled by a source (source.h), read-only for the trainer, given back after the step.
//
// Images travel as u8, audio as i16, tokens as i32; normalisation happens in kernels/. All arrays lie in one block from
// the source's allocator (pinned memory for a GPU), at 256-byte aligned offsets, so that one copy uploads the whole
// batch. Names: B samples, M clones, R = B*M rows (row r is of sample r/M), T positions after the local encoder, K kept
// ones.
#ifndef D2V_LOADERS_BATCH_H
#define D2V_LOADERS_BATCH_H

#include "base/modality.h"

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_batch {
	d2v_modality modality;
	int32_t samples; // B; 0: an empty batch (this rank has nothing in this step)
	int32_t clones;  // M
	int32_t tokens;  // T
	int32_t kept;    // K, the same for all rows: T minus the masked positions of row 0 (model.md 5.6)

	// What the local encoder reads. Only the modality's own fields are set.
	int32_t length;          // L: audio samples per row
	const int16_t *audio;    // (B, L)
	const float *audio_mean; // (B) of the whole utterance, in units of full scale 1
	const float *audio_rstd; // (B) 1/sqrt(biased variance + 1e-5)
	const float *wave;       // (B, L) instead of audio: already normalised f32 (recorded batches), or NULL
	const int32_t *valid;    // (B) valid audio samples or tokens of each row, the rest is padding; NULL: no padding
	int32_t height, width;   // images
	const uint8_t *image;    // (B, height, width, 3)
	const float *pixels;     // (B, 3, height, width) instead of image: already normalised (recorded batches), or NULL
	const int32_t *text;     // (B, T)

	// Masks. `restore` is the inverse of "kept ascending, then the others ascending".
	const uint8_t *mask;    // (R, T), 1 = masked: what the loss sees
	const int32_t *keep;    // (R, K) positions the encoder sees
	const int32_t *restore; // (R, T)
	const int32_t *masked;  // (masked_count) r*T+t where mask is 1, ascending
	int32_t masked_count;
	const float *noise; // (R, T-K, D) given decoder noise (recorded batches), NULL: drawn by the kernels

	const uint64_t *ids; // (B) global ordinals of the samples in the data set
	uint64_t index;      // position in the rank's stream, counted over epochs
	uint64_t epoch;
	uint64_t digest;   // XXH3-64 over everything above that decides the step
	const void *block; // the memory all arrays lie in
	size_t block_size;
	void *owner; // the source's
} d2v_batch;

#endif
