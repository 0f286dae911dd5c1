#include "kernels/cpu/dropout.h"

#include "base/philox.h"
#include "kernels/drop_rule.h"

#define BLOCKS 16 // Philox blocks made at once: the lanes of a vector
#define WORDS (4 * BLOCKS)
#define DRAWS (2 * WORDS)

// The words of blocks block, ..., block + BLOCKS - 1.
static void draw_words(uint32_t words[WORDS], d2v_random_key key, uint64_t block) {
	uint32_t key0 = key.word[0], key1 = key.word[1];
#pragma omp simd
	for (int lane = 0; lane < BLOCKS; lane++) {
		d2v_philox draw = d2v_philox_block_7(key0, key1, block + (uint64_t)lane, 0);
		words[4 * lane + 0] = draw.word[0];
		words[4 * lane + 1] = draw.word[1];
		words[4 * lane + 2] = draw.word[2];
		words[4 * lane + 3] = draw.word[3];
	}
}

// And their factors.
static void make_factors(float factors[DRAWS], d2v_drop_rule rule, d2v_random_key key, uint64_t block) {
	uint32_t words[WORDS], threshold = rule.threshold;
	float kept = rule.kept;
	draw_words(words, key, block);
#pragma omp simd
	for (int i = 0; i < WORDS; i++) {
		factors[2 * i] = (words[i] & 0xffff) >= threshold ? kept : 0.0f;
		factors[2 * i + 1] = words[i] >> 16 >= threshold ? kept : 0.0f;
	}
}

static float one_factor(d2v_drop_rule rule, d2v_random_key key, int64_t draw) {
	d2v_philox block = d2v_philox_block_7(key.word[0], key.word[1], (uint64_t)draw / D2V_DRAWS_BLOCK, 0);
	uint32_t word = block.word[draw % D2V_DRAWS_BLOCK / 2];
	return (draw % 2 ? word >> 16 : word & 0xffff) >= rule.threshold ? rule.kept : 0.0f;
}

const float *d2v_cpu_dropout_factors(float *buffer, const d2v_dropout *drop, int64_t first, int64_t count) {
	d2v_drop_rule rule = d2v_drop_rule_make(drop->p);
	first += drop->first;
	if (drop->span <= 1) {
		int64_t lead = first % D2V_DRAWS_BLOCK;
		for (int64_t at = 0; at < lead + count; at += DRAWS)
			make_factors(buffer + at, rule, drop->key, (uint64_t)(first + at) / D2V_DRAWS_BLOCK);
		return buffer + lead;
	}
	for (int64_t at = 0; at < count;) {
		int64_t draw = (first + at) / drop->span;
		int64_t end = (draw + 1) * drop->span - first;
		float factor = one_factor(rule, drop->key, draw);
		for (end = end < count ? end : count; at < end; at++)
			buffer[at] = factor;
	}
	return buffer;
}
