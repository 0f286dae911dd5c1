#include "base/memory.h"
#include "base/philox.h"
#include "base/random.h"

#include "tests/base/scratch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// From the file kat_vectors of Random123.
static void test_philox_known_answers(void **state) {
	(void)state;
	static const uint32_t cases[6][10] = {
		{ 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
		{ 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
			0x6d5451fd },
		{ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
			0x24126ea1 },
		// of 7 rounds
		{ 0, 0, 0, 0, 0, 0, 0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48 },
		{ 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x5207ddc2, 0x45165e59, 0x4d8ee751,
			0x8c52f662 },
		{ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0x4dfccaba, 0x190a87f0, 0xc47362ba,
			0xb6b5242a },
	};
	for (int i = 0; i < 6; i++) {
		const uint32_t *c = cases[i];
		uint64_t low = c[0] | (uint64_t)c[1] << 32, high = c[2] | (uint64_t)c[3] << 32;
		d2v_philox block = i < 3 ? d2v_philox_block(c[4], c[5], low, high) : d2v_philox_block_7(c[4], c[5], low, high);
		assert_memory_equal(block.word, c + 6, sizeof block.word);
		if (i >= 3)
			continue;
		uint32_t out[4];
		d2v_random_key key = { { c[4], c[5] } };
		d2v_random_block(key, low, high, out);
		assert_memory_equal(out, c + 6, sizeof out);
	}
}

static void test_any_change_gives_another_key(void **state) {
	(void)state;
	enum { SIDE = 6, KEYS = SIDE * SIDE * SIDE * SIDE };
	static uint64_t keys[KEYS];
	size_t used = 0;
	for (uint64_t seed = 0; seed < SIDE; seed++)
		for (int purpose = 1; purpose <= SIDE; purpose++)
			for (uint64_t a = 0; a < SIDE; a++)
				for (uint64_t b = 0; b < SIDE; b++) {
					d2v_random_key key = d2v_random_key_make(seed, (d2v_random_purpose)purpose, a, b);
					memcpy(&keys[used++], &key, sizeof key);
				}
	for (size_t i = 0; i < KEYS; i++)
		for (size_t j = 0; j < i; j++)
			assert_true(keys[i] != keys[j]);
}

static void test_a_stream_is_its_blocks(void **state) {
	(void)state;
	d2v_random_key key = d2v_random_key_make(1, D2V_RANDOM_MASK, 2, 3);
	d2v_random random;
	d2v_random_start(&random, key);
	for (uint64_t counter = 0; counter < 5; counter++) {
		uint32_t block[4];
		d2v_random_block(key, counter, 0, block);
		for (int i = 0; i < 4; i++)
			assert_int_equal(d2v_random_u32(&random), block[i]);
	}
}

static void test_below_is_even(void **state) {
	(void)state;
	enum { DRAWS = 70000, BOUND = 7 };
	d2v_random random;
	uint32_t counts[BOUND] = { 0 };
	d2v_random_start(&random, d2v_random_key_make(5, D2V_RANDOM_CROP, 0, 0));
	for (int i = 0; i < DRAWS; i++) {
		uint32_t value = d2v_random_below(&random, BOUND);
		assert_true(value < BOUND);
		counts[value]++;
	}
	double chi2 = 0, expected = (double)DRAWS / BOUND;
	for (int i = 0; i < BOUND; i++)
		chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
	assert_true(chi2 < 22.5); // 6 degrees of freedom, p = 0.001
	assert_int_equal(d2v_random_below(&random, 1), 0);
	// Two thirds of 2^32: without rejection the lower half would come twice as often.
	uint32_t low = 0;
	for (int i = 0; i < DRAWS; i++)
		low += d2v_random_below(&random, 0xAAAAAAAAu) < 0x55555555u;
	assert_true(fabs(low - DRAWS / 2.0) < 4 * sqrt(DRAWS / 4.0));
}

static void test_moments(void **state) {
	(void)state;
	enum { DRAWS = 100000 };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(6, D2V_RANDOM_NOISE, 0, 0));
	double sum = 0, squares = 0, fourth = 0, units = 0;
	for (int i = 0; i < DRAWS; i++) {
		double x = d2v_random_normal(&random), u = d2v_random_unit(&random);
		assert_true(u >= 0 && u < 1);
		sum += x;
		squares += x * x;
		fourth += x * x * x * x;
		units += u;
	}
	// Four standard errors each.
	assert_true(fabs(sum / DRAWS) < 4 / sqrt(DRAWS));
	assert_true(fabs(squares / DRAWS - 1) < 4 * sqrt(2.0 / DRAWS));
	assert_true(fabs(fourth / DRAWS - 3) < 4 * sqrt(96.0 / DRAWS));
	assert_true(fabs(units / DRAWS - 0.5) < 4 * sqrt(1.0 / 12 / DRAWS));
}

static void check_bijection(uint64_t count, uint64_t seed) {
	d2v_error err;
	unsigned char *seen;
	d2v_random_key key = d2v_random_key_make(seed, D2V_RANDOM_ORDER, count, 0);
	assert_ok(d2v_alloc_zero(&seen, count, 1, &err));
	for (uint64_t i = 0; i < count; i++) {
		uint64_t value = d2v_random_permute(key, count, i);
		if (value >= count || seen[value] || d2v_random_invert(key, count, value) != i)
			fail_msg("count %llu, seed %llu, position %llu gives %llu", (unsigned long long)count,
				(unsigned long long)seed, (unsigned long long)i, (unsigned long long)value);
		seen[value] = 1;
	}
	d2v_free(seen);
}

static void test_permutation_is_a_bijection(void **state) {
	(void)state;
	static const uint64_t counts[] = { 1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 4097, 65537,
		1000003 };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		for (uint64_t seed = 0; seed < (counts[i] < 300 ? 20 : 1); seed++)
			check_bijection(counts[i], seed);
	// The largest domain, whose halves have 32 bits.
	d2v_random_key key = d2v_random_key_make(1, D2V_RANDOM_ORDER, 0, 0);
	for (uint64_t i = 0; i < 100; i++)
		assert_true(d2v_random_invert(key, UINT64_MAX, d2v_random_permute(key, UINT64_MAX, i)) == i);
}

static void test_permutation_is_even(void **state) {
	(void)state;
	enum { KEYS = 6000 };
	for (uint64_t count = 2; count <= 12; count++) {
		uint32_t firsts[12] = { 0 }, lasts[12] = { 0 };
		for (uint64_t seed = 0; seed < KEYS; seed++) {
			d2v_random_key key = d2v_random_key_make(seed, D2V_RANDOM_ORDER, 1, 0);
			firsts[d2v_random_permute(key, count, 0)]++;
			lasts[d2v_random_permute(key, count, count - 1)]++;
		}
		double expected = (double)KEYS / (double)count, limit = 5 * sqrt(expected);
		for (uint64_t i = 0; i < count; i++)
			if (!(fabs(firsts[i] - expected) < limit && fabs(lasts[i] - expected) < limit))
				fail_msg("count %llu: %llu comes %u and %u times of %.0f", (unsigned long long)count,
					(unsigned long long)i, firsts[i], lasts[i], expected);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_philox_known_answers),
		cmocka_unit_test(test_any_change_gives_another_key),
		cmocka_unit_test(test_a_stream_is_its_blocks),
		cmocka_unit_test(test_below_is_even),
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_permutation_is_a_bijection),
		cmocka_unit_test(test_permutation_is_even),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
