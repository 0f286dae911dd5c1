#include "tests/ref/reference.h"

#include <math.h>

// v (count values, `step` apart) becomes (v - mean) / sqrt(biased variance + 1e-5).
static void normalise(double *v, int64_t count, int64_t step) {
	double mean = 0, variance = 0;
	for (int64_t i = 0; i < count; i++)
		mean += v[i * step] / (double)count;
	for (int64_t i = 0; i < count; i++)
		variance += (v[i * step] - mean) * (v[i * step] - mean) / (double)count;
	for (int64_t i = 0; i < count; i++)
		v[i * step] = (v[i * step] - mean) / sqrt(variance + 1e-5);
}

static void instance_norm(double *v, int64_t T, int64_t D) {
	for (int64_t c = 0; c < D; c++)
		normalise(v + c, T, D);
}

static void layer_norm(double *v, int64_t T, int64_t D) {
	for (int64_t t = 0; t < T; t++)
		normalise(v + t * D, D, 1);
}

static double layer_value(const d2v_target *op, int64_t layer, int64_t b, int64_t i) {
	int64_t skip = op->extra_tokens, all = skip + op->tokens;
	return ref_in(op->layers[layer])[(b * all + skip) * op->width + i];
}

// v (B, T, D), all samples together.
static void batch_norm(double *v, const d2v_target *op) {
	for (int64_t c = 0; c < op->width; c++)
		normalise(v + c, op->batch * op->tokens, op->width);
}

void ref_target_forward(d2v_device *dev, const d2v_target *op) {
	int64_t T = op->tokens, D = op->width, all = op->batch * T * D;
	double *layers = ref_room(dev, 2, op->count * all); // (layers, B, T, D)
	for (int64_t layer = 0; layer < op->count; layer++) {
		for (int64_t i = 0; i < all; i++)
			layers[layer * all + i] = layer_value(op, layer, i / (T * D), i % (T * D));
		if (op->batch_norm_layer)
			batch_norm(layers + layer * all, op);
	}
	for (int64_t b = 0; b < op->batch && T * D > 0; b++) {
		double *y = ref_room(dev, 0, T * D), *v = ref_room(dev, 1, T * D);
		for (int64_t layer = 0; layer < op->count; layer++) {
			for (int64_t i = 0; i < T * D; i++)
				v[i] = layers[layer * all + b * T * D + i];
			if (op->instance_norm_layer)
				instance_norm(v, T, D);
			if (op->layer_norm_layer)
				layer_norm(v, T, D);
			for (int64_t i = 0; i < T * D; i++)
				y[i] += v[i] / (double)op->count;
		}
		if (op->layer_norm_mean)
			layer_norm(y, T, D);
		if (op->instance_norm_mean)
			instance_norm(y, T, D);
		for (int64_t i = 0; i < T * D; i++)
			op->y[b * T * D + i] = (float)y[i];
	}
}
