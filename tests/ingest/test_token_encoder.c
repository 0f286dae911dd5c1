// Text to runs of tokens: line ends, documents, both widths; and that a line cut into pieces has the tokens of the
// whole.
#include "tests/base/scratch.h"

#include "base/memory.h"
#include "base/random.h"
#include "ingest/token_encoder.h"
#include "shards/codec_tokens.h"
#include "tests/ingest/given_bytes.h"
#include "tests/ref/small_vocabulary.h"

#include <stdlib.h>
#include <string.h>

static d2v_error err;
static d2v_vocabulary *vocabulary;
static d2v_bpe_merges *merges;

static int set_up(void **state) {
	(void)state;
	assert_ok(small_vocabulary_make(&vocabulary, 4, 200, &err));
	assert_ok(d2v_bpe_merges_new(&merges, vocabulary, &err));
	return 0;
}

static int tear_down(void **state) {
	(void)state;
	d2v_bpe_merges_free(merges);
	d2v_vocabulary_free(vocabulary);
	return 0;
}

// All of a text as one run; the encoder is the caller's to free.
static d2v_token_encoder *encode(const char *text, size_t size, d2v_codec codec, const char *field, uint64_t *pieces) {
	given_bytes given = { .bytes = text, .size = size, .block = 50000 };
	d2v_bytes bytes = given_bytes_open(&given);
	d2v_token_encoder *encoder;
	d2v_text_cutter *cutter;
	unsigned char *piece_bytes = NULL;
	size_t capacity = 0;
	d2v_text_piece piece;
	d2v_rejection rejection;
	*pieces = 0;
	assert_ok(d2v_token_encoder_new(&encoder, merges, codec, &err));
	assert_ok(d2v_text_cutter_new(&cutter, &err));
	assert_ok(d2v_text_cutter_start(cutter, &bytes, field, &err));
	d2v_token_encoder_begin(encoder);
	while (d2v_text_cutter_next(cutter, &piece_bytes, &capacity, &piece, &rejection, &err) == D2V_OK) {
		assert_ok(d2v_token_encoder_add(encoder, piece_bytes, &piece, &err));
		++*pieces;
	}
	d2v_free(piece_bytes);
	d2v_text_cutter_free(cutter);
	return encoder;
}

static uint32_t token_at(const d2v_token_run *run, d2v_codec codec, size_t i) {
	if (codec == D2V_CODEC_TOK32)
		return ((const uint32_t *)run->tokens)[i];
	uint16_t token = ((const uint16_t *)run->tokens)[i];
	return token == D2V_TOKEN_LINE_END_16 ? D2V_TOKEN_LINE_END : token;
}

static void expect_ids(const d2v_token_run *run, d2v_codec codec, size_t *at, const char *line) {
	d2v_bpe_encoder *bpe;
	d2v_ids ids = { 0 };
	assert_ok(d2v_bpe_encoder_new(&bpe, merges, &err));
	assert_ok(d2v_bpe_encode(bpe, line, strlen(line), &ids, &err));
	assert_true(*at + ids.count < run->count);
	for (size_t i = 0; i < ids.count; i++)
		assert_int_equal(token_at(run, codec, (*at)++), ids.ids[i]);
	assert_int_equal(token_at(run, codec, (*at)++), D2V_TOKEN_LINE_END);
	d2v_free(ids.ids);
	d2v_bpe_encoder_free(bpe);
}

static void check_documents(d2v_codec codec) {
	static const char text[] = "{\"text\": \" abc's l.1 \\n\\n\\u00e9 c\"}\n{\"text\": \" \\n\"}\n{\"text\": \"b\"}\n";
	uint64_t pieces;
	d2v_token_encoder *encoder = encode(text, sizeof text - 1, codec, "text", &pieces);
	const d2v_token_run *run = d2v_token_encoder_run(encoder);
	size_t at = 0;
	expect_ids(run, codec, &at, "abc's l.1");
	expect_ids(run, codec, &at, "");
	expect_ids(run, codec, &at, "\xC3\xA9 c");
	assert_int_equal(token_at(run, codec, at++), D2V_TOKEN_LINE_END);
	assert_int_equal(run->documents, 2);
	assert_int_equal(run->ends[0], at);
	expect_ids(run, codec, &at, "b");
	assert_int_equal(token_at(run, codec, at++), D2V_TOKEN_LINE_END);
	assert_int_equal(run->ends[1], at);
	assert_int_equal(run->count, at);
	assert_int_equal(run->empty, 1);
	d2v_token_encoder_free(encoder);
}

static void test_documents(void **state) {
	(void)state;
	check_documents(D2V_CODEC_TOK16);
	check_documents(D2V_CODEC_TOK32);
}

// Made of the bytes that the merges are about, with spaces of several kinds, so that a cut in a wrong place shows.
static void test_a_line_in_pieces(void **state) {
	(void)state;
	static const char *const parts[] = { "ab", "c's", "  ", " ", "l.1", "\xC3\xA9", "\xE2\x80\x99", "\t", "cab'll ",
		"..", "11 " };
	size_t size = 3 * D2V_CUTTER_PIECE + 12345, used = 0;
	char *line = malloc(size + 32);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(6, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (line[used++] = 'a'; used < size;) {
		const char *part = parts[d2v_random_below(&random, sizeof parts / sizeof *parts)];
		memcpy(line + used, part, strlen(part));
		used += strlen(part);
	}
	line[used++] = 'b', line[used] = '\0';
	uint64_t pieces;
	d2v_token_encoder *encoder = encode(line, used, D2V_CODEC_TOK16, NULL, &pieces);
	const d2v_token_run *run = d2v_token_encoder_run(encoder);
	size_t at = 0;
	assert_true(pieces >= 4);
	expect_ids(run, D2V_CODEC_TOK16, &at, line);
	assert_int_equal(token_at(run, D2V_CODEC_TOK16, at++), D2V_TOKEN_LINE_END);
	assert_int_equal(run->count, at);
	assert_int_equal(run->documents, 1);
	assert_int_equal(run->bytes, used);
	d2v_token_encoder_free(encoder);
	free(line);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_a_line_in_pieces),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
