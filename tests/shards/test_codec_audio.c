// Sound as pcm16 and FLAC: the same samples whole and in parts, the same bytes each time, damage seen.
#include "tests/shards/shard_fixture.h"

#include "base/memory.h"
#include "shards/codec_audio.h"

#include <string.h>

enum { COUNT = 20000 };
static int16_t samples[COUNT];

static int set_up(void **state) {
	(void)state;
	uint32_t seed = 1;
	for (int i = 0; i < COUNT; i++) {
		seed = seed * 1664525 + 1013904223;
		samples[i] = (int16_t)((i * 37 % 4000) - 2000 + (int)(seed >> 26));
	}
	samples[5] = INT16_MIN, samples[6] = INT16_MAX;
	return 0;
}

static d2v_record record_of(d2v_codec codec, const void *payload, size_t size) {
	return (d2v_record){ .codec = (uint8_t)codec,
		.rate = 16000,
		.rows = 1,
		.units = COUNT,
		.name = "n",
		.name_size = 1,
		.payload = payload,
		.payload_size = size };
}

static void check_parts(const d2v_record *record) {
	static const uint64_t parts[][2] = { { 0, COUNT }, { 0, 0 }, { 0, 1 }, { 1, 1 }, { 4095, 3 }, { 4096, 5000 },
		{ COUNT - 1, 1 }, { COUNT, 0 }, { 12345, COUNT - 12345 } };
	static int16_t out[COUNT + 1];
	d2v_error err = { 0 };
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		uint64_t start = parts[i][0], count = parts[i][1];
		memset(out, 0x5A, sizeof out);
		assert_ok(d2v_codec_audio_read(record, start, count, out, &err));
		assert_memory_equal(out, samples + start, count * sizeof *out);
		assert_int_equal(out[count], 0x5A5A);
	}
	assert_int_equal(d2v_codec_audio_read(record, 1, COUNT, out, NULL), D2V_INVALID);
	assert_int_equal(d2v_codec_audio_read(record, UINT64_MAX, 2, out, NULL), D2V_INVALID);
}

static void test_pcm(void **state) {
	(void)state;
	d2v_record record = record_of(D2V_CODEC_PCM16, samples, sizeof samples);
	int16_t out;
	check_parts(&record);
	assert_ptr_equal(d2v_codec_audio_view(&record), samples);
	record.payload_size--;
	assert_null(d2v_codec_audio_view(&record));
	assert_int_equal(d2v_codec_audio_read(&record, 0, 1, &out, NULL), D2V_CORRUPT);
}

static void test_flac(void **state) {
	(void)state;
	d2v_error err = { 0 };
	void *bytes, *again;
	size_t size, size_again;
	long live = d2v_memory_live();
	assert_ok(d2v_codec_flac_encode(samples, COUNT, 16000, &bytes, &size, &err));
	assert_ok(d2v_codec_flac_encode(samples, COUNT, 16000, &again, &size_again, &err));
	assert_int_equal(size, size_again);
	assert_memory_equal(bytes, again, size);
	assert_true(size < sizeof samples * 9 / 10);
	d2v_record record = record_of(D2V_CODEC_FLAC, bytes, size);
	check_parts(&record);
	assert_null(d2v_codec_audio_view(&record));
	d2v_free(bytes);
	d2v_free(again);
	assert_int_equal(d2v_memory_live(), live);
}

static void test_damaged_flac(void **state) {
	(void)state;
	static int16_t out[COUNT];
	d2v_error err = { 0 };
	void *bytes;
	size_t size;
	assert_ok(d2v_codec_flac_encode(samples, COUNT, 16000, &bytes, &size, &err));
	d2v_record record = record_of(D2V_CODEC_FLAC, bytes, size);
	record.units = COUNT - 1;
	assert_int_equal(d2v_codec_audio_read(&record, 0, 1, out, NULL), D2V_CORRUPT);
	record = record_of(D2V_CODEC_FLAC, bytes, size / 2);
	assert_int_equal(d2v_codec_audio_read(&record, 0, COUNT, out, NULL), D2V_CORRUPT);
	record = record_of(D2V_CODEC_FLAC, samples, sizeof samples);
	assert_int_equal(d2v_codec_audio_read(&record, 0, COUNT, out, NULL), D2V_CORRUPT);
	record = record_of(D2V_CODEC_FLAC, bytes, 0);
	assert_int_equal(d2v_codec_audio_read(&record, 0, COUNT, out, NULL), D2V_CORRUPT);
	record = record_of(D2V_CODEC_JPEG, bytes, size);
	assert_int_equal(d2v_codec_audio_read(&record, 0, COUNT, out, NULL), D2V_UNSUPPORTED);
	d2v_free(bytes);
}

static void test_memory_walk(void **state) {
	(void)state;
	long live = d2v_memory_live();
	void *bytes = NULL;
	size_t size;
	d2v_status status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK; n++) {
		assert_true(n < 1000);
		d2v_memory_fail_after(n);
		status = d2v_codec_flac_encode(samples, COUNT, 16000, &bytes, &size, NULL);
		d2v_memory_fail_after(-1);
		if (status != D2V_OK) {
			assert_int_equal(status, D2V_NO_MEMORY);
			assert_null(bytes);
			assert_int_equal(d2v_memory_live(), live);
		}
	}
	d2v_free(bytes);
}

static void test_wav(void **state) {
	(void)state;
	d2v_error err = { 0 };
	void *bytes;
	size_t size;
	static const unsigned char head[44] = { 'R', 'I', 'F', 'F', 0x64, 0x9C, 0, 0, 'W', 'A', 'V', 'E', 'f', 'm', 't',
		' ', 16, 0, 0, 0, 1, 0, 1, 0, 0x80, 0x3E, 0, 0, 0, 0x7D, 0, 0, 2, 0, 16, 0, 'd', 'a', 't', 'a', 0x40, 0x9C, 0,
		0 };
	assert_ok(d2v_codec_wav_encode(samples, COUNT, 16000, &bytes, &size, &err));
	assert_int_equal(size, sizeof head + sizeof samples);
	assert_memory_equal(bytes, head, sizeof head);
	assert_memory_equal((char *)bytes + sizeof head, samples, sizeof samples);
	d2v_free(bytes);
}

static void test_impossible_requests(void **state) {
	(void)state;
	void *bytes;
	size_t size;
	assert_int_equal(d2v_codec_flac_encode(samples, 0, 16000, &bytes, &size, NULL), D2V_INVALID);
	assert_int_equal(d2v_codec_flac_encode(samples, COUNT, 0, &bytes, &size, NULL), D2V_INVALID);
	assert_int_equal(d2v_codec_wav_encode(samples, UINT64_MAX / 2, 16000, &bytes, &size, NULL), D2V_INVALID);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pcm),
		cmocka_unit_test(test_flac),
		cmocka_unit_test(test_damaged_flac),
		cmocka_unit_test(test_memory_walk),
		cmocka_unit_test(test_wav),
		cmocka_unit_test(test_impossible_requests),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
