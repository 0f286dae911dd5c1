// A folder is there as a whole or not at all, and two programs do not write the same one.
#include "base/file.h"
#include "base/folder_out.h"
#include "base/memory.h"

#include "tests/base/scratch.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_below(const d2v_folder_out *out, const char *name) {
	d2v_error err;
	char *path;
	assert_ok(d2v_path_join(&path, d2v_folder_place(out), name, &err));
	assert_ok(d2v_file_replace(path, "x", 1, &err));
	d2v_free(path);
}

static void test_all_or_nothing(void **state) {
	d2v_error err;
	d2v_folder_out *out;
	const char *path = scratch_path(state, "made");
	assert_ok(d2v_folder_begin(&out, scratch_path(state, "made//"), &err));
	write_below(out, "one");
	assert_false(d2v_file_exists(path));
	d2v_folder_abandon(out);
	assert_false(d2v_file_exists(scratch_path(state, "made.partial")));
	assert_ok(d2v_folder_begin(&out, path, &err));
	write_below(out, "two");
	assert_ok(d2v_folder_commit(out, &err));
	assert_true(d2v_file_exists(scratch_path(state, "made/two")));
	assert_false(d2v_file_exists(scratch_path(state, "made/one")));
	assert_false(d2v_file_exists(scratch_path(state, "made.partial")));
	// Somebody was faster with something of that name.
	assert_ok(d2v_folder_begin(&out, path, &err));
	write_below(out, "three");
	assert_int_not_equal(d2v_folder_commit(out, &err), D2V_OK);
	assert_true(d2v_file_exists(scratch_path(state, "made/two")));
	assert_false(d2v_file_exists(scratch_path(state, "made.partial")));
	d2v_folder_abandon(NULL);
}

static void test_one_at_a_time(void **state) {
	d2v_error err;
	d2v_folder_out *out, *other;
	const char *path = scratch_path(state, "made");
	assert_ok(d2v_folder_begin(&out, path, &err));
	write_below(out, "one");
	assert_int_equal(d2v_folder_begin(&other, path, &err), D2V_EXISTS);
	assert_non_null(strstr(err.text, "another program is writing it"));
	assert_true(d2v_file_exists(scratch_path(state, "made.partial/one")));
	assert_ok(d2v_folder_commit(out, &err));
}

static void test_left_overs_of_dead_runs_go(void **state) {
	d2v_error err;
	d2v_folder_out *out;
	const char *path = scratch_path(state, "made");
	pid_t child = fork();
	if (child == 0) {
		if (d2v_folder_begin(&out, path, &err) == D2V_OK)
			write_below(out, "one");
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(d2v_file_exists(scratch_path(state, "made.partial/one")));
	assert_ok(d2v_folder_begin(&out, path, &err));
	assert_false(d2v_file_exists(scratch_path(state, "made.partial/one")));
	d2v_folder_abandon(out);
	// A link of that name is no way out of the folder.
	assert_int_equal(mkdir(scratch_path(state, "elsewhere"), 0700), 0);
	assert_ok(d2v_file_replace(scratch_path(state, "elsewhere/kept"), "x", 1, &err));
	assert_int_equal(symlink("elsewhere", scratch_path(state, "made.partial")), 0);
	d2v_status begun = d2v_folder_begin(&out, path, &err);
	if (begun == D2V_OK) {
		write_below(out, "one");
		d2v_folder_abandon(out);
	}
	assert_true(d2v_file_exists(scratch_path(state, "elsewhere/kept")));
	assert_false(d2v_file_exists(scratch_path(state, "elsewhere/one")));
}

static void test_memory_walk(void **state) {
	d2v_error err;
	const char *path = scratch_path(state, "made");
	long before = d2v_memory_live();
	for (long n = 0;; n++) {
		d2v_folder_out *out;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_folder_begin(&out, path, &err);
		d2v_memory_fail_after(-1);
		if (status == D2V_OK) {
			d2v_folder_abandon(out);
			assert_true(n > 0);
			break;
		}
		assert_int_equal(status, D2V_NO_MEMORY);
		assert_int_equal(d2v_memory_live(), before);
	}
	assert_int_equal(d2v_memory_live(), before);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void) {
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_all_or_nothing),
		IN_SCRATCH(test_one_at_a_time),
		IN_SCRATCH(test_left_overs_of_dead_runs_go),
		IN_SCRATCH(test_memory_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
