// The tokenizer: the original's ids for the golden strings, and the reference's for texts of all kinds.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"
#include "ingest/bpe_encoder.h"
#include "tests/ref/ref_bpe.h"
#include "tests/ref/sample_text.h"
#include "tests/ref/small_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/data/bpe/bpe.jsonl"
#define GOLDEN_STRINGS 400

typedef struct tokenizer {
	d2v_vocabulary *vocabulary;
	d2v_bpe_merges *merges;
	d2v_bpe_encoder *encoder;
	ref_bpe *ref;
	d2v_ids ids;
} tokenizer;

static void prepare(tokenizer *t) {
	d2v_error err = { 0 };
	assert_ok(d2v_bpe_merges_new(&t->merges, t->vocabulary, &err));
	assert_ok(d2v_bpe_encoder_new(&t->encoder, t->merges, &err));
	assert_ok(ref_bpe_new(&t->ref, t->vocabulary, &err));
}

static void open_small(tokenizer *t, uint64_t seed, uint32_t merges) {
	d2v_error err = { 0 };
	*t = (tokenizer){ 0 };
	assert_ok(small_vocabulary_make(&t->vocabulary, seed, merges, &err));
	prepare(t);
}

// GPT-2's own; skips the test where it is not at hand.
static void open_gpt2(tokenizer *t) {
	d2v_error err = { 0 };
	char folder[SCRATCH_PATH];
	*t = (tokenizer){ 0 };
	if (!sample_path("gpt2", folder, sizeof folder))
		skip();
	assert_ok(d2v_vocabulary_load(&t->vocabulary, folder, &err));
	prepare(t);
}

static void close_tokenizer(tokenizer *t) {
	d2v_free(t->ids.ids);
	ref_bpe_free(t->ref);
	d2v_bpe_encoder_free(t->encoder);
	d2v_bpe_merges_free(t->merges);
	d2v_vocabulary_free(t->vocabulary);
}

static void check_ids(tokenizer *t, const uint32_t *expected, size_t count, const char *what, uint64_t number) {
	for (size_t k = 0; k < count && k < t->ids.count; k++)
		if (t->ids.ids[k] != expected[k])
			fail_msg(
				"%s %llu: token %zu is %u, not %u", what, (unsigned long long)number, k, t->ids.ids[k], expected[k]);
	if (count != t->ids.count)
		fail_msg("%s %llu: %zu tokens, not %zu", what, (unsigned long long)number, t->ids.count, count);
}

static void check_decodes(tokenizer *t, const void *text, size_t size) {
	d2v_error err = { 0 };
	size_t decoded;
	char *bytes;
	assert_ok(d2v_alloc(&bytes, size, 1, &err));
	assert_ok(d2v_vocabulary_decode(t->vocabulary, t->ids.ids, t->ids.count, bytes, size, &decoded, &err));
	assert_int_equal(decoded, size);
	if (size)
		assert_memory_equal(bytes, text, size);
	d2v_free(bytes);
}

static void check_whole(tokenizer *t, const void *text, size_t size, const char *what, uint64_t number) {
	d2v_error err = { 0 };
	uint32_t *expected;
	size_t count;
	assert_ok(ref_bpe_encode(t->ref, text, size, &expected, &count, &err));
	t->ids.count = 0;
	assert_ok(d2v_bpe_encode(t->encoder, text, size, &t->ids, &err));
	check_ids(t, expected, count, what, number);
	check_decodes(t, text, size);
	d2v_free(expected);
}

// ---- golden

static size_t unhex(const char *hex, unsigned char *bytes) {
	size_t size = 0;
	for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		bytes[size++] = (unsigned char)byte;
	return size;
}

static void check_golden_line(tokenizer *t, const char *line, size_t size, uint64_t number) {
	d2v_error err = { 0 };
	json_t *entry, *list;
	const char *hex;
	uint32_t expected[4096];
	static unsigned char text[1 << 16];
	entry = json_loadb(line, size, JSON_ALLOW_NUL, NULL); // "text" beside "utf8_hex" may have one
	assert_non_null(entry);
	assert_ok(d2v_json_get_string(entry, "utf8_hex", GOLDEN, &hex, &err));
	assert_ok(d2v_json_get_array(entry, "ids", GOLDEN, &list, &err));
	size_t count = json_array_size(list);
	assert_true(count <= sizeof expected / sizeof *expected && strlen(hex) / 2 <= sizeof text);
	for (size_t k = 0; k < count; k++)
		expected[k] = (uint32_t)json_integer_value(json_array_get(list, k));
	size_t text_size = unhex(hex, text);
	t->ids.count = 0;
	assert_ok(d2v_bpe_encode(t->encoder, text, text_size, &t->ids, &err));
	check_ids(t, expected, count, "golden line", number);
	check_whole(t, text, text_size, "golden line", number);
	json_decref(entry);
}

static void test_golden(void **state) {
	(void)state;
	tokenizer t;
	d2v_error err = { 0 };
	char *text;
	size_t size;
	uint64_t lines = 0;
	open_gpt2(&t);
	assert_ok(d2v_file_read(GOLDEN, 1 << 20, (void **)&text, &size, &err));
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
		check_golden_line(&t, line, (size_t)(end - line), ++lines);
	assert_int_equal(lines, GOLDEN_STRINGS);
	d2v_free(text);
	close_tokenizer(&t);
}

// ---- real prose

// All documents decode to their bytes; the reference, which is slow, sees a part of them.
static void test_documents(void **state) {
	(void)state;
	tokenizer t;
	d2v_error err = { 0 };
	sample_text text = { 0 };
	char path[SCRATCH_PATH];
	if (!sample_path("openwebtext/openwebtext.tar.xz", path, sizeof path))
		skip();
	open_gpt2(&t);
	assert_ok(sample_text_read(&text, path, &err));
	assert_int_equal(text.documents, 2403); // its README
	assert_int_equal(text.size, 11547475);
	for (size_t k = 0, start = 0; k < text.documents; start = text.ends[k++]) {
		size_t size = text.ends[k] - start;
		if (k % 8 == 0)
			check_whole(&t, text.bytes + start, size, "document", k);
		t.ids.count = 0;
		assert_ok(d2v_bpe_encode(t.encoder, text.bytes + start, size, &t.ids, &err));
		check_decodes(&t, text.bytes + start, size);
	}
	sample_text_release(&text);
	close_tokenizer(&t);
}

// ---- random texts

#define LONGEST_TEXT 3000

typedef size_t draw_text(d2v_random *random, unsigned char *text);

static size_t draw_bytes(d2v_random *random, unsigned char *text) {
	size_t size = d2v_random_below(random, 300);
	for (size_t i = 0; i < size; i++)
		text[i] = (unsigned char)d2v_random_u32(random);
	return size;
}

static size_t draw_alphabet(d2v_random *random, unsigned char *text) {
	static const char alphabet[] = SMALL_VOCABULARY_ALPHABET;
	size_t size = d2v_random_below(random, LONGEST_TEXT);
	for (size_t i = 0; i < size; i++)
		text[i] = (unsigned char)alphabet[d2v_random_below(random, sizeof alphabet - 1)];
	return size;
}

static size_t put_character(unsigned char *text, uint32_t code) {
	if (code < 0x80) {
		text[0] = (unsigned char)code;
		return 1;
	}
	size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = length - 1; i > 0; i--, code >>= 6)
		text[i] = (unsigned char)(0x80 | (code & 63));
	text[0] = (unsigned char)((0xf00u >> length) | code);
	return length;
}

// Characters of all planes and surrogates, mostly of the first few blocks, with spaces between them.
static size_t draw_characters(d2v_random *random, unsigned char *text) {
	static const uint32_t bounds[] = { 0x80, 0x80, 0x180, 0x800, 0x3100, 0x10000, 0x110000 };
	size_t size = 0, count = d2v_random_below(random, 300);
	for (size_t i = 0; i < count; i++) {
		if (d2v_random_below(random, 5) == 0)
			text[size++] = ' ';
		size += put_character(text + size, d2v_random_below(random, bounds[d2v_random_below(random, 7)]));
	}
	return size;
}

// Pieces of every kind, up to several windows long, put together.
static size_t draw_pieces(d2v_random *random, unsigned char *text) {
	static const char *const parts[] = { "a", "aa", "ab", " the", "ing", "'s", "'re", "'ll", "'", " ", "  ", "\n",
		"\xc2\xa0", "\xe2\x80\x99", "\xc3\xa9", "1", "23", "-", "--", "=", "\xe4\xb8\xad", "\xf0\x9f\x98\x80", "\xff",
		"\xe2\x80", "\x1c", "The", " I", ".", ",", "\xe3\x80\x80", "\xe2\x80\x83", "tion" };
	size_t size = 0, most = 1 + d2v_random_below(random, LONGEST_TEXT - 100);
	while (size < most) {
		const char *part = parts[d2v_random_below(random, sizeof parts / sizeof *parts)];
		size_t length = strlen(part), repeat = d2v_random_below(random, 12) ? 1 : 1 + d2v_random_below(random, 400);
		for (; repeat && size + length < LONGEST_TEXT; repeat--, size += length)
			memcpy(text + size, part, length);
	}
	return size;
}

static void check_random_texts(tokenizer *t, uint64_t seed, int count) {
	static draw_text *const draws[] = { draw_bytes, draw_alphabet, draw_characters, draw_pieces };
	static unsigned char text[LONGEST_TEXT + 8];
	for (uint64_t number = 0; number < (uint64_t)count; number++) {
		d2v_random random;
		d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, 1, number));
		size_t size = draws[number % 4](&random, text);
		check_whole(t, text, size, "random text", number);
	}
}

static uint64_t test_seed(void) {
	const char *given = getenv("D2V_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 1;
	print_message("seed %llu\n", (unsigned long long)seed);
	return seed;
}

static void test_reference_small(void **state) {
	(void)state;
	uint64_t seed = test_seed();
	for (uint64_t k = 0; k < 12; k++) {
		tokenizer t;
		open_small(&t, seed + k, (uint32_t)(k < 2 ? k : k * 80));
		check_random_texts(&t, seed + k, 24);
		close_tokenizer(&t);
	}
}

static void test_reference_gpt2(void **state) {
	(void)state;
	tokenizer t;
	open_gpt2(&t);
	check_random_texts(&t, test_seed(), 400);
	close_tokenizer(&t);
}

// ---- long pieces

// Each of these is one piece, whatever its size: letters, symbols, white space, numbers, and bytes that are no text.
static const char *const units[] = { "a", " ", "ab", "-", "\n", "\xe4\xb8\xad", "\xff", "\xe2\x80", "1", "the",
	"\xc2\xa0", "aab", "\xf0\x9f\x98\x80", "\xe2\x80\x83", "=-", "!'" };
#define UNITS (sizeof units / sizeof *units)

static size_t repeat(const char *unit, unsigned char *text, size_t size) {
	size_t length = strlen(unit), end = 0;
	for (; end + length <= size; end += length)
		memcpy(text + end, unit, length);
	return end;
}

static void check_long_pieces(tokenizer *t, size_t size) {
	unsigned char *text;
	d2v_error err = { 0 };
	assert_ok(d2v_alloc(&text, size + 1, 1, &err));
	for (uint64_t k = 0; k < UNITS; k++) {
		size_t end = repeat(units[k], text, size);
		check_whole(t, text, end, "long piece", k);
		text[end] = 'x';
		check_whole(t, text, end + 1, "long piece and one letter", k);
	}
	d2v_free(text);
}

static void test_long_pieces_small(void **state) {
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		tokenizer t;
		open_small(&t, seed, 600);
		check_long_pieces(&t, 1300);
		close_tokenizer(&t);
	}
}

static void test_long_pieces_gpt2(void **state) {
	(void)state;
	tokenizer t;
	open_gpt2(&t);
	check_long_pieces(&t, 2003);
	close_tokenizer(&t);
}

// Not timed, but an encoder that takes quadratic time would not end before the test's limit.
static void test_no_quadratic_trap(void **state) {
	(void)state;
	tokenizer t;
	d2v_error err = { 0 };
	unsigned char *text;
	size_t size = (size_t)1 << 20;
	open_gpt2(&t);
	assert_ok(d2v_alloc(&text, size, 1, &err));
	for (uint64_t k = 0; k < 4; k++) {
		size_t end = repeat(units[k], text, size);
		t.ids.count = 0;
		assert_ok(d2v_bpe_encode(t.encoder, text, end, &t.ids, &err));
		check_decodes(&t, text, end);
	}
	d2v_free(text);
	close_tokenizer(&t);
}

// ---- places, memory

// A text gives the same ids wherever it lies: at the end of the memory that may be read, or with other text behind it.
static void test_within(void **state) {
	(void)state;
	tokenizer t;
	d2v_error err = { 0 };
	static unsigned char text[LONGEST_TEXT + 8];
	open_small(&t, 5, 400);
	for (uint64_t number = 0; number < 400; number++) {
		d2v_random random;
		d2v_random_start(&random, d2v_random_key_make(7, D2V_RANDOM_SYNTHETIC, 3, number));
		size_t readable = draw_pieces(&random, text), size = d2v_random_below(&random, (uint32_t)readable + 1);
		size_t shown = size + d2v_random_below(&random, (uint32_t)(readable - size) + 1);
		d2v_ids alone = { 0 };
		unsigned char *copy;
		assert_ok(d2v_alloc(&copy, size, 1, &err));
		memcpy(copy, text, size);
		assert_ok(d2v_bpe_encode(t.encoder, copy, size, &alone, &err));
		t.ids.count = 0;
		assert_ok(d2v_bpe_encode_within(t.encoder, text, size, shown, &t.ids, &err));
		check_ids(&t, alone.ids, alone.count, "text within another", number);
		d2v_free(alone.ids);
		d2v_free(copy);
	}
	close_tokenizer(&t);
}

static d2v_status make_and_encode(d2v_error *err) {
	d2v_vocabulary *vocabulary = NULL;
	d2v_bpe_merges *merges = NULL;
	d2v_bpe_encoder *encoder = NULL;
	d2v_ids ids = { 0 };
	d2v_status status = small_vocabulary_make(&vocabulary, 1, 50, err);
	if (status == D2V_OK)
		status = d2v_bpe_merges_new(&merges, vocabulary, err);
	if (status == D2V_OK)
		status = d2v_bpe_encoder_new(&encoder, merges, err);
	if (status == D2V_OK)
		status = d2v_bpe_encode(encoder, "ab ab", 5, &ids, err);
	d2v_free(ids.ids);
	d2v_bpe_encoder_free(encoder);
	d2v_bpe_merges_free(merges);
	d2v_vocabulary_free(vocabulary);
	return status;
}

static void test_every_allocation_fails(void **state) {
	(void)state;
	long live = d2v_memory_live(), n = 0;
	d2v_status status;
	do {
		d2v_error err = { 0 };
		d2v_memory_fail_after(n);
		status = make_and_encode(&err);
		d2v_memory_fail_after(-1);
		assert_true(status == D2V_OK || status == D2V_NO_MEMORY);
		assert_int_equal(d2v_memory_live(), live);
		n += n < 20 || status == D2V_OK ? 1 : 37; // jansson's are many
	} while (status != D2V_OK);
	assert_true(n > 20);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_reference_small),
		cmocka_unit_test(test_reference_gpt2),
		cmocka_unit_test(test_long_pieces_small),
		cmocka_unit_test(test_long_pieces_gpt2),
		cmocka_unit_test(test_no_quadratic_trap),
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_every_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
