// Which scores dropout keeps, a bit each, in scratch memory: drawn before a head is attended to and read while it is, so
// that the draws go at the full rate of the integer units, and between products nobody waits for them. Backward draws
// again.
//
// A word has 32 keys of a query, the lowest key in its lowest bit. Words lie as (rows, heads, ceil(tokens / 32), tokens):
// those of neighbouring queries side by side, as both ways read them. Behind the last there is room for lanes whose
// query or keys do not exist: what they read is anything.
#ifndef D2V_KERNELS_CUDA_ATTENTION_DRAWS_H
#define D2V_KERNELS_CUDA_ATTENTION_DRAWS_H

#include "kernels/cuda/cuda.h"

#define DRAWN_KEYS 32 // of a word

#ifdef __cplusplus
extern "C" {
#endif

typedef struct score_draws {
	const uint32_t *words; // without dropout: anything
	int words_of_head;
	float kept; // the factor of what is kept
} score_draws;

// Draws into the device's scratch memory, if there is dropout; `more` bytes of it are left for the caller at *rest (or NULL).
// False: there is not enough memory, which the device was told.
bool d2v_cuda_attention_draw(d2v_device *dev, const d2v_attention *op, score_draws *draws, size_t more, void **rest);

#ifdef __cplusplus
}
#endif
#endif
