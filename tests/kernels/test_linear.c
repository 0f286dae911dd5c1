#include "tests/kernels/harness.h"

#include <float.h>
#include <math.h>
#include <string.h>

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
	h->reduction = s->in;
	op.d_y = harness_real(h, "d_y", s->gelu ? SUM : IN, s->rows * s->out); // with gelu it becomes d_pre, by way of pre
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
		{ 300, 200, 392, .gelu = true, .bias = true, .keep_pre = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check(&shapes[i]);
}

// Without `pre` the result is the same, and nothing is kept.
static void test_gelu_without_pre(void **state) {
	(void)state;
	harness h;
	harness_open(&h);
	shape s = { 137, 40, 264, .gelu = true, .bias = true };
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

// gelu and its derivative over the whole range that matters, tails included: a layer of one weight, 1. What they may be off
// by is a few roundings of f32, relative to where the tail has not vanished yet, and the rounding of the working type.
static void test_gelu_everywhere(void **state) {
	(void)state;
	enum { COUNT = 1601 };
	harness h;
	harness_open(&h);
	harness_side(&h, MANY_THREADS);
	d2v_linear op = { .rows = COUNT, .in = 1, .out = 1, .gelu = true };
	op.x = harness_real(&h, "x", IN, COUNT), op.w = harness_real(&h, "w", IN, 1);
	op.y = harness_real(&h, "y", OUT, COUNT), op.pre = harness_real(&h, "pre", OUT, COUNT);
	op.d_y = harness_real(&h, "d_y", SUM, COUNT);
	harness_put(&h, MANY_THREADS, "w", 0, 1);
	for (int i = 0; i < COUNT; i++) {
		harness_put(&h, MANY_THREADS, "x", i, (i - COUNT / 2) / 64.0);
		harness_put(&h, MANY_THREADS, "d_y", i, 1);
	}
	d2v_linear_forward(h.device, &op);
	d2v_linear_backward(h.device, &op);
	double step = d2v_device_real_size(h.device) == 2 ? 0x1p-8 : (double)FLT_EPSILON / 2; // half of the distance of 1 to the next
	for (int i = 0; i < COUNT; i++) {
		double x = harness_get(&h, MANY_THREADS, "x", i), y = harness_get(&h, MANY_THREADS, "y", i);
		double d = harness_get(&h, MANY_THREADS, "d_y", i), part = erfc(-x * sqrt(0.5)) / 2;
		double want = x * part, slope = part + x * exp(-x * x / 2) / sqrt(2 * acos(-1));
		double few = 8 * (double)FLT_EPSILON;
		if (!(fabs(y - want) <= step * fabs(want) + few * fabs(x)) || !(fabs(d - slope) <= step * fabs(slope) + few))
			fail_msg("x %.6g: gelu %.9g, exactly %.9g; its derivative %.9g, exactly %.9g", x, y, want, d, slope);
	}
	harness_close(&h);
}

// Half of the distance between a number and the next of 8 bits.
static double half_step(double x) {
	int exponent;
	frexp(x, &exponent);
	return ldexp(1, exponent - 9);
}

// In 16 bits both functions are simpler ones: for every finite bf16 they are right to an eighth of half a step beyond the
// rounding, down to where the derivative is 4e-7 and gelu a millionth of that.
static void test_gelu_of_every_bf16(void **state) {
	(void)state;
	enum { COUNT = 1 << 16, WIDE = 8 };
	harness h;
	harness_open(&h);
	harness_side(&h, MANY_THREADS);
	d2v_linear op = { .rows = COUNT / WIDE, .in = WIDE, .out = WIDE, .gelu = true };
	op.x = harness_real(&h, "x", IN, COUNT), op.w = harness_real(&h, "w", IN, (int64_t)WIDE * WIDE);
	op.y = harness_real(&h, "y", OUT, COUNT), op.pre = harness_real(&h, "pre", OUT, COUNT);
	op.d_y = harness_real(&h, "d_y", SUM, COUNT);
	harness_put(&h, MANY_THREADS, "x", 0, 0x1p-30);
	if (d2v_device_real_size(h.device) != 2 || !(harness_get(&h, MANY_THREADS, "x", 0) > 0)) {
		harness_close(&h);
		skip(); // it has no such numbers, or many more
	}
	for (int i = 0; i < WIDE * WIDE; i++)
		harness_put(&h, MANY_THREADS, "w", i, i % (WIDE + 1) == 0);
	for (uint32_t i = 0; i < COUNT; i++) {
		float x;
		memcpy(&x, &(uint32_t){ i << 16 }, sizeof x);
		harness_put(&h, MANY_THREADS, "x", i, isfinite(x) ? (double)x : 0);
		harness_put(&h, MANY_THREADS, "d_y", i, 1);
	}
	d2v_linear_forward(h.device, &op);
	d2v_linear_backward(h.device, &op);
	for (int i = 0; i < COUNT; i++) {
		double x = harness_get(&h, MANY_THREADS, "pre", i), y = harness_get(&h, MANY_THREADS, "y", i);
		double d = harness_get(&h, MANY_THREADS, "d_y", i), part = erfc(-x * sqrt(0.5)) / 2;
		double want = x * part, slope = part + x * exp(-x * x / 2) / sqrt(2 * acos(-1));
		if (!(fabs(y - want) <= 1.125 * half_step(want) + 3e-13) || !(fabs(d - slope) <= 1.125 * half_step(slope) + 4e-7))
			fail_msg("x %.6g: gelu %.9g, exactly %.9g; its derivative %.9g, exactly %.9g", x, y, want, d, slope);
	}
	harness_close(&h);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linear),
		cmocka_unit_test(test_gelu_without_pre),
		cmocka_unit_test(test_gelu_everywhere),
		cmocka_unit_test(test_gelu_of_every_bf16),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
