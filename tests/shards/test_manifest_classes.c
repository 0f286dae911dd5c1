// Classes in the manifest: they come back in order, their records are counted, what is wrong with them is found, and a
// data set without classes has no such key.
#include "tests/shards/shard_fixture.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/statistics.h"

#include <string.h>

static void test_classes_come_back(void **state) {
	d2v_error err = { 0 };
	d2v_manifest manifest, again;
	d2v_manifest_init(&manifest, D2V_IMAGE);
	manifest.options = json_object();
	assert_ok(d2v_manifest_add_class(&manifest, "n01440764", "tench, Tinca tinca", &err));
	assert_ok(d2v_manifest_add_class(&manifest, "airplane", NULL, &err));
	assert_int_equal(d2v_manifest_add_class(&manifest, "airplane", "twice", &err), D2V_EXISTS);
	assert_int_equal(d2v_manifest_add_class(&manifest, "", "", &err), D2V_INVALID);
	assert_int_equal(d2v_manifest_add_class(&manifest, "\xff", "", &err), D2V_INVALID);
	assert_int_equal(d2v_manifest_add_class(&manifest, "dog", "\xff", &err), D2V_INVALID);
	assert_ok(d2v_manifest_save(&manifest, *state, &err));
	assert_ok(d2v_manifest_load(&again, *state, &err));
	assert_int_equal(again.class_count, 2);
	assert_string_equal(again.classes[0].name, "n01440764");
	assert_string_equal(again.classes[0].words, "tench, Tinca tinca");
	assert_string_equal(again.classes[1].name, "airplane");
	assert_string_equal(again.classes[1].words, "");
	d2v_manifest_release(&again);
	assert_int_equal(again.class_count, 0);
	d2v_manifest_release(&manifest);
}

static void test_no_classes_no_key(void **state) {
	d2v_error err = { 0 };
	void *text;
	size_t size;
	fixture_dataset(*state, 1, 5, 0);
	assert_ok(d2v_file_read(scratch_path(state, D2V_MANIFEST_NAME), 1 << 20, &text, &size, &err));
	assert_null(memmem(text, size, "classes", 7));
	assert_null(memmem(text, size, "labels", 6));
	d2v_free(text);
}

static int64_t number_at(const json_t *array, size_t i) {
	return json_integer_value(json_array_get(array, i));
}

static void test_labels_are_counted(void **state) {
	(void)state;
	d2v_error err = { 0 };
	static const int32_t given[] = { 0, 2, 2, -1, 3, 0, 2, INT32_MAX, INT32_MIN };
	d2v_index_row rows[sizeof given / sizeof *given] = { 0 };
	json_t *statistics = json_object();
	for (size_t i = 0; i < sizeof given / sizeof *given; i++)
		rows[i].label = given[i];
	assert_ok(d2v_statistics_add_labels(statistics, rows, sizeof given / sizeof *given, 3, &err));
	const json_t *labels = json_object_get(statistics, "labels"), *counts = json_object_get(labels, "counts");
	assert_int_equal(json_array_size(counts), 3);
	assert_int_equal(number_at(counts, 0), 2);
	assert_int_equal(number_at(counts, 1), 0);
	assert_int_equal(number_at(counts, 2), 3);
	assert_int_equal(json_integer_value(json_object_get(labels, "none")), 4);
	json_decref(statistics);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_classes_come_back, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_no_classes_no_key, scratch_set_up, scratch_tear_down),
		cmocka_unit_test(test_labels_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
