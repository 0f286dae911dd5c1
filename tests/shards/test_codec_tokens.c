// Blocks of tokens: what is put in comes out, both widths, and what a payload cannot be is said.
#include "tests/shards/shard_fixture.h"

#include "base/memory.h"
#include "shards/codec_tokens.h"

#include <string.h>

enum { COUNT = 1001, DOCUMENTS = 3 };
static const uint32_t ends[DOCUMENTS] = { 1, 500, COUNT };

static uint32_t token(uint64_t i, uint32_t most) {
	return i % 7 == 6 ? D2V_TOKEN_LINE_END : (uint32_t)(i * 2654435761u) % most;
}

// A payload in memory of its own size, so that a read past its end is noticed.
static d2v_record record_of(d2v_codec codec, uint64_t count, uint32_t documents) {
	size_t size = d2v_codec_tokens_size(codec, count, documents), tokens = (size_t)count;
	d2v_error err = { 0 };
	uint16_t narrow[COUNT];
	uint32_t wide[COUNT];
	void *payload;
	for (size_t i = 0; i < tokens; i++) {
		wide[i] = token(i, 1u << 30);
		narrow[i] = token(i, 60000) == D2V_TOKEN_LINE_END ? D2V_TOKEN_LINE_END_16 : (uint16_t)token(i, 60000);
	}
	assert_ok(d2v_alloc(&payload, size, 1, &err));
	memset(payload, 0xAA, size);
	const void *given = codec == D2V_CODEC_TOK16 ? (const void *)narrow : wide;
	d2v_codec_tokens_encode(codec, given, count, ends, documents, payload);
	return (d2v_record){ .codec = (uint8_t)codec,
		.rows = documents,
		.units = count,
		.name = "n",
		.name_size = 1,
		.payload = payload,
		.payload_size = size };
}

static void free_payload(d2v_record *record) {
	d2v_free((void *)(uintptr_t)record->payload);
}

static void check_round_trip(d2v_codec codec, uint32_t most) {
	d2v_record record = record_of(codec, COUNT, DOCUMENTS);
	d2v_tokens tokens;
	d2v_error err = { 0 };
	assert_ok(d2v_codec_tokens_view(&record, &tokens, &err));
	assert_int_equal(tokens.count, COUNT);
	assert_int_equal(tokens.documents, DOCUMENTS);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(d2v_tokens_at(&tokens, i), token(i, most));
	for (uint32_t i = 0; i < DOCUMENTS; i++)
		assert_int_equal(d2v_tokens_end(&tokens, i), ends[i]);
	free_payload(&record);
}

static void test_round_trip(void **state) {
	(void)state;
	check_round_trip(D2V_CODEC_TOK16, 60000);
	check_round_trip(D2V_CODEC_TOK32, 1u << 30);
}

static void test_bytes(void **state) { // as docs/format.md has them
	(void)state;
	static const uint16_t three[] = { 13, 0x1234, D2V_TOKEN_LINE_END_16 };
	static const unsigned char wanted[] = { 13, 0, 0x34, 0x12, 0xFF, 0xFF, 0, 0, 3, 0, 0, 0 };
	static const uint32_t end = 3;
	uint32_t payload[3];
	assert_int_equal(d2v_codec_tokens_size(D2V_CODEC_TOK16, 3, 1), sizeof wanted);
	d2v_codec_tokens_encode(D2V_CODEC_TOK16, three, 3, &end, 1, payload);
	assert_memory_equal(payload, wanted, sizeof wanted);
}

static void test_no_document_ends(void **state) {
	(void)state;
	d2v_record record = record_of(D2V_CODEC_TOK16, 5, 0);
	d2v_tokens tokens;
	d2v_error err = { 0 };
	assert_ok(d2v_codec_tokens_view(&record, &tokens, &err));
	assert_int_equal(tokens.documents, 0);
	free_payload(&record);
}

static void test_contradictions(void **state) {
	(void)state;
	d2v_record record = record_of(D2V_CODEC_TOK16, COUNT, DOCUMENTS), changed;
	d2v_tokens tokens;
	changed = record, changed.payload_size--;
	assert_int_equal(d2v_codec_tokens_view(&changed, &tokens, NULL), D2V_CORRUPT);
	changed = record, changed.units = UINT64_MAX / 2;
	assert_int_equal(d2v_codec_tokens_view(&changed, &tokens, NULL), D2V_CORRUPT);
	changed = record, changed.rows++;
	assert_int_equal(d2v_codec_tokens_view(&changed, &tokens, NULL), D2V_CORRUPT);
	changed = record, changed.codec = D2V_CODEC_JPEG;
	assert_int_equal(d2v_codec_tokens_view(&changed, &tokens, NULL), D2V_CORRUPT);
	changed = record, changed.payload = (const char *)record.payload + 2;
	assert_int_equal(d2v_codec_tokens_view(&changed, &tokens, NULL), D2V_INVALID);
	free_payload(&record);
}

static void test_ends_out_of_order(void **state) {
	(void)state;
	static const uint32_t wrong[][DOCUMENTS] = { { 0, 500, 1001 }, { 1, 1, 1001 }, { 5, 4, 1001 }, { 1, 500, 1002 } };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		d2v_record record = record_of(D2V_CODEC_TOK16, COUNT, DOCUMENTS);
		d2v_tokens tokens;
		unsigned char *bytes = (unsigned char *)(uintptr_t)record.payload;
		for (size_t k = 0; k < DOCUMENTS; k++) {
			uint32_t end = htole32(wrong[i][k]);
			memcpy(bytes + record.payload_size - (DOCUMENTS - k) * sizeof end, &end, sizeof end);
		}
		assert_int_equal(d2v_codec_tokens_view(&record, &tokens, NULL), D2V_CORRUPT);
		free_payload(&record);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_no_document_ends),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_ends_out_of_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
