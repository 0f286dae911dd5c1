// Dropout of attention, drawn ahead: a thread a word.
#include "kernels/cuda/attention_draws.h"
#include "kernels/cuda/draws.cuh"

#define THREADS 256

// A head's blocks are neighbours.
static __global__ void __launch_bounds__(THREADS) draw_words(uint32_t *words, drop_rule drop, int tokens, int per_head) {
	unsigned parts = ((unsigned)per_head + THREADS - 1) / THREADS, head = blockIdx.x / parts;
	int at = (int)(blockIdx.x % parts) * THREADS + (int)threadIdx.x;
	if (at >= per_head)
		return;
	int key = at / tokens * DRAWN_KEYS, query = at % tokens;
	int64_t element = ((int64_t)head * tokens + query) * tokens + key;
	words[(int64_t)head * per_head + at] = keep_bits<DRAWN_KEYS>(drop, element);
}

bool d2v_cuda_attention_draw(d2v_device *dev, const d2v_attention *op, score_draws *draws, size_t more, void **rest) {
	drop_rule drop = make_drop_rule(&op->drop);
	int64_t heads = op->rows * op->heads, per_head = (op->tokens + DRAWN_KEYS - 1) / DRAWN_KEYS * op->tokens;
	int64_t beyond = op->tokens + DRAWN_KEYS; // the next word of keys, the next queries
	size_t size = drop.on ? d2v_cuda_round((size_t)(heads * per_head + beyond) * sizeof(uint32_t)) : 0;
	char *scratch = size + more ? (char *)d2v_cuda_scratch(dev, size + more) : NULL;
	if (size + more && !scratch)
		return false;
	*draws = { (uint32_t *)scratch, (int)per_head, drop.kept };
	if (rest)
		*rest = scratch + size;
	if (drop.on)
		D2V_LAUNCH(dev, draw_words, d2v_blocks(heads * ((per_head + THREADS - 1) / THREADS), 1), THREADS, 0,
			(uint32_t *)scratch, drop, (int)op->tokens, (int)per_head);
	return true;
}
