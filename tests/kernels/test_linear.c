#include "tests/kernels/harness.h"

typedef struct shape {
	int64_t rows, in, out;
	bool gelu, bias, keep_pre, accumulate;
} shape;

static void run(d2v_device *dev, const void *op) {
	d2v_linear_forward(dev, op);
}

static d2v_linear make(harness *h, const shape *s) {
	d2v_linear op = { .rows = s->rows, .in = s->in, .out = s->out, .gelu = s->gelu, .accumulate_d_x = s->accumulate };
	op.x = harness_real(h, "x", IN, s->rows * s->in);
	op.w = harness_real(h, "w", IN, s->out * s->in);
	op.bias = s->bias ? harness_real(h, "bias", IN, s->out) : NULL;
	op.d_y = harness_real(h, "d_y", s->gelu ? SUM : IN, s->rows * s->out); // with gelu it becomes d_pre
	h->reduction = s->in;
	op.y = harness_real(h, "y", OUT, s->rows * s->out);
	op.pre = s->gelu && s->keep_pre ? harness_real(h, "pre", OUT, s->rows * s->out) : NULL;
	h->reduction = s->out;
	op.d_x = harness_real(h, "d_x", s->accumulate ? SUM : OUT, s->rows * s->in);
	h->reduction = s->rows;
	op.d_w = harness_float(h, "d_w", SUM, s->out * s->in);
	op.d_bias = harness_float(h, "d_bias", SUM, s->out);
	return op;
}

static void check(const shape *s) {
	harness h;
	harness_open(&h);
	d2v_linear reference = { 0 };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_linear op = make(&h, s);
		d2v_linear_forward(h.device, &op);
		if (!s->gelu || s->keep_pre)
			d2v_linear_backward(h.device, &op);
		if (side == REFERENCE)
			reference = op;
	}
	if (!s->gelu || s->keep_pre) {
		harness_compare(&h);
		harness_differences(&h, "x", "d_x", "y", "d_y", run, &reference);
		harness_differences(&h, "w", "d_w", "y", "d_y", run, &reference);
		if (s->bias)
			harness_differences(&h, "bias", "d_bias", "y", "d_y", run, &reference);
	}
	harness_close(&h);
}

static void test_linear(void **state) {
	(void)state;
	static const shape shapes[] = {
		{ 1, 1, 1, .bias = true },
		{ 0, 3, 2, .bias = true },
		{ 5, 3, 7, .bias = true },
		{ 5, 3, 7, .bias = true, .accumulate = true },
		{ 17, 33, 65, .gelu = true, .bias = true, .keep_pre = true },
		{ 17, 33, 65, .gelu = true, .keep_pre = true, .accumulate = true },
		{ 300, 48, 96, .gelu = true, .bias = true, .keep_pre = true },
		{ 1100, 24, 40, .bias = true },
		{ 129, 384, 384, .bias = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check(&shapes[i]);
}

// Without `pre` the result is the same, and nothing is kept.
static void test_gelu_without_pre(void **state) {
	(void)state;
	harness h;
	harness_open(&h);
	shape s = { 37, 19, 21, .gelu = true, .bias = true };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		h.reduction = s.in;
		d2v_linear op = { .rows = s.rows, .in = s.in, .out = s.out, .gelu = true };
		op.x = harness_real(&h, "x", IN, s.rows * s.in);
		op.w = harness_real(&h, "w", IN, s.out * s.in);
		op.bias = harness_real(&h, "bias", IN, s.out);
		op.y = harness_real(&h, "y", OUT, s.rows * s.out);
		d2v_linear_forward(h.device, &op);
	}
	harness_compare(&h);
	harness_close(&h);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linear),
		cmocka_unit_test(test_gelu_without_pre),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
