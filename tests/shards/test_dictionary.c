// fairseq's dictionary: rows of the specials, of a given file and of a corpus; what is refused; what is written.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/dictionary.h"
#include "shards/vocabulary.h"

#include <string.h>

#define IDS 300

static d2v_dictionary *parse(const char *text) {
	d2v_error err = { 0 };
	d2v_dictionary *dictionary;
	assert_ok(d2v_dictionary_parse(&dictionary, text, strlen(text), "dict.txt", IDS, &err));
	return dictionary;
}

static void test_rows_are_lines(void **state) {
	(void)state;
	uint32_t ids;
	// The first lines of the published file.
	d2v_dictionary *dictionary = parse("13 850314647\n262 800385005\n11 800251374\n284 432911125\nmadeupword0000 0\n");
	assert_int_equal(d2v_dictionary_rows(dictionary), 4 + 5 + 1);
	assert_int_equal(d2v_dictionary_mask(dictionary), 9);
	assert_int_equal(d2v_dictionary_row(dictionary, 13), 4);
	assert_int_equal(d2v_dictionary_row(dictionary, 262), 5);
	assert_int_equal(d2v_dictionary_row(dictionary, 11), 6);
	assert_int_equal(d2v_dictionary_row(dictionary, 284), 7);
	assert_int_equal(d2v_dictionary_row(dictionary, 0), D2V_DICTIONARY_UNK);
	assert_int_equal(d2v_dictionary_row(dictionary, IDS), D2V_DICTIONARY_UNK);
	assert_int_equal(d2v_dictionary_gpt2_id(dictionary, 5), 262);
	for (uint32_t row = 0; row < D2V_DICTIONARY_SPECIALS; row++)
		assert_int_equal(d2v_dictionary_gpt2_id(dictionary, row), D2V_NO_TOKEN);
	for (uint32_t row = 8; row < 12; row++)
		assert_int_equal(d2v_dictionary_gpt2_id(dictionary, row), D2V_NO_TOKEN);
	const uint32_t *map = d2v_dictionary_map(dictionary, &ids);
	assert_int_equal(ids, IDS);
	for (uint32_t id = 0; id < ids; id++)
		assert_int_equal(map[id], d2v_dictionary_row(dictionary, id));
	d2v_dictionary_free(dictionary);
}

static void test_refused(void **state) {
	(void)state;
	static const char *const texts[] = { "", "13\n", "13 x\n", "13 -1\n", "013 5\n", "hello 5\n", "300 5\n",
		"13 5\n13 4\n", "13 5\n\n", "madeupword001 0\n", "madeupword00001 0\n", " 5\n", "13 99999999999999999999\n",
		"<s> 4\n", "13 5\r\n" };
	for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
		d2v_error err = { 0 };
		d2v_dictionary *dictionary;
		if (d2v_dictionary_parse(&dictionary, texts[k], strlen(texts[k]), "dict.txt", IDS, &err) != D2V_INVALID)
			fail_msg("'%s' was read", texts[k]);
		assert_non_null(strstr(err.text, "dict.txt"));
		assert_null(dictionary);
	}
}

static void check_file(const char *path, const char *expected) {
	d2v_error err = { 0 };
	void *text;
	size_t size;
	assert_ok(d2v_file_read(path, 1 << 20, &text, &size, &err));
	assert_string_equal(text, expected);
	d2v_free(text);
}

static void test_of_a_corpus(void **state) {
	static uint64_t counts[IDS];
	d2v_error err = { 0 };
	d2v_dictionary *built, *loaded;
	const char *path = scratch_path(state, "dict.txt");
	counts[9] = counts[10] = counts[100] = 7;
	counts[250] = 8;
	counts[3] = 1;
	assert_ok(d2v_dictionary_build(&built, counts, IDS, &err));
	assert_ok(d2v_dictionary_save(built, path, &err));
	check_file(path, "250 8\n10 7\n100 7\n9 7\n3 1\nmadeupword0000 0\nmadeupword0001 0\nmadeupword0002 0\n"
					 "madeupword0003 0\nmadeupword0004 0\nmadeupword0005 0\nmadeupword0006 0\n");
	assert_int_equal(d2v_dictionary_rows(built), 16 + 1);
	assert_ok(d2v_dictionary_load(&loaded, path, IDS, &err));
	assert_int_equal(d2v_dictionary_rows(loaded), d2v_dictionary_rows(built));
	for (uint32_t id = 0; id < IDS; id++)
		assert_int_equal(d2v_dictionary_row(loaded, id), d2v_dictionary_row(built, id));
	d2v_dictionary_free(loaded);
	d2v_dictionary_free(built);
}

static void test_failures(void **state) {
	static uint64_t counts[IDS] = { 1, 2, 3 };
	const char *path = scratch_path(state, "dict.txt");
	long live = d2v_memory_live();
	for (long n = 0; n < 3; n++) {
		d2v_dictionary *dictionary;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_dictionary_build(&dictionary, counts, IDS, NULL);
		d2v_memory_fail_after(-1);
		assert_int_equal(status, D2V_NO_MEMORY);
		assert_int_equal(d2v_memory_live(), live);
	}
	d2v_error err = { 0 };
	d2v_dictionary *dictionary;
	assert_ok(d2v_dictionary_build(&dictionary, counts, IDS, &err));
	d2v_file_fail_after(0);
	assert_int_equal(d2v_dictionary_save(dictionary, path, NULL), D2V_NO_SPACE);
	d2v_file_fail_after(-1);
	assert_false(d2v_file_exists(path));
	d2v_dictionary_free(dictionary);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_are_lines),
		cmocka_unit_test(test_refused),
		cmocka_unit_test_setup_teardown(test_of_a_corpus, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_failures, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
