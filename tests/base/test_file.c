#include "base/file.h"
#include "base/memory.h"

#include "tests/base/scratch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_content(const char *path, const char *expected) {
	d2v_error err;
	void *bytes;
	size_t size;
	assert_ok(d2v_file_read(path, 1 << 20, &bytes, &size, &err));
	assert_int_equal(size, strlen(expected));
	assert_string_equal(bytes, expected);
	d2v_free(bytes);
}

static size_t count_names(const char *folder) {
	d2v_error err;
	char **names;
	size_t count;
	assert_ok(d2v_file_list(folder, &names, &count, &err));
	d2v_file_names_free(names, count);
	return count;
}

static void test_read_is_bounded(void **state) {
	d2v_error err;
	void *bytes;
	size_t size;
	const char *path = scratch_path(state, "a");
	assert_ok(d2v_file_replace(path, "twelve bytes", 12, &err));
	check_content(path, "twelve bytes");
	assert_ok(d2v_file_read(path, 12, &bytes, &size, &err));
	d2v_free(bytes);
	assert_int_equal(d2v_file_read(path, 11, &bytes, &size, &err), D2V_INVALID);
	assert_null(bytes);
	assert_int_equal(d2v_file_read(scratch_path(state, "none"), 11, &bytes, &size, &err), D2V_NOT_FOUND);
	assert_int_equal(d2v_file_read(*state, 1 << 20, &bytes, &size, &err), D2V_IO);
	assert_int_equal(d2v_file_read("/dev/zero", 1 << 20, &bytes, &size, &err), D2V_INVALID); // has no size and no end
	assert_ok(d2v_file_read("/dev/null", 10, &bytes, &size, &err));
	assert_int_equal(size, 0);
	d2v_free(bytes);
}

static void test_write_in_pieces(void **state) {
	d2v_error err;
	d2v_file_out *out;
	void *bytes;
	size_t size, total = 0;
	const char *path = scratch_path(state, "big");
	static unsigned char piece[3 << 20];
	for (size_t i = 0; i < sizeof piece; i++)
		piece[i] = (unsigned char)(i * 31 >> 3);
	static const size_t sizes[] = { 0, 1, 1000, 1 << 20, 7, (1 << 20) - 8, 3 << 20, 5, (1 << 20) - 5, 1 };
	assert_ok(d2v_file_begin(&out, path, &err));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		assert_ok(d2v_file_write(out, piece, sizes[i], &err));
		total += sizes[i];
		assert_int_equal(d2v_file_written(out), total);
	}
	assert_false(d2v_file_exists(path)); // not before the commit
	assert_ok(d2v_file_commit(out, &err));
	assert_ok(d2v_file_read(path, total, &bytes, &size, &err));
	assert_int_equal(size, total);
	const unsigned char *at = bytes;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; at += sizes[i++])
		assert_memory_equal(at, piece, sizes[i]);
	d2v_free(bytes);
	assert_int_equal(count_names(*state), 1);
}

static void test_abandon_leaves_nothing(void **state) {
	d2v_error err;
	d2v_file_out *out, *second;
	const char *path = scratch_path(state, "a");
	assert_ok(d2v_file_replace(path, "old", 3, &err));
	assert_ok(d2v_file_begin(&out, path, &err));
	assert_int_equal(d2v_file_begin(&second, path, &err), D2V_EXISTS);
	assert_ok(d2v_file_write(out, "new", 3, &err));
	d2v_file_abandon(out);
	d2v_file_abandon(NULL);
	check_content(path, "old");
	assert_int_equal(count_names(*state), 1);
	assert_int_equal(d2v_file_begin(&out, scratch_path(state, "no/such/folder"), &err), D2V_NOT_FOUND);
	assert_null(out);
	assert_non_null(strstr(err.text, "folder"));
}

// The number of a process that has ended.
static long dead_process(void) {
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	return child;
}

static void test_only_files_are_replaced(void **state) {
	d2v_error err;
	const char *pipe = scratch_path(state, "pipe");
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(d2v_file_replace(pipe, "new", 3, &err), D2V_INVALID);
	struct stat facts;
	assert_int_equal(stat(pipe, &facts), 0);
	assert_true(S_ISFIFO(facts.st_mode));
	assert_int_equal(count_names(scratch_path(state, ".")), 1);
	assert_int_equal(d2v_file_replace(scratch_path(state, "."), "new", 3, &err), D2V_INVALID);
}

static void test_left_overs_of_dead_runs_go(void **state) {
	d2v_error err;
	char name[64];
	snprintf(name, sizeof name, "a.tmp-%ld", dead_process());
	assert_ok(d2v_file_replace(scratch_path(state, name), "half", 4, &err));
	snprintf(name, sizeof name, "b.tmp-%ld", dead_process());
	assert_ok(d2v_file_replace(scratch_path(state, name), "of another file", 15, &err));
	assert_ok(d2v_file_replace(scratch_path(state, "a.tmp-1"), "of a living one", 15, &err));
	assert_ok(d2v_file_replace(scratch_path(state, "a.tmp-mine"), "no process at all", 17, &err));
	snprintf(name, sizeof name, "a.tmp-%ld", (long)getpid());
	assert_ok(d2v_file_replace(scratch_path(state, name), "our own number, long ago", 24, &err));
	assert_ok(d2v_file_replace(scratch_path(state, "a"), "whole", 5, &err));
	check_content(scratch_path(state, "a"), "whole");
	assert_int_equal(count_names(*state), 4);
}

// Every write and fsync fails once: the old file stays, whole, and nothing lies beside it.
static void test_failure_walk(void **state) {
	d2v_error err;
	const char *path = scratch_path(state, "a");
	static char content[(2 << 20) + 3];
	memset(content, 'n', sizeof content - 1);
	long before = d2v_memory_live(), n = 0;
	for (;; n++) {
		assert_ok(d2v_file_replace(path, "old", 3, &err));
		d2v_file_fail_after(n);
		d2v_status status = d2v_file_replace(path, content, sizeof content - 1, &err);
		d2v_file_fail_after(-1);
		assert_int_equal(count_names(*state), 1);
		if (status == D2V_OK)
			break;
		assert_int_equal(status, D2V_NO_SPACE);
		uint64_t size;
		assert_ok(d2v_file_size(path, &size, &err));
		// The last step is the fsync of the folder: by then the new file has the name, and is whole.
		assert_true(size == 3 || (n == 2 && size == sizeof content - 1));
	}
	assert_int_equal(n, 3); // a write, an fsync, an fsync of the folder
	assert_int_equal(d2v_memory_live(), before);
}

static void test_a_failed_write_is_not_forgotten(void **state) {
	d2v_error err;
	d2v_file_out *out;
	static char content[2 << 20];
	assert_ok(d2v_file_begin(&out, scratch_path(state, "a"), &err));
	d2v_file_fail_after(0);
	assert_int_equal(d2v_file_write(out, content, sizeof content, &err), D2V_NO_SPACE);
	assert_int_equal(d2v_file_write(out, content, 1, &err), D2V_IO);
	assert_int_equal(d2v_file_commit(out, &err), D2V_IO);
	assert_int_equal(count_names(*state), 0);
}

static void test_memory_walk(void **state) {
	d2v_error err;
	const char *folder = scratch_path(state, "x/y"), *path = scratch_path(state, "x/y/a");
	long before = d2v_memory_live();
	for (long n = 0;; n++) {
		char **names = NULL;
		size_t count = 0, size;
		void *bytes = NULL;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_file_make_directories(folder, &err);
		if (status == D2V_OK)
			status = d2v_file_replace(path, "new", 3, &err);
		if (status == D2V_OK)
			status = d2v_file_read(path, 10, &bytes, &size, &err);
		if (status == D2V_OK)
			status = d2v_file_list(folder, &names, &count, &err);
		if (status == D2V_OK)
			status = d2v_file_remove_tree(folder, &err);
		d2v_memory_fail_after(-1);
		d2v_free(bytes);
		d2v_file_names_free(names, count);
		assert_int_equal(d2v_memory_live(), before);
		assert_true(n < 100);
		if (status == D2V_OK)
			break;
		assert_int_equal(status, D2V_NO_MEMORY);
	}
	assert_false(d2v_file_exists(folder));
}

static void test_folders(void **state) {
	d2v_error err;
	const char *deep = scratch_path(state, "a/b//c/d/");
	assert_ok(d2v_file_make_directories(deep, &err));
	assert_ok(d2v_file_make_directories(deep, &err));
	assert_true(d2v_file_is_directory(deep));
	assert_ok(d2v_file_replace(scratch_path(state, "a/b/file"), "x", 1, &err));
	assert_false(d2v_file_is_directory(scratch_path(state, "a/b/file")));
	assert_int_equal(d2v_file_make_directories(scratch_path(state, "a/b/file/under"), &err), D2V_IO);
	uint64_t space;
	assert_ok(d2v_file_space_free(scratch_path(state, "not/there/yet"), &space, &err));
	assert_ok(d2v_file_space_free("relative-and-not-there", &space, &err));
	assert_ok(d2v_file_sync(scratch_path(state, "a/b/file"), &err));
	assert_int_equal(d2v_file_sync(scratch_path(state, "none"), &err), D2V_NOT_FOUND);
	assert_ok(d2v_file_sync_all(scratch_path(state, "a"), &err));
	assert_int_equal(d2v_file_sync_all(scratch_path(state, "none"), &err), D2V_NOT_FOUND);
	d2v_file_fail_after(0);
	assert_int_equal(d2v_file_sync_all(scratch_path(state, "a"), &err), D2V_NO_SPACE);
	d2v_file_fail_after(-1);
	assert_ok(d2v_file_remove(scratch_path(state, "none"), &err));
}

static void test_remove_tree_follows_no_links(void **state) {
	d2v_error err;
	assert_ok(d2v_file_make_directories(scratch_path(state, "kept"), &err));
	assert_ok(d2v_file_replace(scratch_path(state, "kept/file"), "x", 1, &err));
	assert_ok(d2v_file_make_directories(scratch_path(state, "gone/inner"), &err));
	assert_int_equal(symlink(scratch_path(state, "kept"), scratch_path(state, "gone/inner/link")), 0);
	assert_int_equal(symlink(scratch_path(state, "kept"), scratch_path(state, "link")), 0);
	assert_ok(d2v_file_remove_tree(scratch_path(state, "gone"), &err));
	assert_ok(d2v_file_remove_tree(scratch_path(state, "gone"), &err));
	assert_ok(d2v_file_remove_tree(scratch_path(state, "link"), &err));
	assert_false(d2v_file_exists(scratch_path(state, "gone")));
	check_content(scratch_path(state, "kept/file"), "x");
}

static void test_list_is_sorted(void **state) {
	d2v_error err;
	char **names;
	size_t count;
	static const char *const made[] = { "b", "a", "a10", "a2", ".hidden", "Z" };
	for (int i = 0; i < 6; i++)
		assert_ok(d2v_file_replace(scratch_path(state, made[i]), "", 0, &err));
	assert_ok(d2v_file_list(*state, &names, &count, &err));
	static const char *const expected[] = { ".hidden", "Z", "a", "a10", "a2", "b" };
	assert_int_equal(count, 6);
	for (int i = 0; i < 6; i++)
		assert_string_equal(names[i], expected[i]);
	d2v_file_names_free(names, count);
	assert_int_equal(d2v_file_list(scratch_path(state, "none"), &names, &count, &err), D2V_NOT_FOUND);
}

static void test_lock(void **state) {
	d2v_error err;
	int first, second;
	const char *path = scratch_path(state, "lock");
	assert_ok(d2v_file_lock(&first, path, &err));
	assert_int_equal(d2v_file_lock(&second, path, &err), D2V_EXISTS);
	assert_int_equal(second, -1);
	d2v_file_unlock(first);
	assert_ok(d2v_file_lock(&second, path, &err));
	d2v_file_unlock(second);
	d2v_file_unlock(-1);
}

static void test_paths(void **state) {
	(void)state;
	d2v_error err;
	static const char *const joined[][3] = { { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" },
		{ "/", "b", "/b" } };
	for (int i = 0; i < 4; i++) {
		char *path;
		assert_ok(d2v_path_join(&path, joined[i][0], joined[i][1], &err));
		assert_string_equal(path, joined[i][2]);
		d2v_free(path);
	}
	assert_string_equal(d2v_path_name("a/b/c"), "c");
	assert_string_equal(d2v_path_name("c"), "c");
	static const char *const safe[] = { "a", "a/b", "./a", "a/./b", "..a", "a..", "...", ".hidden", "a//b" };
	static const char *const unsafe[] = { "", "/", "/a", "..", "../a", "a/..", "a/../b", ".", "./", "//", "a/b/../.." };
	for (size_t i = 0; i < sizeof safe / sizeof *safe; i++)
		assert_true(d2v_path_is_safe(safe[i]));
	for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
		assert_false(d2v_path_is_safe(unsafe[i]));
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void) {
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(test_read_is_bounded),
		IN_SCRATCH(test_write_in_pieces),
		IN_SCRATCH(test_abandon_leaves_nothing),
		IN_SCRATCH(test_only_files_are_replaced),
		IN_SCRATCH(test_left_overs_of_dead_runs_go),
		IN_SCRATCH(test_failure_walk),
		IN_SCRATCH(test_a_failed_write_is_not_forgotten),
		IN_SCRATCH(test_memory_walk),
		IN_SCRATCH(test_folders),
		IN_SCRATCH(test_remove_tree_follows_no_links),
		IN_SCRATCH(test_list_is_sorted),
		IN_SCRATCH(test_lock),
		cmocka_unit_test(test_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
