#include "kernels/cpu/cpu.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define EPS 1e-5f
#define LANES 64 // channels whose statistics one thread takes at a time

// Of channels [0, count), count <= LANES, over `tokens` rows of x that are `width` apart.
static void channel_statistics(float *mean, float *rstd, const float *x, int64_t tokens, int64_t width, int64_t count) {
	double sum[LANES] = { 0 }, square[LANES] = { 0 };
	for (int64_t t = 0; t < tokens; t++)
		for (int64_t i = 0; i < count; i++)
			sum[i] += (double)x[t * width + i];
	for (int64_t i = 0; i < count; i++)
		sum[i] /= (double)tokens;
	for (int64_t t = 0; t < tokens; t++)
		for (int64_t i = 0; i < count; i++) {
			double d = (double)x[t * width + i] - sum[i];
			square[i] += d * d;
		}
	for (int64_t i = 0; i < count; i++) {
		mean[i] = (float)sum[i];
		rstd[i] = 1.0f / sqrtf((float)(square[i] / (double)tokens) + EPS);
	}
}

// mean and rstd (B, D) of x (B, skip + T, D), the first `skip` rows of each sample left out.
static void instance_statistics(float *mean, float *rstd, const float *x, const d2v_target *op, int64_t skip) {
	int64_t width = op->width;
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t c = 0; c < width; c += LANES)
			channel_statistics(mean + b * width + c, rstd + b * width + c,
				x + (b * (skip + op->tokens) + skip) * width + c, op->tokens, width, d2v_cpu_min(LANES, width - c));
}

// Statistics (B, D) of samples become those of the batch, the same for each; with instance norm after that, those of
// the samples of what it makes. 1 / rstd^2 is a variance plus EPS.
static void pool_statistics(float *mean, float *rstd, const d2v_target *op) {
	int64_t width = op->width, batch = op->batch;
#pragma omp parallel for schedule(static)
	for (int64_t c = 0; c < width; c++) {
		double centre = 0, square = 0;
		for (int64_t b = 0; b < batch; b++)
			centre += (double)mean[b * width + c] / (double)batch;
		for (int64_t b = 0; b < batch; b++) {
			double off = (double)mean[b * width + c] - centre, own = (double)rstd[b * width + c];
			square += (1 / (own * own) + off * off) / (double)batch;
		}
		for (int64_t b = 0; b < batch; b++) {
			float *own_mean = mean + b * width + c, *own = rstd + b * width + c;
			if (op->instance_norm_layer) {
				*own = (float)(1 / sqrt(1 / ((double)*own * (double)*own) - (double)EPS + (double)EPS * square));
			} else {
				*own_mean = (float)centre;
				*own = (float)(1 / sqrt(square));
			}
		}
	}
}

static void normalise_channels(float *y, const float *x, const float *mean, const float *rstd, int64_t width) {
#pragma omp simd
	for (int64_t i = 0; i < width; i++)
		y[i] = (x[i] - mean[i]) * rstd[i];
}

static void layer_norm(float *x, int64_t width) {
	float mean = 0, variance = 0;
#pragma omp simd reduction(+ : mean)
	for (int64_t i = 0; i < width; i++)
		mean += x[i];
	mean /= (float)width;
#pragma omp simd reduction(+ : variance)
	for (int64_t i = 0; i < width; i++)
		variance += (x[i] - mean) * (x[i] - mean);
	float rstd = 1.0f / sqrtf(variance / (float)width + EPS);
#pragma omp simd
	for (int64_t i = 0; i < width; i++)
		x[i] = (x[i] - mean) * rstd;
}

// y = mean over layers for token t of sample b; statistics are (layers, B, D) each; v is a row of workspace.
static void average_token(const d2v_target *op, const float *mean, const float *rstd, int64_t b, int64_t t, float *v) {
	int64_t width = op->width, all = op->extra_tokens + op->tokens;
	float *y = op->y + (b * op->tokens + t) * width;
	memset(y, 0, (size_t)width * sizeof *y);
	for (int64_t layer = 0; layer < op->count; layer++) {
		const float *x = d2v_cpu_in(op->layers[layer]) + (b * all + op->extra_tokens + t) * width;
		int64_t at = (layer * op->batch + b) * width;
		if (op->batch_norm_layer || op->instance_norm_layer)
			normalise_channels(v, x, mean + at, rstd + at, width);
		else
			memcpy(v, x, (size_t)width * sizeof *v);
		if (op->layer_norm_layer)
			layer_norm(v, width);
#pragma omp simd
		for (int64_t i = 0; i < width; i++)
			y[i] += v[i];
	}
	float count = (float)op->count;
#pragma omp simd
	for (int64_t i = 0; i < width; i++)
		y[i] /= count;
	if (op->layer_norm_mean)
		layer_norm(y, width);
}

void d2v_cpu_target_forward(d2v_device *dev, const d2v_target *op) {
	int64_t width = op->width, tokens = op->batch * op->tokens, set = op->batch * width, room = d2v_cpu_round(width);
	if (tokens * width == 0)
		return;
	int64_t sets = d2v_cpu_max(op->count, 1);
	float *mean = d2v_cpu_scratch(dev, 2 * sets * set + D2V_CPU_LINE + room * dev->threads);
	if (!mean)
		return;
	float *rstd = mean + sets * set, *rows = mean + d2v_cpu_round(2 * sets * set);
	bool over_tokens = op->batch_norm_layer || op->instance_norm_layer;
	for (int64_t layer = 0; layer < op->count && over_tokens; layer++) {
		instance_statistics(
			mean + layer * set, rstd + layer * set, d2v_cpu_in(op->layers[layer]), op, op->extra_tokens);
		if (op->batch_norm_layer)
			pool_statistics(mean + layer * set, rstd + layer * set, op);
	}
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < tokens; i++)
		average_token(op, mean, rstd, i / op->tokens, i % op->tokens, rows + room * omp_get_thread_num());
	if (!op->instance_norm_mean)
		return;
	instance_statistics(mean, rstd, op->y, op, 0);
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < tokens; i++)
		normalise_channels(
			op->y + i * width, op->y + i * width, mean + i / op->tokens * width, rstd + i / op->tokens * width, width);
}
