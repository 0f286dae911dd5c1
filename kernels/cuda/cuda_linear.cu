// Linear layers: products by cuBLASLt, what stands around them by kernels of our own (its GELU is not the exact one). Where
// GELU is part of it, Hopper's warpgroups can do the product as well (cuda_linear_groups_forward.cu).
#include "kernels/cuda/cuda_product.h"
#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/linear_groups.h"

#include <stdlib.h>

#define THREADS 256
#define WARPS (THREADS / 32)
#define BLOCKS 2048 // about as many as a pass over a matrix is cut into, whatever the card: enough to fill any

template <class T, int N> static __global__ void gelu_forward(T *y, const T *pre, int64_t packs) {
	for (int64_t p = thread_number(); p < packs; p += thread_count()) {
		float v[N];
		load_pack(v, pre + p * N);
#pragma unroll
		for (int i = 0; i < N; i++)
			v[i] = gelu<T>(v[i]);
		store_pack(y + p * N, v);
	}
}

template <class T> static void run_gelu(d2v_device *dev, d2v_real *y, const d2v_real *pre, int64_t count) {
	constexpr int wide = 16 / sizeof(T);
	if (count % wide == 0)
		D2V_LAUNCH(dev, (gelu_forward<T, wide>), d2v_blocks(count / wide, THREADS), THREADS, 0, (T *)y, (const T *)pre, count / wide);
	else
		D2V_LAUNCH(dev, (gelu_forward<T, 1>), d2v_blocks(count, THREADS), THREADS, 0, (T *)y, (const T *)pre, count);
}

// ---- column sums

// Rows of a matrix, cut into pieces by size alone. A block takes `32 * N` columns of a piece: a lane N of them, the warps
// rows in turn.
typedef struct matrix_pieces {
	int64_t rows, columns, piece; // piece: rows of one
} matrix_pieces;

template <int N> static dim3 cut_matrix(matrix_pieces *m) {
	int64_t across = (m->columns + 32 * N - 1) / (32 * N), down = BLOCKS / across < 1 ? 1 : BLOCKS / across;
	m->piece = ((m->rows + down - 1) / down + 4 * WARPS - 1) / (4 * WARPS) * (4 * WARPS);
	return dim3((unsigned)across, (unsigned)((m->rows + m->piece - 1) / m->piece));
}

// Writes partial[piece, column], from what a block's threads have summed of their columns.
template <int N> static __device__ void finish_columns(float *partial, const float (&sum)[N], const matrix_pieces &m) {
	__shared__ float sums[WARPS][32 * N];
#pragma unroll
	for (int i = 0; i < N; i++)
		sums[threadIdx.y][threadIdx.x * N + i] = sum[i];
	__syncthreads();
	for (int c = threadIdx.y * 32 + threadIdx.x; c < 32 * N; c += THREADS) {
		int64_t column = (int64_t)blockIdx.x * 32 * N + c;
		float total = 0;
		for (int warp = 0; warp < WARPS; warp++)
			total += sums[warp][c];
		if (column < m.columns)
			partial[blockIdx.y * m.columns + column] = total;
	}
}

template <class T, int N>
static __global__ void __launch_bounds__(THREADS) sum_columns(float *partial, const T *x, matrix_pieces m) {
	constexpr int flight = 4; // rows whose loads are under way together
	int64_t column = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N, end = ((int64_t)blockIdx.y + 1) * m.piece;
	float sum[N] = { 0 };
	end = end < m.rows ? end : m.rows;
	for (int64_t row = blockIdx.y * m.piece + threadIdx.y; column < m.columns && row < end; row += flight * WARPS) {
		float v[flight][N] = { { 0 } };
#pragma unroll
		for (int r = 0; r < flight; r++)
			if (row + r * WARPS < end)
				load_pack(v[r], x + (row + r * WARPS) * m.columns + column);
#pragma unroll
		for (int r = 0; r < flight; r++)
#pragma unroll
			for (int i = 0; i < N; i++)
				sum[i] += v[r][i];
	}
	finish_columns<N>(partial, sum, m);
}

// d *= gelu'(pre), and the column sums of that, unless partial is NULL.
template <class T, int N>
static __global__ void __launch_bounds__(THREADS) gelu_backward(float *partial, T *d, const T *pre, matrix_pieces m) {
	constexpr int flight = 2;
	int64_t column = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N, end = ((int64_t)blockIdx.y + 1) * m.piece;
	float sum[N] = { 0 };
	end = end < m.rows ? end : m.rows;
	for (int64_t row = blockIdx.y * m.piece + threadIdx.y; column < m.columns && row < end; row += flight * WARPS) {
		float v[flight][N] = { { 0 } }, g[flight][N] = { { 0 } };
#pragma unroll
		for (int r = 0; r < flight; r++)
			if (row + r * WARPS < end) {
				load_pack(v[r], pre + (row + r * WARPS) * m.columns + column);
				load_pack(g[r], d + (row + r * WARPS) * m.columns + column);
			}
#pragma unroll
		for (int r = 0; r < flight; r++) {
#pragma unroll
			for (int i = 0; i < N; i++) {
				g[r][i] *= gelu_derivative<T>(v[r][i]);
				sum[i] += g[r][i];
			}
			if (row + r * WARPS < end)
				store_pack(d + (row + r * WARPS) * m.columns + column, g[r]);
		}
	}
	if (partial)
		finish_columns<N>(partial, sum, m);
}

// sum (NULL: not wanted) += the column sums of d (rows, columns), with pre of gelu'(pre) d, which then becomes d.
template <class T, int N>
static void run_columns(d2v_device *dev, float *sum, d2v_real *d, const d2v_real *pre, int64_t rows, int64_t columns) {
	matrix_pieces m = { rows, columns, 0 };
	dim3 grid = cut_matrix<N>(&m), block(32, WARPS);
	float *partial = NULL;
	if (sum) {
		partial = (float *)d2v_cuda_scratch(dev, (size_t)(grid.y * columns) * sizeof *partial);
		if (!partial)
			return;
	}
	if (pre)
		D2V_LAUNCH(dev, (gelu_backward<T, N>), grid, block, 0, partial, (T *)d, (const T *)pre, m);
	else
		D2V_LAUNCH(dev, (sum_columns<T, N>), grid, block, 0, partial, (const T *)d, m);
	if (sum)
		d2v_cuda_add_partials(dev, { { sum } }, 1, partial, grid.y, columns);
}

static void pass_columns(d2v_device *dev, float *sum, d2v_real *d, const d2v_real *pre, int64_t rows, int64_t columns) {
	if (rows == 0 || columns == 0)
		return;
	D2V_BY_TYPE(dev, {
		constexpr int wide = 16 / sizeof(T);
		if (columns % wide == 0)
			run_columns<T, wide>(dev, sum, d, pre, rows, columns);
		else
			run_columns<T, 1>(dev, sum, d, pre, rows, columns);
	});
}

void d2v_cuda_add_column_sums(d2v_device *dev, float *sum, const d2v_real *x, int64_t rows, int64_t columns) {
	pass_columns(dev, sum, (d2v_real *)(uintptr_t)x, NULL, rows, columns);
}

// ---- the layer

static d2v_cuda_product product(int64_t m, int64_t n, int64_t k) {
	d2v_cuda_product p = {};
	p.m = m, p.n = n, p.k = k;
	return p;
}

#define MANY_RESULTS (1 << 24) // some rounds of tiles on any GPU

// Whether product and GELU are one kernel. D2V_GELU=auto, or nothing: where that is the better way; =wgmma: whenever the GPU can;
// =apart: never.
static bool is_for_groups(d2v_device *dev, const d2v_linear *op) {
	const char *way = getenv("D2V_GELU");
	bool always = way && strcmp(way, "wgmma") == 0, never = way && strcmp(way, "apart") == 0;
	if (way && !always && !never && strcmp(way, "auto") != 0)
		d2v_device_set_error(dev, D2V_INVALID, "D2V_GELU=%s is none of auto, apart and wgmma", way);
	return op->gelu && !never && (always || op->rows * op->out >= MANY_RESULTS) && d2v_cuda_linear_fits_groups(dev, op);
}

void d2v_cuda_linear_forward(d2v_device *dev, const d2v_linear *op) {
	if (op->rows == 0 || op->out == 0)
		return;
	if (is_for_groups(dev, op)) {
		d2v_cuda_linear_groups_forward(dev, op);
		return;
	}
	d2v_real *to = op->gelu && op->pre ? op->pre : op->y;
	d2v_cuda_product p = product(op->rows, op->out, op->in);
	p.a = op->x, p.b = op->w, p.trans_b = true, p.c = to, p.bias = op->bias;
	d2v_cuda_multiply(dev, &p);
	if (op->gelu)
		D2V_BY_TYPE(dev, run_gelu<T>(dev, op->y, to, op->rows * op->out));
}

void d2v_cuda_linear_backward(d2v_device *dev, const d2v_linear *op) {
	if (op->rows == 0 || op->out == 0)
		return;
	if (op->gelu || op->d_bias) // first: the products read what the pass leaves
		pass_columns(dev, op->d_bias, op->d_y, op->gelu ? op->pre : NULL, op->rows, op->out);
	if (op->d_x) {
		d2v_cuda_product p = product(op->rows, op->in, op->out);
		p.a = op->d_y, p.b = op->w, p.c = op->d_x, p.accumulate = op->accumulate_d_x;
		d2v_cuda_multiply(dev, &p);
	}
	if (op->d_w) {
		d2v_cuda_product p = product(op->out, op->in, op->rows);
		p.a = op->d_y, p.trans_a = true, p.b = op->x, p.c = op->d_w, p.float_out = true, p.accumulate = true;
		d2v_cuda_multiply(dev, &p);
	}
}
