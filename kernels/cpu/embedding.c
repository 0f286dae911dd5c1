// What pictures and text become before the first linear layer: rows of patches, vectors of tokens.
#include "kernels/cpu/cpu.h"

#include <string.h>

// ---- patches ----

// One patch of an 8-bit picture, channel by channel, from (height, width, 3).
static void image_patch(const d2v_patches *op, float *to, const uint8_t *from) {
	int64_t p = op->patch;
	for (int64_t i = 0; i < 3; i++)
		for (int64_t u = 0; u < p; u++)
			for (int64_t v = 0; v < p; v++)
				*to++ = ((float)from[(u * op->width + v) * 3 + i] * (1.0f / 255.0f) - op->mean[i]) * op->rstd[i];
}

// The same from planes (in, height, width).
static void pixel_patch(const d2v_patches *op, float *to, const float *from) {
	int64_t p = op->patch;
	for (int64_t i = 0; i < op->in; i++)
		for (int64_t u = 0; u < p; u++, to += p)
			memcpy(to, from + (i * op->height + u) * op->width, (size_t)p * sizeof *to);
}

void d2v_cpu_patches_forward(d2v_device *dev, const d2v_patches *op) {
	(void)dev;
	int64_t p = op->patch, down = op->height / p, across = op->width / p, size = op->in * p * p;
#pragma omp parallel for collapse(2) schedule(static)
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t t = 0; t < down * across; t++) {
			float *to = d2v_cpu_out(op->y) + (b * down * across + t) * size;
			int64_t corner = t / across * p * op->width + t % across * p;
			if (op->image)
				image_patch(op, to, op->image + (b * op->height * op->width + corner) * 3);
			else
				pixel_patch(op, to, d2v_cpu_in(op->pixels) + b * op->in * op->height * op->width + corner);
		}
}

// ---- tokens ----

#define PIECE 64 // channels; sums of gradients are cut by channels, so that each one runs over the tokens in order

// pos of each token of a row.
static inline int64_t next_position(const d2v_embedding *op, int32_t token, int64_t *seen) {
	return token == op->pad ? op->pad : op->pad + ++*seen;
}

static void embed_row(const d2v_embedding *op, int64_t b) {
	int64_t width = op->width, seen = 0;
	const float *table = d2v_cpu_in(op->table), *positions = op->positions ? d2v_cpu_in(op->positions) : NULL;
	for (int64_t t = 0; t < op->tokens; t++) {
		int32_t token = op->x[b * op->tokens + t];
		const float *place = positions ? positions + next_position(op, token, &seen) * width : NULL;
		const float *from = table + token * width;
		float *y = d2v_cpu_out(op->y) + (b * op->tokens + t) * width;
#pragma omp simd
		for (int64_t c = 0; c < width; c++)
			y[c] = op->scale * from[c];
		for (int64_t c = 0; place && c < width; c++)
			y[c] += place[c];
	}
}

void d2v_cpu_embedding_forward(d2v_device *dev, const d2v_embedding *op) {
	(void)dev;
#pragma omp parallel for schedule(static)
	for (int64_t b = 0; b < op->batch; b++)
		embed_row(op, b);
}

static void add_scaled(float *to, const float *from, float scale, int64_t count) {
#pragma omp simd
	for (int64_t c = 0; c < count; c++)
		to[c] += scale * from[c];
}

static void add_channels(const d2v_embedding *op, int64_t first, int64_t count) {
	int64_t width = op->width;
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t t = 0, seen = 0; t < op->tokens; t++) {
			int32_t token = op->x[b * op->tokens + t];
			int64_t position = next_position(op, token, &seen);
			const float *d_y = d2v_cpu_in(op->d_y) + (b * op->tokens + t) * width + first;
			if (token == op->pad)
				continue;
			if (op->d_table)
				add_scaled(op->d_table + token * width + first, d_y, op->scale, count);
			if (op->d_positions)
				add_scaled(op->d_positions + position * width + first, d_y, 1, count);
		}
}

void d2v_cpu_embedding_backward(d2v_device *dev, const d2v_embedding *op) {
	(void)dev;
	D2V_ASSERT(!op->d_table || op->order); // not read, but a model that runs here must run on a GPU
#pragma omp parallel for schedule(static)
	for (int64_t piece = 0; piece < d2v_cpu_pieces(op->width, PIECE); piece++)
		add_channels(op, piece * PIECE, d2v_cpu_min(PIECE, op->width - piece * PIECE));
}
