// Arbitrary bytes as a record: refused, or all its parts can be read and written again as the same bytes. Digests are
// what a fuzzer cannot guess, so the record is also looked at without them, and then with one that is right.
#include "base/memory.h"
#include "shards/codec_audio.h"

#include <string.h>

#define SAMPLES_MAX (1u << 16)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void touch(const void *part, size_t size) {
	unsigned sum = 0;
	for (size_t i = 0; i < size; i++)
		sum += ((const unsigned char *)part)[i];
	volatile unsigned kept = sum;
	(void)kept;
}

static void decode(const d2v_record *record) {
	static int16_t samples[SAMPLES_MAX];
	d2v_error err;
	const int16_t *view = d2v_codec_audio_view(record);
	if (view)
		touch(view, record->units * sizeof *view);
	if (record->units <= SAMPLES_MAX)
		(void)d2v_codec_audio_read(record, record->units / 3, record->units - record->units / 3, samples, &err);
}

// What was read without looking at the digest, written with a right one.
static void check_round_trip(d2v_record record) {
	unsigned char *out;
	size_t size;
	d2v_record again;
	d2v_error err;
	if (d2v_record_size(&record, &size, &err) != D2V_OK)
		return; // name or text is no text
	D2V_ASSERT(d2v_alloc(&out, size + 32, 1, &err) == D2V_OK);
	memset(out, 0, size + 32);
	d2v_record_encode(&record, out);
	D2V_ASSERT(d2v_record_parse(out, size + 32, true, &again, &err) == D2V_OK);
	D2V_ASSERT(again.digest == record.digest && again.units == record.units && again.label == record.label &&
			   again.rate == record.rate && again.rows == record.rows && again.flags == record.flags);
	D2V_ASSERT(again.payload_size == record.payload_size && again.name_size == record.name_size);
	D2V_ASSERT(!record.payload_size || memcmp(again.payload, record.payload, record.payload_size) == 0);
	decode(&again);
	out[size / 2] ^= 1; // every bit counts
	D2V_ASSERT(d2v_record_parse(out, size + 32, true, &again, &err) != D2V_OK);
	d2v_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	d2v_record record;
	d2v_error err;
	if (d2v_record_parse(bytes, size, false, &record, &err) != D2V_OK) {
		D2V_ASSERT(d2v_record_parse(bytes, size, true, &record, &err) != D2V_OK);
		return 0;
	}
	touch(record.name, record.name_size);
	touch(record.text, record.text_size);
	touch(record.payload, record.payload_size);
	decode(&record);
	check_round_trip(record);
	return 0;
}
