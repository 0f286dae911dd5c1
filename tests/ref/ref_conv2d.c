#include "tests/ref/reference.h"

// Calls visit for every product of the formula: output (row, a, b, o), input (row, a', b', i), weight index.
typedef void visitor(const d2v_conv2d *op, double *sums, int64_t y, int64_t x, int64_t w);

static void visit_window(
	const d2v_conv2d *op, visitor *visit, double *sums, int64_t r, int64_t a, int64_t b, int64_t o) {
	int64_t in = op->in / op->groups, out = op->out / op->groups, k = op->kernel;
	int64_t y = ((r * op->height + a) * op->width + b) * op->out + o;
	for (int64_t u = 0; u < k; u++)
		for (int64_t v = 0; v < k; v++) {
			int64_t down = a + u - k / 2, across = b + v - k / 2;
			if (down < 0 || down >= op->height || across < 0 || across >= op->width)
				continue;
			for (int64_t i = 0; i < in; i++)
				visit(op, sums, y, ((r * op->height + down) * op->width + across) * op->in + o / out * in + i,
					((o * in + i) * k + u) * k + v);
		}
}

static void visit_products(const d2v_conv2d *op, visitor *visit, double *sums) {
	for (int64_t r = 0; r < op->rows; r++)
		for (int64_t a = 0; a < op->height; a++)
			for (int64_t b = 0; b < op->width; b++)
				for (int64_t o = 0; o < op->out; o++)
					visit_window(op, visit, sums, r, a, b, o);
}

static void add_y(const d2v_conv2d *op, double *sums, int64_t y, int64_t x, int64_t w) {
	(void)sums;
	ref_out(op->y)[y] += ref_in(op->x)[x] * ref_in(op->w)[w];
}

static void add_d_x(const d2v_conv2d *op, double *sums, int64_t y, int64_t x, int64_t w) {
	(void)sums;
	ref_out(op->d_x)[x] += ref_in(op->d_y)[y] * ref_in(op->w)[w];
}

static void add_d_w(const d2v_conv2d *op, double *sums, int64_t y, int64_t x, int64_t w) {
	sums[w] += ref_in(op->d_y)[y] * ref_in(op->x)[x];
}

void ref_conv2d_forward(d2v_device *dev, const d2v_conv2d *op) {
	(void)dev;
	for (int64_t i = 0; i < op->rows * op->height * op->width * op->out; i++)
		ref_out(op->y)[i] = op->bias ? ref_in(op->bias)[i % op->out] : 0;
	visit_products(op, add_y, NULL);
}

void ref_conv2d_backward(d2v_device *dev, const d2v_conv2d *op) {
	int64_t positions = op->rows * op->height * op->width;
	for (int64_t i = 0; i < positions * op->in && op->d_x && !op->accumulate_d_x; i++)
		ref_out(op->d_x)[i] = 0;
	if (op->d_x)
		visit_products(op, add_d_x, NULL);
	if (op->d_w) {
		int64_t weights = op->out * (op->in / op->groups) * op->kernel * op->kernel;
		double *sums = ref_room(dev, 0, weights);
		visit_products(op, add_d_w, sums);
		for (int64_t w = 0; w < weights; w++)
			op->d_w[w] += (float)sums[w];
	}
	for (int64_t o = 0; o < op->out && op->d_bias; o++) {
		double sum = 0;
		for (int64_t i = 0; i < positions; i++)
			sum += ref_in(op->d_y)[i * op->out + o];
		op->d_bias[o] += (float)sum;
	}
}
