#include "tests/ref/reference.h"

#include <math.h>

static double gain_of(const d2v_norm *op, int64_t c) {
	return op->gain ? ref_in(op->gain)[c] : 1;
}
static double bias_of(const d2v_norm *op, int64_t c) {
	return op->bias ? ref_in(op->bias)[c] : 0;
}

void ref_norm_forward(d2v_device *dev, const d2v_norm *op) {
	(void)dev;
	int64_t n = op->channels;
	for (int64_t r = 0; r < op->rows; r++) {
		for (int64_t i = r * n; op->residual && i < (r + 1) * n; i++)
			ref_out(op->sum)[i] = ref_in(op->x)[i] + ref_dropout_factor(&op->drop, i) * ref_in(op->residual)[i];
		const double *x = ref_in(op->residual ? op->sum : op->x) + r * n;
		double mean = 0, variance = 0;
		for (int64_t c = 0; c < n; c++)
			mean += x[c] / (double)n;
		for (int64_t c = 0; c < n; c++)
			variance += (x[c] - mean) * (x[c] - mean) / (double)n;
		double rstd = 1 / sqrt(variance + (double)op->eps);
		for (int64_t c = 0; c < n; c++) {
			double v = gain_of(op, c) * (x[c] - mean) * rstd + bias_of(op, c);
			double y = (op->gelu ? ref_gelu(v) : v) * ref_dropout_factor(&op->after_drop, r * n + c);
			ref_out(op->y)[r * n + c] = y + (op->add ? ref_in(op->add)[r * n + c] : 0);
		}
		op->mean[r] = (float)mean;
		op->rstd[r] = (float)rstd;
	}
}

static void backward_row(
	const d2v_norm *op, int64_t r, double *d_gain, double *d_bias, double *d_bias_before, double *d_n) {
	int64_t n = op->channels;
	const double *x = ref_in(op->residual ? op->sum : op->x) + r * n;
	double mean = (double)op->mean[r], rstd = (double)op->rstd[r], sum = 0, product = 0;
	for (int64_t c = 0; c < n; c++) {
		double normed = (x[c] - mean) * rstd, v = gain_of(op, c) * normed + bias_of(op, c);
		double d_v = ref_in(op->d_y)[r * n + c] * ref_dropout_factor(&op->after_drop, r * n + c);
		d_v *= op->gelu ? ref_gelu_derivative(v) : 1;
		d_gain[c] += d_v * normed;
		d_bias[c] += d_v;
		d_n[c] = d_v * gain_of(op, c);
		sum += d_n[c] / (double)n;
		product += d_n[c] * normed / (double)n;
	}
	for (int64_t c = 0; c < n; c++) {
		int64_t i = r * n + c;
		double d_sum = rstd * (d_n[c] - sum - (x[c] - mean) * rstd * product);
		ref_out(op->d_sum)[i] = d_sum + (op->accumulate_d_sum ? ref_out(op->d_sum)[i] : 0);
		if (op->d_residual) {
			d_sum *= ref_dropout_factor(&op->drop, i);
			ref_out(op->d_residual)[i] = d_sum;
		}
		d_bias_before[c] += d_sum;
	}
}

void ref_norm_backward(d2v_device *dev, const d2v_norm *op) {
	int64_t n = op->channels;
	double *sums = ref_room(dev, 0, 3 * n), *d_n = ref_room(dev, 1, n);
	for (int64_t r = 0; r < op->rows; r++)
		backward_row(op, r, sums, sums + n, sums + 2 * n, d_n);
	for (int64_t c = 0; c < n && op->d_gain; c++)
		op->d_gain[c] += (float)sums[c];
	for (int64_t c = 0; c < n && op->d_bias; c++)
		op->d_bias[c] += (float)sums[n + c];
	for (int64_t c = 0; c < n && op->d_bias_before; c++)
		op->d_bias_before[c] += (float)sums[2 * n + c];
}
