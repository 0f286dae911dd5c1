// Random draws inside kernels: dropout's factors and normal noise as functions of the element's index (kernels/ops.h).
#ifndef D2V_KERNELS_CUDA_DRAWS_CUH
#define D2V_KERNELS_CUDA_DRAWS_CUH

#include "kernels/cuda/launch.cuh"

#include "base/philox.h"

#include <math.h>

// d2v_dropout made ready: an element is kept iff its word is >= threshold, that is ceil(p * 2^32).
typedef struct drop_rule {
	uint32_t threshold;
	float kept; // the factor of a kept element; 0 with threshold 0: off
	uint32_t key0, key1;
	int64_t span;
	bool on;
} drop_rule;

static inline drop_rule make_drop_rule(const d2v_dropout *drop) {
	drop_rule rule = { 0, 1.0f, drop->key.word[0], drop->key.word[1], drop->span > 1 ? drop->span : 1, drop->p > 0 };
	if (drop->p >= 1) {
		rule.threshold = UINT32_MAX;
		rule.kept = 0;
	} else if (drop->p > 0) {
		rule.threshold = (uint32_t)ceil((double)drop->p * 4294967296.0);
		rule.kept = 1.0f / (1.0f - drop->p);
	}
	return rule;
}

__device__ __forceinline__ float drop_factor(const drop_rule &rule, int64_t element) {
	int64_t draw = element / rule.span;
	d2v_philox block = d2v_philox_block(rule.key0, rule.key1, (uint64_t)(draw / 4), 0);
	return block.word[draw & 3] >= rule.threshold ? rule.kept : 0.0f;
}

// Which of the four elements of a draw are kept, a bit each, the first the lowest.
__device__ __forceinline__ uint32_t keep_four(const drop_rule &rule, uint64_t draw) {
	d2v_philox block = d2v_philox_block(rule.key0, rule.key1, draw, 0);
	uint32_t bits = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		bits |= block.word[i] >= rule.threshold ? 1u << i : 0;
	return bits;
}

// The same of COUNT elements from `first`, COUNT a multiple of 4 up to 32; first may be any.
template <int COUNT> __device__ __forceinline__ uint32_t keep_bits(const drop_rule &rule, int64_t first) {
	uint32_t bits = 0;
	if (rule.span != 1) {
		for (int i = 0; i < COUNT; i++) {
			uint64_t draw = (uint64_t)((first + i) / rule.span);
			bits |= (keep_four(rule, draw / 4) >> (draw & 3) & 1) << i;
		}
		return bits;
	}
	uint64_t draw = (uint64_t)first / 4;
	int skip = (int)(first & 3);
#pragma unroll
	for (int i = 0; i < COUNT / 4; i++)
		bits |= keep_four(rule, draw + (unsigned)i) << (4 * i);
	if (skip)
		bits = bits >> skip | keep_four(rule, draw + COUNT / 4) << (COUNT - skip);
	return COUNT < 32 ? bits & ((1u << (COUNT & 31)) - 1) : bits;
}

// values[i] *= the factor of element first + i. first is a multiple of N, and a span longer than 1 is too.
template <int N> __device__ __forceinline__ void drop_pack(float (&values)[N], const drop_rule &rule, int64_t first) {
	if (!rule.on)
		return;
	if (N % 4 == 0 && rule.span == 1) {
#pragma unroll
		for (int i = 0; i + 3 < N; i += 4) {
			d2v_philox block = d2v_philox_block(rule.key0, rule.key1, (uint64_t)((first + i) / 4), 0);
#pragma unroll
			for (int j = 0; j < 4; j++)
				values[i + j] *= block.word[j] >= rule.threshold ? rule.kept : 0.0f;
		}
	} else {
		float factor = drop_factor(rule, first);
#pragma unroll
		for (int i = 0; i < N; i++)
			values[i] *= factor;
	}
}

// Whether packs of N may be dropped so.
static inline bool fits_packs(const d2v_dropout *drop, int64_t n) {
	return drop->p <= 0 || drop->span <= 1 || drop->span % n == 0;
}

// The Box-Muller normal of element index (d2v_restore), times std.
__device__ __forceinline__ float noise_value(uint32_t key0, uint32_t key1, float std, int64_t index) {
	d2v_philox block = d2v_philox_block(key0, key1, (uint64_t)(index / 4), 1);
	int pair = (int)(index & 2);
	float u = ((float)block.word[pair] + 1.0f) * 2.3283064365386963e-10f;
	float v = (float)block.word[pair + 1] * 2.3283064365386963e-10f;
	float radius = std * sqrtf(-2.0f * logf(u)), angle = 6.28318530717958647692f * v;
	return radius * (index & 1 ? sinf(angle) : cosf(angle));
}

#endif
