// A source of batches that the caller gives as arrays: golden cases, replayed batches, feature extraction.
//
// Life: open -> add ... -> (as a source) next, give ... -> d2v_source_close. Arrays are copied by add. After the last
// batch the first follows again, as a new epoch. Threads: one.
#ifndef D2V_LOADERS_RECORDED_SOURCE_H
#define D2V_LOADERS_RECORDED_SOURCE_H

#include "loaders/source.h"

// One batch as it was recorded. Borrowed while adding. What the modality does not have stays zero.
typedef struct d2v_recorded {
	d2v_modality modality;
	int32_t samples, clones, tokens; // B, M, T
	int32_t length;                  // audio: L
	const float *wave;               // (B, L) normalised
	int32_t height, width;           // images
	const float *pixels;             // (B, 3, height, width) normalised
	const int64_t *text;             // (B, T)
	const uint8_t *padding;          // (B, L) audio or (B, T) text, 1 = padding, at the end of a row only; NULL: none
	const uint8_t *mask;             // (R, T), 1 = masked; NULL: nothing is masked and there are no index lists
	int32_t kept;                    // K of ids_keep; without the lists it is derived from the mask
	const int64_t *ids_keep;         // (R, K), in the order in which the student gets them
	const int64_t *ids_restore;      // (R, T), inverse of "kept, then the others"; both lists or none
	const float *noise;              // noise_count floats, (R, T-K, D); NULL: drawn by the kernels
	uint64_t noise_count;
} d2v_recorded;

// allocator NULL: the heap. It is copied.
d2v_status d2v_recorded_source_open(d2v_source **source, const d2v_source_allocator *allocator, d2v_error *err);
// D2V_INVALID when the arrays contradict each other. Before the first next.
d2v_status d2v_recorded_source_add(d2v_source *source, const d2v_recorded *given, d2v_error *err);

#endif
