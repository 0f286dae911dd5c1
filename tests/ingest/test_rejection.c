// What rejected.tsv says: names that programs rely on, and fields that no file's name can break.
#include "tests/base/scratch.h"

#include "ingest/rejection.h"

#include <string.h>

static void test_names_are_for_ever(void **state) {
	(void)state;
	static const char *const names[] = { "none", "undecodable", "too-long", "too-large", "wrong-size", "duplicate",
		"unsafe-name", "not-a-file", "unreadable", "layout", "bad-text" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_string_equal(d2v_reason_name((d2v_reason)i), names[i]);
	for (int i = 0; i < D2V_REASON_COUNT; i++) {
		assert_non_null(d2v_reason_name((d2v_reason)i));
		for (int k = 0; k < i; k++)
			assert_string_not_equal(d2v_reason_name((d2v_reason)i), d2v_reason_name((d2v_reason)k));
	}
	assert_string_equal(d2v_reason_name(D2V_REASON_COUNT), "unknown");
	assert_string_equal(d2v_reason_name((d2v_reason)-1), "unknown");
}

static void test_reject(void **state) {
	(void)state;
	d2v_rejection rejection = { 0 };
	assert_int_equal(d2v_reject(&rejection, D2V_REASON_TOO_LONG, "%d seconds", 7), D2V_REASON_TOO_LONG);
	assert_int_equal(rejection.reason, D2V_REASON_TOO_LONG);
	assert_string_equal(rejection.text, "7 seconds");
	d2v_reject(&rejection, D2V_REASON_LAYOUT, "%0500d", 1);
	assert_int_equal(strlen(rejection.text), D2V_REJECTION_TEXT - 1);
}

static void test_escape(void **state) {
	(void)state;
	static const struct {
		const char *text, *escaped;
	} cases[] = {
		{ "", "" }, { "plain name.flac", "plain name.flac" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xa4", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xa4" },
		{ "a\tb\nc", "a\\x09b\\x0ac" }, { "\x1b[31mred", "\\x1b[31mred" }, { "back\\slash", "back\\x5cslash" },
		{ "\xff\xfe", "\\xff\\xfe" }, { "\xc3", "\\xc3" },
		{ "\xc2\x9b", "\\xc2\\x9b" },          // a control character of two bytes
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, // a surrogate
	};
	char out[64];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(d2v_rejection_escape(cases[i].text, out, sizeof out), cases[i].escaped);
}

// Whatever the room, the field ends, is cut between characters, and says that it was cut.
static void test_escape_is_cut(void **state) {
	(void)state;
	static const char text[] = "ab\xe2\x82\xac\t\xc3\xa4z0123456789";
	char whole[64], out[64];
	d2v_rejection_escape(text, whole, sizeof whole);
	for (size_t size = 4; size < sizeof out; size++) {
		memset(out, 'x', sizeof out);
		d2v_rejection_escape(text, out, size);
		size_t length = strlen(out);
		assert_true(length < size);
		if (strcmp(out, whole) == 0)
			continue;
		assert_string_equal(out + length - 3, "...");
		assert_memory_equal(out, whole, length - 3);
		assert_int_not_equal((unsigned char)whole[length - 3] & 0xc0, 0x80);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_for_ever),
		cmocka_unit_test(test_reject),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
