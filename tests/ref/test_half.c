// The conversions that other tests lean on, against the compiler's own.
#include "tests/ref/half.h"

#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DRAWS 1000000

static void every_f16_survives(void **state) {
	(void)state;
	for (uint32_t bits = 0; bits < 0x10000; bits++) {
		float value = ref_from_f16((uint16_t)bits);
		if (isnan(value))
			assert_true((bits & 0x7c00) == 0x7c00 && (bits & 0x3ff));
		else
			assert_int_equal(ref_to_f16(value), bits);
	}
	assert_true(ref_from_f16(0x3c00) == 1.0f && ref_from_f16(0xc500) == -5.0f && ref_from_f16(1) == 0x1p-24f);
	assert_true(ref_from_f16(0x7bff) == 65504.0f && isinf(ref_from_f16(0xfc00)));
}

static void every_bf16_survives(void **state) {
	(void)state;
	for (uint32_t bits = 0; bits < 0x10000; bits++) {
		float value = ref_from_bf16((uint16_t)bits);
		if (isnan(value))
			assert_true((bits & 0x7f80) == 0x7f80 && (bits & 0x7f));
		else
			assert_int_equal(ref_to_bf16(value), bits);
	}
	assert_true(ref_from_bf16(0x3f80) == 1.0f);
}

static void ties_go_to_even_and_what_is_too_large_is_infinite(void **state) {
	(void)state;
	assert_int_equal(ref_to_f16(1.0f + 0x1p-11f), 0x3c00);
	assert_int_equal(ref_to_f16(1.0f + 3 * 0x1p-11f), 0x3c02);
	assert_int_equal(ref_to_f16(65519.0f), 0x7bff);
	assert_int_equal(ref_to_f16(65520.0f), 0x7c00);
	assert_int_equal(ref_to_f16(-INFINITY), 0xfc00);
	assert_int_equal(ref_to_f16(0x1p-25f), 0);
	assert_int_equal(ref_to_f16(-0x1.8p-25f), 0x8001);
	assert_int_equal(ref_to_f16(NAN) & 0x7c00, 0x7c00);
	assert_true(isnan(ref_from_f16(ref_to_f16(NAN))) && isnan(ref_from_bf16(ref_to_bf16(NAN))));
	assert_int_equal(ref_to_bf16(1.0f + 0x1p-8f), 0x3f80);
}

static void floats_round_as_the_compiler_rounds_them(void **state) {
	(void)state;
#ifdef __FLT16_MAX__
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (int i = 0; i < DRAWS; i++) {
		float value = ref_float(d2v_random_u32(&random));
		_Float16 theirs = (_Float16)value;
		uint16_t bits;
		memcpy(&bits, &theirs, sizeof bits);
		if (!isnan(value) && bits != ref_to_f16(value))
			fail_msg("%a: %04x, the compiler says %04x", (double)value, ref_to_f16(value), bits);
	}
#else
	skip();
#endif
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_f16_survives),
		cmocka_unit_test(every_bf16_survives),
		cmocka_unit_test(ties_go_to_even_and_what_is_too_large_is_infinite),
		cmocka_unit_test(floats_round_as_the_compiler_rounds_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
