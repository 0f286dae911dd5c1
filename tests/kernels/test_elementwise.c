#include "tests/kernels/harness.h"

#include "kernels/cpu/dropout.h"
#include "kernels/cpu/gelu.h"
#include "tests/ref/reference.h"

#include <float.h>
#include <math.h>

static void test_drop(void **state) {
	(void)state;
	static const struct {
		int64_t count, span;
		float p;
		bool accumulate;
		int64_t first;
	} cases[] = {
		{ 0, 0, .5f, false, 0 },
		{ 1, 0, .5f, true, 0 },
		{ 63, 1, .1f, false, 0 },
		{ 10001, 0, .9f, true, 0 },
		{ 4096, 0, .3f, true, 0 },
		{ 4096, 8, .5f, false, 0 },
		{ 10001, 77, .5f, false, 0 },
		{ 4099, 0, 0, false, 0 },
		{ 4099, 0, 0, true, 0 },
		{ 100, 0, 1, false, 0 },
		{ 300000, 0, 1e-7f, false, 0 }, // a draw's smallest share is dropped
		{ 300000, 0, .99999f, false, 0 }, // no draw is high enough
		{ 300000, 0, .9999f, true, 0 },
		// Pieces of longer arrays.
		{ 4096, 0, .3f, true, 24 },
		{ 4096, 8, .5f, false, 4096 },
		{ 4096, 0, .3f, false, 4099 },
		{ 10001, 77, .5f, false, 100 },
		{ 63, 0, .5f, false, 0x500000003 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		harness h;
		harness_open(&h);
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			d2v_dropout drop = { .p = cases[i].p, .key = { { 11, 12 } }, .span = cases[i].span };
			drop.first = cases[i].first;
			d2v_real *y = harness_real(&h, "y", cases[i].accumulate ? SUM : OUT, cases[i].count);
			const d2v_real *x = harness_real(&h, "x", IN, cases[i].count);
			d2v_drop(h.device, y, x, drop, cases[i].accumulate, cases[i].count);
		}
		harness_compare(&h);
		int64_t zeros = 0;
		for (int64_t k = 0; k < cases[i].count; k++)
			zeros += harness_get(&h, ONE_THREAD, "y", k) == 0;
		if (cases[i].p > .99995f)
			assert_int_equal(zeros, cases[i].count);
		else if (cases[i].p > 0 && cases[i].count > 10)
			assert_in_range(zeros, cases[i].accumulate ? 0 : 1, cases[i].count - 1);
		harness_close(&h);
	}
}

// Any piece of the sequence of factors is the same whatever piece was asked for, and as many are kept as should be.
static void test_factors(void **state) {
	(void)state;
	float buffer[D2V_CPU_DROPOUT_ROOM(1000)];
	int64_t kept = 0, asked = 0;
	for (int64_t span = 1; span < 40; span += 6)
		for (int64_t first = 0; first < 300; first += 17) {
			d2v_dropout drop = { .p = .25f, .key = { { 1, (uint32_t)span } }, .span = span };
			int64_t count = first * 3 % 1000;
			const float *factors = d2v_cpu_dropout_factors(buffer, &drop, first, count);
			for (int64_t i = 0; i < count; i++) {
				if ((double)factors[i] != (double)(float)ref_dropout_factor(&drop, first + i))
					fail_msg("span %ld, element %ld", (long)span, (long)(first + i));
				kept += factors[i] > 0;
				asked++;
			}
		}
	double share = (double)kept / (double)asked;
	if (!(share > .7 && share < .8))
		fail_msg("%g of the elements were kept", share);
}

// Draws of one key and of the next: how many are kept, and how many pairs some way apart both are, up to two blocks and a
// vector's. Six standard deviations of what independent draws give.
static void test_draws_are_independent(void **state) {
	(void)state;
	enum { COUNT = 1 << 20, KEYS = 4 };
	static const int64_t apart[] = { 1, 2, 3, 4, 7, 8, 9, 16, 128, 1024 };
	static float buffer[D2V_CPU_DROPOUT_ROOM(COUNT)];
	double kept = 1 - ceil((double).1f * 65536) / 65536, deviation = sqrt(COUNT * kept * (1 - kept));
	double pairs = kept * kept, pair_deviation = sqrt(COUNT * pairs * (1 + 2 * kept - 3 * pairs));
	for (uint32_t key = 0; key < KEYS; key++) {
		d2v_dropout drop = { .p = .1f, .key = { { 7, key } } };
		const float *factors = d2v_cpu_dropout_factors(buffer, &drop, 0, COUNT);
		double sum = 0;
		for (int64_t i = 0; i < COUNT; i++)
			sum += factors[i] > 0;
		if (!(fabs(sum - kept * COUNT) < 6 * deviation))
			fail_msg("key %u: %.0f of %d were kept, expected %.0f", key, sum, COUNT, kept * COUNT);
		for (size_t a = 0; a < sizeof apart / sizeof *apart; a++) {
			double both = 0, count = (double)(COUNT - apart[a]);
			for (int64_t i = apart[a]; i < COUNT; i++)
				both += factors[i] > 0 && factors[i - apart[a]] > 0;
			if (!(fabs(both - pairs * count) < 6 * pair_deviation))
				fail_msg("key %u: %.0f pairs %ld apart were kept, expected %.0f", key, both, (long)apart[a], pairs * count);
		}
	}
}

static void test_add_and_wave(void **state) {
	(void)state;
	static int16_t samples[2 * 5003];
	for (int i = 0; i < 2 * 5003; i++)
		samples[i] = (int16_t)(i * 7919);
	for (int64_t count = 0; count <= 5003; count = count * 3 + 1) {
		harness h;
		harness_open(&h);
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			d2v_add(h.device, harness_real(&h, "sum", SUM, count), harness_real(&h, "x", IN, count), .3f, count);
			d2v_wave op = { .batch = 2, .length = count };
			op.x = harness_table(&h, samples, sizeof samples);
			op.mean = harness_float(&h, "mean", IN, 2);
			op.rstd = harness_float(&h, "rstd", IN, 2);
			op.y = harness_real(&h, "y", OUT, 2 * count);
			d2v_wave_forward(h.device, &op);
		}
		harness_compare(&h);
		harness_close(&h);
	}
}

// Absolute error of one rounding or so where it matters, special values as the formulas have them.
static void test_gelu_and_exp(void **state) {
	(void)state;
	for (double x = -25; x < 25; x += 3.1e-4) {
		float v = (float)x;
		double exact = (double)v, size = fmax(1, fabs(exact));
		double gelu = fabs((double)d2v_gelu(v) - ref_gelu(exact));
		double slope = fabs((double)d2v_gelu_derivative(v) - ref_gelu_derivative(exact));
		double power = fabs((double)d2v_expf(v) - exp(exact)) / exp(exact);
		if (!(gelu <= 2 * (double)FLT_EPSILON * size && slope <= 3 * (double)FLT_EPSILON &&
				power <= 2 * (double)FLT_EPSILON))
			fail_msg("at %.9g: gelu off by %g, its derivative by %g, exp by %g", exact, gelu, slope, power);
	}
	assert_true(d2v_expf(-INFINITY) == 0 && d2v_expf(INFINITY) == INFINITY && isnan(d2v_expf(NAN)) && d2v_expf(0) == 1);
	assert_true(isnan(d2v_gelu(NAN)) && isnan(d2v_gelu_derivative(NAN)) && d2v_gelu(0) == 0 && d2v_gelu(40) == 40);
}

// The harness itself: a wrong element, a NaN and a stray byte are found.
static void test_harness_can_fail(void **state) {
	(void)state;
	char text[HARNESS_TEXT];
	for (int wrong = 0; wrong < 3; wrong++) {
		harness h;
		harness_open(&h);
		double wrong_factor = 1 + fmax(1e-4, 7 * harness_epsilon(&h));
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			d2v_real *y = harness_real(&h, "y", SUM, 10);
			d2v_add(h.device, y, harness_real(&h, "x", IN, 10), 1, 10);
			if (side == ONE_THREAD && wrong == 1)
				harness_put(&h, side, "y", 7, harness_get(&h, side, "y", 7) * wrong_factor);
			if (side == ONE_THREAD && wrong == 2)
				harness_put(&h, side, "y", 7, (double)NAN);
		}
		assert_int_equal(harness_agrees(&h, text), wrong == 0);
		harness_close(&h);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_factors),
		cmocka_unit_test(test_draws_are_independent),
		cmocka_unit_test(test_add_and_wave),
		cmocka_unit_test(test_gelu_and_exp),
		cmocka_unit_test(test_harness_can_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
