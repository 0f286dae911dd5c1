// Pieces of attention on the tensor cores, for a warp: tiles of a head's vectors in shared memory, their products, what
// is known of a token beside its vectors, rows on their way out.
//
// Scores are in units of log2: 2^(q . k root log2(e) + bias log2(e) - base), one multiply-add and one ex2 each.
#ifndef D2V_KERNELS_CUDA_ATTENTION_TILES_CUH
#define D2V_KERNELS_CUDA_ATTENTION_TILES_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_draws.h"
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/mma.cuh"

#include <math.h>

#define LOG2_E 1.44269504088896340736f
#define LN_2 0.69314718055994530942f
#define SKEW 8  // elements between the rows in shared memory: eight neighbours lie in other banks
#define TILE 64 // tokens that are fetched together

#ifdef D2V_EMULATION
static inline float power_of_2(float x) {
	return exp2f(x);
}
#else
static __device__ __forceinline__ float power_of_2(float x) {
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
#endif

// A head's vectors in shared memory, a token a row.
template <class T, int SIZE> struct head_row { T at[SIZE + SKEW]; };

// Starts the copies of `count` tokens from `first`; zeros for those beyond `tokens`. from: token 0; all threads of the
// block.
template <int SIZE, class T>
static __device__ __forceinline__ void fetch_rows(
	head_row<T, SIZE> *to, const T *from, int64_t pitch, int first, int count, int tokens) {
	constexpr int packs = SIZE / 8;
	for (int i = (int)threadIdx.x; i < count * packs; i += (int)blockDim.x) {
		int row = i / packs, column = i % packs * 8;
		bool inside = first + row < tokens;
		copy_async(&to[row].at[column], from + (int64_t)(inside ? first + row : 0) * pitch + column, inside);
	}
}

// ---- what is known of a token

#define OUTSIDE INFINITY // the place of what is no key: padded, or beyond the last token

// Where a token stands; NaN for an extra token, whose distances are all 0.
static __device__ __forceinline__ float place_of(const d2v_attention &op, int64_t r, int64_t token) {
	if (!op.slope)
		return 0;
	if (token < op.extra)
		return NAN;
	return (float)(op.positions ? op.positions[r * (op.tokens - op.extra) + token - op.extra] : token - op.extra);
}
static __device__ __forceinline__ float key_place(const d2v_attention &op, int64_t r, int64_t token) {
	bool outside = token >= op.tokens || (op.key_padding && op.key_padding[r * op.tokens + token]);
	return outside ? OUTSIDE : place_of(op, r, token);
}
// |i - j| of two places that are no OUTSIDE; the maximum of NaN and 0 is 0.
static __device__ __forceinline__ float distance_between(float i, float j) {
	return fmaxf(fabsf(i - j), 0.0f);
}

// The lane's words of 16 rows, from row `row` of a head on: of their first 64 columns, and of those that `column` is in.
// words: of_queries or of_keys.
static __device__ __forceinline__ const uint32_t *find_draws(
	const uint32_t *words, const score_draws &draws, int64_t head, int row) {
	return words + head * draws.words_of_head + row / D2V_DRAWN_ROWS * draws.words_of_rows + threadIdx.x % 32;
}
static __device__ __forceinline__ uint32_t read_draws(const uint32_t *draws, int column) {
	return draws[column / D2V_DRAWN_COLUMNS * D2V_DRAWN_WORDS];
}
// Whether the score of row g + 8 half and column 8 n + 2 t + i is kept.
static __device__ __forceinline__ bool is_kept(uint32_t draws, int n, int half, int i) {
	return draws & 1u << (4 * n + 2 * half + i);
}

// All bits of each of a pair's two halves, or none: as the sign of byte `byte` says, of `low` and of `high`.
#ifdef D2V_EMULATION
static inline uint32_t spread_signs(uint32_t low, uint32_t high, int byte) {
	return (low >> (8 * byte + 7) & 1) * 0xffffu | (high >> (8 * byte + 7) & 1) * 0xffff0000u;
}
#else
static __device__ __forceinline__ uint32_t spread_signs(uint32_t low, uint32_t high, int byte) {
	uint32_t pair;
	asm("prmt.b32 %0, %1, %2, %3;" : "=r"(pair) : "r"(low), "r"(high), "r"(0xcc88 + 0x1111 * byte));
	return pair;
}
#endif

// ---- products of a warp

// The address that a lane gives load_matrices for a (16 rows) or load_transposed for b (16 rows of k, 16 columns), and
// that it gives load_matrices for b (16 rows that are columns) or load_transposed for a (16 rows of k, 16 columns that
// are rows).
template <class T, int SIZE> static __device__ __forceinline__ const T *lane_of_a(const head_row<T, SIZE> *rows) {
	int lane = threadIdx.x % 32;
	return &rows[lane % 16].at[lane / 16 * 8];
}
template <class T, int SIZE> static __device__ __forceinline__ const T *lane_of_b(const head_row<T, SIZE> *rows) {
	int lane = threadIdx.x % 32;
	return &rows[lane / 16 * 8 + lane % 8].at[lane / 8 % 2 * 8];
}

// sums (16 x 16, two halves of 8 columns) += a b for a fragment of a and one of twice b.
template <class T>
static __device__ __forceinline__ void multiply_16(
	float (&low)[4], float (&high)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
	uint32_t first[2] = { b[0], b[1] }, second[2] = { b[2], b[3] };
	mma_16816<T>(low, a, first);
	mma_16816<T>(high, a, second);
}

// Two neighbouring results of products as a fragment of a, 16 x 16.
template <class T>
static __device__ __forceinline__ void pack_fragment(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
	a[0] = round_pair<T>(low[0], low[1]), a[1] = round_pair<T>(low[2], low[3]);
	a[2] = round_pair<T>(high[0], high[1]), a[3] = round_pair<T>(high[2], high[3]);
}

// out (16 x SIZE) += a (16 x 16) times 16 rows of SIZE in shared memory; row: lane_of_a of them.
template <int SIZE, class T>
static __device__ __forceinline__ void add_weighted(
	float (&out)[SIZE / 8][4], const uint32_t (&a)[4], const T *row) {
#pragma unroll
	for (int c = 0; c < SIZE / 16; c++) {
		uint32_t b[4];
		load_transposed(b, row + c * 16);
		multiply_16<T>(out[2 * c], out[2 * c + 1], a, b);
	}
}

// The four lanes that share a row.
static __device__ __forceinline__ float row_max(float x) {
	x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
	return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
static __device__ __forceinline__ float row_sum(float x) {
	x += __shfl_xor_sync(0xffffffffu, x, 1);
	return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// ---- the way out

// Stores 16 x COLUMNS results, COLUMNS a multiple of 16, times factor[half] (rows g, g + 8); rows that are beyond `tokens`
// are left out. Of each 16 columns a lane gets four that follow each other, so that a row's four lanes fill a sector of
// memory. to: column 0 of token 0. The whole warp.
template <int COLUMNS, class T>
static __device__ __forceinline__ void store_rows(T *to, int64_t pitch, int64_t first, int64_t tokens,
	const float (&out)[COLUMNS / 8][4], float upper, float lower) {
	int lane = threadIdx.x % 32;
	bool odd = lane % 2;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int64_t token = first + lane / 4 + 8 * half;
		float factor = half ? lower : upper;
		T *row = to + token * pitch + lane % 2 * 8 + lane / 2 % 2 * 4;
#pragma unroll
		for (int n = 0; n < COLUMNS / 8; n += 2) {
			uint32_t left = round_pair<T>(out[n][2 * half] * factor, out[n][2 * half + 1] * factor);
			uint32_t right = round_pair<T>(out[n + 1][2 * half] * factor, out[n + 1][2 * half + 1] * factor);
			uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? left : right, 1);
			if (token < tokens)
				*(uint2 *)(row + n * 8) = make_uint2(odd ? got : left, odd ? right : got);
		}
	}
}

// Of a warp's results, rows as for store_rows: the sums of each lane's columns over rows, and then over lanes.
template <int COLUMNS> struct column_sums {
	float at[COLUMNS / 4] = { 0 }; // of column n * 8 + 2 t + i at 2 n + i

	__device__ __forceinline__ void add(const float (&rows)[COLUMNS / 8][4]) {
#pragma unroll
		for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
			for (int i = 0; i < 2; i++)
				at[2 * n + i] += rows[n][i] + rows[n][2 + i];
	}
	// to (COLUMNS) += the sums, of which each lane takes some, the same every time: what is the warp's own needs no barrier.
	__device__ __forceinline__ void add_to(float *to) {
		constexpr int each = COLUMNS / 32; // columns of a lane
		int lane = threadIdx.x % 32;
#pragma unroll
		for (int halving = 0; halving < 3; halving++) { // half of the lanes go on with half of the columns
			const int width = COLUMNS / 8 >> halving, distance = 16 >> halving;
#pragma unroll
			for (int i = 0; i < COLUMNS / 8; i++) {
				if (i >= width)
					break;
				float low = at[i], high = at[i + width];
				float other = __shfl_xor_sync(0xffffffffu, lane & distance ? low : high, distance);
				at[i] = (lane & distance ? high : low) + other;
			}
		}
#pragma unroll
		for (int i = 0; i < each; i++) {
			int n = lane / 4 * each + i;
			to[n / 2 * 8 + lane % 4 * 2 + n % 2] += at[i];
		}
	}
};

// ---- choosing

#define BY_SIZE(size, ...) \
	do { \
		if ((size) == 32) { \
			constexpr int SIZE = 32; \
			__VA_ARGS__; \
		} else if ((size) == 64) { \
			constexpr int SIZE = 64; \
			__VA_ARGS__; \
		} else if ((size) == 96) { \
			constexpr int SIZE = 96; \
			__VA_ARGS__; \
		} else { \
			constexpr int SIZE = 128; \
			__VA_ARGS__; \
		} \
	} while (0)

// With T and SIZE as the operation has them. Heads of f16 are of 64 channels, as in all recipes: others go without the tensor
// cores, since few will ask for them and every size costs the build as much as the whole of the optimizer.
#define BY_HEAD(dev, op, ...) \
	do { \
		if (d2v_cuda_of(dev)->precision == D2V_PRECISION_F16) { \
			typedef f16 T; \
			constexpr int SIZE = 64; \
			__VA_ARGS__; \
		} else { \
			typedef bf16 T; \
			BY_SIZE((op)->width / (op)->heads, __VA_ARGS__); \
		} \
	} while (0)

// With BIAS and DROP as the operation has them. Heads of 64, which all recipes have, get code for each case; the others
// make do with a bias that may be 0.
#define BY_RULES(op, ...) \
	do { \
		if ((op)->slope || SIZE != 64) { \
			constexpr bool BIAS = true; \
			BY_DROP(op, __VA_ARGS__); \
		} else { \
			constexpr bool BIAS = SIZE != 64; \
			BY_DROP(op, __VA_ARGS__); \
		} \
	} while (0)
#define BY_DROP(op, ...) \
	do { \
		if ((op)->drop.p > 0) { \
			constexpr bool DROP = true; \
			__VA_ARGS__; \
		} else { \
			constexpr bool DROP = false; \
			__VA_ARGS__; \
		} \
	} while (0)

static inline void say_too_long(d2v_device *dev, const d2v_attention *op) {
	d2v_device_set_error(dev, D2V_UNSUPPORTED,
		"attention over %lld tokens with heads of %lld channels: a block of this GPU has %zu KiB "
		"of shared memory, which is not enough; use shorter samples",
		(long long)op->tokens, (long long)(op->width / op->heads), most_shared() / 1024);
}

static inline int64_t round_up(int64_t n, int64_t to) {
	return (n + to - 1) / to * to;
}

#endif
