// Models and batches of a few thousand numbers, for tests of whole steps.
#ifndef D2V_TESTS_TINY_MODEL_H
#define D2V_TESTS_TINY_MODEL_H

#include "loaders/batch.h"
#include "train/model.h"

// 24 wide, 3 heads, 2 blocks, two convolutions; no dropout anywhere, every branch at its recipe's setting. A model of
// speech; with another supported_modality one of pictures of 12 x 12 in patches of 4, of text of 23 words, or of all.
void tiny_config(d2v_model_config *config);
// Initial values, then every parameter moved by N(0, spread^2), so that no bias is 0 and no gain is 1.
void tiny_weights(d2v_model *model, double spread, uint64_t seed);

typedef struct tiny_batch {
	d2v_batch batch;
	float *wave, *pixels, *noise;
	int32_t *text;
	uint8_t *mask;
	int32_t *keep, *restore, *masked, *valid;
} tiny_batch;
// Speech of `length` samples. masks: about half of the positions, the same count in every row. padded: the last sample
// has a third of padding.
void tiny_batch_make(
	tiny_batch *out, const d2v_model_config *config, int samples, int length, bool padded, uint64_t seed);
// The same of any modality; length: audio samples, or tokens of text (none is padding unless padded).
void tiny_batch_make_of(tiny_batch *out, const d2v_model_config *config, d2v_modality modality, int samples, int length,
	bool padded, uint64_t seed);
void tiny_batch_release(tiny_batch *batch);

#endif
