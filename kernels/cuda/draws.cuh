// Random draws inside kernels: dropout's factors and normal noise as functions of the element's index (kernels/ops.h).
#ifndef D2V_KERNELS_CUDA_DRAWS_CUH
#define D2V_KERNELS_CUDA_DRAWS_CUH

#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/launch.cuh"

#include "base/philox.h"
#include "kernels/drop_rule.h"

#include <math.h>

// d2v_dropout made ready. threshold: in the upper half of a word.
typedef struct drop_rule {
	uint32_t threshold;
	float kept; // the factor of a kept element
	uint32_t key0, key1;
	int64_t span, first;
	bool on;
} drop_rule;

static inline drop_rule make_drop_rule(const d2v_dropout *drop) {
	drop_rule rule = { 0, 1.0f, drop->key.word[0], drop->key.word[1], drop->span > 1 ? drop->span : 1, drop->first,
		drop->p > 0 };
	if (rule.on) {
		d2v_drop_rule same = d2v_drop_rule_make(drop->p);
		rule.threshold = same.threshold << 16, rule.kept = same.kept;
	}
	return rule;
}

// Of the draws that a word has.
__device__ __forceinline__ bool keeps_lower(const drop_rule &rule, uint32_t word) {
	return word << 16 >= rule.threshold;
}
__device__ __forceinline__ bool keeps_upper(const drop_rule &rule, uint32_t word) {
	return word >= rule.threshold;
}

__device__ __forceinline__ float drop_factor(const drop_rule &rule, int64_t element) {
	int64_t draw = (rule.first + element) / rule.span;
	d2v_philox block = d2v_philox_block_7(rule.key0, rule.key1, (uint64_t)(draw / D2V_DRAWS_BLOCK), 0);
	uint32_t low = draw & 2 ? block.word[1] : block.word[0], high = draw & 2 ? block.word[3] : block.word[2];
	uint32_t word = draw & 4 ? high : low; // no index: words stay in registers
	return (draw & 1 ? keeps_upper(rule, word) : keeps_lower(rule, word)) ? rule.kept : 0.0f;
}

// Which of a block's elements are kept, a bit each, the first the lowest.
__device__ __forceinline__ uint32_t keep_eight(const drop_rule &rule, uint64_t block) {
	d2v_philox draws = d2v_philox_block_7(rule.key0, rule.key1, block, 0);
	uint32_t bits = 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		bits |= keeps_lower(rule, draws.word[i]) ? 1u << 2 * i : 0;
		bits |= keeps_upper(rule, draws.word[i]) ? 2u << 2 * i : 0;
	}
	return bits;
}

// values[i] *= the factor of element first + i. first is a multiple of N, and so are the rule's and a span longer than 1.
template <int N> __device__ __forceinline__ void drop_pack(float (&values)[N], const drop_rule &rule, int64_t first) {
	static_assert(N == 1 || N == 4 || N == D2V_DRAWS_BLOCK, "an element, half a block, or a block");
	if (!rule.on)
		return;
	if (N == 1 || rule.span != 1) {
		float factor = drop_factor(rule, first);
#pragma unroll
		for (int i = 0; i < N; i++)
			values[i] *= factor;
		return;
	}
	int64_t draw = rule.first + first;
	d2v_philox block = d2v_philox_block_7(rule.key0, rule.key1, (uint64_t)(draw / D2V_DRAWS_BLOCK), 0);
#pragma unroll
	for (int i = 0; i < N / 2; i++) {
		uint32_t word = N == 4 && draw & 4 ? block.word[i % 2 + 2] : block.word[i];
		values[2 * i] *= keeps_lower(rule, word) ? rule.kept : 0.0f;
		values[2 * i + 1] *= keeps_upper(rule, word) ? rule.kept : 0.0f;
	}
}

// Whether packs of N may be dropped so.
static inline bool fits_packs(const d2v_dropout *drop, int64_t n) {
	return drop->p <= 0 || ((drop->span <= 1 || drop->span % n == 0) && drop->first % n == 0);
}

// Two of the Box-Muller normals (d2v_restore), times std, from two words. As T can tell them apart: of 16 bits bf16 keeps 8
// digits and f16 11, so the special function units will do, with the angle, from 23 bits, turned by half a circle into the
// range where they are good.
template <class T> __device__ __forceinline__ void noise_pair(float &even, float &odd, uint32_t word_a, uint32_t word_b, float std) {
	if constexpr (sizeof(T) == 2) {
		float u = fmaf((float)word_a, 2.3283064365386963e-10f, 2.3283064365386963e-10f);
		float turn = float_of_bits(0x3f800000u | word_b >> 9) - 1.5f, angle = 6.28318530717958647692f * turn;
		float radius = -std * fast_root(-1.38629436111989061883f * fast_log2(u)); // -2 ln 2
		even = radius * fast_cosine(angle);
		odd = radius * fast_sine(angle);
	} else {
		float u = ((float)word_a + 1.0f) * 2.3283064365386963e-10f, v = (float)word_b * 2.3283064365386963e-10f;
		float radius = std * sqrtf(-2.0f * logf(u)), angle = 6.28318530717958647692f * v;
		even = radius * cosf(angle);
		odd = radius * sinf(angle);
	}
}

// values = the normals of elements first + i. first is a multiple of N.
template <class T, int N>
__device__ __forceinline__ void noise_pack(float (&values)[N], uint32_t key0, uint32_t key1, float std, int64_t first) {
	float pair[2];
	if (N % 4 == 0) {
#pragma unroll
		for (int i = 0; i + 3 < N; i += 4) {
			d2v_philox block = d2v_philox_block(key0, key1, (uint64_t)((first + i) / 4), 1);
			noise_pair<T>(values[i], values[i + 1], block.word[0], block.word[1], std);
			noise_pair<T>(values[i + 2], values[i + 3], block.word[2], block.word[3], std);
		}
	} else {
		d2v_philox block = d2v_philox_block(key0, key1, (uint64_t)(first / 4), 1);
		bool high = first & 2;
		noise_pair<T>(pair[0], pair[1], block.word[high ? 2 : 0], block.word[high ? 3 : 1], std);
		values[0] = pair[first & 1];
	}
}

#endif
