#include "tests/ref/reference.h"

#include <math.h>

static const double *part(const d2v_attention *op, int64_t r, int64_t token, int64_t s, int64_t h) {
	return ref_in(op->qkv) + ((r * op->tokens + token) * 3 + s) * op->width + h * (op->width / op->heads);
}

static double *d_part(const d2v_attention *op, int64_t r, int64_t token, int64_t s, int64_t h) {
	return ref_out(op->d_qkv) + ((r * op->tokens + token) * 3 + s) * op->width + h * (op->width / op->heads);
}

static double position(const d2v_attention *op, int64_t r, int64_t token) {
	int64_t frame = token - op->extra;
	return op->positions ? op->positions[r * (op->tokens - op->extra) + frame] : (double)frame;
}

static double distance(const d2v_attention *op, int64_t r, int64_t i, int64_t j) {
	return i < op->extra || j < op->extra ? 0 : fabs(position(op, r, i) - position(op, r, j));
}

static double bias(const d2v_attention *op, int64_t r, int64_t h, int64_t i, int64_t j) {
	double scale = op->scale ? fmax((double)op->scale[h], 0) : 1;
	return op->slope ? scale * (double)op->slope[h] * -distance(op, r, i, j) : 0;
}

static double drop_factor(const d2v_attention *op, int64_t r, int64_t h, int64_t i, int64_t j) {
	int64_t draws = (op->tokens + 31) / 32 * 32;
	return ref_dropout_factor(&op->drop, ((r * op->heads + h) * op->tokens + i) * draws + j);
}

// p (N) of query i; returns the log of the sum of exponentials.
static double probabilities(const d2v_attention *op, int64_t r, int64_t h, int64_t i, double *p) {
	int64_t n = op->tokens, size = op->width / op->heads;
	double top = -INFINITY, sum = 0;
	for (int64_t j = 0; j < n; j++) {
		p[j] = 0;
		for (int64_t e = 0; e < size; e++)
			p[j] += part(op, r, i, 0, h)[e] / sqrt((double)size) * part(op, r, j, 1, h)[e];
		p[j] += bias(op, r, h, i, j);
		if (op->key_padding && op->key_padding[r * n + j])
			p[j] = -INFINITY;
		top = fmax(top, p[j]);
	}
	for (int64_t j = 0; j < n; j++) {
		p[j] = top == -INFINITY ? 0 : exp(p[j] - top);
		sum += p[j];
	}
	for (int64_t j = 0; j < n && sum > 0; j++)
		p[j] /= sum;
	return sum > 0 ? top + log(sum) : -INFINITY;
}

static void forward_query(const d2v_attention *op, int64_t r, int64_t h, int64_t i, double *p) {
	int64_t size = op->width / op->heads;
	double *out = ref_out(op->out) + (r * op->tokens + i) * op->width + h * size;
	op->lse[(r * op->heads + h) * op->tokens + i] = (float)probabilities(op, r, h, i, p);
	for (int64_t e = 0; e < size; e++) {
		out[e] = 0;
		for (int64_t j = 0; j < op->tokens; j++)
			out[e] += drop_factor(op, r, h, i, j) * p[j] * part(op, r, j, 2, h)[e];
	}
}

// p and d_p (N) are workspace; d_scale (H) sums.
static void backward_query(
	const d2v_attention *op, int64_t r, int64_t h, int64_t i, double *p, double *d_p, double *d_scale) {
	int64_t n = op->tokens, size = op->width / op->heads;
	double inner = 0, root = sqrt((double)size);
	const double *d_out = ref_in(op->d_out) + (r * n + i) * op->width + h * size;
	probabilities(op, r, h, i, p);
	for (int64_t j = 0; j < n; j++) {
		double factor = drop_factor(op, r, h, i, j);
		d_p[j] = 0;
		for (int64_t e = 0; e < size; e++) {
			d_p[j] += factor * d_out[e] * part(op, r, j, 2, h)[e];
			d_part(op, r, j, 2, h)[e] += factor * p[j] * d_out[e];
		}
		inner += p[j] * d_p[j];
	}
	for (int64_t j = 0; j < n; j++) {
		double d_s = p[j] * (d_p[j] - inner);
		for (int64_t e = 0; e < size; e++) {
			d_part(op, r, i, 0, h)[e] += d_s * part(op, r, j, 1, h)[e] / root;
			d_part(op, r, j, 1, h)[e] += d_s * part(op, r, i, 0, h)[e] / root;
		}
		if (op->slope && !(op->scale && op->scale[h] < 0))
			d_scale[h] += d_s * (double)op->slope[h] * -distance(op, r, i, j);
	}
}

void ref_attention_forward(d2v_device *dev, const d2v_attention *op) {
	double *p = ref_room(dev, 0, op->tokens);
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t h = 0; h < op->heads; h++)
			for (int64_t i = 0; i < op->tokens; i++)
				forward_query(op, r, h, i, p);
}

void ref_attention_backward(d2v_device *dev, const d2v_attention *op) {
	double *p = ref_room(dev, 0, 2 * op->tokens), *d_scale = ref_room(dev, 1, op->heads);
	for (int64_t i = 0; i < op->rows * op->tokens * 3 * op->width; i++)
		ref_out(op->d_qkv)[i] = 0;
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t h = 0; h < op->heads; h++)
			for (int64_t i = 0; i < op->tokens; i++)
				backward_query(op, r, h, i, p, p + op->tokens, d_scale);
	for (int64_t h = 0; h < op->heads && op->d_scale; h++)
		op->d_scale[h] += (float)d_scale[h];
	for (int64_t c = 0; c < 3 * op->width && op->d_qkv_bias; c++) {
		double sum = 0;
		for (int64_t token = 0; token < op->rows * op->tokens; token++)
			sum += ref_out(op->d_qkv)[token * 3 * op->width + c];
		op->d_qkv_bias[c] += (float)sum;
	}
}

void ref_attention_bias(d2v_device *dev, const d2v_attention *op, float *out) {
	(void)dev;
	for (int64_t h = 0; h < op->heads && op->rows; h++)
		for (int64_t i = 0; i < op->tokens; i++)
			for (int64_t j = 0; j < op->tokens; j++)
				out[(h * op->tokens + i) * op->tokens + j] = (float)bias(op, 0, h, i, j);
}
