// Intervals and tests of accuracies against values worked out elsewhere.
#include "eval/accuracy.h"
#include "tests/base/scratch.h"

#include <math.h>

#define near(found, wanted, tolerance) \
	do { \
		double found_ = (found), wanted_ = (wanted); \
		if (!(fabs(found_ - wanted_) <= (tolerance))) \
			fail_msg("%s is %.9g, not %.9g", #found, found_, wanted_); \
	} while (0)

// Newcombe 1998, Statistics in Medicine 17:857, table I: the score interval without correction.
static void test_wilson(void **state) {
	(void)state;
	d2v_accuracy accuracy = d2v_accuracy_count(81, 263);
	near(accuracy.share, 81 / 263.0, 1e-12);
	near(accuracy.low, .2553, 5e-5);
	near(accuracy.high, .3662, 5e-5);
	accuracy = d2v_accuracy_count(15, 148);
	near(accuracy.low, .0624, 5e-5);
	near(accuracy.high, .1605, 5e-5);
	accuracy = d2v_accuracy_count(0, 20);
	near(accuracy.low, 0, 0);
	near(accuracy.high, .1611, 5e-5);
	accuracy = d2v_accuracy_count(29, 29);
	near(accuracy.low, .8830, 5e-5);
	near(accuracy.high, 1, 0);
	accuracy = d2v_accuracy_count(0, 0);
	assert_true(accuracy.low == 0 && accuracy.high == 1);
}

static void test_mcnemar(void **state) {
	(void)state;
	near(d2v_accuracy_pairs(0, 0, 10).p, 1, 0);
	near(d2v_accuracy_pairs(5, 5, 10).p, 1, 1e-9);
	near(d2v_accuracy_pairs(10, 0, 100).p, 2 / 1024.0, 1e-12); // 2 * 2^-10
	near(d2v_accuracy_pairs(1, 9, 100).p, 22 / 1024.0, 1e-12); // 2 * (1 + 10) * 2^-10
	near(d2v_accuracy_pairs(4000, 3000, 60000).p, 0, 1e-20);   // no overflow on the way
}

// The formula by hand: (20.5 - 10.5) / 102 +- 1.96 sqrt(31 - 100 / 102) / 102.
static void test_difference(void **state) {
	(void)state;
	d2v_accuracy_difference difference = d2v_accuracy_pairs(20, 10, 100);
	near(difference.share, .1, 1e-12);
	near(difference.low, 10 / 102.0 - 1.9599639845 * sqrt(31 - 100 / 102.0) / 102, 1e-9);
	near(difference.high, 10 / 102.0 + 1.9599639845 * sqrt(31 - 100 / 102.0) / 102, 1e-9);
	assert_true(difference.low < 0); // 30 samples are too few for that difference
	assert_true(d2v_accuracy_pairs(200, 100, 1000).low > 0);
	difference = d2v_accuracy_pairs(10, 20, 100);
	near(difference.share, -.1, 1e-12);
}

static void test_counting(void **state) {
	(void)state;
	static const int32_t labels[] = { 0, 1, 2, 3, 0, 1 }, first[] = { 0, 1, 2, 0, 0, 0 },
						 second[] = { 0, 2, 2, 3, 1, 0 };
	assert_int_equal(d2v_accuracy_of(first, labels, 6).right, 4);
	d2v_accuracy_difference difference = d2v_accuracy_compare(first, second, labels, 6);
	assert_int_equal(difference.only_first, 2);
	assert_int_equal(difference.only_second, 1);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wilson),
		cmocka_unit_test(test_mcnemar),
		cmocka_unit_test(test_difference),
		cmocka_unit_test(test_counting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
