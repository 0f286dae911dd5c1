// Dropout of attention, drawn ahead: a thread a word.
#include "kernels/cuda/attention_draws.h"
#include "kernels/cuda/draws.cuh"

#define THREADS 256

// A head's blocks are neighbours. The four Philox blocks of a word differ in two bits, and share the beginning of their
// rounds; that those of a query's last word may be more than there are keys costs less than to ask.
static __global__ void __launch_bounds__(THREADS)
	draw_words(uint32_t *words, drop_rule drop, int tokens, int of_query) {
	int per_head = tokens * of_query;
	unsigned parts = ((unsigned)per_head + THREADS - 1) / THREADS, head = blockIdx.x / parts;
	int at = (int)(blockIdx.x % parts) * THREADS + (int)threadIdx.x;
	if (at >= per_head)
		return;
	int word = at / tokens, query = at % tokens;
	int64_t first = ((int64_t)head * tokens + query) * of_query + word;
	uint64_t block = (uint64_t)(drop.first / DRAWN_KEYS + first) * (DRAWN_KEYS / D2V_DRAWS_BLOCK);
	uint32_t bits = 0;
#pragma unroll
	for (int i = 0; i < DRAWN_KEYS / D2V_DRAWS_BLOCK; i++)
		bits |= keep_eight(drop, block | i) << i * D2V_DRAWS_BLOCK;
	words[(int64_t)head * per_head + at] = bits;
}

bool d2v_cuda_attention_draw(d2v_device *dev, const d2v_attention *op, score_draws *draws, size_t more, void **rest) {
	drop_rule drop = make_drop_rule(&op->drop);
	int64_t heads = op->rows * op->heads, of_query = d2v_attention_draws(op->tokens) / DRAWN_KEYS;
	int64_t per_head = op->tokens * of_query;
	int64_t beyond = op->tokens + DRAWN_KEYS; // the next word of keys, the next queries
	size_t size = drop.on ? d2v_cuda_round((size_t)(heads * per_head + beyond) * sizeof(uint32_t)) : 0;
	char *scratch = size + more ? (char *)d2v_cuda_scratch(dev, size + more) : NULL;
	if (size + more && !scratch)
		return false;
	*draws = { (uint32_t *)scratch, (int)per_head, drop.kept };
	D2V_ASSERT(drop.span == 1 && drop.first % DRAWN_KEYS == 0);
	if (rest)
		*rest = scratch + size;
	if (drop.on)
		D2V_LAUNCH(dev, draw_words, d2v_blocks(heads * ((per_head + THREADS - 1) / THREADS), 1), THREADS, 0,
			(uint32_t *)scratch, drop, (int)op->tokens, (int)of_query);
	return true;
}
