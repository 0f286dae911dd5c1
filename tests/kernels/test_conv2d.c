#include "tests/kernels/harness.h"

typedef struct shape {
	int64_t rows, height, width, in, out, kernel, groups;
	bool bias, accumulate, no_d_x;
} shape;

static void run(d2v_device *dev, const void *op) {
	d2v_conv2d_forward(dev, op);
}

static d2v_conv2d make(harness *h, const shape *s) {
	int64_t taps = s->kernel * s->kernel, weights = s->out * (s->in / s->groups) * taps;
	int64_t positions = s->rows * s->height * s->width;
	d2v_conv2d op = { .rows = s->rows, .height = s->height, .width = s->width, .in = s->in, .out = s->out };
	op.kernel = s->kernel;
	op.groups = s->groups;
	op.accumulate_d_x = s->accumulate;
	op.x = harness_real(h, "x", IN, positions * s->in);
	op.w = harness_real(h, "w", IN, weights);
	op.bias = s->bias ? harness_real(h, "bias", IN, s->out) : NULL;
	op.d_y = harness_real(h, "d_y", IN, positions * s->out);
	h->reduction = s->in / s->groups * taps;
	op.y = harness_real(h, "y", OUT, positions * s->out);
	h->reduction = s->out / s->groups * taps;
	op.d_x = s->no_d_x ? NULL : harness_real(h, "d_x", s->accumulate ? SUM : OUT, positions * s->in);
	h->reduction = positions;
	op.d_w = harness_float(h, "d_w", SUM, weights);
	op.d_bias = s->bias ? harness_float(h, "d_bias", SUM, s->out) : NULL;
	return op;
}

static void check(const shape *s) {
	harness h;
	harness_open(&h);
	d2v_conv2d reference = { 0 };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_conv2d op = make(&h, s);
		d2v_conv2d_forward(h.device, &op);
		d2v_conv2d_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	if (s->rows * s->height * s->width * s->in * s->out < 10000) { // the reference is slow
		if (!s->no_d_x)
			harness_differences(&h, "x", "d_x", "y", "d_y", run, &reference);
		harness_differences(&h, "w", "d_w", "y", "d_y", run, &reference);
		if (s->bias)
			harness_differences(&h, "bias", "d_bias", "y", "d_y", run, &reference);
	}
	harness_close(&h);
}

static void test_conv2d(void **state) {
	(void)state;
	static const shape shapes[] = {
		// rows, height, width, in, out, kernel, groups
		{ 1, 1, 1, 1, 1, 1, 1, .bias = false }, { 0, 3, 3, 2, 2, 3, 1, .bias = true },
		{ 2, 5, 5, 4, 6, 3, 1, .bias = true },       // dense
		{ 2, 6, 5, 8, 8, 3, 4, .accumulate = true }, // grouped, not square
		{ 3, 4, 7, 6, 9, 5, 3, .bias = true },       //
		{ 2, 5, 4, 4, 4, 4, 2, .bias = true },       // even kernel
		{ 2, 4, 4, 3, 3, 2, 3, .accumulate = true }, // one channel a group
		{ 2, 2, 3, 4, 4, 7, 2, .bias = true },       // larger than the picture
		{ 1, 3, 1, 2, 2, 6, 1, .no_d_x = true },     //
		{ 5, 14, 14, 96, 96, 3, 2, .bias = true },   // groups of 48, as in the base recipe
		{ 3, 9, 4, 48, 96, 3, 2, .bias = true },     // 24 to 48
		{ 1, 20, 21, 32, 32, 3, 2, .accumulate = true }, // more than a tile
		{ 2, 6, 7, 64, 32, 5, 2, .bias = true },     // 32 to 16, more taps than a block takes
		{ 1, 2, 3, 128, 128, 4, 2, .bias = true },   // 64, even kernel
		{ 37, 3, 3, 34, 20, 3, 2, .bias = true },    // more rows than parts
		{ 1, 50, 13, 128, 128, 3, 2, .bias = true },     // rows of a picture a tile
		{ 7, 5, 6, 48, 48, 4, 2, .accumulate = true },   // several pictures a tile, packs left over
		{ 17, 14, 14, 64, 64, 3, 2, .accumulate = true }, // tiles that come round to where the first ones were
		// dense, with channels in packs: through cuDNN where there is one
		{ 3, 7, 5, 64, 48, 3, 1, .bias = true, .accumulate = true },
		{ 2, 6, 6, 16, 24, 4, 1, .bias = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check(&shapes[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_conv2d) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
