// What happens to parameters once a step: their norm, Adam, and the teacher's average.
#include "kernels/cpu/cpu.h"

#include <math.h>

#define PIECE 16384 // elements

void d2v_cpu_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count) {
	int64_t pieces = d2v_cpu_pieces(count, PIECE);
	double *partial = (double *)(void *)d2v_cpu_scratch(dev, 2 * pieces);
	if (!partial)
		return;
#pragma omp parallel for schedule(static)
	for (int64_t piece = 0; piece < pieces; piece++) {
		double total = 0;
		int64_t end = d2v_cpu_min(count, (piece + 1) * PIECE);
#pragma omp simd reduction(+ : total)
		for (int64_t i = piece * PIECE; i < end; i++)
			total += (double)x[i] * (double)x[i];
		partial[piece] = total;
	}
	*sum = 0;
	for (int64_t piece = 0; piece < pieces; piece++)
		*sum += partial[piece];
}

void d2v_cpu_adam_update(d2v_device *dev, const d2v_adam *op) {
	(void)dev;
	double correction1 = 1 - pow(op->beta1, (double)op->step), correction2 = 1 - pow(op->beta2, (double)op->step);
	float beta1 = (float)op->beta1, beta2 = (float)op->beta2, rest1 = (float)(1 - op->beta1),
		  rest2 = (float)(1 - op->beta2);
	float decay = (float)(op->lr * op->weight_decay), rate = (float)(op->lr * sqrt(correction2) / correction1);
	float scale = (float)op->grad_scale, eps = (float)op->eps;
	float *working = op->working ? d2v_cpu_out(op->working) : op->param;
#pragma omp parallel
	for (int64_t range = 0; range < op->range_count; range++) {
		int64_t first = op->ranges[range].offset, end = first + op->ranges[range].count;
#pragma omp for simd schedule(simd : static) nowait
		for (int64_t i = first; i < end; i++) {
			float g = op->grad[i] * scale;
			float m = op->m[i] * beta1 + g * rest1, v = op->v[i] * beta2 + g * g * rest2;
			float p = op->param[i] - decay * op->param[i];
			op->m[i] = m;
			op->v[i] = v;
			working[i] = op->param[i] = p - rate * (m / (sqrtf(v) + eps));
		}
	}
}

// Two rounded operations: C files are built without contraction into fused multiply-adds (-std=c17).
void d2v_cpu_ema_update(d2v_device *dev, const d2v_ema *op) {
	(void)dev;
	float keep = (float)(1 - op->rate), take = (float)op->rate;
	float *working = op->working ? d2v_cpu_out(op->working) : op->teacher;
#pragma omp parallel
	for (int64_t range = 0; range < op->range_count; range++) {
		int64_t offset = op->teacher_ranges[range].offset;
		const float *student = op->student + op->student_ranges[range].offset;
#pragma omp for simd schedule(simd : static) nowait
		for (int64_t i = 0; i < op->teacher_ranges[range].count; i++)
			working[offset + i] = op->teacher[offset + i] = op->teacher[offset + i] * keep + student[i] * take;
	}
}
