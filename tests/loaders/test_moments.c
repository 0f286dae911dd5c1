// Mean and spread against long double, at the ends of the range, and for silence.
#include "loaders/moments.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void check(const int16_t *samples, size_t count) {
	long double sum = 0, squares = 0;
	for (size_t i = 0; i < count; i++)
		sum += samples[i] / 32768.0L;
	for (size_t i = 0; i < count; i++)
		squares += (samples[i] / 32768.0L - sum / count) * (samples[i] / 32768.0L - sum / count);
	long double rstd = 1 / sqrtl(squares / count + 1e-5L);
	d2v_moments got = d2v_moments_of(samples, count);
	// Half a unit in the last place of a float, and a little for the doubles before.
	assert_true(fabsl(got.mean - sum / count) <= 6.1e-8L * fabsl(sum / count));
	assert_true(fabsl(got.rstd - rstd) <= 6.1e-8L * rstd);
}

static void test_against_long_double(void **state) {
	(void)state;
	enum { COUNT = 100003 };
	int16_t *samples = malloc(COUNT * sizeof *samples);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (int kind = 0; kind < 5; kind++) {
		for (int i = 0; i < COUNT; i++) {
			int32_t noise = (int16_t)d2v_random_u32(&random);
			samples[i] = (int16_t)(kind == 0   ? noise
								   : kind == 1 ? 32767 - (noise & 1) // quiet, far from zero
								   : kind == 2 ? -32768
								   : kind == 3 ? (i % 2 ? 32767 : -32768)
											   : noise / 512 + 3);
		}
		static const size_t counts[] = { 1, 2, 3, 31, 64, 65, 1000, COUNT };
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
			check(samples, counts[c]);
	}
	free(samples);
}

static void test_silence(void **state) {
	(void)state;
	int16_t silence[100] = { 0 };
	d2v_moments moments = d2v_moments_of(silence, 100);
	assert_true(moments.mean == 0 && fabsf(moments.rstd - 316.22777f) < 1e-3f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_long_double),
		cmocka_unit_test(test_silence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
