// A source of made-up batches of one shape: for timing the trainer alone, and for headspace, the step time with an
// infinitely fast loader. Everything is drawn from the counter-based generator: batch i is a function of (seed, i).
//
// Life: open -> (as a source) next, give ... -> d2v_source_close. Threads: one.
#ifndef D2V_LOADERS_SYNTHETIC_SOURCE_H
#define D2V_LOADERS_SYNTHETIC_SOURCE_H

#include "loaders/frames.h"
#include "loaders/masks.h"
#include "loaders/source.h"

typedef struct d2v_synthetic_options {
	d2v_modality modality;
	uint64_t seed;
	int32_t samples, clones; // B, M
	d2v_mask_settings
		masks;              // audio: 1-d blocks, images: 2-d blocks (1-d when mask_length is 1), text: single positions
	int32_t length;         // audio: samples of each utterance
	d2v_frames_spec frames; // audio
	int32_t side, patch;    // images of side x side
	int32_t tokens;         // text
	int32_t vocabulary;     // text: ids are drawn from [4, vocabulary), behind the special ones
	// 0: every batch is drawn when it is asked for. n: n batches are drawn when opening and handed round at no cost.
	int32_t repeat;
	d2v_source_allocator allocator; // all zero: the heap
} d2v_synthetic_options;

d2v_status d2v_synthetic_source_open(d2v_source **source, const d2v_synthetic_options *options, d2v_error *err);

#endif
