#include "base/error.h"

#include "tests/base/scratch.h"

#include <errno.h>
#include <string.h>

static void test_fail_fills_and_returns(void **state) {
	(void)state;
	d2v_error err;
	assert_int_equal(d2v_fail(&err, D2V_CORRUPT, "%s: record %d", "a.mdb", 7), D2V_CORRUPT);
	assert_int_equal(err.status, D2V_CORRUPT);
	assert_string_equal(err.text, "a.mdb: record 7");
	assert_int_equal(d2v_fail(NULL, D2V_IO, "nobody asks"), D2V_IO);
	assert_int_equal(d2v_error_prefix(&err, "shard %d", 3), D2V_CORRUPT);
	assert_string_equal(err.text, "shard 3: a.mdb: record 7");
	// An argument may be the text that is being replaced.
	d2v_fail(&err, D2V_IO, "again: %s", err.text);
	assert_string_equal(err.text, "again: shard 3: a.mdb: record 7");
	d2v_error_clear(&err);
	assert_int_equal(err.status, D2V_OK);
	assert_string_equal(err.text, "");
}

static void test_long_texts_are_cut(void **state) {
	(void)state;
	d2v_error err;
	char text[3 * D2V_ERROR_TEXT];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = 0;
	d2v_fail(&err, D2V_IO, "%s", text);
	assert_int_equal(strlen(err.text), D2V_ERROR_TEXT - 1);
	assert_string_equal(err.text + D2V_ERROR_TEXT - 4, "...");
	errno = EIO;
	d2v_fail_errno(&err, "%s", text);
	assert_true(strlen(err.text) < D2V_ERROR_TEXT);
	d2v_error_prefix(&err, "%s", text);
	assert_true(strlen(err.text) < D2V_ERROR_TEXT);
}

static void test_errno_gives_status_and_reason(void **state) {
	(void)state;
	static const struct {
		int number;
		d2v_status status;
	} cases[] = {
		{ ENOSPC, D2V_NO_SPACE },
		{ EDQUOT, D2V_NO_SPACE },
		{ ENOENT, D2V_NOT_FOUND },
		{ ENOMEM, D2V_NO_MEMORY },
		{ EEXIST, D2V_EXISTS },
		{ EACCES, D2V_IO },
		{ EIO, D2V_IO },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		d2v_error err;
		errno = cases[i].number;
		assert_int_equal(d2v_fail_errno(&err, "file %d", 1), cases[i].status);
		assert_non_null(strstr(err.text, strerror(cases[i].number)));
		assert_int_equal(strncmp(err.text, "file 1: ", 8), 0);
	}
}

static void test_suffix_restates(void **state) {
	(void)state;
	d2v_error err;
	d2v_fail(&err, D2V_INVALID, "dict.txt: line 7: a word twice");
	assert_int_equal(d2v_error_suffix(&err, D2V_CORRUPT, "; ingest %s again", "corpus"), D2V_CORRUPT);
	assert_int_equal(err.status, D2V_CORRUPT);
	assert_string_equal(err.text, "dict.txt: line 7: a word twice; ingest corpus again");
	assert_int_equal(d2v_error_suffix(NULL, D2V_CORRUPT, "%d", 1), D2V_CORRUPT);
}

static void test_table_of_statuses(void **state) {
	(void)state;
	for (int i = 0; i < D2V_STATUS_COUNT; i++) {
		assert_non_null(d2v_status_name((d2v_status)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(d2v_status_name((d2v_status)i), d2v_status_name((d2v_status)j));
		bool one_record = i == D2V_CORRUPT || i == D2V_UNDECODABLE || i == D2V_UNSAFE;
		assert_int_equal(d2v_status_is_skippable((d2v_status)i), one_record);
	}
	assert_int_equal(d2v_status_exit_code(D2V_OK), 0);
	assert_int_equal(d2v_status_exit_code(D2V_IO), 1);
	assert_int_equal(d2v_status_exit_code(D2V_INVALID), 2);
	assert_int_equal(d2v_status_exit_code(D2V_CORRUPT), 3);
	assert_int_equal(d2v_status_exit_code(D2V_INTERRUPTED), 130);
	assert_int_equal(d2v_status_exit_code((d2v_status)99), 1);
	assert_string_equal(d2v_status_name((d2v_status)-1), "unknown");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail_fills_and_returns),
		cmocka_unit_test(test_long_texts_are_cut),
		cmocka_unit_test(test_errno_gives_status_and_reason),
		cmocka_unit_test(test_suffix_restates),
		cmocka_unit_test(test_table_of_statuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
