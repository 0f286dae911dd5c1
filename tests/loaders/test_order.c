// Every item of an epoch exactly once, the same updates for any number of ranks, positions that go from one number to
// another.
#include "loaders/order.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static d2v_order order_of(uint64_t count, uint32_t ranks, uint32_t rank, uint32_t imitated) {
	return (d2v_order){
		.seed = 7, .purpose = D2V_RANDOM_BATCHES, .count = count, .ranks = ranks, .rank = rank, .imitated = imitated
	};
}

static void test_covers_once(void **state) {
	(void)state;
	static const struct {
		uint64_t count;
		uint32_t ranks, imitated;
	} cases[] = { { 1, 1, 0 }, { 10, 1, 0 }, { 10, 3, 0 }, { 10, 4, 8 }, { 17, 1, 8 }, { 17, 3, 8 }, { 16, 8, 8 },
		{ 5, 8, 0 }, { 1000, 7, 16 }, { 9, 8, 3 } };
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		int *seen = calloc(cases[c].count, sizeof *seen);
		for (uint32_t r = 0; r < cases[c].ranks; r++) {
			d2v_order order = order_of(cases[c].count, cases[c].ranks, r, cases[c].imitated);
			assert_int_equal(d2v_order_check(&order, NULL), D2V_OK);
			for (uint64_t turn = 0; turn < d2v_order_turns(&order); turn++) {
				uint64_t item = d2v_order_item(&order, 3, turn);
				if (item == D2V_ORDER_NONE)
					continue;
				assert_true(item < cases[c].count);
				seen[item]++;
			}
			assert_true(d2v_order_item(&order, 3, d2v_order_turns(&order)) == D2V_ORDER_NONE);
		}
		for (uint64_t i = 0; i < cases[c].count; i++)
			assert_int_equal(seen[i], 1);
		free(seen);
	}
}

static int compare(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

// The items of an update, gathered from all ranks and sorted.
static size_t update_items(uint64_t count, uint32_t ranks, uint32_t imitated, uint64_t update, uint64_t *items) {
	size_t found = 0;
	for (uint32_t r = 0; r < ranks; r++) {
		d2v_order order = order_of(count, ranks, r, imitated);
		uint64_t rounds = d2v_order_rounds(&order);
		for (uint64_t k = 0; k < rounds; k++) {
			uint64_t item = d2v_order_item(&order, 1, update * rounds + k);
			if (item != D2V_ORDER_NONE)
				items[found++] = item;
		}
	}
	qsort(items, found, sizeof *items, compare);
	return found;
}

static void test_updates_do_not_depend_on_ranks(void **state) {
	(void)state;
	uint64_t expected[16], items[16];
	for (uint64_t update = 0; update < 4; update++) {
		size_t count = update_items(29, 1, 8, update, expected);
		assert_int_equal(count, update < 3 ? 8 : 5);
		for (uint32_t ranks = 2; ranks <= 11; ranks++) {
			assert_int_equal(update_items(29, ranks, 8, update, items), count);
			assert_memory_equal(items, expected, count * sizeof *items);
		}
	}
}

static void test_positions_travel(void **state) {
	(void)state;
	for (uint32_t ranks = 1; ranks <= 9; ranks++) {
		d2v_order from = order_of(29, ranks, 0, 8);
		for (uint64_t turn = 0; turn <= d2v_order_turns(&from); turn++) {
			uint64_t back, dealt = d2v_order_dealt(&from, turn);
			assert_int_equal(d2v_order_turn_of(&from, dealt, &back, NULL), D2V_OK);
			// Turns that deal nothing but empty batches are the end of the epoch.
			assert_true(back == turn || (dealt >= 29 && back == d2v_order_turns(&from)));
		}
		for (uint64_t update = 0; update < 3; update++) // whole updates: any other number of ranks
			for (uint32_t other = 1; other <= 9; other++) {
				d2v_order to = order_of(29, other, 0, 8);
				uint64_t turn, dealt = d2v_order_dealt(&from, update * d2v_order_rounds(&from));
				assert_int_equal(d2v_order_turn_of(&to, dealt, &turn, NULL), D2V_OK);
				assert_true(turn == update * d2v_order_rounds(&to));
			}
	}
	d2v_order two = order_of(29, 2, 0, 0);
	uint64_t turn;
	d2v_error err;
	assert_int_equal(d2v_order_turn_of(&two, 5, &turn, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "number of ranks"));
}

static void test_epochs_spread(void **state) {
	(void)state;
	// Each place holds each item equally often: chi-square over 4,000 epochs, (5-1)^2 = 16 degrees of freedom, below
	// five standard deviations (sqrt(2 * 16)) above its mean.
	enum { ITEMS = 5, EPOCHS = 4000 };
	int counts[ITEMS][ITEMS] = { { 0 } };
	d2v_order order = order_of(ITEMS, 1, 0, 0);
	for (uint64_t epoch = 1; epoch <= EPOCHS; epoch++)
		for (uint64_t turn = 0; turn < ITEMS; turn++)
			counts[turn][d2v_order_item(&order, epoch, turn)]++;
	double expected = (double)EPOCHS / ITEMS, chi = 0;
	for (int i = 0; i < ITEMS; i++)
		for (int j = 0; j < ITEMS; j++)
			chi += (counts[i][j] - expected) * (counts[i][j] - expected) / expected;
	assert_true(chi < 16 + 5 * 5.66);
}

static void test_check(void **state) {
	(void)state;
	d2v_order none = order_of(0, 1, 0, 0), outside = order_of(4, 2, 2, 0);
	assert_int_equal(d2v_order_check(&none, NULL), D2V_INVALID);
	assert_int_equal(d2v_order_check(&outside, NULL), D2V_INVALID);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_covers_once),
		cmocka_unit_test(test_updates_do_not_depend_on_ranks),
		cmocka_unit_test(test_positions_travel),
		cmocka_unit_test(test_epochs_spread),
		cmocka_unit_test(test_check),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
