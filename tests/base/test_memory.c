#include "base/arena.h"
#include "base/memory.h"

#include "tests/base/scratch.h"

#include <string.h>

static void test_blocks_are_aligned_and_counted(void **state) {
	(void)state;
	d2v_error err;
	long before = d2v_memory_live();
	unsigned char *blocks[5];
	static const size_t counts[] = { 0, 1, 63, 64, 1000 };
	for (int i = 0; i < 5; i++) {
		assert_ok(d2v_alloc_zero(&blocks[i], counts[i], 1, &err));
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % 64, 0);
		for (size_t j = 0; j < counts[i]; j++)
			assert_int_equal(blocks[i][j], 0);
	}
	assert_int_equal(d2v_memory_live(), before + 5);
	for (int i = 0; i < 5; i++)
		d2v_free(blocks[i]);
	d2v_free(NULL);
	assert_int_equal(d2v_memory_live(), before);
}

static void test_overflow_is_refused(void **state) {
	(void)state;
	d2v_error err;
	double *values = (double *)&err;
	assert_int_equal(d2v_alloc(&values, SIZE_MAX / 4, sizeof *values, &err), D2V_NO_MEMORY);
	assert_null(values);
	assert_int_equal(d2v_alloc(&values, SIZE_MAX - 3, 1, &err), D2V_NO_MEMORY);
	size_t result;
	assert_false(d2v_mul_fits(SIZE_MAX, 2, &result));
	assert_false(d2v_add_fits(SIZE_MAX, 1, &result));
	assert_true(d2v_mul_fits(6, 7, &result) && result == 42);
}

static void test_realloc_keeps_content_and_alignment(void **state) {
	(void)state;
	d2v_error err;
	uint32_t *values = NULL;
	long before = d2v_memory_live();
	assert_ok(d2v_realloc(&values, 0, 10, sizeof *values, &err));
	for (uint32_t i = 0; i < 10; i++)
		values[i] = i * i;
	assert_ok(d2v_realloc(&values, 10, 5000, sizeof *values, &err));
	assert_int_equal((uintptr_t)values % 64, 0);
	assert_ok(d2v_realloc(&values, 5000, 7, sizeof *values, &err));
	for (uint32_t i = 0; i < 7; i++)
		assert_int_equal(values[i], i * i);
	d2v_memory_fail_after(0);
	uint32_t *kept = values;
	assert_int_equal(d2v_realloc(&values, 7, 9, sizeof *values, &err), D2V_NO_MEMORY);
	d2v_memory_fail_after(-1);
	assert_ptr_equal(values, kept);
	assert_int_equal(d2v_memory_live(), before + 1);
	d2v_free(values);
}

static void test_reserve_grows_geometrically(void **state) {
	(void)state;
	d2v_error err;
	uint64_t *values = NULL;
	size_t capacity = 0, moves = 0;
	for (size_t i = 0; i < 100000; i++) {
		size_t old = capacity;
		assert_ok(d2v_reserve(&values, &capacity, i + 1, sizeof *values, &err));
		moves += capacity != old;
		values[i] = i;
	}
	assert_true(moves < 40);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(values[i], i);
	assert_int_equal(d2v_reserve(&values, &capacity, SIZE_MAX, sizeof *values, &err), D2V_NO_MEMORY);
	d2v_free(values);
}

static void test_texts(void **state) {
	(void)state;
	d2v_error err;
	char *text;
	assert_ok(d2v_strdup(&text, "", &err));
	assert_string_equal(text, "");
	d2v_free(text);
	assert_ok(d2v_asprintf(&text, &err, "%s-%05d", "shard", 12));
	assert_string_equal(text, "shard-00012");
	d2v_free(text);
}

static void test_fail_after_counts(void **state) {
	(void)state;
	d2v_error err;
	for (long n = 0; n < 5; n++) {
		char *texts[5] = { 0 };
		d2v_memory_fail_after(n);
		for (long i = 0; i < 5; i++)
			assert_int_equal(d2v_strdup(&texts[i], "x", &err), i < n ? D2V_OK : D2V_NO_MEMORY);
		d2v_memory_fail_after(-1);
		for (int i = 0; i < 5; i++)
			d2v_free(texts[i]);
	}
}

// What a step would do, with either kind of arena.
static void run_step(d2v_arena *arena, void *pieces[3]) {
	d2v_arena_reset(arena);
	pieces[0] = d2v_arena_take(arena, 1000);
	size_t mark = d2v_arena_mark(arena);
	pieces[1] = d2v_arena_take(arena, 5000);
	d2v_arena_rewind(arena, mark);
	pieces[2] = d2v_arena_take(arena, 10);
}

static void test_arena_measures_what_it_needs(void **state) {
	(void)state;
	d2v_error err;
	void *pieces[3], *again[3], *block;
	d2v_arena arena;
	d2v_arena_init_measuring(&arena);
	assert_true(d2v_arena_is_measuring(&arena));
	run_step(&arena, pieces);
	for (int i = 0; i < 3; i++)
		assert_non_null(pieces[i]);
	assert_int_equal(arena.peak, 1024 + 5120);
	size_t need = arena.peak;
	assert_ok(d2v_alloc(&block, need, 1, &err));
	d2v_arena_init(&arena, block, need);
	assert_false(d2v_arena_is_measuring(&arena));
	run_step(&arena, pieces);
	assert_int_equal(arena.peak, need);
	memset(pieces[0], 1, 1000);
	memset(pieces[2], 2, 10);
	for (int i = 0; i < 3; i++)
		assert_int_equal(((char *)pieces[i] - (char *)block) % D2V_ARENA_ALIGN, 0);
	assert_ptr_equal(pieces[1], pieces[2]);
	run_step(&arena, again);
	assert_memory_equal(pieces, again, sizeof pieces);
	d2v_free(block);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_are_aligned_and_counted),
		cmocka_unit_test(test_overflow_is_refused),
		cmocka_unit_test(test_realloc_keeps_content_and_alignment),
		cmocka_unit_test(test_reserve_grows_geometrically),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_fail_after_counts),
		cmocka_unit_test(test_arena_measures_what_it_needs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
