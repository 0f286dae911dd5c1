// Texts that come before or after their samples: found, not there, or not known yet; and let go when all was taken.
#include "tests/base/scratch.h"

#include "base/memory.h"
#include "ingest/texts.h"

#include <stdio.h>
#include <string.h>

static void add(d2v_texts *texts, const char *path, const char *content, d2v_reason expected) {
	d2v_error err = { 0 };
	d2v_rejection rejection = { 0 };
	assert_ok(d2v_texts_add(texts, path, content, strlen(content), &rejection, &err));
	assert_int_equal(rejection.reason, expected);
}

static void expect(d2v_texts *texts, const char *path, const char *name, d2v_text_answer answer, const char *wanted) {
	const char *text;
	size_t size;
	assert_int_equal(d2v_texts_find(texts, path, name, &text, &size), answer);
	assert_int_equal(size, strlen(wanted));
	assert_memory_equal(text, wanted, size);
}

static void test_three_answers(void **state) {
	(void)state;
	d2v_texts *texts;
	d2v_error err = { 0 };
	assert_ok(d2v_texts_new(&texts, &d2v_layout_librispeech, &err));
	expect(texts, "1/2/1-2.trans.txt", "1-2-0001", D2V_TEXT_UNKNOWN, "");
	expect(texts, "", "1-2-0001", D2V_TEXT_NONE, ""); // nothing holds it
	add(texts, "1/2/1-2.trans.txt", "1-2-0001 ONE\n1-2-0002 TWO\n", D2V_REASON_NONE);
	add(texts, "1/2/1-2.trans.txt", "1-2-0001 ANOTHER\n", D2V_REASON_NONE); // the first counts
	expect(texts, "1/2/1-2.trans.txt", "1-2-0001", D2V_TEXT_FOUND, "ONE");
	expect(texts, "1/2/1-2.trans.txt", "1-2-0003", D2V_TEXT_NONE, "");
	expect(texts, "9/9/9-9.trans.txt", "9-9-0001", D2V_TEXT_UNKNOWN, "");
	assert_false(d2v_texts_is_complete(texts));
	d2v_texts_complete(texts);
	expect(texts, "9/9/9-9.trans.txt", "9-9-0001", D2V_TEXT_NONE, "");
	d2v_texts_clear(texts);
	assert_false(d2v_texts_is_complete(texts));
	expect(texts, "1/2/1-2.trans.txt", "1-2-0001", D2V_TEXT_UNKNOWN, "");
	d2v_texts_free(texts);
	d2v_texts_free(NULL);
}

static void test_what_is_no_text(void **state) {
	(void)state;
	d2v_texts *texts;
	d2v_error err = { 0 };
	d2v_rejection rejection = { 0 };
	assert_ok(d2v_texts_new(&texts, &d2v_layout_librispeech, &err));
	add(texts, "a", "1-2-0001 \xff\xfe\n", D2V_REASON_BAD_TEXT);
	expect(texts, "a", "1-2-0001", D2V_TEXT_NONE, "");
	assert_ok(d2v_texts_add(texts, "b", "1-2-0001 A\0B", 12, &rejection, &err));
	assert_int_equal(rejection.reason, D2V_REASON_BAD_TEXT);
	assert_ok(d2v_texts_add_nothing(texts, "c", &err));
	assert_true(d2v_texts_has(texts, "c"));
	expect(texts, "c", "1-2-0001", D2V_TEXT_NONE, "");
	d2v_texts_free(texts);
}

// A content is let go when as many texts were taken as it has: memory does not grow with the number of chapters.
static void test_let_go(void **state) {
	(void)state;
	d2v_texts *texts;
	d2v_error err = { 0 };
	assert_ok(d2v_texts_new(&texts, &d2v_layout_librispeech, &err));
	add(texts, "warm-up", "1-1-0000 A\n", D2V_REASON_NONE);
	d2v_texts_took(texts, "warm-up");
	long live = d2v_memory_live();
	for (int i = 0; i < 100; i++) { // as many as fit the first table
		char path[32];
		snprintf(path, sizeof path, "chapter %d", i);
		add(texts, path, "1-2-0001 ONE\n1-2-0002 TWO\n", D2V_REASON_NONE);
		d2v_texts_took(texts, path);
		expect(texts, path, "1-2-0002", D2V_TEXT_FOUND, "TWO");
		d2v_texts_took(texts, path);
		expect(texts, path, "1-2-0002", D2V_TEXT_NONE, "");
		assert_int_equal(d2v_memory_live(), live);
	}
	d2v_texts_free(texts);
}

static void test_bound(void **state) {
	(void)state;
	static char content[8 << 20];
	d2v_texts *texts;
	d2v_error err = { 0 };
	d2v_rejection rejection = { 0 };
	d2v_status status = D2V_OK;
	memset(content, 'A', sizeof content);
	assert_ok(d2v_texts_new(&texts, &d2v_layout_librispeech, &err));
	int added = 0;
	for (; status == D2V_OK && added < 20; added++) {
		char path[32];
		snprintf(path, sizeof path, "%d", added);
		status = d2v_texts_add(texts, path, content, sizeof content, &rejection, &err);
	}
	assert_int_equal(status, D2V_UNSAFE);
	assert_int_equal(added, D2V_TEXTS_MAX / sizeof content + 1);
	assert_non_null(strstr(err.text, "--no-text"));
	d2v_texts_free(texts);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_three_answers),
		cmocka_unit_test(test_what_is_no_text),
		cmocka_unit_test(test_let_go),
		cmocka_unit_test(test_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
