// Which scores dropout keeps, a bit each: drawn before a head is attended to and read while it is, so that the draws go
// at the full rate of the integer units, and between products nobody waits for them.
//
// They lie twice, as whoever has a score in registers wants them: in blocks of 16 queries and 64 keys, and in blocks of
// 16 keys and 64 queries, (rows, heads, ceil(tokens / 16), ceil(tokens / 64)) of either. A block is a word a lane, of
// the scores that products of matrices leave there: bit 4 n + 2 half + i of lane 4 g + t is of row g + 8 half and
// column 8 n + 2 t + i. What is beyond the last token is anything.
//
// Forward leaves them in op->kept, for backward to find. Without op->kept they are in the device's scratch memory, and
// backward draws them again.
#ifndef D2V_KERNELS_CUDA_ATTENTION_DRAWS_H
#define D2V_KERNELS_CUDA_ATTENTION_DRAWS_H

#include "kernels/cuda/cuda.h"
#include "kernels/kept_draws.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct score_draws {
	const uint32_t *of_queries, *of_keys; // without dropout: anything
	int words_of_head, words_of_rows;     // of either; of 16 rows
	float kept;                           // the factor of what is kept
} score_draws;

// What forward reads. False: there is not enough memory, which the device was told.
bool d2v_cuda_attention_draw(d2v_device *dev, const d2v_attention *op, score_draws *draws);

// What backward reads. `more` bytes of scratch memory are left for the caller at *rest (or NULL).
bool d2v_cuda_attention_find_draws(
	d2v_device *dev, const d2v_attention *op, score_draws *draws, size_t more, void **rest);

#ifdef __cplusplus
}
#endif
#endif
