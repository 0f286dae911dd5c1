// A data set of so many shards that threads open them: the same rows, and damage counted and named in the shards'
// order.
#include "shards/dataset.h"

#include "base/file.h"
#include "tests/shards/shard_fixture.h"

#include <stdio.h>
#include <string.h>

enum { SHARDS = 40, PER_SHARD = 3 };

static d2v_error err;

static const char *make(void **state) {
	const char *folder = scratch_path(state, "many");
	if (!d2v_file_exists(scratch_path(state, "many/dataset.json")))
		fixture_dataset(folder, SHARDS, PER_SHARD, 0);
	return folder;
}

// The last byte of a shard's first page belongs to LMDB's tables.
static void flip(void **state, int shard) {
	char name[64];
	snprintf(name, sizeof name, "many/train/%05d.mdb", shard);
	FILE *file = fopen(scratch_path(state, name), "r+b");
	assert_non_null(file);
	fseek(file, 4095, SEEK_SET);
	int byte = fgetc(file);
	fseek(file, 4095, SEEK_SET);
	fputc(byte ^ 1, file);
	fclose(file);
}

static void check_rows(const d2v_dataset *dataset) {
	assert_true(d2v_dataset_records(dataset) == SHARDS * PER_SHARD);
	for (uint64_t i = 0; i < SHARDS * PER_SHARD; i++)
		assert_true(d2v_dataset_rows(dataset)[i].units == fixture_units(i));
}

static void test_rows(void **state) {
	d2v_dataset *dataset;
	assert_ok(d2v_dataset_open(&dataset, make(state), NULL, &err));
	check_rows(dataset);
	assert_true(d2v_dataset_damages(dataset) == 0);
	d2v_dataset_close(dataset);
}

static void test_damage_in_order(void **state) {
	d2v_dataset *dataset;
	const char *folder = make(state);
	static const int damaged[] = { 11, 23, 38 };
	for (int i = 0; i < 3; i++)
		flip(state, damaged[i]);
	for (int turn = 0; turn < 5; turn++) {
		assert_int_equal(d2v_dataset_open(&dataset, folder, NULL, &err), D2V_CORRUPT);
		assert_non_null(strstr(err.text, "00011.mdb"));
		assert_non_null(strstr(err.text, "d2v-shard verify"));
		assert_int_equal(d2v_dataset_open_damaged(&dataset, folder, NULL, 2, &err), D2V_CORRUPT);
		assert_non_null(strstr(err.text, "00038.mdb"));
		assert_non_null(strstr(err.text, "d2v-shard verify"));
		assert_ok(d2v_dataset_open_damaged(&dataset, folder, NULL, 3, &err));
		assert_true(d2v_dataset_damages(dataset) == 3);
		for (uint64_t i = 0; i < 3; i++) {
			char name[32];
			snprintf(name, sizeof name, "%05d.mdb", damaged[i]);
			assert_non_null(strstr(d2v_dataset_damage(dataset, i), name));
		}
		check_rows(dataset);
		d2v_dataset_close(dataset);
	}
	for (int i = 0; i < 3; i++)
		flip(state, damaged[i]);
}

// A shard that is gone keeps its records' places.
static void test_missing_shard(void **state) {
	d2v_dataset *dataset;
	const char *folder = make(state);
	assert_ok(d2v_file_remove(scratch_path(state, "many/train/00017.mdb"), &err));
	assert_int_not_equal(d2v_dataset_open(&dataset, folder, NULL, &err), D2V_OK);
	assert_ok(d2v_dataset_open_damaged(&dataset, folder, NULL, 1, &err));
	for (uint64_t i = 0; i < SHARDS * PER_SHARD; i++)
		assert_true(d2v_dataset_rows(dataset)[i].units == (i / PER_SHARD == 17 ? 0 : fixture_units(i)));
	d2v_dataset_close(dataset);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_damage_in_order),
		cmocka_unit_test(test_missing_shard),
	};
	return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
