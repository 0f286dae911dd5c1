#include "kernels/cpu/cpu.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/gelu.h"

#include <omp.h>
#include <string.h>

#define PIECE 128 // rows

static float row_mean(const float *x, int64_t n) {
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += x[i];
	return sum / (float)n;
}

static float row_variance(const float *x, float mean, int64_t n) {
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += (x[i] - mean) * (x[i] - mean);
	return sum / (float)n;
}

// sum = x + residual * factors; factors NULL: all 1.
static void add_residual(float *sum, const float *x, const float *residual, const float *factors, int64_t n) {
	if (factors) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			sum[i] = x[i] + residual[i] * factors[i];
	} else {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			sum[i] = x[i] + residual[i];
	}
}

// v = gain * n + bias with n = (x - mean) * rstd.
static void normalise(
	float *v, const float *x, float mean, float rstd, const float *gain, const float *bias, int64_t n) {
	if (gain) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			v[i] = fmaf((x[i] - mean) * rstd, gain[i], bias[i]);
	} else {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			v[i] = (x[i] - mean) * rstd;
	}
}

static void gelu_row(float *v, int64_t n) {
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		v[i] = d2v_gelu(v[i]);
}

static void multiply_row(float *v, const float *factors, int64_t n) {
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		v[i] *= factors[i];
}

// Two rows of floats per thread: values, and the factors of dropout.
static int64_t thread_room(int64_t channels) {
	return d2v_cpu_round(channels) + d2v_cpu_round(d2v_cpu_dropout_room(channels));
}

static void forward_row(const d2v_norm *op, int64_t row, float *v, float *buffer) {
	int64_t n = op->channels, at = row * n;
	const float *x = d2v_cpu_in(op->x) + at;
	if (op->residual) {
		float *sum = d2v_cpu_out(op->sum) + at;
		bool drop = d2v_cpu_dropout_on(&op->drop);
		const float *factors = drop ? d2v_cpu_dropout_factors(buffer, &op->drop, at, n) : NULL;
		add_residual(sum, x, d2v_cpu_in(op->residual) + at, factors, n);
		x = sum;
	}
	float mean = row_mean(x, n);
	float rstd = 1.0f / sqrtf(row_variance(x, mean, n) + op->eps);
	op->mean[row] = mean;
	op->rstd[row] = rstd;
	// Through v only where y is still needed: `add` may be y's own buffer.
	float *y = d2v_cpu_out(op->y) + at, *to = op->add ? v : y;
	normalise(to, x, mean, rstd, d2v_cpu_in(op->gain), d2v_cpu_in(op->bias), n);
	if (op->gelu)
		gelu_row(to, n);
	if (d2v_cpu_dropout_on(&op->after_drop))
		multiply_row(to, d2v_cpu_dropout_factors(buffer, &op->after_drop, at, n), n);
	if (op->add)
		add_residual(y, v, d2v_cpu_in(op->add) + at, NULL, n);
}

void d2v_cpu_norm_forward(d2v_device *dev, const d2v_norm *op) {
	if (op->rows == 0 || op->channels == 0)
		return;
	int64_t room = thread_room(op->channels);
	float *scratch = d2v_cpu_scratch(dev, room * dev->threads);
	if (!scratch)
		return;
#pragma omp parallel for schedule(static)
	for (int64_t first = 0; first < op->rows; first += PIECE) {
		float *v = scratch + room * omp_get_thread_num();
		for (int64_t row = first; row < d2v_cpu_min(op->rows, first + PIECE); row++)
			forward_row(op, row, v, v + d2v_cpu_round(op->channels));
	}
}

// d_v = d_y * factors * gelu'(v), in place of v.
static void through_gelu(float *v, const float *d_y, const float *factors, bool gelu, int64_t n) {
	if (gelu) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			v[i] = d_y[i] * d2v_gelu_derivative(v[i]);
	} else {
		memcpy(v, d_y, (size_t)n * sizeof *v);
	}
	if (factors)
		multiply_row(v, factors, n);
}

// d_v becomes d_n; sums for the gains and biases on the way.
static void through_gain(float *d_v, const float *x, float mean, float rstd, const float *gain, float *sum_gain,
	float *sum_bias, int64_t n) {
	if (sum_gain) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++) {
			sum_gain[i] += d_v[i] * ((x[i] - mean) * rstd);
			sum_bias[i] += d_v[i];
		}
	}
	if (gain)
		multiply_row(d_v, gain, n);
}

// d_x = rstd (d_n - mean(d_n) - n mean(d_n n)), in place of d_n.
static void through_statistics(float *d_n, const float *x, float mean, float rstd, int64_t n) {
	float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
	for (int64_t i = 0; i < n; i++) {
		sum += d_n[i];
		product += d_n[i] * ((x[i] - mean) * rstd);
	}
	sum /= (float)n;
	product /= (float)n;
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		d_n[i] = rstd * (d_n[i] - sum - (x[i] - mean) * rstd * product);
}

// The sums over a piece's rows, each (C); NULL: not wanted.
typedef struct piece_sums {
	float *gain, *bias, *before;
} piece_sums;

static void add_row(float *sum, const float *v, int64_t n) {
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		sum[i] += v[i];
}

static void backward_row(const d2v_norm *op, int64_t row, float *v, float *buffer, piece_sums sums) {
	int64_t n = op->channels, at = row * n;
	const float *x = d2v_cpu_in(op->residual ? op->sum : op->x) + at, *gain = d2v_cpu_in(op->gain);
	float mean = op->mean[row], rstd = op->rstd[row];
	if (op->gelu)
		normalise(v, x, mean, rstd, gain, d2v_cpu_in(op->bias), n);
	bool after = d2v_cpu_dropout_on(&op->after_drop);
	const float *factors = after ? d2v_cpu_dropout_factors(buffer, &op->after_drop, at, n) : NULL;
	through_gelu(v, d2v_cpu_in(op->d_y) + at, factors, op->gelu, n);
	through_gain(v, x, mean, rstd, gain, sums.gain, sums.bias, n);
	through_statistics(v, x, mean, rstd, n);
	float *d_sum = d2v_cpu_out(op->d_sum) + at;
	if (op->accumulate_d_sum)
		add_residual(d_sum, d_sum, v, NULL, n);
	else
		memcpy(d_sum, v, (size_t)n * sizeof *v);
	if (op->d_residual) {
		if (d2v_cpu_dropout_on(&op->drop))
			multiply_row(v, d2v_cpu_dropout_factors(buffer, &op->drop, at, n), n);
		memcpy(d2v_cpu_out(op->d_residual) + at, v, (size_t)n * sizeof *v);
	}
	if (sums.before)
		add_row(sums.before, v, n);
}

void d2v_cpu_norm_backward(d2v_device *dev, const d2v_norm *op) {
	if (op->rows == 0 || op->channels == 0)
		return;
	bool own = op->d_gain || op->d_bias;
	int64_t n = op->channels, arrays = (own ? 2 : 0) + (op->d_bias_before ? 1 : 0);
	int64_t pieces = d2v_cpu_pieces(op->rows, PIECE), stride = d2v_cpu_round(arrays * n);
	int64_t partials = pieces * stride, room = thread_room(n);
	float *scratch = d2v_cpu_scratch(dev, partials + room * dev->threads);
	if (!scratch)
		return;
	float *before = scratch + (own ? 2 * n : 0); // of the first piece
#pragma omp parallel for schedule(static)
	for (int64_t piece = 0; piece < pieces; piece++) {
		float *v = scratch + partials + room * omp_get_thread_num();
		float *sum = scratch + piece * stride;
		piece_sums sums = { .before = op->d_bias_before ? before + piece * stride : NULL };
		if (own)
			sums.gain = sum, sums.bias = sum + n;
		memset(sum, 0, (size_t)stride * sizeof *sum);
		for (int64_t row = piece * PIECE; row < d2v_cpu_min(op->rows, (piece + 1) * PIECE); row++)
			backward_row(op, row, v, v + d2v_cpu_round(n), sums);
	}
	if (op->d_gain)
		d2v_cpu_add_partials(op->d_gain, scratch, pieces, stride, n);
	if (op->d_bias)
		d2v_cpu_add_partials(op->d_bias, scratch + n, pieces, stride, n);
	if (op->d_bias_before)
		d2v_cpu_add_partials(op->d_bias_before, before, pieces, stride, n);
}
