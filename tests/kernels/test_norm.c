#include "tests/kernels/harness.h"

#include "base/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct shape {
	int64_t rows, channels;
	bool affine, gelu, residual, add, accumulate;
	float drop, after;
	int64_t span;
	float eps;
	int64_t before; // rows of the longer array that this is a piece of
	bool sums;      // the gradient of the bias of the layer before is wanted
} shape;

static void run(d2v_device *dev, const void *op) {
	d2v_norm_forward(dev, op);
}

static d2v_norm make(harness *h, const shape *s) {
	int64_t all = s->rows * s->channels;
	d2v_norm op = { .rows = s->rows, .channels = s->channels, .gelu = s->gelu, .accumulate_d_sum = s->accumulate };
	op.eps = s->eps > 0 ? s->eps : 1e-5f;
	op.drop = (d2v_dropout){ .p = s->drop, .key = { { 3, 4 } }, .span = s->span };
	op.after_drop = (d2v_dropout){ .p = s->after, .key = { { 5, 6 } } };
	op.drop.first = op.after_drop.first = s->before * s->channels;
	h->reduction = s->channels;
	op.x = harness_real(h, "x", IN, all);
	if (s->residual) {
		op.residual = harness_real(h, "residual", IN, all);
		op.sum = harness_real(h, "sum", OUT, all);
		op.d_residual = harness_real(h, "d_residual", OUT, all);
	}
	if (s->affine) {
		op.gain = harness_real(h, "gain", IN, s->channels);
		op.bias = harness_real(h, "bias", IN, s->channels);
	}
	op.add = s->add ? harness_real(h, "add", IN, all) : NULL;
	op.y = harness_real(h, "y", OUT, all);
	op.mean = harness_float(h, "mean", OUT, s->rows);
	op.rstd = harness_float(h, "rstd", OUT, s->rows);
	op.d_y = harness_real(h, "d_y", IN, all);
	op.d_sum = harness_real(h, "d_sum", s->accumulate ? SUM : OUT, all);
	h->reduction = s->rows;
	if (s->affine) {
		op.d_gain = harness_float(h, "d_gain", SUM, s->channels);
		op.d_bias = harness_float(h, "d_bias", SUM, s->channels);
	}
	op.d_bias_before = s->sums ? harness_float(h, "d_bias_before", SUM, s->channels) : NULL;
	return op;
}

static double starting_value(const harness *h, const char *name, int64_t i) {
	for (int a = 0; a < h->count; a++)
		if (h->arrays[a].side == REFERENCE && strcmp(h->arrays[a].name, name) == 0)
			return h->arrays[a].role == SUM ? h->arrays[a].initial[i] : 0;
	return 0;
}

// What the reference sums for the layer before is what it gave it.
static void check_sums(const harness *h, const shape *s) {
	const char *given = s->residual ? "d_residual" : "d_sum";
	for (int64_t c = 0; c < s->channels; c++) {
		double want = starting_value(h, "d_bias_before", c), got = harness_get(h, REFERENCE, "d_bias_before", c), top = 1;
		for (int64_t i = c; i < s->rows * s->channels; i += s->channels) {
			double term = harness_get(h, REFERENCE, given, i) - starting_value(h, given, i);
			want += term, top += fabs(term);
		}
		if (!(fabs(got - want) <= top * (double)FLT_EPSILON))
			fail_msg("d_bias_before[%ld]: %.9g, the columns of %s add up to %.9g", (long)c, got, given, want);
	}
}

static void check(const shape *s) {
	harness h;
	harness_open(&h);
	d2v_norm reference = { 0 };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_norm op = make(&h, s);
		d2v_norm_forward(h.device, &op);
		d2v_norm_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	if (s->sums)
		check_sums(&h, s);
	if (s->channels > 2) { // with one or two channels the output hardly depends on x, and its second derivative is wild
		harness_differences(&h, "x", "d_sum", "y", "d_y", run, &reference);
		if (s->residual)
			harness_differences(&h, "residual", "d_residual", "y", "d_y", run, &reference);
	}
	if (s->affine) {
		harness_differences(&h, "gain", "d_gain", "y", "d_y", run, &reference);
		harness_differences(&h, "bias", "d_bias", "y", "d_y", run, &reference);
	}
	harness_close(&h);
}

static void test_norm(void **state) {
	(void)state;
	static const shape shapes[] = {
		{ 0, 5, .affine = true },
		{ 1, 1, .affine = true },
		{ 3, 16, .affine = false },
		{ 3, 17, .affine = true, .eps = 1e-6f },
		{ 130, 33, .affine = true, .gelu = true },
		{ 129, 256, .affine = true, .gelu = true },
		{ 7, 48, .gelu = true },
		{ 45, 384, .gelu = true, .add = true },
		{ 7, 45, .gelu = true, .add = true, .after = .3f },
		{ 9, 31, .affine = true, .residual = true },
		{ 9, 31, .affine = true, .residual = true, .drop = .2f, .accumulate = true },
		{ 8, 30, .affine = true, .residual = true, .drop = .5f, .span = 60 }, // DropPath: two rows at a time
		{ 11, 384, .affine = true, .after = .1f },
		{ 37, 384, .affine = true, .residual = true, .accumulate = true },
		{ 21, 384, .affine = true, .residual = true, .drop = .1f },
		{ 21, 384, .affine = true, .residual = true, .drop = .1f, .before = 13 },
		{ 9, 31, .affine = true, .residual = true, .drop = .2f, .after = .3f, .before = 5 },
		{ 8, 30, .affine = true, .residual = true, .drop = .5f, .span = 60, .before = 4 },
		{ 22, 256, .affine = true, .residual = true, .drop = .1f, .accumulate = true },
		{ 23, 384, .affine = true, .gelu = true, .add = true },
		{ 13, 256, .gelu = true, .accumulate = true },
		{ 19, 256, .affine = true, .accumulate = true },
		{ 26, 768, .affine = true, .residual = true },
		{ 9, 1024, .affine = true, .accumulate = true }, // 16 bits: 48 KB of the GPU's shared memory, as 768 in f32
		{ 9, 1280, .affine = true },
		{ 5, 768, .affine = true, .residual = true, .drop = .1f, .after = .1f, .gelu = true, .add = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		shape with = shapes[i];
		with.sums = true;
		check(&shapes[i]);
		check(&with);
	}
}

// The aliases the contract allows give the same bytes as buffers of their own.
static void test_aliases(void **state) {
	(void)state;
	harness h;
	harness_open(&h);
	harness_side(&h, MANY_THREADS);
	shape s = { 140, 37, .affine = true, .residual = true, .add = true, .drop = .1f };
	size_t bytes = (size_t)(s.rows * s.channels) * d2v_device_real_size(h.device);
	d2v_norm op = make(&h, &s), alias = make(&h, &s);
	memcpy(alias.sum, op.x, bytes);
	memcpy(alias.y, op.add, bytes);
	memcpy(alias.d_sum, op.d_y, bytes);
	alias.x = alias.sum;
	alias.add = alias.y;
	alias.d_y = alias.d_sum;
	d2v_norm_forward(h.device, &op);
	d2v_norm_forward(h.device, &alias);
	d2v_norm_backward(h.device, &op);
	d2v_norm_backward(h.device, &alias);
	assert_int_equal(d2v_device_sync(h.device, NULL), D2V_OK);
	assert_memory_equal(op.sum, alias.sum, bytes);
	assert_memory_equal(op.y, alias.y, bytes);
	assert_memory_equal(op.d_sum, alias.d_sum, bytes);
	assert_memory_equal(op.d_residual, alias.d_residual, bytes);
	harness_close(&h);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_norm),
		cmocka_unit_test(test_aliases),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
