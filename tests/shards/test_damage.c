// A flipped bit anywhere in a data set is found, named, and survived: by verify, and by reading as a loader does.
// By default one bit of every three bytes of a shard is flipped, another one each time, and all of the small files; under
// sanitizers, which make a verify fifty times as slow, fewer. D2V_TEST_LONG=1 flips all.
#include "tests/shards/shard_fixture.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/dataset.h"
#include "shards/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RECORDS = 3 };
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum { OF_SHARD = 24 * 7, OF_OTHERS = 19 };
#else
enum { OF_SHARD = 24, OF_OTHERS = 1 };
#endif

typedef struct finding {
	uint64_t count, record;
	char file[64], what[256];
} finding;

static void note(void *context, const char *file, uint64_t record, const char *what) {
	finding *found = context;
	found->count++;
	found->record = record;
	snprintf(found->file, sizeof found->file, "%s", file);
	snprintf(found->what, sizeof found->what, "%s", what);
}

static d2v_status verify(const char *dataset, int jobs, finding *found) {
	*found = (finding){ 0 };
	d2v_verify_result result;
	d2v_status status = d2v_verify_dataset(
		dataset, &(d2v_verify_options){ .jobs = jobs, .decode = true, .found = note, .context = found }, &result, NULL);
	assert_int_equal(result.damages, found->count);
	return status;
}

typedef struct mapped {
	unsigned char *bytes;
	size_t size;
} mapped;

static mapped map_file(const char *path) {
	d2v_error err = { 0 };
	uint64_t size;
	assert_ok(d2v_file_size(path, &size, &err));
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(bytes != MAP_FAILED);
	close(fd);
	return (mapped){ bytes, size };
}

// Reads as a loader that stops at the first damage: which must come, and name the file.
static void check_strict(const char *dataset, const char *file) {
	d2v_dataset *set;
	d2v_dataset_view *view;
	d2v_error err = { 0 };
	d2v_status status = d2v_dataset_open(&set, dataset, NULL, &err);
	if (status == D2V_OK) {
		assert_ok(d2v_dataset_view_new(&view, set, &err));
		for (uint64_t i = 0; i < d2v_dataset_records(set) && status == D2V_OK; i++) {
			d2v_record record;
			status = d2v_dataset_read(view, i, &record, &err);
			assert_true(status != D2V_OK || fixture_is(&record, i));
		}
		d2v_dataset_view_free(view);
		d2v_dataset_close(set);
	}
	assert_int_equal(status, D2V_CORRUPT);
	assert_non_null(strstr(err.text, file));
}

// Reads as a loader that may meet one damage: everything is read that is not in the damaged record itself. Returns that
// record.
static uint64_t check_forgiving(const char *dataset) {
	d2v_dataset *set;
	d2v_dataset_view *view;
	d2v_error err = { 0 };
	uint64_t damaged = UINT64_MAX, damages = 0;
	assert_ok(d2v_dataset_open_damaged(&set, dataset, NULL, 1, &err));
	assert_ok(d2v_dataset_view_new(&view, set, &err));
	assert_int_equal(d2v_dataset_records(set), RECORDS);
	for (uint64_t i = 0; i < RECORDS; i++) {
		d2v_record record;
		if (d2v_dataset_read(view, i, &record, &err) == D2V_OK) {
			assert_true(fixture_is(&record, i));
			assert_int_equal(d2v_dataset_rows(set)[i].units, fixture_units(i));
			continue;
		}
		char where[64];
		snprintf(where, sizeof where, "train/00000.mdb: record %d: ", (int)i);
		assert_non_null(strstr(err.text, where));
		damaged = i;
		damages++;
	}
	assert_int_equal(damages + d2v_dataset_damages(set), 1);
	if (!damages)
		assert_non_null(strstr(d2v_dataset_damage(set, 0), "train/00000.mdb"));
	d2v_dataset_view_free(view);
	d2v_dataset_close(set);
	return damaged;
}

static void flip_all(const char *dataset, const char *file, bool is_shard) {
	char path[SCRATCH_PATH + 320];
	finding found;
	snprintf(path, sizeof path, "%s/%s", dataset, file);
	mapped map = map_file(path);
	size_t step = getenv("D2V_TEST_LONG") ? 1 : is_shard ? OF_SHARD : OF_OTHERS;
	uint64_t in_records = 0, elsewhere = 0;
	for (size_t bit = 0; bit < map.size * 8; bit++) {
		if (bit % step != bit / step * 5 % step)
			continue;
		map.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		if (verify(dataset, 1, &found) != D2V_CORRUPT || found.count < 1 || strcmp(found.file, file) != 0)
			fail_msg("%s: bit %zu: %llu found, '%s': %s", file, bit, (unsigned long long)found.count, found.file,
				found.what);
		if (is_shard) {
			check_strict(dataset, file);
			uint64_t damaged = check_forgiving(dataset);
			assert_int_equal(found.record, damaged);
			damaged == UINT64_MAX ? elsewhere++ : in_records++;
		}
		map.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	assert_int_equal(verify(dataset, 1, &found), D2V_OK);
	if (is_shard)
		assert_true(in_records && elsewhere);
	munmap(map.bytes, map.size);
}

static void test_a_bit_of_a_shard(void **state) {
	fixture_dataset(*state, 1, RECORDS, 0);
	flip_all(*state, "train/00000.mdb", true);
}

static void test_a_bit_of_the_manifest(void **state) {
	fixture_dataset(*state, 1, RECORDS, 0);
	flip_all(*state, "dataset.json", false);
}

static void test_a_bit_of_the_rejected(void **state) {
	fixture_dataset(*state, 1, RECORDS, 0);
	flip_all(*state, "train/rejected.tsv", false);
}

// Opens what is no shard, any way there is; returns the strict status.
static d2v_status open_any_way(const char *path) {
	d2v_shard *shard;
	d2v_error err = { 0 };
	if (d2v_shard_open_damaged(&shard, path, NULL) == D2V_OK) {
		d2v_shard_view *view;
		if (d2v_shard_view_new(&view, shard, NULL) == D2V_OK) {
			d2v_record record;
			for (uint64_t i = 0; i < 10; i++)
				d2v_shard_read(view, i, true, &record, NULL);
			d2v_shard_view_free(view);
		}
		d2v_shard_close(shard);
	}
	d2v_status status = d2v_shard_open(&shard, path, &err);
	if (status == D2V_OK)
		d2v_shard_close(shard);
	else
		assert_non_null(strstr(err.text, path));
	return status;
}

static void test_cut_off_and_longer(void **state) {
	const char *path = scratch_path(state, "cut.mdb");
	d2v_shard_facts facts;
	d2v_error err = { 0 };
	fixture_shard(path, 0, 3, &facts);
	assert_int_equal(truncate(path, (off_t)facts.bytes + 1), 0);
	assert_int_equal(open_any_way(path), D2V_CORRUPT);
	for (off_t size = (off_t)facts.bytes - 1; size >= 0; size -= size > 5000 ? 1021 : 7) {
		assert_int_equal(truncate(path, size), 0);
		assert_int_equal(open_any_way(path), D2V_CORRUPT);
	}
	assert_ok(d2v_file_replace(path, "", 0, &err));
	assert_int_equal(open_any_way(path), D2V_CORRUPT);
	assert_int_equal(open_any_way(*state), D2V_CORRUPT); // a folder
	assert_int_equal(open_any_way("/dev/null"), D2V_CORRUPT);
	assert_int_equal(open_any_way(scratch_path(state, "none")), D2V_NOT_FOUND);
}

static void test_random_bytes(void **state) {
	const char *path = scratch_path(state, "random.mdb");
	d2v_shard_facts facts;
	fixture_shard(path, 0, 3, &facts);
	mapped map = map_file(path);
	unsigned char *good = malloc(map.size);
	memcpy(good, map.bytes, map.size);
	uint64_t seed = 12345;
	for (int round = 0; round < 300; round++) {
		memcpy(map.bytes, good, map.size);
		size_t length = 1 + (size_t)round * 97 % map.size, start = 0;
		for (size_t i = 0; i < length; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			if (i == 0)
				start = (seed >> 33) % (map.size - length + 1);
			map.bytes[start + i] = (unsigned char)(seed >> 56);
		}
		open_any_way(path);
	}
	free(good);
	munmap(map.bytes, map.size);
}

static void test_each_damage_is_named(void **state) {
	finding found;
	d2v_verify_result result;
	fixture_dataset(*state, 4, 20, 7);
	for (int jobs = 0; jobs <= 3; jobs++)
		assert_int_equal(verify(*state, jobs, &found), D2V_OK);
	static const char *const files[] = { "train/00001.mdb", "train/00003.mdb", "dev/00000.mdb" };
	for (size_t i = 0; i < 3; i++) {
		mapped map = map_file(scratch_path(state, files[i]));
		unsigned char *name = memmem(map.bytes, map.size, " SPEAKS", 7); // in a record's text
		assert_non_null(name);
		name[2] ^= 4;
		munmap(map.bytes, map.size);
	}
	for (int jobs = 1; jobs <= 3; jobs++) {
		assert_int_equal(verify(*state, jobs, &found), D2V_CORRUPT);
		assert_int_equal(found.count, 3);
		assert_string_not_equal(found.what, "");
		assert_int_not_equal(found.record, UINT64_MAX);
	}
	// Without a manifest to go by the shards are still looked at.
	d2v_error err = { 0 };
	assert_ok(d2v_file_replace(scratch_path(state, "dataset.json"), "{}", 2, &err));
	assert_int_equal(verify(*state, 2, &found), D2V_CORRUPT);
	assert_int_equal(found.count, 4);
	assert_ok(
		d2v_verify_dataset(*state, &(d2v_verify_options){ 0 }, &result, &err) == D2V_CORRUPT ? D2V_OK : D2V_INVALID);
	assert_int_equal(result.shards, 5);
	assert_ok(d2v_file_remove(scratch_path(state, "dataset.json"), &err));
	assert_int_equal(verify(*state, 1, &found), D2V_NOT_FOUND);
}

static void test_shards_gone_or_exchanged(void **state) {
	finding found;
	d2v_error err = { 0 };
	fixture_dataset(*state, 2, 5, 0);
	const char *first = scratch_path(state, "train/00000.mdb"), *second = scratch_path(state, "train/00001.mdb"),
			   *aside = scratch_path(state, "aside");
	assert_int_equal(rename(first, aside), 0);
	assert_int_equal(verify(*state, 1, &found), D2V_CORRUPT);
	assert_string_equal(found.what, "is not there");
	d2v_dataset *set;
	assert_int_equal(d2v_dataset_open(&set, *state, NULL, &err), D2V_NOT_FOUND);
	assert_ok(d2v_dataset_open_damaged(&set, *state, NULL, 1, &err));
	assert_int_equal(d2v_dataset_records(set), 10);
	assert_int_equal(d2v_dataset_rows(set)[0].units, 0);
	assert_int_equal(d2v_dataset_rows(set)[5].units, fixture_units(5));
	assert_int_equal(d2v_dataset_damages(set), 1);
	d2v_dataset_close(set);
	assert_int_equal(rename(second, first), 0);
	assert_int_equal(rename(aside, second), 0);
	assert_int_equal(verify(*state, 1, &found), D2V_CORRUPT);
	assert_int_equal(found.count, 2);
	assert_int_equal(d2v_dataset_open(&set, *state, NULL, &err), D2V_CORRUPT);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void) {
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_a_bit_of_a_shard),
		IN_SCRATCH(test_a_bit_of_the_manifest),
		IN_SCRATCH(test_a_bit_of_the_rejected),
		IN_SCRATCH(test_cut_off_and_longer),
		IN_SCRATCH(test_random_bytes),
		IN_SCRATCH(test_each_damage_is_named),
		IN_SCRATCH(test_shards_gone_or_exchanged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
