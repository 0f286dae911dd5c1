// The masked copies of a sample are never stored: they are gathered on reading, and their gradients are summed on the
// way back.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/noise.h"

#include <omp.h>
#include <string.h>

static void copy_token(float *to, const float *from, int64_t width) {
	memcpy(to, from, (size_t)width * sizeof *to);
}
static void zero_token(float *to, int64_t width) {
	memset(to, 0, (size_t)width * sizeof *to);
}

static void add_token(float *to, const float *from, int64_t width) {
#pragma omp simd
	for (int64_t i = 0; i < width; i++)
		to[i] += from[i];
}

void d2v_cpu_mask_rows_forward(d2v_device *dev, const d2v_mask_rows *op) {
	(void)dev;
	int64_t tokens = op->tokens, width = op->width, rows = op->batch * op->clones;
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < rows * tokens; i++) {
		float *out = d2v_cpu_out(op->out) + i * width;
		if (op->mask[i])
			zero_token(out, width);
		else
			copy_token(out, d2v_cpu_in(op->x) + (i / tokens / op->clones * tokens + i % tokens) * width, width);
	}
}

void d2v_cpu_mask_rows_backward(d2v_device *dev, const d2v_mask_rows *op) {
	(void)dev;
	int64_t tokens = op->tokens, width = op->width;
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < op->batch * tokens; i++)
		for (int64_t m = 0; m < op->clones; m++) {
			int64_t from = (i / tokens * op->clones + m) * tokens + i % tokens;
			if (!op->mask[from])
				add_token(d2v_cpu_out(op->d_x) + i * width, d2v_cpu_in(op->d_out) + from * width, width);
		}
}

void d2v_cpu_gather_forward(d2v_device *dev, const d2v_gather *op) {
	(void)dev;
	int64_t width = op->width, length = op->extra_tokens + op->kept, rows = op->batch * op->clones;
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < rows * length; i++) {
		int64_t row = i / length, k = i % length - op->extra_tokens;
		float *out = d2v_cpu_out(op->out) + i * width;
		if (k < 0) {
			copy_token(out, d2v_cpu_in(op->extra) + (i % length) * width, width);
			continue;
		}
		int64_t position = op->keep ? op->keep[row * op->kept + k] : k;
		copy_token(out, d2v_cpu_in(op->x) + (row / op->clones * op->tokens + position) * width, width);
		if (op->table)
			add_token(out, d2v_cpu_in(op->table) + position * width, width);
		if (op->add)
			add_token(out, d2v_cpu_in(op->add) + (row * op->tokens + position) * width, width);
	}
}

// The gradient that reached token `position` of copy `row`, or NULL when it was not kept.
static const float *kept_gradient(const d2v_gather *op, int64_t row, int64_t position) {
	int64_t k = op->keep ? op->restore[row * op->tokens + position] : position;
	if (k >= op->kept)
		return NULL;
	return d2v_cpu_in(op->d_out) + (row * (op->extra_tokens + op->kept) + op->extra_tokens + k) * op->width;
}

static void gather_backward_token(const d2v_gather *op, int64_t sample, int64_t position) {
	int64_t width = op->width;
	for (int64_t m = 0; m < op->clones; m++) {
		int64_t row = sample * op->clones + m;
		const float *from = kept_gradient(op, row, position);
		if (op->d_x && from)
			add_token(d2v_cpu_out(op->d_x) + (sample * op->tokens + position) * width, from, width);
		if (op->d_add) {
			float *to = d2v_cpu_out(op->d_add) + (row * op->tokens + position) * width;
			if (from)
				copy_token(to, from, width);
			else
				zero_token(to, width);
		}
	}
}

void d2v_cpu_gather_backward(d2v_device *dev, const d2v_gather *op) {
	(void)dev;
	int64_t width = op->width, length = op->extra_tokens + op->kept;
	if (op->d_x || op->d_add) {
#pragma omp parallel for schedule(static)
		for (int64_t i = 0; i < op->batch * op->tokens; i++)
			gather_backward_token(op, i / op->tokens, i % op->tokens);
	}
	for (int64_t i = 0; op->d_extra && i < op->extra_tokens * width; i++) {
		double sum = 0;
		for (int64_t row = 0; row < op->batch * op->clones; row++)
			sum += (double)d2v_cpu_in(op->d_out)[row * length * width + i];
		op->d_extra[i] += (float)sum;
	}
}

// Copies a token of (R, E+K, D), or adds nothing to it but dropout's factors. `element` is its index in that array.
static void drop_token(
	float *to, const float *from, const d2v_dropout *drop, int64_t element, int64_t width, float *buffer) {
	if (!d2v_cpu_dropout_on(drop)) {
		copy_token(to, from, width);
		return;
	}
	const float *factors = d2v_cpu_dropout_factors(buffer, drop, element, width);
#pragma omp simd
	for (int64_t i = 0; i < width; i++)
		to[i] = from[i] * factors[i];
}

static int64_t buffer_room(int64_t width) {
	return d2v_cpu_round(d2v_cpu_max(d2v_cpu_dropout_room(width), d2v_cpu_noise_room(width)));
}

void d2v_cpu_restore_forward(d2v_device *dev, const d2v_restore *op) {
	int64_t width = op->width, length = op->extra_tokens + op->kept, room = buffer_room(width);
	float *scratch = d2v_cpu_scratch(dev, room * dev->threads);
	if (!scratch)
		return;
#pragma omp parallel for schedule(dynamic, 64)
	for (int64_t i = 0; i < op->rows * op->tokens; i++) {
		float *buffer = scratch + room * omp_get_thread_num(), *out = d2v_cpu_out(op->out) + i * width;
		int64_t row = i / op->tokens, j = op->restore[i];
		if (j < op->kept) {
			int64_t element = (row * length + op->extra_tokens + j) * width;
			drop_token(out, d2v_cpu_in(op->x) + element, &op->drop, element, width, buffer);
		} else if (op->noise) {
			int64_t token = row * (op->tokens - op->kept) + j - op->kept;
			copy_token(out, d2v_cpu_in(op->noise) + token * width, width);
		} else {
			d2v_cpu_noise(out, op->noise_key, op->noise_std, op->noise_first + i * width, width, buffer);
		}
	}
}

void d2v_cpu_restore_backward(d2v_device *dev, const d2v_restore *op) {
	int64_t width = op->width, length = op->extra_tokens + op->kept, room = buffer_room(width);
	float *scratch = d2v_cpu_scratch(dev, room * dev->threads);
	if (!scratch)
		return;
#pragma omp parallel for schedule(static)
	for (int64_t i = 0; i < op->rows * length; i++) {
		float *buffer = scratch + room * omp_get_thread_num(), *d_x = d2v_cpu_out(op->d_x) + i * width;
		int64_t row = i / length, k = i % length - op->extra_tokens;
		if (k < 0) {
			zero_token(d_x, width);
			continue;
		}
		int64_t token = row * op->tokens + op->keep[row * op->kept + k];
		drop_token(d_x, d2v_cpu_in(op->d_out) + token * width, &op->drop, i * width, width, buffer);
	}
}
