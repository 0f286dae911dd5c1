// Places sorted by token, against their definition.
#include "train/token_order.h"

#include "base/memory.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST = 4096 };

static void check(d2v_token_order *order, size_t count, uint32_t vocabulary, uint64_t seed) {
	int32_t tokens[MOST];
	bool seen[MOST] = { false };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, count, vocabulary));
	for (size_t i = 0; i < count; i++)
		tokens[i] = (int32_t)d2v_random_below(&random, vocabulary);
	assert_int_equal(d2v_token_order_set(order, tokens, count, vocabulary, NULL), D2V_OK);
	for (size_t k = 0; k < count; k++) {
		int32_t place = order->places[k];
		assert_in_range(place, 0, count - 1);
		assert_false(seen[place]);
		seen[place] = true;
		if (k == 0)
			continue;
		int32_t before = order->places[k - 1];
		if (tokens[place] < tokens[before] || (tokens[place] == tokens[before] && place < before))
			fail_msg("%zu tokens of %u: entry %zu is place %d, token %d, after place %d, token %d", count, vocabulary,
				k, place, tokens[place], before, tokens[before]);
	}
}

static void test_sorted(void **state) {
	(void)state;
	d2v_token_order order = { .places = NULL }; // one for all: memory grows, and holds what was before
	check(&order, 0, 4, 1);
	check(&order, 1, 1, 2);
	check(&order, 100, 1, 3);
	check(&order, MOST, 50265, 4);
	check(&order, 1000, 7, 5);
	check(&order, MOST, 4096, 6);
	d2v_token_order_release(&order);
}

static void test_no_memory(void **state) {
	(void)state;
	static const int32_t tokens[] = { 3, 1, 2 };
	long live = d2v_memory_live();
	for (long n = 0; n < 2; n++) {
		d2v_token_order order = { .places = NULL };
		d2v_error err = { 0 };
		d2v_memory_fail_after(n);
		d2v_status status = d2v_token_order_set(&order, tokens, 3, 4, &err);
		d2v_memory_fail_after(-1);
		assert_int_equal(status, D2V_NO_MEMORY);
		d2v_token_order_release(&order);
		assert_int_equal(d2v_memory_live(), live);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sorted),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
