// Records: what goes in comes out, and no changed bit and no wrong length goes unseen.
#include "tests/shards/shard_fixture.h"

#include "base/memory.h"

#include <string.h>

static unsigned char *encode(d2v_record *record, size_t *size) {
	d2v_error err = { 0 };
	unsigned char *bytes;
	assert_ok(d2v_record_size(record, size, &err));
	assert_ok(d2v_alloc(&bytes, *size, 1, &err));
	memset(bytes, 0xA5, *size);
	d2v_record_encode(record, bytes);
	return bytes;
}

static void test_round_trip(void **state) {
	(void)state;
	for (uint64_t i = 0; i < 50; i++) {
		d2v_record record, back;
		d2v_error err = { 0 };
		size_t size;
		fixture_record(i, &record);
		unsigned char *bytes = encode(&record, &size);
		assert_ok(d2v_record_parse(bytes, size, true, &back, &err));
		assert_true(fixture_is(&back, i));
		assert_int_equal(back.digest, record.digest);
		assert_int_equal(((const unsigned char *)back.payload - bytes) % D2V_RECORD_ALIGN, 0);
		d2v_free(bytes);
	}
}

static void test_empty_parts(void **state) {
	(void)state;
	d2v_record record = { .codec = D2V_CODEC_TOK16, .name = "n", .name_size = 1 }, back;
	d2v_error err = { 0 };
	size_t size;
	unsigned char *bytes = encode(&record, &size);
	assert_int_equal(size, 80);
	assert_ok(d2v_record_parse(bytes, size, true, &back, &err));
	assert_int_equal(back.text_size, 0);
	assert_int_equal(back.payload_size, 0);
	d2v_free(bytes);
}

static void test_every_flipped_bit_is_found(void **state) {
	(void)state;
	d2v_record record, back;
	size_t size;
	fixture_record(1, &record);
	record.payload_size = 200;
	unsigned char *bytes = encode(&record, &size);
	for (size_t bit = 0; bit < size * 8; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_equal(d2v_record_parse(bytes, size, true, &back, NULL), D2V_CORRUPT);
		d2v_record_parse(bytes, size, false, &back, NULL); // must only not crash
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	d2v_free(bytes);
}

static void test_every_length(void **state) {
	(void)state;
	d2v_record record, back;
	d2v_error err = { 0 };
	size_t size;
	fixture_record(2, &record);
	record.payload_size = 100;
	unsigned char *bytes = encode(&record, &size), *longer;
	for (size_t cut = 0; cut < size; cut++) {
		unsigned char *exact; // so that a sanitizer sees a step too far
		assert_ok(d2v_alloc(&exact, cut, 1, &err));
		memcpy(exact, bytes, cut);
		assert_int_equal(d2v_record_parse(exact, cut, false, &back, NULL), D2V_CORRUPT);
		d2v_free(exact);
	}
	assert_ok(d2v_alloc_zero(&longer, size + 9, 1, &err));
	memcpy(longer, bytes, size);
	assert_ok(d2v_record_parse(longer, size + 9, true, &back, &err));
	longer[size + 8] = 1;
	assert_int_equal(d2v_record_parse(longer, size + 9, true, &back, NULL), D2V_CORRUPT);
	d2v_free(longer);
	d2v_free(bytes);
}

static void test_newer_schema(void **state) {
	(void)state;
	d2v_record record, back;
	size_t size;
	fixture_record(3, &record);
	unsigned char *bytes = encode(&record, &size);
	bytes[4] = 2;
	assert_int_equal(d2v_record_parse(bytes, size, false, &back, NULL), D2V_UNSUPPORTED);
	assert_int_equal(d2v_record_parse(bytes, size, true, &back, NULL), D2V_CORRUPT); // its digest is not right either
	d2v_free(bytes);
}

static void test_what_no_record_may_be(void **state) {
	(void)state;
	static char long_text[D2V_RECORD_NAME_MAX + 2];
	memset(long_text, 'x', sizeof long_text - 1);
	d2v_record good, bad;
	size_t size;
	fixture_record(4, &good);
	bad = good, bad.codec = 0;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_INVALID);
	bad = good, bad.name_size = 0;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_INVALID);
	bad = good, bad.name = long_text, bad.name_size = D2V_RECORD_NAME_MAX + 1;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_INVALID);
	bad.name_size = D2V_RECORD_NAME_MAX;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_OK);
	bad = good, bad.payload_size = (uint64_t)D2V_RECORD_PAYLOAD_MAX + 1;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_INVALID);
	bad = good, bad.text_size = UINT32_MAX;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_INVALID);
	bad = good, bad.name = "a\xC3(", bad.name_size = 3;
	assert_int_equal(d2v_record_size(&bad, &size, NULL), D2V_INVALID);
}

static void test_utf8(void **state) {
	(void)state;
	static const char *const good[] = { "", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xED\x9F\xBF",
		"\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF" };
	static const char *const bad[] = { "\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xED\xA0\x80",
		"\xF0\x80\x80\xAF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xFF" };
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(d2v_record_is_text(good[i], strlen(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(d2v_record_is_text(bad[i], strlen(bad[i])));
	assert_false(d2v_record_is_text("a\0b", 3));
}

static void test_codec_names(void **state) {
	(void)state;
	d2v_codec codec;
	for (int i = D2V_CODEC_PCM16; i <= D2V_CODEC_TOK32; i++) {
		assert_int_equal(d2v_codec_from_name(d2v_codec_name((d2v_codec)i), &codec, NULL), D2V_OK);
		assert_int_equal(codec, i);
	}
	assert_string_equal(d2v_codec_name((d2v_codec)0), "unknown");
	assert_string_equal(d2v_codec_name((d2v_codec)77), "unknown");
	assert_int_equal(d2v_codec_from_name("mp3", &codec, NULL), D2V_INVALID);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_empty_parts),
		cmocka_unit_test(test_every_flipped_bit_is_found),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_newer_schema),
		cmocka_unit_test(test_what_no_record_may_be),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_codec_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
