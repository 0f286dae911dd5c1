// Data sets joined and taken apart: every record is there and in order; and every allocation and write of a merge and
// of an export fails once: it says so, leaks nothing, and leaves nothing that could be taken for whole.
#include "tests/shards/shard_fixture.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/dataset.h"
#include "shards/export.h"
#include "shards/merge.h"
#include "shards/verify.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct job { // what is to fail
	d2v_status (*run)(const struct job *job, d2v_error *err);
	char inputs[2][SCRATCH_PATH], out[SCRATCH_PATH];
	bool flag; // copy, or tar
} job;

static d2v_status merge(const job *self, d2v_error *err) {
	const char *inputs[] = { self->inputs[0], self->inputs[1] };
	d2v_merge_options options = { .out = self->out, .inputs = inputs, .input_count = 2, .copy = self->flag };
	d2v_merge_result result;
	return d2v_merge_run(&options, &result, err);
}

static d2v_status export(const job *self, d2v_error *err) {
	d2v_export_options options = { .dataset = self->inputs[0], .out = self->out, .tar = self->flag };
	d2v_export_result result;
	return d2v_export_run(&options, &result, err);
}

static job job_of(void **state, d2v_status (*run)(const job *, d2v_error *), const char *out, bool flag) {
	job made = { .run = run, .flag = flag };
	snprintf(made.inputs[0], sizeof made.inputs[0], "%s", scratch_path(state, "one"));
	snprintf(made.inputs[1], sizeof made.inputs[1], "%s", scratch_path(state, "two"));
	snprintf(made.out, sizeof made.out, "%s", scratch_path(state, out));
	return made;
}

// The same for all data sets, or they could not be joined.
static void add_tokenizer(void **state, const char *dataset) {
	d2v_error err = { 0 };
	d2v_manifest manifest;
	char folder[SCRATCH_PATH + 16], file[SCRATCH_PATH + 32];
	snprintf(folder, sizeof folder, "%s/tokenizer", scratch_path(state, dataset));
	snprintf(file, sizeof file, "%s/dict.txt", folder);
	assert_ok(d2v_file_make_directories(folder, &err));
	assert_ok(d2v_file_replace(file, "262 3\n", 6, &err));
	assert_ok(d2v_manifest_load(&manifest, scratch_path(state, dataset), &err));
	assert_ok(d2v_manifest_save(&manifest, scratch_path(state, dataset), &err));
	d2v_manifest_release(&manifest);
}

// "one" has the records 0 to 5 in train, in two shards, and two in dev; "two" another split's worth.
static void make_inputs(void **state) {
	d2v_error err = { 0 };
	d2v_manifest manifest;
	d2v_manifest_split *split;
	d2v_shard_facts facts;
	fixture_dataset(scratch_path(state, "one"), 2, 3, 2);
	assert_ok(d2v_file_make_directories(scratch_path(state, "two/train"), &err));
	fixture_shard(scratch_path(state, "two/train/00000.mdb"), 100, 4, &facts);
	assert_ok(d2v_file_replace(scratch_path(state, "two/train/rejected.tsv"), "x\tlayout\ty\n", 11, &err));
	d2v_manifest_init(&manifest, D2V_AUDIO);
	manifest.rate = FIXTURE_RATE;
	manifest.options = json_object();
	assert_ok(d2v_manifest_add_split(&manifest, "train", &split, &err));
	assert_ok(d2v_manifest_add_shard(split, "train/00000.mdb", &facts, &err));
	split->rejected = 1;
	assert_ok(d2v_manifest_save(&manifest, scratch_path(state, "two"), &err));
	d2v_manifest_release(&manifest);
	add_tokenizer(state, "one");
	add_tokenizer(state, "two");
}

static void check_merged(const char *path) {
	d2v_error err = { 0 };
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	d2v_record record;
	assert_ok(d2v_verify_dataset(path, &(d2v_verify_options){ .decode = true }, &(d2v_verify_result){ 0 }, &err));
	assert_ok(d2v_dataset_open(&dataset, path, "train", &err));
	assert_int_equal(d2v_dataset_records(dataset), 10);
	assert_ok(d2v_dataset_view_new(&view, dataset, &err));
	for (uint64_t i = 0; i < 10; i++) {
		assert_ok(d2v_dataset_read(view, i, &record, &err));
		assert_true(fixture_is(&record, i < 6 ? i : 100 + i - 6));
	}
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
}

static void test_merged_in_order(void **state) {
	d2v_error err = { 0 };
	uint64_t found = 0;
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	job joined = job_of(state, merge, "out", false);
	make_inputs(state);
	assert_ok(joined.run(&joined, &err));
	check_merged(joined.out);
	// Over all splits, by name and by place: dev comes first.
	assert_ok(d2v_dataset_open(&dataset, joined.out, D2V_DATASET_ALL, &err));
	assert_int_equal(d2v_dataset_records(dataset), 12);
	assert_ok(d2v_dataset_record_at(dataset, "train/00002.mdb", 3, &found, &err));
	assert_int_equal(found, 11);
	d2v_dataset_place place = d2v_dataset_place_of(dataset, found);
	assert_string_equal(place.file, "train/00002.mdb");
	assert_string_equal(place.split->name, "train");
	assert_int_equal(place.ordinal, 3);
	assert_ok(d2v_dataset_view_new(&view, dataset, &err));
	for (uint64_t i = 0; i < 12; i++) {
		d2v_record record;
		char name[D2V_RECORD_NAME_MAX + 1];
		assert_ok(d2v_dataset_peek(view, i, &record, &err));
		snprintf(name, sizeof name, "%.*s", (int)record.name_size, record.name);
		assert_ok(d2v_dataset_find(view, name, &found, &err));
		d2v_record again;
		assert_ok(d2v_dataset_peek(view, found, &again, &err));
		assert_int_equal(again.name_size, record.name_size);
		assert_memory_equal(again.name, record.name, record.name_size);
	}
	assert_int_equal(d2v_dataset_find(view, "nobody", &found, &err), D2V_NOT_FOUND);
	assert_int_equal(d2v_dataset_record_at(dataset, "train/00002.mdb", 4, &found, &err), D2V_NOT_FOUND);
	assert_int_equal(d2v_dataset_record_at(dataset, "train/00009.mdb", 0, &found, &err), D2V_NOT_FOUND);
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
}

static void test_what_cannot_be_joined(void **state) {
	d2v_error err = { 0 };
	job joined = job_of(state, merge, "out", false);
	make_inputs(state);
	snprintf(joined.inputs[1], sizeof joined.inputs[1], "%s", joined.inputs[0]);
	assert_int_equal(joined.run(&joined, &err), D2V_EXISTS); // the same part twice
	assert_non_null(strstr(err.text, "given twice"));
	d2v_manifest manifest;
	assert_ok(d2v_manifest_load(&manifest, scratch_path(state, "two"), &err));
	manifest.rate = 8000;
	assert_ok(d2v_manifest_save(&manifest, scratch_path(state, "two"), &err));
	joined = job_of(state, merge, "out", false);
	assert_int_equal(joined.run(&joined, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "sampling rates"));
	manifest.rate = FIXTURE_RATE;
	assert_ok(d2v_manifest_add_class(&manifest, "cat", NULL, &err));
	assert_ok(d2v_manifest_save(&manifest, scratch_path(state, "two"), &err));
	assert_int_equal(joined.run(&joined, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "classes"));
	d2v_manifest_release(&manifest);
	assert_false(d2v_file_exists(joined.out));
}

// The manifest of what is joined is new, and so are the digests in it: what was damaged before must not become part of
// it.
static void test_damage_is_not_carried_over(void **state) {
	static const char *const files[] = { "one/train/rejected.tsv", "two/train/rejected.tsv", "one/tokenizer/dict.txt" };
	d2v_error err = { 0 };
	make_inputs(state);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		for (int copy = 0; copy < 2; copy++) {
			job joined = job_of(state, merge, "out", copy);
			const char *path = scratch_path(state, files[i]);
			void *bytes;
			size_t size;
			assert_ok(d2v_file_read(path, 1 << 20, &bytes, &size, &err));
			*(char *)bytes ^= 1;
			assert_ok(d2v_file_replace(path, bytes, size, &err));
			assert_int_equal(joined.run(&joined, &err), D2V_CORRUPT);
			assert_non_null(strstr(err.text, path));
			assert_false(d2v_file_exists(joined.out));
			*(char *)bytes ^= 1;
			assert_ok(d2v_file_replace(path, bytes, size, &err));
			assert_ok(joined.run(&joined, &err));
			check_merged(joined.out);
			assert_ok(d2v_file_remove_tree(joined.out, &err));
			d2v_free(bytes);
		}
}

// One failure of the n-th kind; true: n was beyond the last.
static bool fail_at(const job *self, long n, void (*fail_after)(long), d2v_status expected) {
	d2v_error err = { 0 };
	char partial[SCRATCH_PATH + 16];
	struct stat about;
	assert_ok(d2v_file_remove_tree(self->out, &err));
	long live = d2v_memory_live();
	fail_after(n);
	d2v_status status = self->run(self, &err);
	fail_after(-1);
	if (d2v_memory_live() != live)
		fail_msg("failure %ld: %ld blocks were not freed", n, d2v_memory_live() - live);
	snprintf(partial, sizeof partial, "%s.partial", self->out);
	// Without any memory the folder cannot be emptied; the next run does it.
	if (expected != D2V_NO_MEMORY && stat(partial, &about) == 0)
		fail_msg("failure %ld: %s was left", n, partial);
	if (status != D2V_OK && status != expected)
		fail_msg("failure %ld: %s: %s", n, d2v_status_name(status), err.text);
	// The very last write is the sync of the folder that holds it: then it is there, but whole.
	if (self->run == merge && stat(self->out, &about) == 0)
		check_merged(self->out);
	return status == D2V_OK;
}

static void walk(const job *self, void (*fail_after)(long), d2v_status expected) {
	long n = 0;
	while (!fail_at(self, n, fail_after, expected))
		n += 1 + n / 32;
	assert_true(n > 1); // an archive is one write and two syncs
}

static void test_every_failure(void **state) {
	make_inputs(state);
	job jobs[] = { job_of(state, merge, "out", false), job_of(state, merge, "out", true),
		job_of(state, export, "folder", false), job_of(state, export, "all.tar", true) };
	for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
		walk(&jobs[i], d2v_memory_fail_after, D2V_NO_MEMORY);
		walk(&jobs[i], d2v_file_fail_after, D2V_NO_SPACE);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_merged_in_order, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_joined, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_damage_is_not_carried_over, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_failure, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
