#include "tests/ref/reference.h"

#include <math.h>

void ref_wave_forward(d2v_device *dev, const d2v_wave *op) {
	(void)dev;
	for (int64_t i = 0; i < op->batch * op->length; i++) {
		int64_t b = i / op->length;
		ref_out(op->y)[i] = (op->x[i] / 32768.0 - (double)op->mean[b]) * (double)op->rstd[b];
	}
}

void ref_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count) {
	(void)dev;
	for (int64_t i = 0; i < count; i++)
		ref_out(y)[i] = ref_dropout_factor(&drop, i) * ref_in(x)[i] + (accumulate ? ref_out(y)[i] : 0);
}

void ref_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count) {
	(void)dev;
	for (int64_t i = 0; i < count; i++)
		ref_out(y)[i] += (double)a * ref_in(x)[i];
}

void ref_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count) {
	(void)dev;
	*sum = 0;
	for (int64_t i = 0; i < count; i++)
		*sum += (double)x[i] * (double)x[i];
}

void ref_adam_update(d2v_device *dev, const d2v_adam *op) {
	(void)dev;
	double s = (double)op->step, b1 = op->beta1, b2 = op->beta2;
	for (int64_t range = 0; range < op->range_count; range++)
		for (int64_t i = op->ranges[range].offset; i < op->ranges[range].offset + op->ranges[range].count; i++) {
			double g = (double)op->grad[i] * op->grad_scale, p = (double)op->param[i];
			double m = b1 * (double)op->m[i] + (1 - b1) * g, v = b2 * (double)op->v[i] + (1 - b2) * g * g;
			p -= op->lr * op->weight_decay * p;
			p -= op->lr * sqrt(1 - pow(b2, s)) / (1 - pow(b1, s)) * m / (sqrt(v) + op->eps);
			op->m[i] = (float)m;
			op->v[i] = (float)v;
			op->param[i] = (float)p;
			if (op->working)
				ref_out(op->working)[i] = (double)op->param[i];
		}
}

void ref_ema_update(d2v_device *dev, const d2v_ema *op) {
	(void)dev;
	for (int64_t range = 0; range < op->range_count; range++)
		for (int64_t i = 0; i < op->teacher_ranges[range].count; i++) {
			int64_t at = op->teacher_ranges[range].offset + i;
			double student = (double)op->student[op->student_ranges[range].offset + i];
			op->teacher[at] = (float)((double)op->teacher[at] * (1 - op->rate) + op->rate * student);
			if (op->working)
				ref_out(op->working)[at] = (double)op->teacher[at];
		}
}
