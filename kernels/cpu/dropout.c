#include "kernels/cpu/dropout.h"

#include "base/philox.h"

#include <math.h>

#define BLOCKS 16 // Philox blocks made at once: the lanes of a vector
#define WORDS (4 * BLOCKS)

// An element is kept iff word * 2^-32 >= p, that is word >= ceil(p * 2^32).
typedef struct rule {
	uint32_t threshold;
	float kept; // the factor of a kept element
} rule;

static rule make_rule(const d2v_dropout *drop) {
	if (drop->p >= 1)
		return (rule){ UINT32_MAX, 0 };
	return (rule){ (uint32_t)ceil((double)drop->p * 0x1p32), 1.0f / (1.0f - drop->p) };
}

// The factors of the words of blocks block, ..., block + BLOCKS - 1.
static void make_factors(float factors[WORDS], rule keep, d2v_random_key key, uint64_t block) {
	uint32_t key0 = key.word[0], key1 = key.word[1], threshold = keep.threshold;
#pragma omp simd
	for (int lane = 0; lane < BLOCKS; lane++) {
		d2v_philox draw = d2v_philox_block(key0, key1, block + (uint64_t)lane, 0);
		factors[4 * lane + 0] = draw.word[0] >= threshold ? keep.kept : 0.0f;
		factors[4 * lane + 1] = draw.word[1] >= threshold ? keep.kept : 0.0f;
		factors[4 * lane + 2] = draw.word[2] >= threshold ? keep.kept : 0.0f;
		factors[4 * lane + 3] = draw.word[3] >= threshold ? keep.kept : 0.0f;
	}
}

static float one_factor(rule keep, d2v_random_key key, int64_t draw) {
	d2v_philox block = d2v_philox_block(key.word[0], key.word[1], (uint64_t)draw / 4, 0);
	return block.word[draw % 4] >= keep.threshold ? keep.kept : 0.0f;
}

const float *d2v_cpu_dropout_factors(float *buffer, const d2v_dropout *drop, int64_t first, int64_t count) {
	rule keep = make_rule(drop);
	first += drop->first;
	if (drop->span <= 1) {
		int64_t lead = first % 4;
		for (int64_t at = 0; at < lead + count; at += WORDS)
			make_factors(buffer + at, keep, drop->key, (uint64_t)(first / 4 + at / 4));
		return buffer + lead;
	}
	for (int64_t at = 0; at < count;) {
		int64_t draw = (first + at) / drop->span;
		int64_t end = (draw + 1) * drop->span - first;
		float factor = one_factor(keep, drop->key, draw);
		for (end = end < count ? end : count; at < end; at++)
			buffer[at] = factor;
	}
	return buffer;
}
