#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gelu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/outer.h"

#include <string.h>

#define MIN_PIECE 128 // rows a thread takes at a time: enough to make up for packing the weights again
#define MAX_PIECE 1024
#define PIECES 12

static int64_t piece_rows(int64_t rows) {
	int64_t size = d2v_cpu_min(d2v_cpu_max(d2v_cpu_pieces(rows, PIECES), MIN_PIECE), MAX_PIECE);
	return d2v_cpu_pieces(size, 16) * 16;
}

static void add_bias(float *y, const float *bias, int64_t out) {
#pragma omp simd
	for (int64_t i = 0; i < out; i++)
		y[i] += bias[i];
}

// bias NULL: none. pre and y may be the same array.
static void bias_gelu(float *y, float *pre, const float *bias, int64_t out) {
	if (bias)
		add_bias(pre, bias, out);
#pragma omp simd
	for (int64_t i = 0; i < out; i++)
		y[i] = d2v_gelu(pre[i]);
}

void d2v_cpu_linear_forward(d2v_device *dev, const d2v_linear *op) {
	const float *bias = d2v_cpu_in(op->bias);
	float *y = d2v_cpu_out(op->y), *pre = op->gelu && op->pre ? d2v_cpu_out(op->pre) : y;
	int64_t size = piece_rows(op->rows);
	bool ok = true;
#pragma omp parallel for schedule(dynamic) reduction(&& : ok)
	for (int64_t first = 0; first < op->rows; first += size) {
		int64_t rows = d2v_cpu_min(size, op->rows - first);
		ok = d2v_cpu_gemm(&(d2v_gemm){ .m = rows,
				 .n = op->out,
				 .k = op->in,
				 .a = d2v_cpu_in(op->x) + first * op->in,
				 .lda = op->in,
				 .b = d2v_cpu_in(op->w),
				 .ldb = op->in,
				 .trans_b = true,
				 .c = pre + first * op->out,
				 .ldc = op->out }) &&
			 ok;
		for (int64_t row = first; row < first + rows; row++) {
			if (op->gelu)
				bias_gelu(y + row * op->out, pre + row * op->out, bias, op->out);
			else if (bias)
				add_bias(y + row * op->out, bias, op->out);
		}
	}
	if (!ok)
		d2v_cpu_gemm_failed(dev);
}

static void gelu_backward(float *d_y, const float *pre, int64_t count) {
#pragma omp simd
	for (int64_t i = 0; i < count; i++)
		d_y[i] *= d2v_gelu_derivative(pre[i]);
}

// d_y becomes d_pre, and while it is in the cache: d_x.
static bool backward_data(const d2v_linear *op) {
	float *d_y = d2v_cpu_out(op->d_y);
	int64_t size = piece_rows(op->rows);
	bool ok = true;
#pragma omp parallel for schedule(dynamic) reduction(&& : ok)
	for (int64_t first = 0; first < op->rows; first += size) {
		int64_t rows = d2v_cpu_min(size, op->rows - first);
		if (op->gelu)
			gelu_backward(d_y + first * op->out, d2v_cpu_in(op->pre) + first * op->out, rows * op->out);
		if (op->d_x)
			ok = d2v_cpu_gemm(&(d2v_gemm){ .m = rows,
					 .n = op->in,
					 .k = op->out,
					 .a = d_y + first * op->out,
					 .lda = op->out,
					 .b = d2v_cpu_in(op->w),
					 .ldb = op->in,
					 .c = d2v_cpu_out(op->d_x) + first * op->in,
					 .ldc = op->in,
					 .accumulate = op->accumulate_d_x }) &&
				 ok;
	}
	return ok;
}

void d2v_cpu_linear_backward(d2v_device *dev, const d2v_linear *op) {
	int64_t room = d2v_cpu_max(op->d_w ? d2v_cpu_outer_room(op->out, op->in, op->rows) : 0,
		op->d_bias ? d2v_cpu_column_sums_room(op->rows, op->out) : 0);
	float *scratch = d2v_cpu_scratch(dev, room);
	if (!scratch)
		return;
	bool ok = !(op->gelu || op->d_x) || backward_data(op);
	const float *d_pre = d2v_cpu_in(op->d_y);
	if (op->d_bias)
		d2v_cpu_column_sums(op->d_bias, d_pre, op->rows, op->out, scratch);
	if (op->d_w)
		ok = d2v_cpu_outer(op->d_w, d_pre, d2v_cpu_in(op->x), op->out, op->in, op->rows, scratch) && ok;
	if (!ok)
		d2v_cpu_gemm_failed(dev);
}
