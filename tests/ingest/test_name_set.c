// The names that were met: the same name of the same split once, also after it was saved and read again.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "ingest/name_set.h"

#include <stdio.h>
#include <string.h>

#define NAMES 5000

static bool add(d2v_name_set *set, const char *split, int number) {
	char name[32];
	bool added;
	d2v_error err = { 0 };
	snprintf(name, sizeof name, "utterance-%d", number);
	assert_ok(d2v_name_set_add(set, split, name, &added, &err));
	return added;
}

static void test_duplicates(void **state) {
	d2v_name_set set, again;
	d2v_error err = { 0 };
	const char *path = scratch_path(state, "names");
	d2v_name_set_init(&set, 2 * NAMES);
	for (int i = 0; i < NAMES; i++) {
		assert_true(add(&set, "train", i));
		if (i % 3 == 0)
			assert_true(add(&set, "dev", i));
		assert_false(add(&set, "train", i / 2));
	}
	assert_int_equal(set.count, NAMES + (NAMES + 2) / 3);
	assert_ok(d2v_name_set_save(&set, path, &err));
	d2v_name_set_init(&again, 2 * NAMES);
	assert_ok(d2v_name_set_load(&again, path, &err));
	assert_int_equal(again.count, set.count);
	for (int i = 0; i < NAMES; i++)
		assert_false(add(&again, "train", i));
	assert_true(add(&again, "train", NAMES));
	d2v_name_set_release(&again);
	d2v_name_set_release(&set);
}

// "a" of split "bc" is not "ab" of split "c".
static void test_split_and_name_are_two(void **state) {
	(void)state;
	d2v_name_set set;
	d2v_error err = { 0 };
	bool added;
	d2v_name_set_init(&set, 10);
	assert_ok(d2v_name_set_add(&set, "ab", "c", &added, &err));
	assert_ok(d2v_name_set_add(&set, "a", "bc", &added, &err));
	assert_true(added);
	d2v_name_set_release(&set);
}

static void test_bound(void **state) {
	(void)state;
	d2v_name_set set;
	d2v_error err = { 0 };
	bool added;
	d2v_name_set_init(&set, 3);
	for (int i = 0; i < 3; i++)
		assert_true(add(&set, "train", i));
	assert_int_equal(d2v_name_set_add(&set, "train", "one more", &added, &err), D2V_UNSAFE);
	assert_non_null(strstr(err.text, "--max-files"));
	d2v_name_set_release(&set);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_duplicates, scratch_set_up, scratch_tear_down),
		cmocka_unit_test(test_split_and_name_are_two),
		cmocka_unit_test(test_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
