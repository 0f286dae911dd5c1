#include "kernels/cpu/cpu.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define PIECE 64 // masked positions

// The element loss summed over a row, and its derivative times `weight` into d_pred (added) unless that is NULL.
static double row_loss(
	const float *pred, const float *target, float beta, float scale, float weight, float *d_pred, int64_t n) {
	double sum = 0;
	float slope = beta == 0 ? 2.0f * scale * weight : scale * weight / beta, limit = scale * weight;
	if (beta == 0) {
#pragma omp simd reduction(+ : sum)
		for (int64_t i = 0; i < n; i++) {
			float d = pred[i] - target[i];
			sum += (double)(scale * d * d);
		}
	} else {
#pragma omp simd reduction(+ : sum)
		for (int64_t i = 0; i < n; i++) {
			float d = fabsf(pred[i] - target[i]);
			sum += (double)(scale * (d < beta ? 0.5f * d * d / beta : d - 0.5f * beta));
		}
	}
	if (d_pred && beta == 0) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++)
			d_pred[i] += slope * (pred[i] - target[i]);
	} else if (d_pred) {
#pragma omp simd
		for (int64_t i = 0; i < n; i++) {
			float d = pred[i] - target[i];
			d_pred[i] += fabsf(d) < beta ? slope * d : copysignf(limit, d);
		}
	}
	return sum;
}

static void add_moments(double *sum, double *square, const float *x, int64_t n) {
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		double v = (double)x[i];
		sum[i] += v;
		square[i] += v * v;
	}
}

// Mean over channels of sqrt(unbiased variance + 1e-6). partial: per piece, `stride` apart, sums then sums of squares.
// Fewer than two positions have no spread.
static double spread(double *partial, int64_t pieces, int64_t stride, int64_t width, int64_t count) {
	double total = 0, n = (double)count;
	for (int64_t i = 0; i < width; i++) {
		double sum = 0, square = 0;
		for (int64_t piece = 0; piece < pieces; piece++) {
			sum += partial[piece * stride + i];
			square += partial[piece * stride + width + i];
		}
		double variance = count < 2 ? 0 : square / (n - 1) - sum * sum / (n * (n - 1));
		total += sqrt((variance < 0 ? 0 : variance) + 1e-6);
	}
	return width ? total / (double)width : 0;
}

// One piece: its loss, and when wanted the moments of predictions and targets.
static double piece_loss(const d2v_regression *op, int64_t first, double *pred_moments, double *target_moments) {
	int64_t width = op->width;
	double sum = 0;
	for (int64_t i = first; i < d2v_cpu_min(op->masked_count, first + PIECE); i++) {
		int64_t at = op->masked[i] - op->masked_first, row = at / op->tokens;
		const float *pred = d2v_cpu_in(op->pred) + at * width;
		const float *target = op->target + (row / op->clones * op->tokens + at % op->tokens) * width;
		float *d_pred = op->d_pred ? d2v_cpu_out(op->d_pred) + at * width : NULL;
		sum += row_loss(pred, target, op->beta, op->scale, op->weight, d_pred, width);
		if (pred_moments)
			add_moments(pred_moments, pred_moments + width, pred, width);
		if (target_moments)
			add_moments(target_moments, target_moments + width, target, width);
	}
	return sum;
}

void d2v_cpu_regression_loss(d2v_device *dev, const d2v_regression *op) {
	int64_t width = op->width, pieces = d2v_cpu_pieces(op->masked_count, PIECE), stride = 1 + 4 * width;
	// Per piece: the loss, moments of predictions, moments of targets; doubles.
	double *partial = (double *)(void *)d2v_cpu_scratch(dev, 2 * pieces * stride);
	if (!partial)
		return;
	if (op->d_pred)
		dev->backend->zero(dev, op->d_pred, (size_t)(op->batch * op->clones * op->tokens * width) * sizeof(float));
#pragma omp parallel for schedule(static)
	for (int64_t piece = 0; piece < pieces; piece++) {
		double *mine = partial + piece * stride;
		memset(mine, 0, (size_t)stride * sizeof *mine);
		*mine =
			piece_loss(op, piece * PIECE, op->pred_var ? mine + 1 : NULL, op->target_var ? mine + 1 + 2 * width : NULL);
	}
	double sum = 0;
	for (int64_t piece = 0; piece < pieces; piece++)
		sum += partial[piece * stride];
	*op->loss = (double)op->weight * sum;
	if (op->pred_var)
		*op->pred_var = spread(partial + 1, pieces, stride, width, op->masked_count);
	if (op->target_var)
		*op->target_var = spread(partial + 1 + 2 * width, pieces, stride, width, op->masked_count);
}

void d2v_cpu_cls_loss(d2v_device *dev, const d2v_cls *op) {
	int64_t width = op->width, room = d2v_cpu_round(width), losses = d2v_cpu_round(2 * op->batch);
	double *partial = (double *)(void *)d2v_cpu_scratch(dev, losses + room * dev->threads);
	if (!partial)
		return;
	float *means = (float *)(void *)partial + losses;
#pragma omp parallel for schedule(static)
	for (int64_t b = 0; b < op->batch; b++) {
		float *mean = means + room * omp_get_thread_num();
		for (int64_t i = 0; i < width; i++) {
			double sum = 0;
			for (int64_t t = 0; t < op->tokens; t++)
				sum += (double)op->target[(b * op->tokens + t) * width + i];
			mean[i] = (float)(sum / (double)op->tokens);
		}
		partial[b] = 0;
		for (int64_t row = b * op->clones; row < (b + 1) * op->clones; row++) {
			int64_t at = (row * op->row_tokens + op->extra_tokens - 1) * width;
			partial[b] += row_loss(
				d2v_cpu_in(op->x) + at, mean, op->beta, op->scale, op->weight, d2v_cpu_out(op->d_x) + at, width);
		}
	}
	double sum = 0;
	for (int64_t b = 0; b < op->batch; b++)
		sum += partial[b];
	*op->loss = (double)op->weight * sum;
}
