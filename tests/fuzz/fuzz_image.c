// Arbitrary bytes as a picture on its way into a data set: left out with a reason, or a record whose numbers fit its
// payload. The first byte chooses how it is looked at and stored.
#include "base/memory.h"
#include "ingest/decoder.h"
#include "shards/codec_image.h"

#include <string.h>

#define PIXELS_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_record(const d2v_item *item) {
	d2v_image_decoder *decoder;
	d2v_image_facts facts;
	d2v_record record = { .codec = (uint8_t)item->codec,
		.rate = item->rate,
		.rows = item->rows,
		.units = item->units,
		.payload = item->payload,
		.payload_size = item->payload_size };
	D2V_ASSERT(item->units && item->units == (uint64_t)item->rate * item->rows);
	D2V_ASSERT(item->reserved <= item->payload_size);
	if (d2v_image_decoder_new(&decoder, NULL) != D2V_OK)
		return;
	D2V_ASSERT(d2v_image_begin_record(decoder, &record, &facts, NULL) == D2V_OK);
	d2v_image_decoder_free(decoder);
}

static void decode(const d2v_ingest_options *options, const uint8_t *bytes, size_t size) {
	d2v_item item = { .kind = D2V_ITEM_SAMPLE, .reserved = size };
	d2v_decoder_file file = { .size = size };
	d2v_budget *budget = NULL;
	void *worker = NULL;
	d2v_error err = { 0 };
	d2v_status status = d2v_reserve(&file.bytes, &file.capacity, size + 1, 1, &err);
	if (status == D2V_OK)
		status = d2v_budget_new(&budget, (uint64_t)1 << 30, &err);
	if (status == D2V_OK)
		status = d2v_image_item.open(&worker, options, &err);
	if (status == D2V_OK) {
		memcpy(file.bytes, bytes, size);
		D2V_ASSERT(d2v_budget_reserve(budget, 0, size));
		status = d2v_image_item.decode(worker, &item, &file, options, budget, 0, &err);
		D2V_ASSERT(status == D2V_OK);
		D2V_ASSERT((item.kind == D2V_ITEM_SAMPLE) == (item.place.rejection.reason == D2V_REASON_NONE));
		if (item.kind == D2V_ITEM_SAMPLE)
			check_record(&item);
	}
	d2v_image_item.close(worker);
	d2v_budget_free(budget);
	d2v_free(file.bytes);
	d2v_free(item.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	if (!size)
		return 0;
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	options.layout = &d2v_layout_images;
	options.check = (d2v_image_check)(bytes[0] % 3);
	options.store = bytes[0] & 4 ? D2V_CODEC_RGB8 : D2V_CODEC_JPEG;
	options.resize = bytes[0] & 8 ? 1u + (bytes[0] >> 4) * 7u : 0;
	options.max_pixels = PIXELS_MAX;
	decode(&options, bytes + 1, size - 1);
	return 0;
}
