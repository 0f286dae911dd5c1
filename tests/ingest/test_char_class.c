// Classes of all code points as the original's pattern has them, characters of well-formed and other bytes, and what
// str.strip strips.
#include "tests/base/scratch.h"

#include "base/json.h"
#include "base/memory.h"
#include "ingest/char_class.h"

#include <string.h>

#define CLASSES "tests/golden/data/bpe/char_classes.json"
#define CODE_POINTS 0x110000

static void add_ranges(const json_t *root, const char *key, d2v_char_class kind, unsigned char *kinds) {
	d2v_error err = { 0 };
	json_t *ranges, *range;
	size_t k;
	assert_ok(d2v_json_get_array(root, key, CLASSES, &ranges, &err));
	assert_true(json_array_size(ranges) > 0);
	json_array_foreach(ranges, k, range) {
		json_int_t first = json_integer_value(json_array_get(range, 0)),
				   last = json_integer_value(json_array_get(range, 1));
		assert_true(0 <= first && first <= last && last < CODE_POINTS);
		memset(kinds + first, (int)kind, (size_t)(last - first + 1));
	}
}

static void test_all_code_points(void **state) {
	(void)state;
	d2v_error err = { 0 };
	json_t *root;
	unsigned char *kinds;
	assert_ok(d2v_alloc_zero(&kinds, CODE_POINTS, 1, &err));
	assert_ok(d2v_json_load(CLASSES, 1 << 20, &root, &err));
	add_ranges(root, "letters", D2V_CHAR_LETTER, kinds);
	add_ranges(root, "numbers", D2V_CHAR_NUMBER, kinds);
	add_ranges(root, "whitespace", D2V_CHAR_SPACE, kinds);
	for (uint32_t code = 0; code < CODE_POINTS; code++)
		if (d2v_char_class_of(code) != kinds[code])
			fail_msg("U+%04X is %d, not %d", code, (int)d2v_char_class_of(code), (int)kinds[code]);
	json_decref(root);
	d2v_free(kinds);
}

typedef struct decoding {
	const char *bytes;
	size_t length;
	uint32_t code;
} decoding;

static void test_decode(void **state) {
	(void)state;
	static const decoding cases[] = {
		{ "a", 1, 'a' },
		{ "\x7f", 1, 0x7f },
		{ "\xc2\x80", 2, 0x80 },
		{ "\xdf\xbf", 2, 0x7ff },
		{ "\xe0\xa0\x80", 3, 0x800 },
		{ "\xed\x9f\xbf", 3, 0xd7ff },
		{ "\xee\x80\x80", 3, 0xe000 },
		{ "\xf0\x90\x80\x80", 4, 0x10000 },
		{ "\xf4\x8f\xbf\xbf", 4, 0x10ffff },
		{ "\x80", 1, 0xdc80 },             // no lead
		{ "\xc1\xbf", 1, 0xdcc1 },         // overlong
		{ "\xe0\x9f\xbf", 1, 0xdce0 },     // overlong
		{ "\xed\xa0\x80", 1, 0xdced },     // a surrogate
		{ "\xf0\x8f\xbf\xbf", 1, 0xdcf0 }, // overlong
		{ "\xf4\x90\x80\x80", 1, 0xdcf4 }, // past the end
		{ "\xf5\x80\x80\x80", 1, 0xdcf5 },
		{ "\xc3", 1, 0xdcc3 }, // cut off
		{ "\xe2\x80", 1, 0xdce2 },
		{ "\xf0\x9f\x98", 1, 0xdcf0 },
		{ "\xe2\x80z", 1, 0xdce2 },
		{ "\xff", 1, 0xdcff },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		uint32_t code;
		size_t length = d2v_char_decode((const unsigned char *)cases[k].bytes, strlen(cases[k].bytes), &code);
		if (length != cases[k].length || code != cases[k].code)
			fail_msg("case %zu: %zu bytes, U+%04X", k, length, code);
	}
}

static bool is_stripped(uint32_t code) { // what Python's str.isspace says
	static const uint32_t others[] = { 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000 };
	for (size_t k = 0; k < sizeof others / sizeof *others; k++)
		if (code == others[k])
			return true;
	return (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x20) || (code >= 0x2000 && code <= 0x200a);
}

static size_t put(unsigned char *text, uint32_t code) {
	if (code < 0x80)
		return text[0] = (unsigned char)code, 1;
	size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = length - 1; i > 0; i--, code >>= 6)
		text[i] = (unsigned char)(0x80 | (code & 63));
	text[0] = (unsigned char)((0xf00u >> length) | code);
	return length;
}

static void test_strip(void **state) {
	(void)state;
	for (uint32_t code = 0; code < CODE_POINTS; code++) {
		unsigned char text[16];
		if (code >= 0xd800 && code < 0xe000)
			continue;
		size_t length = put(text, code), all = length;
		text[all++] = 'x';
		all += put(text + all, code);
		size_t start = d2v_char_skip_space(text, all), end = d2v_char_trim_space(text, all);
		if (start != (is_stripped(code) ? length : 0) || end != (is_stripped(code) ? length + 1 : all))
			fail_msg("U+%04X: %zu to %zu of %zu", code, start, end, all);
	}
	static const unsigned char cut[] = "\x80\x85 \x83\xc2"; // ends of white characters, without their beginnings
	assert_int_equal(d2v_char_skip_space(cut, 5), 0);
	assert_int_equal(d2v_char_trim_space(cut, 4), 4);
	assert_int_equal(d2v_char_trim_space(cut, 3), 2);
	assert_int_equal(d2v_char_trim_space(cut, 2), 2);
	assert_int_equal(d2v_char_trim_space(cut, 0), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_code_points),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_strip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
