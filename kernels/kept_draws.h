// What a GPU keeps of attention's dropout (kernels/cuda/attention_draws.h), and for which heads: apart from CUDA, so
// that a card is planned for where there is none (outline_device.c).
#ifndef D2V_KERNELS_KEPT_DRAWS_H
#define D2V_KERNELS_KEPT_DRAWS_H

#include "kernels/ops.h"

#define D2V_DRAWN_ROWS 16    // of a block of draws, a bit each
#define D2V_DRAWN_COLUMNS 64 // of it
#define D2V_DRAWN_WORDS 32   // that it is

// Heads that the tensor cores take, in bf16 or f16; the others draw as they go.
static inline bool d2v_attention_has_tensor_heads(const d2v_attention *op, bool bf16) {
	int64_t size = op->width / op->heads;
	return size == 64 || (bf16 && (size == 32 || size == 96 || size == 128));
}

// Words of 16 rows of a head, and of all of them.
static inline int64_t d2v_drawn_words_of_rows(int64_t tokens) {
	return (tokens + D2V_DRAWN_COLUMNS - 1) / D2V_DRAWN_COLUMNS * D2V_DRAWN_WORDS;
}
static inline int64_t d2v_drawn_words_of_head(int64_t tokens) {
	return (tokens + D2V_DRAWN_ROWS - 1) / D2V_DRAWN_ROWS * d2v_drawn_words_of_rows(tokens);
}

// Of all heads, their rows being queries, and a second time keys.
static inline size_t d2v_kept_draws_bytes(const d2v_attention *op) {
	return (size_t)(op->rows * op->heads * d2v_drawn_words_of_head(op->tokens)) * 2 * sizeof(uint32_t);
}

#endif
