// What a FLAC stream says of itself, and that a flipped bit in what it says is noticed although it has no checksum.
#include "tests/base/scratch.h"

#include "base/memory.h"
#include "ingest/flac_header.h"
#include "shards/codec_audio.h"

#include <string.h>

#define SAMPLES 20000
#define INFO 8 // STREAMINFO's content starts here

static unsigned char *make(size_t *size) {
	static int16_t samples[SAMPLES];
	void *flac;
	d2v_error err = { 0 };
	for (int i = 0; i < SAMPLES; i++)
		samples[i] = (int16_t)(i * 37 % 2000 - 1000);
	assert_ok(d2v_codec_flac_encode(samples, SAMPLES, 16000, &flac, size, &err));
	return flac;
}

static void test_facts(void **state) {
	(void)state;
	size_t size;
	unsigned char *flac = make(&size), *tagged;
	d2v_flac_header header;
	d2v_error err = { 0 };
	assert_true(d2v_flac_header_parse(flac, size, &header));
	assert_int_equal(header.rate, 16000);
	assert_int_equal(header.channels, 1);
	assert_int_equal(header.bits, 16);
	assert_int_equal(header.samples, SAMPLES);
	assert_int_equal(header.md5_at, INFO + 18);
	assert_int_equal(flac[header.frames_at], 0xff);
	assert_null(d2v_flac_header_contradiction(flac, size, &header));
	// An ID3v2 tag of 20 bytes before it.
	assert_ok(d2v_alloc_zero(&tagged, size + 30, 1, &err));
	memcpy(tagged, "ID3\4\0\0\0\0\0\24", 10);
	memcpy(tagged + 30, flac, size);
	assert_true(d2v_flac_header_parse(tagged, size + 30, &header));
	assert_int_equal(header.samples, SAMPLES);
	assert_null(d2v_flac_header_contradiction(tagged, size + 30, &header));
	d2v_free(tagged);
	d2v_free(flac);
}

static void test_what_is_none(void **state) {
	(void)state;
	size_t size;
	unsigned char *flac = make(&size);
	d2v_flac_header header;
	assert_true(d2v_flac_header_parse(flac, size, &header));
	size_t metadata = header.frames_at;
	for (size_t cut = 0; cut < metadata; cut++)
		assert_false(d2v_flac_header_parse(flac, cut, &header));
	flac[0] = 'g';
	assert_false(d2v_flac_header_parse(flac, size, &header));
	d2v_free(flac);
}

// Rate, channels, width and number of samples: bytes 10 to 17 of STREAMINFO, every bit of them.
static void test_every_flipped_bit(void **state) {
	(void)state;
	size_t size;
	unsigned char *flac = make(&size);
	for (int bit = 0; bit < 64; bit++) {
		d2v_flac_header header;
		flac[INFO + 10 + bit / 8] ^= (unsigned char)(1 << bit % 8);
		if (d2v_flac_header_parse(flac, size, &header) && header.samples &&
			!d2v_flac_header_contradiction(flac, size, &header))
			fail_msg("bit %d of byte %d went unnoticed", bit % 8, INFO + 10 + bit / 8);
		flac[INFO + 10 + bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	d2v_free(flac);
}

static void test_cut_off(void **state) {
	(void)state;
	size_t size;
	unsigned char *flac = make(&size);
	d2v_flac_header header;
	assert_true(d2v_flac_header_parse(flac, size, &header));
	assert_non_null(d2v_flac_header_contradiction(flac, size / 2, &header));
	assert_non_null(d2v_flac_header_contradiction(flac, header.frames_at, &header));
	assert_non_null(d2v_flac_header_contradiction(flac, header.frames_at + 3, &header));
	d2v_free(flac);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_what_is_none),
		cmocka_unit_test(test_every_flipped_bit),
		cmocka_unit_test(test_cut_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
