#include "tests/ref/reference.h"

// Calls visit for every product of the formula: output (row, t, o), input (row, u, i), weight index.
typedef void visitor(const d2v_conv1d *op, double *sums, int64_t y, int64_t x, int64_t w);

static void visit_products(const d2v_conv1d *op, visitor *visit, double *sums) {
	int64_t in = op->in / op->groups, out = op->out / op->groups;
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t t = 0; t < op->steps_out; t++)
			for (int64_t o = 0; o < op->out; o++)
				for (int64_t k = 0; k < op->kernel; k++) {
					int64_t u = t * op->stride + k - op->pad;
					for (int64_t i = 0; i < in && u >= 0 && u < op->steps_in; i++)
						visit(op, sums, (r * op->steps_out + t) * op->out + o,
							(r * op->steps_in + u) * op->in + o / out * in + i, (o * in + i) * op->kernel + k);
				}
}

static void add_y(const d2v_conv1d *op, double *sums, int64_t y, int64_t x, int64_t w) {
	(void)sums;
	ref_out(op->y)[y] += ref_in(op->x)[x] * ref_in(op->w)[w];
}

static void add_d_x(const d2v_conv1d *op, double *sums, int64_t y, int64_t x, int64_t w) {
	(void)sums;
	ref_out(op->d_x)[x] += ref_in(op->d_y)[y] * ref_in(op->w)[w];
}

static void add_d_w(const d2v_conv1d *op, double *sums, int64_t y, int64_t x, int64_t w) {
	sums[w] += ref_in(op->d_y)[y] * ref_in(op->x)[x];
}

void ref_conv1d_forward(d2v_device *dev, const d2v_conv1d *op) {
	(void)dev;
	for (int64_t i = 0; i < op->rows * op->steps_out * op->out; i++)
		ref_out(op->y)[i] = op->bias ? ref_in(op->bias)[i % op->out] : 0;
	visit_products(op, add_y, NULL);
}

void ref_conv1d_backward(d2v_device *dev, const d2v_conv1d *op) {
	for (int64_t i = 0; i < op->rows * op->steps_in * op->in && op->d_x && !op->accumulate_d_x; i++)
		ref_out(op->d_x)[i] = 0;
	if (op->d_x)
		visit_products(op, add_d_x, NULL);
	if (op->d_w) {
		int64_t weights = op->out * (op->in / op->groups) * op->kernel;
		double *sums = ref_room(dev, 0, weights);
		visit_products(op, add_d_w, sums);
		for (int64_t w = 0; w < weights; w++)
			op->d_w[w] += (float)sums[w];
	}
	for (int64_t o = 0; o < op->out && op->d_bias; o++) {
		double sum = 0;
		for (int64_t i = 0; i < op->rows * op->steps_out; i++)
			sum += ref_in(op->d_y)[i * op->out + o];
		op->d_bias[o] += (float)sum;
	}
}
