#include "tests/kernels/harness.h"

#include <string.h>

static void test_sum_squares(void **state) {
	(void)state;
	static const int64_t counts[] = { 0, 1, 17, 4096, 16384, 100003 };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		harness h;
		harness_open(&h);
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			double *sum = harness_double(&h, "sum", OUT, 1);
			d2v_sum_squares(h.device, sum, harness_float(&h, "x", IN, counts[i]), counts[i]);
		}
		harness_compare(&h);
		harness_close(&h);
	}
}

// Ranges leave gaps, and what is in the gaps stays.
static void test_adam(void **state) {
	(void)state;
	static const d2v_range ranges[] = { { 3, 100 }, { 110, 0 }, { 111, 5000 }, { 6000, 1 } };
	for (int working = 0; working < 2; working++) {
		harness h;
		harness_open(&h);
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			d2v_adam op = { .ranges = ranges, .range_count = 4, .lr = 1e-2, .beta1 = .9, .beta2 = .98, .eps = 1e-6 };
			op.weight_decay = .01;
			op.grad_scale = .125;
			op.param = harness_float(&h, "param", SUM, 6001);
			op.grad = harness_float(&h, "grad", IN, 6001);
			op.m = harness_float(&h, "m", SUM, 6001);
			op.v = harness_float(&h, "v", SUM, 6001);
			for (int64_t i = 0; i < 6001; i++)
				op.v[i] = op.v[i] < 0 ? -op.v[i] : op.v[i];
			op.working = working ? harness_real(&h, "working", SUM, 6001) : NULL;
			for (op.step = 1; op.step <= 3; op.step++)
				d2v_adam_update(h.device, &op);
		}
		h.arrays[0].reduction = 16; // three steps
		harness_compare(&h);
		assert_true(harness_get(&h, ONE_THREAD, "param", 105) == harness_get(&h, REFERENCE, "param", 105));
		harness_close(&h);
	}
}

static void test_ema(void **state) {
	(void)state;
	static const d2v_range teacher[] = { { 1, 700 }, { 800, 33 } }, student[] = { { 40, 700 }, { 0, 33 } };
	for (int working = 0; working < 2; working++) {
		harness h;
		harness_open(&h);
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			d2v_ema op = { .teacher_ranges = teacher, .student_ranges = student, .range_count = 2, .rate = 1 - .999 };
			op.teacher = harness_float(&h, "teacher", SUM, 900);
			op.student = harness_float(&h, "student", IN, 800);
			op.working = working ? harness_real(&h, "working", SUM, 900) : NULL;
			d2v_ema_update(h.device, &op);
		}
		harness_compare(&h);
		harness_close(&h);
	}
}

// Two rounded operations, to the bit.
static void test_ema_rounding(void **state) {
	(void)state;
	harness h;
	harness_open(&h);
	harness_side(&h, ONE_THREAD);
	d2v_range range = { 0, 333 };
	d2v_ema op = { .teacher_ranges = &range, .student_ranges = &range, .range_count = 1, .rate = 1 - .9997 };
	op.teacher = harness_float(&h, "teacher", SUM, 333);
	op.student = harness_float(&h, "student", IN, 333);
	float want[333];
	for (int i = 0; i < 333; i++) {
		volatile float kept = op.teacher[i] * (float)(1 - op.rate), taken = op.student[i] * (float)op.rate;
		want[i] = kept + taken;
	}
	d2v_ema_update(h.device, &op);
	assert_int_equal(d2v_device_sync(h.device, NULL), D2V_OK);
	assert_memory_equal(op.teacher, want, sizeof want);
	harness_close(&h);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum_squares),
		cmocka_unit_test(test_adam),
		cmocka_unit_test(test_ema),
		cmocka_unit_test(test_ema_rounding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
