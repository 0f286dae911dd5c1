// The vocabulary's two files: what is read, and what is refused and in which words.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_ROOM 16384

// Tokens for all bytes, and what is given behind them.
static void write_json(char *json, const char *more) {
	size_t size = (size_t)snprintf(json, TEXT_ROOM, "{");
	unsigned next = 0x100;
	for (unsigned byte = 0; byte < 256; byte++) {
		bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
		size += (size_t)snprintf(json + size, TEXT_ROOM - size, "\"\\u%04x\": %u, ", plain ? byte : next++, byte);
	}
	size -= *more ? 0 : 2;
	snprintf(json + size, TEXT_ROOM - size, "%s}", more);
}

static d2v_status parse(d2v_vocabulary **vocabulary, const char *more, const char *merges, d2v_error *err) {
	char json[TEXT_ROOM];
	write_json(json, more);
	return d2v_vocabulary_parse(vocabulary, json, strlen(json), merges, strlen(merges), "folder", err);
}

static void test_read(void **state) {
	(void)state;
	d2v_error err = { 0 };
	d2v_vocabulary *vocabulary;
	uint32_t count;
	// U+0120 is a space.
	assert_ok(parse(&vocabulary, "\"ab\": 258, \"\\u0120ab\": 256, \"<|endoftext|>\": 257",
		"#version: 0.2\na b\n\xc4\xa0 ab\n", &err));
	assert_int_equal(d2v_vocabulary_size(vocabulary), 259);
	assert_int_equal(d2v_vocabulary_end_of_text(vocabulary), 257);
	for (unsigned byte = 0; byte < 256; byte++)
		assert_int_equal(d2v_vocabulary_byte(vocabulary, (unsigned char)byte), byte);
	const d2v_merge *merges = d2v_vocabulary_merges(vocabulary, &count);
	assert_int_equal(count, 2);
	assert_int_equal(merges[1].left, ' ');
	assert_int_equal(merges[1].right, 258);
	assert_int_equal(merges[1].product, 256);
	const uint32_t ids[] = { 256, 0, 255, 257, 258 };
	char bytes[64];
	size_t size;
	assert_ok(d2v_vocabulary_decode(vocabulary, ids, 5, bytes, sizeof bytes, &size, &err));
	assert_int_equal(size, 20);
	assert_memory_equal(bytes, " ab\0\xff<|endoftext|>ab", size);
	assert_ok(d2v_vocabulary_decode(vocabulary, ids, 5, NULL, 0, &size, &err));
	assert_int_equal(size, 20);
	const uint32_t bad[] = { 259 };
	assert_int_equal(d2v_vocabulary_decode(vocabulary, bad, 1, bytes, sizeof bytes, &size, &err), D2V_CORRUPT);
	d2v_vocabulary_free(vocabulary);
}

typedef struct refusal {
	const char *json, *merges, *words;
} refusal;

static void test_refused(void **state) {
	(void)state;
	static const refusal cases[] = {
		{ "\"ab\": 256", "a b\n", "line 1" },
		{ "\"ab\": 256", "", "line 1" },
		{ "\"ab\": 256", "#version: 0.2\na b", "line 2" }, // cut off
		{ "\"ab\": 256", "#version: 0.2\na  b\n", "line 2" },
		{ "\"ab\": 256", "#version: 0.2\nab\n", "line 2" },
		{ "\"ab\": 256", "#version: 0.2\n\n", "line 2" },
		{ "\"ab\": 256", "#version: 0.2\na b\r\n", "line 2" },
		{ "\"ab\": 256", "#version: 0.2\na c\n", "line 2" },                     // makes no token
		{ "\"ab\": 256", "#version: 0.2\na b\na b\n", "line 3" },                // twice
		{ "\"ab\": 256, \"abc\": 257", "#version: 0.2\nab c\na b\n", "line 2" }, // not made yet
		{ "\"ab\": 256, \"bc\": 257, \"abc\": 258", "#version: 0.2\na b\nb c\nab c\na bc\n", "line 5" },
		{ "\"ab\": 255", "#version: 0.2\n", "255" },
		{ "\"ab\": 257", "#version: 0.2\n", "ab" },
		{ "\"ab\": -1", "#version: 0.2\n", "ab" },
		{ "\"ab\": 256.0", "#version: 0.2\n", "ab" },
		{ "\"a b\": 256", "#version: 0.2\n", "a b" }, // a space is spelled otherwise
		{ "\"\\u4e2d\": 256", "#version: 0.2\n", "encoder.json" },
		{ "\"\": 256", "#version: 0.2\n", "encoder.json" },
		{ "\"a\": 256", "#version: 0.2\n", "encoder.json" }, // twice
		{ "\"ab\": 256", "#version: 0.2\na \xff\n", "line 2" },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		d2v_error err = { 0 };
		d2v_vocabulary *vocabulary;
		if (parse(&vocabulary, cases[k].json, cases[k].merges, &err) != D2V_INVALID)
			fail_msg("case %zu was read", k);
		if (!strstr(err.text, cases[k].words) || !strstr(err.text, "folder/"))
			fail_msg("case %zu: '%s' does not say %s", k, err.text, cases[k].words);
		assert_null(vocabulary);
	}
}

static void test_other_json(void **state) {
	(void)state;
	static const char *const texts[] = { "", "[]", "{}", "{\"a\": 0}", "3", "{" };
	for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
		d2v_error err = { 0 };
		d2v_vocabulary *vocabulary;
		assert_int_equal(d2v_vocabulary_parse(&vocabulary, texts[k], strlen(texts[k]), "#version\n", 9, "folder", &err),
			D2V_INVALID);
		assert_non_null(strstr(err.text, "folder/encoder.json"));
	}
}

static void test_files(void **state) {
	d2v_error err = { 0 };
	d2v_vocabulary *vocabulary;
	char json[TEXT_ROOM];
	write_json(json, "");
	assert_int_equal(d2v_vocabulary_load(&vocabulary, *state, &err), D2V_NOT_FOUND);
	assert_non_null(strstr(err.text, "encoder.json"));
	assert_ok(d2v_file_replace(scratch_path(state, "encoder.json"), json, strlen(json), &err));
	assert_int_equal(d2v_vocabulary_load(&vocabulary, *state, &err), D2V_NOT_FOUND);
	assert_non_null(strstr(err.text, "vocab.bpe"));
	assert_ok(d2v_file_replace(scratch_path(state, "vocab.bpe"), "#version: 0.2\n", 14, &err));
	assert_ok(d2v_vocabulary_load(&vocabulary, *state, &err));
	assert_int_equal(d2v_vocabulary_size(vocabulary), 256);
	assert_int_equal(d2v_vocabulary_end_of_text(vocabulary), D2V_NO_TOKEN);
	d2v_vocabulary_free(vocabulary);
}

static void test_gpt2(void **state) {
	(void)state;
	const char *shared = getenv("D2V_SHARED");
	char folder[SCRATCH_PATH];
	d2v_error err = { 0 };
	d2v_vocabulary *vocabulary;
	uint32_t count;
	snprintf(folder, sizeof folder, "%s/data/gpt2", shared ? shared : "");
	if (!shared || !*shared || !d2v_file_is_directory(folder))
		skip();
	assert_ok(d2v_vocabulary_load(&vocabulary, folder, &err));
	assert_int_equal(d2v_vocabulary_size(vocabulary), 50257);
	assert_int_equal(d2v_vocabulary_end_of_text(vocabulary), 50256);
	d2v_vocabulary_merges(vocabulary, &count);
	assert_int_equal(count, 50000);
	d2v_token token = d2v_vocabulary_token(vocabulary, 995);
	assert_int_equal(token.size, 6);
	assert_memory_equal(token.bytes, " world", 6);
	d2v_vocabulary_free(vocabulary);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_other_json),
		cmocka_unit_test_setup_teardown(test_files, scratch_set_up, scratch_tear_down),
		cmocka_unit_test(test_gpt2),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
