#include "tests/ref/reference.h"

void ref_patches_forward(d2v_device *dev, const d2v_patches *op) {
	(void)dev;
	int64_t p = op->patch, H = op->height, W = op->width, across = W / p, patches = H / p * across;
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t t = 0; t < patches; t++)
			for (int64_t i = 0; i < op->in; i++)
				for (int64_t u = 0; u < p; u++)
					for (int64_t v = 0; v < p; v++) {
						int64_t row = t / across * p + u, column = t % across * p + v;
						double pixel = op->image ? ((double)op->image[((b * H + row) * W + column) * 3 + i] / 255 -
													   (double)op->mean[i]) *
													   (double)op->rstd[i]
												 : ref_in(op->pixels)[((b * op->in + i) * H + row) * W + column];
						ref_out(op->y)[(b * patches + t) * op->in * p * p + (i * p + u) * p + v] = pixel;
					}
}

static int64_t position_of(const d2v_embedding *op, int64_t b, int64_t t) {
	int64_t position = op->pad;
	for (int64_t i = 0; i <= t; i++)
		position += op->x[b * op->tokens + i] != op->pad;
	return op->x[b * op->tokens + t] == op->pad ? op->pad : position;
}

void ref_embedding_forward(d2v_device *dev, const d2v_embedding *op) {
	(void)dev;
	int64_t T = op->tokens, D = op->width;
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t t = 0; t < T; t++)
			for (int64_t c = 0; c < D; c++)
				ref_out(op->y)[(b * T + t) * D + c] =
					(double)op->scale * ref_in(op->table)[op->x[b * T + t] * D + c] +
					(op->positions ? ref_in(op->positions)[position_of(op, b, t) * D + c] : 0);
}

void ref_embedding_backward(d2v_device *dev, const d2v_embedding *op) {
	int64_t T = op->tokens, D = op->width;
	double *table = ref_room(dev, 0, op->vocabulary * D), *positions = ref_room(dev, 1, op->places * D);
	for (int64_t b = 0; b < op->batch; b++)
		for (int64_t t = 0; t < T; t++)
			for (int64_t c = 0; c < D && op->x[b * T + t] != op->pad; c++) {
				double d_y = ref_in(op->d_y)[(b * T + t) * D + c];
				table[op->x[b * T + t] * D + c] += (double)op->scale * d_y;
				if (op->d_positions)
					positions[position_of(op, b, t) * D + c] += d_y;
			}
	for (int64_t i = 0; i < op->vocabulary * D && op->d_table; i++)
		op->d_table[i] += (float)table[i];
	for (int64_t i = 0; i < op->places * D && op->d_positions; i++)
		op->d_positions[i] += (float)positions[i];
}
