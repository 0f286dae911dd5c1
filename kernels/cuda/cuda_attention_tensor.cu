// Attention in bf16 on the tensor cores, forward and backward, without a matrix of scores in memory (T. Dao,
// "FlashAttention-2", 2023): tiles of 64 queries by 64 keys, a running maximum and sum per query, scores computed again on
// the way back. The ALiBi bias comes from the tokens' positions, two numbers a score.
//
// A warp has 16 rows of the tile. On the way back one kernel goes over the keys for each block of queries and gives d_q
// and the scale's gradient, another goes over the queries for each block of keys and gives d_k and d_v; so nothing is
// added with atomics, at the price of computing the scores twice.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/draws.cuh"
#include "kernels/cuda/mma.cuh"

#include <limits.h>
#include <math.h>

#define WARPS 4
#define TILE (16 * WARPS) // rows of a block, and of what it goes over
#define SKEW 8            // elements between the rows in shared memory: neighbours lie in other banks
#define EXTRA INT_MIN     // the position of a token without bias
#define OUTSIDE (INT_MIN + 1)

template <int SIZE> struct head_tile {
	bf16 at[TILE][SIZE + SKEW];
};

// What is known of a token beside its vectors.
struct token_facts {
	int position[TILE]; // EXTRA, OUTSIDE (also padded keys), or where it stands
};

// Tokens [first, first + TILE) of one head: `part` 0, 1, 2 for q, k, v of qkv. Outside: zeros.
template <int SIZE>
static __device__ __forceinline__ void fetch_heads(head_tile<SIZE> &to, const bf16 *from, int64_t pitch, int64_t first, int64_t tokens) {
	constexpr int packs = SIZE / 8;
	for (int i = threadIdx.x; i < TILE * packs; i += 32 * WARPS) {
		int row = i / packs, column = i % packs * 8;
		uint4 value = make_uint4(0, 0, 0, 0);
		if (first + row < tokens)
			value = *(const uint4 *)(from + (first + row) * pitch + column);
		*(uint4 *)&to.at[row][column] = value;
	}
}

static __device__ __forceinline__ void fetch_facts(token_facts &to, const d2v_attention &op, int64_t r, int64_t first, bool keys) {
	for (int i = threadIdx.x; i < TILE; i += 32 * WARPS) {
		int64_t token = first + i;
		int position = EXTRA;
		if (token >= op.tokens || (keys && op.key_padding && op.key_padding[r * op.tokens + token]))
			position = OUTSIDE;
		else if (token >= op.extra)
			position = op.positions ? op.positions[r * (op.tokens - op.extra) + token - op.extra] : (int)(token - op.extra);
		to.position[i] = position;
	}
}

static __device__ __forceinline__ float distance_of(int i, int j) {
	return i <= OUTSIDE || j <= OUTSIDE ? 0.0f : -(float)(i < j ? j - i : i - j);
}

// Rows of a times rows of b, transposed: sums[n] (16 x 8) over the head's channels. a: 16 rows from row_a.
template <int SIZE, int COLUMNS>
static __device__ __forceinline__ void multiply_rows(
	float (&sums)[COLUMNS / 8][4], const head_tile<SIZE> &a, int row_a, const head_tile<SIZE> &b) {
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
	for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
		for (int i = 0; i < 4; i++)
			sums[n][i] = 0;
#pragma unroll
	for (int k = 0; k < SIZE; k += 16) {
		uint32_t left[4] = { read_pair(&a.at[row_a + g][k + 2 * t]), read_pair(&a.at[row_a + g + 8][k + 2 * t]),
			read_pair(&a.at[row_a + g][k + 2 * t + 8]), read_pair(&a.at[row_a + g + 8][k + 2 * t + 8]) };
#pragma unroll
		for (int n = 0; n < COLUMNS / 8; n++) {
			uint32_t right[2] = { read_pair(&b.at[n * 8 + g][k + 2 * t]), read_pair(&b.at[n * 8 + g][k + 2 * t + 8]) };
			mma_16816(sums[n], left, right);
		}
	}
}

// out (16 x SIZE) += weights (16 x TILE, as multiply_rows leaves them, rounded to bf16) times the rows of b.
template <int SIZE>
static __device__ __forceinline__ void add_weighted(
	float (&out)[SIZE / 8][4], const float (&weights)[TILE / 8][4], const head_tile<SIZE> &b) {
	int lane = threadIdx.x % 32;
#pragma unroll
	for (int k = 0; k < TILE / 16; k++) {
		uint32_t left[4] = { pack_bf16(weights[2 * k][0], weights[2 * k][1]), pack_bf16(weights[2 * k][2], weights[2 * k][3]),
			pack_bf16(weights[2 * k + 1][0], weights[2 * k + 1][1]),
			pack_bf16(weights[2 * k + 1][2], weights[2 * k + 1][3]) };
#pragma unroll
		for (int c = 0; c < SIZE; c += 16) {
			uint32_t right[4];
			load_transposed(right, &b.at[k * 16 + lane / 8 % 2 * 8 + lane % 8][c + lane / 16 * 8]);
			uint32_t low[2] = { right[0], right[1] }, high[2] = { right[2], right[3] };
			mma_16816(out[c / 8], left, low);
			mma_16816(out[c / 8 + 1], left, high);
		}
	}
}

// Stores rows g and g + 8 of the warp's 16 x SIZE results, times factor[row].
template <int SIZE>
static __device__ __forceinline__ void store_rows(bf16 *to, int64_t pitch, int64_t first, int64_t tokens, const float (&out)[SIZE / 8][4], const float (&factor)[2]) {
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int64_t token = first + g + 8 * half;
		if (token >= tokens)
			continue;
#pragma unroll
		for (int n = 0; n < SIZE / 8; n++)
			*(uint32_t *)(to + token * pitch + n * 8 + 2 * t) =
				pack_bf16(out[n][2 * half] * factor[half], out[n][2 * half + 1] * factor[half]);
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

// Which row, head and block of 64 tokens.
struct block_place {
	int64_t r, h, first, element; // element: of dropout, at query 0 and key 0
	const bf16 *q, *k, *v;        // of the row and head
};
template <int SIZE> static __device__ __forceinline__ block_place find_block(const d2v_attention &op) {
	block_place p;
	int64_t blocks = (op.tokens + TILE - 1) / TILE, n = blockIdx.x;
	p.first = n % blocks * TILE, p.h = n / blocks % op.heads, p.r = n / blocks / op.heads;
	p.element = (p.r * op.heads + p.h) * op.tokens * op.tokens;
	p.q = (const bf16 *)op.qkv + p.r * op.tokens * 3 * op.width + p.h * SIZE;
	p.k = p.q + op.width, p.v = p.k + op.width;
	return p;
}

// ---- forward

template <int SIZE> struct forward_memory {
	head_tile<SIZE> q, k, v;
	token_facts queries, keys;
};

template <int SIZE> static __global__ void __launch_bounds__(32 * WARPS) attend_tiles(d2v_attention op, drop_rule drop) {
	D2V_SHARED(forward_memory<SIZE>, m);
	block_place p = find_block<SIZE>(op);
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, row = threadIdx.x / 32 * 16;
	int64_t pitch = 3 * op.width;
	float factor = make_alibi(op, p.h).factor, root = 1.0f / sqrtf((float)SIZE);
	fetch_heads<SIZE>(m->q, p.q, pitch, p.first, op.tokens);
	fetch_facts(m->queries, op, p.r, p.first, false);
	float out[SIZE / 8][4] = { { 0 } }, top[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 };
	for (int64_t first = 0; first < op.tokens; first += TILE) {
		__syncthreads(); // the last tile is done with
		fetch_heads<SIZE>(m->k, p.k, pitch, first, op.tokens);
		fetch_heads<SIZE>(m->v, p.v, pitch, first, op.tokens);
		fetch_facts(m->keys, op, p.r, first, true);
		__syncthreads();
		float s[TILE / 8][4];
		multiply_rows<SIZE, TILE>(s, m->q, row, m->k);
#pragma unroll
		for (int half = 0; half < 2; half++) {
			int query = m->queries.position[row + g + 8 * half];
			float best = top[half], total = 0;
#pragma unroll
			for (int n = 0; n < TILE / 8; n++)
#pragma unroll
				for (int i = 0; i < 2; i++) {
					int key = m->keys.position[n * 8 + 2 * t + i];
					float *score = &s[n][2 * half + i];
					*score = key == OUTSIDE ? -INFINITY : *score * root + factor * distance_of(query, key);
					best = fmaxf(best, *score);
				}
			best = row_max(best);
			float base = best == -INFINITY ? 0.0f : best, shrink = expf(top[half] - base);
#pragma unroll
			for (int n = 0; n < TILE / 8; n++)
#pragma unroll
				for (int i = 0; i < 2; i++) {
					float *score = &s[n][2 * half + i];
					*score = expf(*score - base);
					total += *score;
					if (drop.on)
						*score *= drop_factor(drop, p.element + (p.first + row + g + 8 * half) * op.tokens + first + n * 8 + 2 * t + i);
				}
			sum[half] = sum[half] * shrink + total;
			top[half] = best;
#pragma unroll
			for (int n = 0; n < SIZE / 8; n++) {
				out[n][2 * half] *= shrink;
				out[n][2 * half + 1] *= shrink;
			}
		}
		add_weighted<SIZE>(out, s, m->v);
	}
	float scale[2];
#pragma unroll
	for (int half = 0; half < 2; half++) {
		sum[half] = row_sum(sum[half]);
		scale[half] = sum[half] > 0 ? 1.0f / sum[half] : 0.0f;
		int64_t token = p.first + row + g + 8 * half;
		if (t == 0 && token < op.tokens)
			op.lse[(p.r * op.heads + p.h) * op.tokens + token] = sum[half] > 0 ? top[half] + logf(sum[half]) : -INFINITY;
	}
	store_rows<SIZE>((bf16 *)op.out + p.r * op.tokens * op.width + p.h * SIZE, op.width, p.first + row, op.tokens, out, scale);
}

// ---- backward

template <int SIZE> struct backward_memory {
	head_tile<SIZE> own, own_too, other, other_too; // of the block's tokens, and of those it goes over
	token_facts queries, keys;
	float lse[TILE], inner[TILE];
};

// lse and d_out . out of queries; a query that had no key, or is none, gives probabilities of 0.
static __device__ __forceinline__ void fetch_sums(float *lse, float *inner, const d2v_attention &op, const float *inners, const block_place &p, int64_t first) {
	for (int i = threadIdx.x; i < TILE; i += 32 * WARPS) {
		int64_t at = (p.r * op.heads + p.h) * op.tokens + first + i;
		bool there = first + i < op.tokens && op.lse[at] != -INFINITY;
		lse[i] = there ? op.lse[at] : INFINITY;
		inner[i] = there ? inners[at] : 0.0f;
	}
}

// Block of queries: d_q and the scale's gradient.
template <int SIZE>
static __global__ void __launch_bounds__(32 * WARPS)
	query_tiles(d2v_attention op, drop_rule drop, const float *inners, float *scales) {
	D2V_SHARED(backward_memory<SIZE>, m);
	block_place p = find_block<SIZE>(op);
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, row = threadIdx.x / 32 * 16;
	int64_t pitch = 3 * op.width;
	alibi bias = make_alibi(op, p.h);
	float root = 1.0f / sqrtf((float)SIZE);
	fetch_heads<SIZE>(m->own, p.q, pitch, p.first, op.tokens);
	fetch_heads<SIZE>(m->own_too, (const bf16 *)op.d_out + p.r * op.tokens * op.width + p.h * SIZE, op.width, p.first, op.tokens);
	fetch_facts(m->queries, op, p.r, p.first, false);
	fetch_sums(m->lse, m->inner, op, inners, p, p.first);
	float d_q[SIZE / 8][4] = { { 0 } };
	scale_sums sums[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	for (int64_t first = 0; first < op.tokens; first += TILE) {
		__syncthreads();
		fetch_heads<SIZE>(m->other, p.k, pitch, first, op.tokens);
		fetch_heads<SIZE>(m->other_too, p.v, pitch, first, op.tokens);
		fetch_facts(m->keys, op, p.r, first, true);
		__syncthreads();
		float s[TILE / 8][4], d_p[TILE / 8][4];
		multiply_rows<SIZE, TILE>(s, m->own, row, m->other);
		multiply_rows<SIZE, TILE>(d_p, m->own_too, row, m->other_too);
#pragma unroll
		for (int n = 0; n < TILE / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int query = row + g + i / 2 * 8, key = n * 8 + 2 * t + i % 2;
				float distance = distance_of(m->queries.position[query], m->keys.position[key]);
				bool none = m->keys.position[key] == OUTSIDE || m->queries.position[query] == OUTSIDE;
				float probability = none ? 0.0f : expf(s[n][i] * root + bias.factor * distance - m->lse[query]);
				float drop_by = drop.on ? drop_factor(drop, p.element + (p.first + query) * op.tokens + first + key) : 1.0f;
				s[n][i] = probability * (drop_by * d_p[n][i] - m->inner[query]);
				if (scales)
					sums[i / 2].add(probability, s[n][i], none ? 0.0f : distance);
			}
		add_weighted<SIZE>(d_q, s, m->other);
	}
	float factor[2] = { root, root };
	store_rows<SIZE>((bf16 *)op.d_qkv + p.r * op.tokens * pitch + p.h * SIZE, pitch, p.first + row, op.tokens, d_q, factor);
	if (!scales)
		return;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float gradients = row_sum(sums[half].gradients), distances = row_sum(sums[half].distances);
		float products = row_sum(sums[half].products);
		int64_t token = p.first + row + g + 8 * half;
		if (t == 0 && token < op.tokens)
			scales[(p.r * op.heads + p.h) * op.tokens + token] = bias.slope * (products - gradients * distances);
	}
}

// Block of keys: d_k and d_v. Here rows are keys and columns queries.
template <int SIZE>
static __global__ void __launch_bounds__(32 * WARPS) key_tiles(d2v_attention op, drop_rule drop, const float *inners) {
	D2V_SHARED(backward_memory<SIZE>, m);
	block_place p = find_block<SIZE>(op);
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, row = threadIdx.x / 32 * 16;
	int64_t pitch = 3 * op.width;
	float bias = make_alibi(op, p.h).factor, root = 1.0f / sqrtf((float)SIZE);
	const bf16 *d_out = (const bf16 *)op.d_out + p.r * op.tokens * op.width + p.h * SIZE;
	fetch_heads<SIZE>(m->own, p.k, pitch, p.first, op.tokens);
	fetch_heads<SIZE>(m->own_too, p.v, pitch, p.first, op.tokens);
	fetch_facts(m->keys, op, p.r, p.first, true);
	float d_k[SIZE / 8][4] = { { 0 } }, d_v[SIZE / 8][4] = { { 0 } };
	for (int64_t first = 0; first < op.tokens; first += TILE) {
		__syncthreads();
		fetch_heads<SIZE>(m->other, p.q, pitch, first, op.tokens);
		fetch_heads<SIZE>(m->other_too, d_out, op.width, first, op.tokens);
		fetch_facts(m->queries, op, p.r, first, false);
		fetch_sums(m->lse, m->inner, op, inners, p, first);
		__syncthreads();
		float s[TILE / 8][4], d_p[TILE / 8][4];
		multiply_rows<SIZE, TILE>(s, m->own, row, m->other);
		multiply_rows<SIZE, TILE>(d_p, m->own_too, row, m->other_too);
#pragma unroll
		for (int n = 0; n < TILE / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int key = row + g + i / 2 * 8, query = n * 8 + 2 * t + i % 2;
				float distance = distance_of(m->queries.position[query], m->keys.position[key]);
				bool none = m->keys.position[key] == OUTSIDE || m->queries.position[query] == OUTSIDE;
				float probability = none ? 0.0f : expf(s[n][i] * root + bias * distance - m->lse[query]);
				float drop_by = drop.on ? drop_factor(drop, p.element + (first + query) * op.tokens + p.first + key) : 1.0f;
				d_p[n][i] = probability * (drop_by * d_p[n][i] - m->inner[query]);
				s[n][i] = probability * drop_by;
			}
		add_weighted<SIZE>(d_v, s, m->other_too);
		add_weighted<SIZE>(d_k, d_p, m->other);
	}
	bf16 *to = (bf16 *)op.d_qkv + p.r * op.tokens * pitch + p.h * SIZE;
	float by_root[2] = { root, root }, by_one[2] = { 1, 1 };
	store_rows<SIZE>(to + op.width, pitch, p.first + row, op.tokens, d_k, by_root);
	store_rows<SIZE>(to + 2 * op.width, pitch, p.first + row, op.tokens, d_v, by_one);
}

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

bool d2v_cuda_attention_is_tensor(d2v_device *dev, const d2v_attention *op) {
	int64_t size = op->width / op->heads;
	return d2v_cuda_is_bf16(dev) && (size == 32 || size == 64 || size == 96 || size == 128);
}

static unsigned block_count(const d2v_attention *op) {
	return (unsigned)(op->rows * op->heads * ((op->tokens + TILE - 1) / TILE));
}

void d2v_cuda_attention_tensor_forward(d2v_device *dev, const d2v_attention *op) {
	BY_SIZE(op->width / op->heads, D2V_LAUNCH(dev, attend_tiles<SIZE>, block_count(op), 32 * WARPS, sizeof(forward_memory<SIZE>),
		*op, make_drop_rule(&op->drop)));
}

void d2v_cuda_attention_tensor_backward(d2v_device *dev, const d2v_attention *op) {
	int64_t queries = op->rows * op->heads * op->tokens;
	float *inner = (float *)d2v_cuda_scratch(dev, (size_t)(2 * queries) * sizeof *inner), *scales = NULL;
	if (!inner)
		return;
	if (op->slope && op->d_scale)
		scales = inner + queries;
	d2v_cuda_attention_inner(dev, op, inner);
	BY_SIZE(op->width / op->heads, {
		size_t shared = sizeof(backward_memory<SIZE>);
		D2V_LAUNCH(dev, query_tiles<SIZE>, block_count(op), 32 * WARPS, shared, *op, make_drop_rule(&op->drop), (const float *)inner, scales);
		D2V_LAUNCH(dev, key_tiles<SIZE>, block_count(op), 32 * WARPS, shared, *op, make_drop_rule(&op->drop), (const float *)inner);
	});
	if (scales)
		d2v_cuda_add_attention_scales(dev, op, scales, op->tokens);
}
