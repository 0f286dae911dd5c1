#include "kernels/cpu/cpu.h"
#include "kernels/cpu/dropout.h"

#define PIECE 4096 // elements

void d2v_cpu_wave_forward(d2v_device *dev, const d2v_wave *op) {
	(void)dev;
	float *y = d2v_cpu_out(op->y);
	int64_t pieces = d2v_cpu_pieces(op->length, PIECE);
#pragma omp parallel for collapse(2) schedule(static)
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t piece = 0; piece < pieces; piece++) {
			const int16_t *from = op->x + b * op->length;
			float *to = y + b * op->length, mean = op->mean[b], rstd = op->rstd[b];
			int64_t end = d2v_cpu_min(op->length, (piece + 1) * PIECE);
#pragma omp simd
			for (int64_t i = piece * PIECE; i < end; i++)
				to[i] = ((float)from[i] * (1.0f / 32768.0f) - mean) * rstd;
		}
}

static void drop_piece(float *y, const float *x, const float *factors, bool accumulate, int64_t count) {
	if (accumulate) {
#pragma omp simd
		for (int64_t i = 0; i < count; i++)
			y[i] += x[i] * factors[i];
	} else {
#pragma omp simd
		for (int64_t i = 0; i < count; i++)
			y[i] = x[i] * factors[i];
	}
}

void d2v_cpu_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count) {
	if (!d2v_cpu_dropout_on(&drop)) {
		if (accumulate)
			d2v_cpu_add(dev, y, x, 1, count);
		else if (y != x && count)
			dev->backend->copy(dev, y, x, (size_t)count * sizeof(float));
		return;
	}
#pragma omp parallel for schedule(static)
	for (int64_t at = 0; at < count; at += PIECE) {
		float buffer[D2V_CPU_DROPOUT_ROOM(PIECE)];
		int64_t n = d2v_cpu_min(PIECE, count - at);
		const float *factors = d2v_cpu_dropout_factors(buffer, &drop, at, n);
		drop_piece(d2v_cpu_out(y) + at, d2v_cpu_in(x) + at, factors, accumulate, n);
	}
}

void d2v_cpu_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count) {
	(void)dev;
	float *to = d2v_cpu_out(y);
	const float *from = d2v_cpu_in(x);
#pragma omp parallel for simd schedule(simd : static)
	for (int64_t i = 0; i < count; i++)
		to[i] += a * from[i];
}
