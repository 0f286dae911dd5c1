#include "tests/ref/reference.h"

#include <math.h>

static double element(double d, double beta, double scale) {
	if (beta == 0)
		return scale * d * d;
	return scale * (fabs(d) < beta ? d * d / (2 * beta) : fabs(d) - beta / 2);
}

static double derivative(double d, double beta, double scale) {
	if (beta == 0)
		return scale * 2 * d;
	return scale * (fabs(d) < beta ? d / beta : d > 0 ? 1 : -1);
}

static int64_t target_of(const d2v_regression *op, int64_t at) {
	return at / op->tokens / op->clones * op->tokens + at % op->tokens;
}

static double value(const d2v_regression *op, bool pred, int64_t i, int64_t c) {
	int64_t at = op->masked[i] - op->masked_first;
	return pred ? ref_in(op->pred)[at * op->width + c] : (double)op->target[target_of(op, at) * op->width + c];
}

static double spread(const d2v_regression *op, bool pred) {
	double total = 0, n = (double)op->masked_count;
	for (int64_t c = 0; c < op->width; c++) {
		double mean = 0, variance = 0;
		for (int64_t i = 0; i < op->masked_count; i++)
			mean += value(op, pred, i, c) / n;
		for (int64_t i = 0; i < op->masked_count && n > 1; i++)
			variance += pow(value(op, pred, i, c) - mean, 2) / (n - 1);
		total += sqrt(variance + 1e-6) / (double)op->width;
	}
	return total;
}

void ref_regression_loss(d2v_device *dev, const d2v_regression *op) {
	(void)dev;
	double sum = 0, beta = (double)op->beta, scale = (double)op->scale, weight = (double)op->weight;
	for (int64_t i = 0; i < op->batch * op->clones * op->tokens * op->width && op->d_pred; i++)
		ref_out(op->d_pred)[i] = 0;
	for (int64_t i = 0; i < op->masked_count; i++)
		for (int64_t c = 0; c < op->width; c++) {
			double d = value(op, true, i, c) - value(op, false, i, c);
			sum += weight * element(d, beta, scale);
			if (op->d_pred)
				ref_out(op->d_pred)[(op->masked[i] - op->masked_first) * op->width + c] =
					weight * derivative(d, beta, scale);
		}
	*op->loss = sum;
	if (op->pred_var)
		*op->pred_var = spread(op, true);
	if (op->target_var)
		*op->target_var = spread(op, false);
}

void ref_cls_loss(d2v_device *dev, const d2v_cls *op) {
	(void)dev;
	double sum = 0;
	for (int64_t r = 0; r < op->batch * op->clones; r++)
		for (int64_t c = 0; c < op->width; c++) {
			int64_t at = (r * op->row_tokens + op->extra_tokens - 1) * op->width + c;
			double target = 0;
			for (int64_t t = 0; t < op->tokens; t++)
				target += (double)op->target[(r / op->clones * op->tokens + t) * op->width + c] / (double)op->tokens;
			double d = ref_in(op->x)[at] - target;
			sum += (double)op->weight * element(d, (double)op->beta, (double)op->scale);
			ref_out(op->d_x)[at] += (double)op->weight * derivative(d, (double)op->beta, (double)op->scale);
		}
	*op->loss = sum;
}
