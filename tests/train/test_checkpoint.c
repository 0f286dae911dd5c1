// Checkpoints: going on from one gives the bytes of never having stopped; damage and full disks leave something to go
// on from.
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "tests/train/tiny_run.h"
#include "train/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above first
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[256];
static const char config_text[] = "model:\n  depth: 3\n";

static int set_up(void **state) {
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%s/d2v-checkpoint-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
	(void)state;
	return d2v_file_remove_tree(folder, NULL) == D2V_OK ? 0 : -1;
}

static const char *in_folder(const char *name) {
	static char path[4][512];
	static int turn;
	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

static void assert_same_bytes(const char *left, const char *right) {
	void *a, *b;
	size_t a_size, b_size;
	assert_int_equal(d2v_file_read(left, 1 << 24, &a, &a_size, NULL), D2V_OK);
	assert_int_equal(d2v_file_read(right, 1 << 24, &b, &b_size, NULL), D2V_OK);
	assert_int_equal(a_size, b_size);
	assert_true(a_size > 1000);
	assert_memory_equal(a, b, a_size);
	d2v_free(a);
	d2v_free(b);
}

static void save(tiny_run *run, const char *path, uint64_t updates, uint64_t digest) {
	d2v_error err = { 0 };
	const d2v_loop_state state = { .updates = updates,
		.batches = updates,
		.batch_digest = digest,
		.position = d2v_source_tell(run->source),
		.threads = 1 };
	if (d2v_checkpoint_save(path, run->model, run->optimizer, &state, config_text, &err) != D2V_OK)
		fail_msg("%s", err.text);
}

// A fresh process's run, put where the checkpoint says; returns the updates done.
static uint64_t go_on(tiny_run *run, const char *path, uint64_t *digest) {
	d2v_error err = { 0 };
	d2v_checkpoint *checkpoint;
	d2v_model_config config = tiny_model_config();
	tiny_run_open(run, &config);
	if (d2v_checkpoint_open(&checkpoint, path, &err) != D2V_OK ||
		d2v_checkpoint_load(checkpoint, run->model, run->optimizer, &err) != D2V_OK)
		fail_msg("%s", err.text);
	d2v_loop_state state = *d2v_checkpoint_state(checkpoint);
	if (d2v_source_seek(run->source, &state.position, &err) != D2V_OK)
		fail_msg("%s", err.text);
	assert_string_equal(d2v_checkpoint_config(checkpoint), config_text);
	*digest = state.batch_digest;
	d2v_checkpoint_close(checkpoint);
	return state.updates;
}

#define UPDATES 6

static void going_on_at_any_update_gives_the_same_bytes(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	uint64_t digest = 0;
	tiny_run_open(&run, &config);
	for (int k = 0; k <= UPDATES; k++) {
		char name[32];
		snprintf(name, sizeof name, "at_%d", k);
		save(&run, in_folder(name), (uint64_t)k, digest);
		if (k < UPDATES)
			tiny_run_train(&run, (uint64_t)k, 1, &digest);
	}
	tiny_run_close(&run);
	for (int k = 1; k < UPDATES; k++) {
		char name[32];
		snprintf(name, sizeof name, "at_%d", k);
		uint64_t done = go_on(&run, in_folder(name), &digest);
		assert_int_equal(done, k);
		tiny_run_train(&run, done, UPDATES - k, &digest);
		save(&run, in_folder("again"), UPDATES, digest);
		tiny_run_close(&run);
		assert_same_bytes(in_folder("again"), in_folder("at_6"));
	}
}

static void a_change_of_the_state_changes_the_bytes(void **state) { // the comparison above can fail
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	tiny_run_open(&run, &config);
	tiny_run_train(&run, 0, 2, NULL); // the moments move only when the rate does
	save(&run, in_folder("one"), 2, 7);
	save(&run, in_folder("other"), 2, 8);
	tiny_run_close(&run);
	void *a, *b;
	size_t a_size, b_size;
	assert_int_equal(d2v_file_read(in_folder("one"), 1 << 24, &a, &a_size, NULL), D2V_OK);
	assert_int_equal(d2v_file_read(in_folder("other"), 1 << 24, &b, &b_size, NULL), D2V_OK);
	assert_int_equal(a_size, b_size);
	assert_memory_not_equal(a, b, a_size);
	d2v_free(a);
	d2v_free(b);
}

static void a_failing_disk_leaves_the_previous_one(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	tiny_run_open(&run, &config);
	save(&run, in_folder("previous"), 0, 0);
	save(&run, in_folder("checkpoint_last.safetensors"), 0, 0);
	tiny_run_train(&run, 0, 1, NULL);
	const d2v_loop_state loop = { .updates = 1, .position = d2v_source_tell(run.source) };
	d2v_status status = D2V_NO_SPACE;
	int failures = 0;
	for (long n = 0; status != D2V_OK && n < 100; n++) {
		d2v_error err = { 0 };
		d2v_file_fail_after(n);
		status = d2v_checkpoint_save(
			in_folder("checkpoint_last.safetensors"), run.model, run.optimizer, &loop, config_text, &err);
		d2v_file_fail_after(-1);
		if (status == D2V_OK)
			break;
		failures++;
		assert_int_equal(status, D2V_NO_SPACE);
		assert_non_null(strstr(err.text, folder));
		d2v_checkpoint *checkpoint;
		assert_int_equal(d2v_checkpoint_find(&checkpoint, folder, &err), D2V_OK);
		assert_non_null(checkpoint);
		// Only when nothing but the sync of the folder failed, the new one is there already.
		if (d2v_checkpoint_state(checkpoint)->updates == 0)
			assert_same_bytes(in_folder("checkpoint_last.safetensors"), in_folder("previous"));
		d2v_checkpoint_close(checkpoint);
	}
	assert_int_equal(status, D2V_OK);
	assert_true(failures >= 2); // a write and a sync at least
	tiny_run_close(&run);
}

static void allocations_may_fail(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	tiny_run_open(&run, &config);
	const d2v_loop_state loop = { .updates = 1 };
	d2v_status status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK && n < 100000; n += 1 + n / 16) {
		long before = d2v_memory_live();
		d2v_memory_fail_after(n);
		status = d2v_checkpoint_save(in_folder("c"), run.model, run.optimizer, &loop, config_text, NULL);
		d2v_memory_fail_after(-1);
		assert_int_equal(d2v_memory_live(), before);
	}
	assert_int_equal(status, D2V_OK);
	status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK && n < 100000; n += 1 + n / 16) {
		long before = d2v_memory_live();
		d2v_checkpoint *checkpoint;
		d2v_memory_fail_after(n);
		status = d2v_checkpoint_open(&checkpoint, in_folder("c"), NULL);
		if (status == D2V_OK)
			status = d2v_checkpoint_load(checkpoint, run.model, run.optimizer, NULL);
		d2v_checkpoint_close(checkpoint);
		d2v_memory_fail_after(-1);
		assert_int_equal(d2v_memory_live(), before);
	}
	assert_int_equal(status, D2V_OK);
	tiny_run_close(&run);
}

static void flip(const char *path, long at) {
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
	int byte = fgetc(file);
	fseek(file, -1, SEEK_CUR);
	fputc(byte ^ 0x10, file);
	fclose(file);
}

static void quiet(void *context, d2v_log_level level, const char *line) {
	(void)level;
	snprintf(context, 512, "%s", line);
}

static void damage_falls_back_to_the_newest_intact_one(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	d2v_checkpoint *checkpoint;
	d2v_error err = { 0 };
	char said[512] = "";
	tiny_run_open(&run, &config);
	assert_int_equal(d2v_checkpoint_find(&checkpoint, folder, &err), D2V_OK);
	assert_null(checkpoint);
	save(&run, in_folder("checkpoint_4.safetensors"), 4, 0);
	save(&run, in_folder("checkpoint_10.safetensors"), 10, 0);
	save(&run, in_folder("checkpoint_last.safetensors"), 12, 0);
	tiny_run_close(&run);
	d2v_log_set_sink(quiet, said);
	const uint64_t expected[] = { 12, 10, 4 };
	const char *const names[] = { "checkpoint_last.safetensors", "checkpoint_10.safetensors",
		"checkpoint_4.safetensors" };
	for (int i = 0; i < 3; i++) {
		assert_int_equal(d2v_checkpoint_find(&checkpoint, folder, &err), D2V_OK);
		assert_non_null(checkpoint);
		assert_int_equal(d2v_checkpoint_state(checkpoint)->updates, expected[i]);
		d2v_checkpoint_close(checkpoint);
		if (i)
			assert_non_null(strstr(said, names[i])); // it announces itself
		flip(in_folder(names[i]), i == 0 ? -5000 : i == 1 ? 300 : -1);
	}
	assert_int_equal(d2v_checkpoint_find(&checkpoint, folder, &err), D2V_CORRUPT);
	assert_null(checkpoint);
	d2v_log_set_sink(NULL, NULL);
}

static void every_flipped_bit_is_noticed(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	uint64_t size;
	tiny_run_open(&run, &config);
	save(&run, in_folder("c"), 1, 0);
	tiny_run_close(&run);
	assert_int_equal(d2v_file_size(in_folder("c"), &size, NULL), D2V_OK);
	for (uint64_t at = 0; at < size; at += 1 + size / 200) {
		d2v_checkpoint *checkpoint;
		flip(in_folder("c"), (long)at);
		d2v_status status = d2v_checkpoint_open(&checkpoint, in_folder("c"), NULL);
		if (status == D2V_OK)
			fail_msg("byte %llu of %llu", (unsigned long long)at, (unsigned long long)size);
		flip(in_folder("c"), (long)at);
	}
}

static void the_newest_are_kept(void **state) {
	(void)state;
	const int updates[] = { 5, 10, 100, 15, 20 };
	d2v_error err = { 0 };
	for (int i = 0; i < 5; i++) {
		char name[64];
		snprintf(name, sizeof name, "checkpoint_%d.safetensors", updates[i]);
		assert_int_equal(d2v_file_replace(in_folder(name), "x", 1, &err), D2V_OK);
	}
	assert_int_equal(d2v_file_replace(in_folder("checkpoint_last.safetensors"), "x", 1, &err), D2V_OK);
	assert_int_equal(d2v_file_replace(in_folder("checkpoint_1.safetensors.mine"), "x", 1, &err), D2V_OK);
	assert_int_equal(d2v_checkpoint_prune(folder, -1, &err), D2V_OK);
	assert_true(d2v_file_exists(in_folder("checkpoint_5.safetensors")));
	assert_int_equal(d2v_checkpoint_prune(folder, 2, &err), D2V_OK);
	assert_true(d2v_file_exists(in_folder("checkpoint_100.safetensors")));
	assert_true(d2v_file_exists(in_folder("checkpoint_20.safetensors")));
	assert_false(d2v_file_exists(in_folder("checkpoint_15.safetensors")));
	assert_false(d2v_file_exists(in_folder("checkpoint_5.safetensors")));
	assert_true(d2v_file_exists(in_folder("checkpoint_last.safetensors")));
	assert_true(d2v_file_exists(in_folder("checkpoint_1.safetensors.mine")));
}

static void another_model_is_refused(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	d2v_checkpoint *checkpoint;
	d2v_error err = { 0 };
	tiny_run_open(&run, &config);
	save(&run, in_folder("c"), 1, 0);
	tiny_run_close(&run);
	config.depth = 4;
	tiny_run_open(&run, &config);
	assert_int_equal(d2v_checkpoint_open(&checkpoint, in_folder("c"), &err), D2V_OK);
	assert_int_equal(d2v_checkpoint_load(checkpoint, run.model, run.optimizer, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "blocks.3."));
	d2v_checkpoint_close(checkpoint);
	tiny_run_close(&run);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(going_on_at_any_update_gives_the_same_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_change_of_the_state_changes_the_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_failing_disk_leaves_the_previous_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(allocations_may_fail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(damage_falls_back_to_the_newest_intact_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_flipped_bit_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_newest_are_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(another_model_is_refused, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
