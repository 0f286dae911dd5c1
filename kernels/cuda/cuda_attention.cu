// Attention for any size of heads and any type: one warp per query, or per key on the way back. Scores live in
// shared memory, a row at a time. bf16 with heads of 32, 64, 96 or 128 channels, and f16 with heads of 64, go through
// cuda_attention_forward.cu and cuda_attention_backward.cu instead, and bf16 with heads of 64 channels on Hopper through
// cuda_attention_groups_forward.cu and cuda_attention_groups_backward.cu.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_groups.h"
#include "kernels/cuda/attention_short.h"
#include "kernels/cuda/draws.cuh"

#include <math.h>
#include <stdlib.h>

#define WARPS 4

// Which row, head and token a warp works on; false past the end.
struct place {
	int64_t r, h, i;
};
static __device__ __forceinline__ bool find_place(const d2v_attention &op, place &p) {
	int64_t n = (int64_t)blockIdx.x * WARPS + threadIdx.y;
	p.i = n % op.tokens, p.h = n / op.tokens % op.heads, p.r = n / op.tokens / op.heads;
	return p.r < op.rows;
}

template <class T> static __device__ __forceinline__ const T *part(const d2v_attention &op, int64_t r, int64_t token, int s, int64_t h) {
	return (const T *)op.qkv + ((r * op.tokens + token) * 3 + s) * op.width + h * (op.width / op.heads);
}

static __device__ __forceinline__ int64_t draw_element(const d2v_attention &op, const place &p, int64_t i, int64_t j) {
	int64_t draws = (op.tokens + 31) / 32 * 32; // of a query (d2v_attention_draws)
	return ((p.r * op.heads + p.h) * op.tokens + i) * draws + j;
}

// Dot product of two vectors of `size`, by one lane.
template <class T> static __device__ __forceinline__ float dot(const T *a, const T *b, int64_t size) {
	float sum = 0;
	for (int64_t e = 0; e < size; e++)
		sum += to_float(a[e]) * to_float(b[e]);
	return sum;
}

// The score of query i and key j before the softmax; -inf for a padded key.
template <class T> static __device__ __forceinline__ float score(const d2v_attention &op, const alibi &bias, const place &p, int64_t i, int64_t j) {
	int64_t size = op.width / op.heads;
	if (op.key_padding && op.key_padding[p.r * op.tokens + j])
		return -INFINITY;
	float s = dot(part<T>(op, p.r, i, 0, p.h), part<T>(op, p.r, j, 1, p.h), size) / sqrtf((float)size);
	return s + bias.factor * alibi_distance(op, p.r, i, j);
}

template <class T> static __global__ void attend(d2v_attention op, drop_rule drop) {
	D2V_SHARED(float, memory);
	place p;
	if (!find_place(op, p))
		return;
	int64_t n = op.tokens, size = op.width / op.heads, lane = threadIdx.x;
	float *row = memory + threadIdx.y * n, top = -INFINITY, sum = 0;
	alibi bias = make_alibi(op, p.h);
	for (int64_t j = lane; j < n; j += 32) {
		row[j] = score<T>(op, bias, p, p.i, j);
		top = fmaxf(top, row[j]);
	}
	for (int distance = 16; distance; distance /= 2)
		top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, distance));
	for (int64_t j = lane; j < n; j += 32) {
		row[j] = top == -INFINITY ? 0.0f : expf(row[j] - top);
		sum += row[j];
	}
	sum = warp_sum(sum);
	for (int64_t j = lane; j < n; j += 32) {
		row[j] = sum > 0 ? row[j] / sum : 0.0f;
		row[j] *= drop.on ? drop_factor(drop, draw_element(op, p, p.i, j)) : 1.0f;
	}
	__syncwarp();
	T *out = (T *)op.out + (p.r * n + p.i) * op.width + p.h * size;
	for (int64_t e = lane; e < size; e += 32) {
		float total = 0;
		for (int64_t j = 0; j < n; j++)
			total += row[j] * to_float(part<T>(op, p.r, j, 2, p.h)[e]);
		out[e] = from_float<T>(total);
	}
	if (lane == 0)
		op.lse[(p.r * op.heads + p.h) * n + p.i] = sum > 0 ? top + logf(sum) : -INFINITY;
}

// inner[r, h, i] = d_out . out, the sum over keys of P dP.
template <class T> static __global__ void inner_products(d2v_attention op, float *inner) {
	place p;
	if (!find_place(op, p))
		return;
	int64_t size = op.width / op.heads, at = (p.r * op.tokens + p.i) * op.width + p.h * size;
	float sum = 0;
	for (int64_t e = threadIdx.x; e < size; e += 32)
		sum += to_float(((const T *)op.d_out)[at + e]) * to_float(((const T *)op.out)[at + e]);
	sum = warp_sum(sum);
	if (threadIdx.x == 0)
		inner[(p.r * op.heads + p.h) * op.tokens + p.i] = sum;
}

// P and the gradient of the score, of query i and key j.
template <class T>
static __device__ __forceinline__ void gradient(const d2v_attention &op, const alibi &bias, const drop_rule &drop, const float *inner,
	const place &p, int64_t i, int64_t j, float *probability_out, float *dropped, float *d_s) {
	int64_t size = op.width / op.heads, at = (p.r * op.heads + p.h) * op.tokens + i;
	float s = score<T>(op, bias, p, i, j), lse = op.lse[at];
	float probability = s == -INFINITY || lse == -INFINITY ? 0.0f : expf(s - lse);
	float factor = drop.on ? drop_factor(drop, draw_element(op, p, i, j)) : 1.0f;
	const T *d_out = (const T *)op.d_out + (p.r * op.tokens + i) * op.width + p.h * size;
	*probability_out = probability;
	*dropped = probability * factor;
	*d_s = probability * (factor * dot(d_out, part<T>(op, p.r, j, 2, p.h), size) - inner[at]);
}

template <class T> static __device__ __forceinline__ T *d_part(const d2v_attention &op, int64_t r, int64_t token, int s, int64_t h) {
	return (T *)op.d_qkv + ((r * op.tokens + token) * 3 + s) * op.width + h * (op.width / op.heads);
}

// Per query: d_q, and its part of the gradient of the bias's scale (scale_sums in attention.cuh).
template <class T> static __global__ void query_gradients(d2v_attention op, drop_rule drop, const float *inner, float *scales) {
	D2V_SHARED(float, memory);
	place p;
	if (!find_place(op, p))
		return;
	int64_t n = op.tokens, size = op.width / op.heads, lane = threadIdx.x;
	float *row = memory + threadIdx.y * n;
	scale_sums sums = { 0, 0, 0 };
	alibi bias = make_alibi(op, p.h);
	for (int64_t j = lane; j < n; j += 32) {
		float probability, dropped;
		gradient<T>(op, bias, drop, inner, p, p.i, j, &probability, &dropped, &row[j]);
		sums.add(probability, row[j], alibi_distance(op, p.r, p.i, j));
	}
	__syncwarp();
	for (int64_t e = lane; e < size; e += 32) {
		float total = 0;
		for (int64_t j = 0; j < n; j++)
			total += row[j] * to_float(part<T>(op, p.r, j, 1, p.h)[e]);
		d_part<T>(op, p.r, p.i, 0, p.h)[e] = from_float<T>(total / sqrtf((float)size));
	}
	float gradients = warp_sum(sums.gradients), distances = warp_sum(sums.distances), products = warp_sum(sums.products);
	if (scales && lane == 0)
		scales[(p.r * op.heads + p.h) * n + p.i] = bias.slope * (products - gradients * distances);
}

// Per key: d_k and d_v.
template <class T> static __global__ void key_gradients(d2v_attention op, drop_rule drop, const float *inner) {
	D2V_SHARED(float, memory);
	place p;
	if (!find_place(op, p))
		return;
	int64_t n = op.tokens, size = op.width / op.heads, lane = threadIdx.x;
	float *d_s = memory + threadIdx.y * 2 * n, *dropped = d_s + n;
	alibi bias = make_alibi(op, p.h);
	for (int64_t i = lane; i < n; i += 32) {
		float probability;
		gradient<T>(op, bias, drop, inner, p, i, p.i, &probability, &dropped[i], &d_s[i]);
	}
	__syncwarp();
	for (int64_t e = lane; e < size; e += 32) {
		float d_k = 0, d_v = 0;
		for (int64_t i = 0; i < n; i++) {
			d_k += d_s[i] * to_float(part<T>(op, p.r, i, 0, p.h)[e]);
			d_v += dropped[i] * to_float(((const T *)op.d_out)[(p.r * n + i) * op.width + p.h * size + e]);
		}
		d_part<T>(op, p.r, p.i, 1, p.h)[e] = from_float<T>(d_k / sqrtf((float)size));
		d_part<T>(op, p.r, p.i, 2, p.h)[e] = from_float<T>(d_v);
	}
}

// d_scale[h] += the sum over rows and queries of scales (rows, heads, per_row), for scales not below 0. A block a head.
static __global__ void sum_scales(d2v_attention op, const float *scales, int64_t per_row) {
	__shared__ double warps[8];
	int64_t h = blockIdx.x, count = op.rows * per_row;
	double sum = 0;
	for (int64_t i = threadIdx.x; i < count; i += blockDim.x)
		sum += (double)scales[(i / per_row * op.heads + h) * per_row + i % per_row];
	sum = warp_sum(sum);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = sum;
	__syncthreads();
	if (threadIdx.x == 0) {
		double total = 0;
		for (int i = 0; i < 8; i++)
			total += warps[i];
		if (!(op.scale && op.scale[h] < 0))
			op.d_scale[h] += (float)total;
	}
}

void d2v_cuda_add_attention_scales(d2v_device *dev, const d2v_attention *op, const float *scales, int64_t per_row) {
	D2V_LAUNCH(dev, sum_scales, (unsigned)op->heads, 256, 0, *op, scales, per_row);
}

void d2v_cuda_add_qkv_columns(d2v_device *dev, const d2v_attention *op) {
	if (op->d_qkv_bias)
		d2v_cuda_add_column_sums(dev, op->d_qkv_bias, op->d_qkv, op->rows * op->tokens, 3 * op->width);
}

// D2V_ATTENTION has one way throughout where it can be gone. auto, or nothing: the better way, which on an H200 were Hopper's
// warpgroups from 40 tokens on forward, the shortest heads measured, and from 197 on backward; over 40 tokens, where most of
// their tile has nothing to do, backward took 1.6 times as long. wgmma: warpgroups; tiles: what runs everywhere; short: auto,
// and a warp a head backward over short heads (cuda_attention_short_backward.cu), which no GPU has measured yet.
enum attention_way { AUTO, TILES, WGMMA, SHORT };
static attention_way choose_way(d2v_device *dev) {
	static const char *const names[] = { "auto", "tiles", "wgmma", "short" };
	const char *way = getenv("D2V_ATTENTION");
	for (int i = AUTO; way && i <= SHORT; i++)
		if (strcmp(way, names[i]) == 0)
			return (attention_way)i;
	if (way)
		d2v_device_set_error(dev, D2V_INVALID, "D2V_ATTENTION=%s is none of auto, tiles, wgmma and short", way);
	return AUTO;
}
static bool is_for_groups(d2v_device *dev, const d2v_attention *op, attention_way way, int64_t fewest) {
	return way != TILES && (way == WGMMA || op->tokens >= fewest) && d2v_cuda_attention_fits_groups(dev, op);
}

static bool is_empty(const d2v_attention *op) {
	return op->rows * op->tokens * op->width == 0;
}

// A row of scores must fit a block's shared memory.
static bool check_tokens(d2v_device *dev, const d2v_attention *op, int rows) {
	if ((size_t)op->tokens * (size_t)(WARPS * rows) * sizeof(float) <= 227 * 1024)
		return true;
	d2v_device_set_error(dev, D2V_UNSUPPORTED,
		"%lld tokens with heads of %lld channels; use heads of 64, or in bf16 of 32, 96 or 128", (long long)op->tokens, (long long)(op->width / op->heads));
	return false;
}

void d2v_cuda_attention_forward(d2v_device *dev, const d2v_attention *op) {
	if (is_empty(op))
		return;
	if (is_for_groups(dev, op, choose_way(dev), 40)) {
		d2v_cuda_attention_groups_forward(dev, op);
		return;
	}
	if (d2v_cuda_attention_is_tensor(dev, op)) {
		d2v_cuda_attention_tensor_forward(dev, op);
		return;
	}
	if (!check_tokens(dev, op, 1))
		return;
	size_t shared = (size_t)op->tokens * WARPS * sizeof(float);
	D2V_BY_TYPE(dev, D2V_LAUNCH(dev, attend<T>, d2v_blocks(op->rows * op->heads * op->tokens, WARPS), dim3(32, WARPS), shared, *op,
		make_drop_rule(&op->drop)));
}

static void go_back_by_tokens(d2v_device *dev, const d2v_attention *op) {
	if (!check_tokens(dev, op, 2))
		return;
	int64_t queries = op->rows * op->heads * op->tokens;
	float *inner = (float *)d2v_cuda_scratch(dev, (size_t)(2 * queries) * sizeof *inner), *scales = NULL;
	if (!inner)
		return;
	if (op->slope && op->d_scale)
		scales = inner + queries;
	size_t row = (size_t)op->tokens * WARPS * sizeof(float);
	unsigned grid = d2v_blocks(queries, WARPS);
	D2V_BY_TYPE(dev, {
		D2V_LAUNCH(dev, inner_products<T>, grid, dim3(32, WARPS), 0, *op, inner);
		D2V_LAUNCH(dev, query_gradients<T>, grid, dim3(32, WARPS), row, *op, make_drop_rule(&op->drop), (const float *)inner, scales);
		D2V_LAUNCH(dev, key_gradients<T>, grid, dim3(32, WARPS), 2 * row, *op, make_drop_rule(&op->drop), (const float *)inner);
	});
	if (scales)
		d2v_cuda_add_attention_scales(dev, op, scales, op->tokens);
	d2v_cuda_add_qkv_columns(dev, op);
}

void d2v_cuda_attention_backward(d2v_device *dev, const d2v_attention *op) {
	if (is_empty(op))
		return;
	attention_way way = choose_way(dev);
	if (way == SHORT && d2v_cuda_attention_fits_short(dev, op))
		d2v_cuda_attention_short_backward(dev, op);
	else if (is_for_groups(dev, op, way, 129))
		d2v_cuda_attention_groups_backward(dev, op);
	else if (d2v_cuda_attention_is_tensor(dev, op))
		d2v_cuda_attention_tensor_backward(dev, op);
	else
		go_back_by_tokens(dev, op);
}

static __global__ void write_bias(d2v_attention op, float *bias) {
	int64_t n = op.tokens, count = op.heads * n * n;
	for (int64_t at = thread_number(); at < count; at += thread_count())
		bias[at] = make_alibi(op, at / (n * n)).factor * alibi_distance(op, 0, at / n % n, at % n);
}

void d2v_cuda_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias) {
	int64_t count = op->rows ? op->heads * op->tokens * op->tokens : 0;
	if (count)
		D2V_LAUNCH(dev, write_bias, d2v_blocks(count, 256), 256, 0, *op, bias);
}
