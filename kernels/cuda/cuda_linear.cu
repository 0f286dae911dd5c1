// Linear layers: products by cuBLASLt, what stands around them by kernels of our own (its GELU is not the exact one).
#include "kernels/cuda/cuda_product.h"
#include "kernels/cuda/gelu.cuh"

#define THREADS 256
#define PIECE 128 // rows whose column sums a block takes

template <class T, int N> static __global__ void gelu_forward(T *y, const T *pre, int64_t packs) {
	for (int64_t p = thread_number(); p < packs; p += thread_count()) {
		float v[N];
		load_pack(v, pre + p * N);
#pragma unroll
		for (int i = 0; i < N; i++)
			v[i] = gelu(v[i]);
		store_pack(y + p * N, v);
	}
}

template <class T, int N> static __global__ void gelu_backward(T *d, const T *pre, int64_t packs) {
	for (int64_t p = thread_number(); p < packs; p += thread_count()) {
		float v[N], g[N];
		load_pack(v, pre + p * N);
		load_pack(g, d + p * N);
#pragma unroll
		for (int i = 0; i < N; i++)
			g[i] *= gelu_derivative(v[i]);
		store_pack(d + p * N, g);
	}
}

template <class T> static void run_gelu(d2v_device *dev, d2v_real *y, const d2v_real *pre, int64_t count, bool backward) {
	constexpr int wide = 16 / sizeof(T);
	bool packs = count % wide == 0;
	int64_t n = packs ? count / wide : count;
	unsigned grid = d2v_blocks(n, THREADS);
	if (packs && backward)
		D2V_LAUNCH(dev, (gelu_backward<T, wide>), grid, THREADS, 0, (T *)y, (const T *)pre, n);
	else if (packs)
		D2V_LAUNCH(dev, (gelu_forward<T, wide>), grid, THREADS, 0, (T *)y, (const T *)pre, n);
	else if (backward)
		D2V_LAUNCH(dev, (gelu_backward<T, 1>), grid, THREADS, 0, (T *)y, (const T *)pre, n);
	else
		D2V_LAUNCH(dev, (gelu_forward<T, 1>), grid, THREADS, 0, (T *)y, (const T *)pre, n);
}

// partial[piece, column] = sum over the piece's rows. A block takes 32 columns; its warps take rows in turn.
template <class T> static __global__ void sum_columns(float *partial, const T *x, int64_t rows, int64_t columns) {
	__shared__ float sums[THREADS / 32][32];
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	int64_t column = (int64_t)blockIdx.x * 32 + lane, first = (int64_t)blockIdx.y * PIECE;
	float sum = 0;
	for (int64_t row = first + warp; column < columns && row < rows && row < first + PIECE; row += THREADS / 32)
		sum += to_float(x[row * columns + column]);
	sums[warp][lane] = sum;
	__syncthreads();
	if (warp == 0 && column < columns) {
		float total = 0;
		for (int i = 0; i < THREADS / 32; i++)
			total += sums[i][lane];
		partial[blockIdx.y * columns + column] = total;
	}
}

// sum += the column sums of x (rows, columns). Grids end at 65535 in y, so many rows come in several launches.
static void add_column_sums(d2v_device *dev, float *sum, const d2v_real *x, int64_t rows, int64_t columns) {
	const int64_t most = 65535;
	for (int64_t first = 0; first < rows; first += most * PIECE) {
		int64_t count = rows - first < most * PIECE ? rows - first : most * PIECE, pieces = (count + PIECE - 1) / PIECE;
		float *partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * columns) * sizeof *partial);
		if (!partial)
			return;
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, sum_columns<T>, dim3(d2v_blocks(columns, 32), (unsigned)pieces), THREADS, 0, partial,
			(const T *)x + first * columns, count, columns));
		d2v_cuda_add_partials(dev, sum, partial, pieces, columns, columns);
	}
}

void d2v_cuda_add_column_sums(d2v_device *dev, float *sum, const d2v_real *x, int64_t rows, int64_t columns) {
	if (rows && columns)
		add_column_sums(dev, sum, x, rows, columns);
}

static d2v_cuda_product product(int64_t m, int64_t n, int64_t k) {
	d2v_cuda_product p = {};
	p.m = m, p.n = n, p.k = k;
	return p;
}

void d2v_cuda_linear_forward(d2v_device *dev, const d2v_linear *op) {
	if (op->rows == 0 || op->out == 0)
		return;
	d2v_real *to = op->gelu && op->pre ? op->pre : op->y;
	d2v_cuda_product p = product(op->rows, op->out, op->in);
	p.a = op->x, p.b = op->w, p.trans_b = true, p.c = to, p.bias = op->bias;
	d2v_cuda_multiply(dev, &p);
	if (op->gelu)
		D2V_BY_TYPE(dev, run_gelu<T>(dev, op->y, to, op->rows * op->out, false));
}

void d2v_cuda_linear_backward(d2v_device *dev, const d2v_linear *op) {
	if (op->rows == 0 || op->out == 0)
		return;
	if (op->gelu)
		D2V_BY_TYPE(dev, run_gelu<T>(dev, op->d_y, op->pre, op->rows * op->out, true));
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
	if (op->d_bias)
		d2v_cuda_add_column_sums(dev, op->d_bias, op->d_y, op->rows, op->out);
}
