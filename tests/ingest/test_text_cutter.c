// Text into pieces and lines: the same lines however the bytes come and wherever the pieces end, held against a plain
// splitter of whole texts.
#include "base/memory.h"
#include "base/random.h"
#include "ingest/char_class.h"
#include "ingest/text_lines.h"
#include "tests/base/scratch.h"
#include "tests/ingest/given_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static d2v_error err;

// What was made of a text: its lines, "\n" behind each whole one, "\f" behind each document, "\v" where a line is cut.
typedef struct outcome {
	char *text;
	size_t size, capacity;
	uint64_t empty, pieces, bad;
} outcome;

static void put(outcome *to, const void *bytes, size_t size) {
	if (to->size + size + 1 > to->capacity)
		to->text = realloc(to->text, to->capacity = (to->size + size + 1) * 2);
	if (size)
		memcpy(to->text + to->size, bytes, size);
	to->size += size;
	to->text[to->size] = '\0';
}

static d2v_status on_line(void *context, const unsigned char *line, size_t size, bool whole, d2v_error *e) {
	(void)e;
	put(context, line, size);
	put(context, whole ? "\n" : "\v", 1);
	return D2V_OK;
}

static d2v_status on_document(void *context, d2v_error *e) {
	(void)e;
	put(context, "\f", 1);
	return D2V_OK;
}

static outcome cut(const char *text, size_t size, size_t block, const char *field) {
	given_bytes given = { .bytes = text, .size = size, .block = block };
	d2v_bytes bytes = given_bytes_open(&given);
	d2v_text_cutter *cutter;
	outcome made = { 0 };
	d2v_text_sink sink = { on_line, on_document, &made };
	unsigned char *piece_bytes = NULL;
	size_t capacity = 0;
	d2v_text_piece piece;
	d2v_status status;
	put(&made, "", 0);
	assert_ok(d2v_text_cutter_new(&cutter, &err));
	assert_ok(d2v_text_cutter_start(cutter, &bytes, field, &err));
	for (;;) {
		d2v_rejection rejection = { 0 };
		status = d2v_text_cutter_next(cutter, &piece_bytes, &capacity, &piece, &rejection, &err);
		if (status != D2V_OK)
			break;
		assert_true(piece.size <= D2V_CUTTER_PIECE);
		made.pieces++;
		made.bad += rejection.reason != D2V_REASON_NONE;
		if (rejection.reason == D2V_REASON_NONE)
			assert_ok(d2v_text_lines(piece_bytes, &piece, &sink, &made.empty, &err));
	}
	assert_int_equal(status, D2V_END);
	d2v_free(piece_bytes);
	d2v_text_cutter_free(cutter);
	return made;
}

// Plainly: a document in memory, a character at a time.
static outcome cut_plainly(const char *text, size_t size) {
	outcome made = { 0 };
	const unsigned char *at = (const unsigned char *)text, *end = at + size;
	put(&made, "", 0);
	if (d2v_char_skip_space(at, size) == size) {
		made.empty = 1;
		return made;
	}
	while (at < end) {
		const unsigned char *stop = at;
		while (stop < end && *stop != '\n' && *stop != '\r')
			stop++;
		size_t left = (size_t)(stop - at), skipped = d2v_char_skip_space(at, left);
		put(&made, at + skipped, d2v_char_trim_space(at + skipped, left - skipped));
		put(&made, "\n", 1);
		at = stop;
		if (at < end)
			at += end - at > 1 && at[0] == '\r' && at[1] == '\n' ? 2 : 1;
	}
	put(&made, "\f", 1);
	return made;
}

// Without the marks of cuts.
static void join(outcome *made) {
	size_t used = 0;
	for (size_t i = 0; i < made->size; i++)
		if (made->text[i] != '\v')
			made->text[used++] = made->text[i];
	made->text[made->size = used] = '\0';
}

static void check_same(const char *text, size_t size, size_t block) {
	outcome made = cut(text, size, block, NULL), plain = cut_plainly(text, size);
	join(&made);
	assert_int_equal(made.size, plain.size);
	assert_memory_equal(made.text, plain.text, made.size);
	assert_int_equal(made.empty, plain.empty);
	free(made.text);
	free(plain.text);
}

static void test_lines(void **state) {
	(void)state;
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		{ "a", "a\n\f" },
		{ "a\n", "a\n\f" },
		{ "a\n\n", "a\n\n\f" },
		{ "a\nb", "a\nb\n\f" },
		{ "\na", "\na\n\f" },
		{ "a\r\nb\rc\n\rd\r", "a\nb\nc\n\nd\n\f" },
		{ "  a b \t\n \nc", "a b\n\nc\n\f" },
		{ "\xC2\xA0\xE3\x80\x80"
		  "a\xE2\x80\xA8"
		  "b\xC2\x85\n",
			"a\xE2\x80\xA8"
			"b\n\f" }, // no line ends, but white
		{ "\x1C"
		  "a\x1F\n",
			"a\n\f" },
		{ "\xEF\xBB\xBF"
		  "a",
			"\xEF\xBB\xBF"
			"a\n\f" },
		{ "", "" },
		{ "\n \r\n\xE2\x80\x83", "" },
		{ "a \xFF b\n", "a \xFF b\n\f" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t block = 0; block < 4; block++) {
			outcome made = cut(cases[i].text, strlen(cases[i].text), block, NULL);
			assert_string_equal(made.text, cases[i].wanted);
			assert_int_equal(made.empty, cases[i].wanted[0] ? 0 : 1);
			free(made.text);
			check_same(cases[i].text, strlen(cases[i].text), block);
		}
}

static char *random_text(d2v_random *random, size_t size, const char *const *parts, uint32_t count) {
	char *text = malloc(size + 16);
	for (size_t used = 0; used < size;) {
		const char *part = parts[d2v_random_below(random, count)];
		size_t length = strlen(part);
		memcpy(text + used, part, length);
		used += length;
	}
	return text;
}

static void test_pieces_of_large_texts(void **state) {
	(void)state;
	static const char *const prose[] = { "word ", "a ", "end.\n", "\n", "\r\n", " \xC3\xA9t\xC3\xA9", "\t", "x\r" };
	static const char *const wide[] = { "long", "er ", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80", ", ", "'s", "7" };
	static const size_t sizes[] = { D2V_CUTTER_PIECE - 1, D2V_CUTTER_PIECE, D2V_CUTTER_PIECE + 1, 3 * D2V_CUTTER_PIECE,
		2000001 };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(8, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *text = random_text(&random, sizes[i], prose, sizeof prose / sizeof *prose);
		check_same(text, sizes[i], 60000);
		free(text);
		text = random_text(&random, sizes[i], wide, sizeof wide / sizeof *wide); // one line
		check_same(text, sizes[i], 4096);
		outcome made = cut(text, sizes[i], 0, NULL);
		assert_true(made.pieces >= sizes[i] / D2V_CUTTER_PIECE);
		free(made.text);
		free(text);
	}
}

// A line end of two characters where a piece ends, at every place around it.
static void test_line_ends_at_the_border(void **state) {
	(void)state;
	size_t size = D2V_CUTTER_PIECE + 40;
	char *text = malloc(size);
	for (int shift = -6; shift <= 6; shift++)
		for (int kind = 0; kind < 4; kind++) {
			memset(text, 'a', size);
			char *at = text + (int)D2V_CUTTER_PIECE + shift;
			memcpy(at, kind == 0 ? "\r\n" : kind == 1 ? "\r " : kind == 2 ? " \n" : "\n\n", 2);
			for (size_t i = 5; i < D2V_CUTTER_PIECE / 2; i += 6)
				text[i] = ' ';
			check_same(text, size, 0);
			check_same(text, (size_t)(at + 2 - text), 0);
			check_same(text, (size_t)(at + 1 - text), 0);
		}
	free(text);
}

// Wherever a line is cut the pattern would have cut it: before white space, or before a symbol behind a word.
static void test_where_lines_are_cut(void **state) {
	(void)state;
	static const char *const parts[] = { "don't ", "we'll, ", "x1y22 ", "\xC3\xA9\xE4\xB8\xAD", "  ", "!?",
		"\xE2\x80\x83", "\x1C" };
	size_t size = 5 * D2V_CUTTER_PIECE;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(9, D2V_RANDOM_SYNTHETIC, 0, 0));
	char *text = random_text(&random, size, parts, sizeof parts / sizeof *parts);
	outcome made = cut(text, size, 0, NULL);
	int cuts = 0;
	for (size_t i = 1; i + 1 < made.size; i++) {
		if (made.text[i] != '\v')
			continue;
		const unsigned char *after = (unsigned char *)made.text + i + 1, *before = after - 2;
		uint32_t code, last;
		while (before > (unsigned char *)made.text && (*before & 0xC0) == 0x80)
			before--;
		d2v_char_decode(after, made.size - i - 1, &code);
		d2v_char_decode(before, 4, &last);
		d2v_char_class a = d2v_char_class_of(last), b = d2v_char_class_of(code);
		assert_true((b == D2V_CHAR_SPACE && a != D2V_CHAR_SPACE) ||
					(b == D2V_CHAR_OTHER && (a == D2V_CHAR_LETTER || a == D2V_CHAR_NUMBER)));
		assert_int_equal(d2v_char_skip_space(before, (size_t)(after - 1 - before)), 0);
		cuts++;
	}
	assert_true(cuts >= 4);
	free(made.text);
	free(text);
}

static void test_text_that_is_none(void **state) {
	(void)state;
	size_t size = 3 << 20;
	char *text = malloc(size);
	memset(text, 'a', size); // one word: cut, and nothing lost
	check_same(text, size, 60000);
	memset(text, '\xBF', size); // no UTF-8 at all
	check_same(text, size, 60000);
	memset(text, ' ', size); // white: an empty document
	check_same(text, size, 60000);
	text[size - 1] = 'x'; // what is white before everything else is stripped anyway
	check_same(text, size, 60000);
	text[0] = 'x', text[size - 1] = ' ', text[size - 2] = '\n'; // and behind it
	check_same(text, size, 60000);
	text[size - 1] = 'y'; // a line ends in more white space than a piece holds
	check_same(text, size, 60000);
	text[size - 2] = ' '; // within a line it is lost
	outcome made = cut(text, size, 60000, NULL);
	join(&made);
	assert_true(made.text[0] == 'x' && made.text[made.size - 3] == 'y' && made.size < 2 * D2V_CUTTER_PIECE);
	free(made.text);
	memset(text, '\n', size), text[size - 1] = 'x'; // so many blank lines before the first
	made = cut(text, size, 60000, NULL);
	assert_true(made.size < D2V_CUTTER_PIECE + 8 && strcmp(made.text + made.size - 3, "x\n\f") == 0);
	free(made.text);
	memset(text, '\n', size), text[0] = 'x'; // behind it they are kept
	check_same(text, size, 60000);
	free(text);
}

static void test_json_lines(void **state) {
	(void)state;
	static const char input[] =
		"{\"text\": \" one\\ntwo \"}\n{\"text\": \"\"}\nbad\n{\"text\": \"three\"} x\n{\"text\": \"four\"}\n";
	outcome made = cut(input, sizeof input - 1, 3, "text");
	assert_string_equal(made.text, "one\ntwo\n\ffour\n\f");
	assert_int_equal(made.empty, 1);
	assert_int_equal(made.bad, 2);
	free(made.text);
}

// Large strings; one that proves bad when its beginning was handed out already ends there.
static void test_large_json_lines(void **state) {
	(void)state;
	size_t size = 1200000;
	char *input = malloc(2 * size + 100), *at = input;
	at += sprintf(at, "{\"text\": \"");
	memset(at, 'w', size);
	for (size_t i = 0; i < size; i += 10)
		at[i] = i % 100 ? ' ' : '.';
	at += size;
	at += sprintf(at, "\"}\n{\"text\": \"");
	memset(at, 'v', size);
	for (size_t i = 0; i < size; i += 10)
		at[i] = ' ';
	at += size;
	at += sprintf(at, "\"\n{\"text\": \"last\"}\n");
	outcome made = cut(input, (size_t)(at - input), 0, "text");
	join(&made);
	char *end = strchr(made.text, '\f'), *second = strchr(end + 1, '\f');
	assert_int_equal(end - made.text, size + 1); // and its line end
	assert_true(second && (size_t)(second - end) > D2V_CUTTER_PIECE / 2 && end[1] == 'v');
	assert_string_equal(second + 1, "last\n\f");
	assert_int_equal(made.bad, 1);
	free(made.text);
	free(input);
}

static void test_failing_allocations(void **state) {
	(void)state;
	static const char input[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
	long live = d2v_memory_live();
	for (long n = 0;; n++) {
		given_bytes given = { .bytes = input, .size = sizeof input - 1 };
		d2v_bytes bytes = given_bytes_open(&given);
		d2v_text_cutter *cutter = NULL;
		unsigned char *out = NULL;
		size_t capacity = 0;
		d2v_text_piece piece;
		d2v_rejection rejection;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_text_cutter_new(&cutter, NULL);
		if (status == D2V_OK)
			status = d2v_text_cutter_start(cutter, &bytes, "text", NULL);
		if (status == D2V_OK)
			status = d2v_text_cutter_next(cutter, &out, &capacity, &piece, &rejection, NULL);
		d2v_memory_fail_after(-1);
		d2v_free(out);
		d2v_text_cutter_free(cutter);
		assert_int_equal(d2v_memory_live(), live);
		if (status == D2V_OK)
			break;
		assert_int_equal(status, D2V_NO_MEMORY);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_pieces_of_large_texts),
		cmocka_unit_test(test_line_ends_at_the_border),
		cmocka_unit_test(test_where_lines_are_cut),
		cmocka_unit_test(test_text_that_is_none),
		cmocka_unit_test(test_json_lines),
		cmocka_unit_test(test_large_json_lines),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
