#include "ingest/audio_item.h"

#include "base/memory.h"
#include "ingest/audio_file.h"
#include "shards/codec.h"

void d2v_audio_buffers_release(d2v_audio_buffers *buffers) {
	d2v_free(buffers->bytes);
	d2v_free(buffers->samples);
	*buffers = (d2v_audio_buffers){ 0 };
}

void d2v_audio_buffers_trim(d2v_audio_buffers *buffers, size_t keep) {
	if (buffers->capacity > keep) {
		d2v_free(buffers->bytes);
		buffers->bytes = NULL;
		buffers->capacity = 0;
	}
	if (buffers->samples_capacity * sizeof *buffers->samples > keep) {
		d2v_free(buffers->samples);
		buffers->samples = NULL;
		buffers->samples_capacity = 0;
	}
}

// The item keeps the samples; the worker gets the item's old buffer for the next file.
static void swap_samples(d2v_item *item, d2v_audio_buffers *buffers, uint64_t count) {
	unsigned char *payload = item->payload;
	size_t capacity = item->payload_capacity;
	item->payload = (unsigned char *)buffers->samples;
	item->payload_capacity = buffers->samples_capacity * sizeof(int16_t);
	item->payload_size = count * sizeof(int16_t);
	buffers->samples = (int16_t *)(void *)payload;
	buffers->samples_capacity = capacity / sizeof(int16_t);
}

static void swap_bytes(d2v_item *item, d2v_audio_buffers *buffers) {
	unsigned char *payload = item->payload;
	size_t capacity = item->payload_capacity;
	item->payload = buffers->bytes;
	item->payload_capacity = buffers->capacity;
	item->payload_size = buffers->size;
	buffers->bytes = payload;
	buffers->capacity = capacity;
}

static d2v_status encode(d2v_item *item, d2v_audio_buffers *buffers, uint32_t rate, d2v_error *err) {
	void *bytes;
	size_t size;
	D2V_TRY(d2v_codec_flac_encode(buffers->samples, item->units, rate, &bytes, &size, err));
	d2v_free(item->payload);
	item->payload = bytes;
	item->payload_capacity = item->payload_size = size;
	return D2V_OK;
}

static d2v_status read_samples(d2v_item *item, d2v_audio_file *file, d2v_audio_buffers *buffers,
	const d2v_ingest_options *options, d2v_error *err) {
	D2V_TRY(d2v_audio_file_read(
		file, &buffers->samples, &buffers->samples_capacity, &item->units, &item->place.rejection, err));
	if (item->place.rejection.reason != D2V_REASON_NONE)
		return D2V_OK;
	item->codec = options->store;
	item->rate = options->rate;
	if (options->store == D2V_CODEC_PCM16)
		swap_samples(item, buffers, item->units);
	else if (d2v_audio_file_is_plain_flac(file))
		swap_bytes(item, buffers);
	else
		return encode(item, buffers, options->rate, err);
	return D2V_OK;
}

d2v_status d2v_audio_item_decode(d2v_item *item, d2v_audio_buffers *buffers, const d2v_ingest_options *options,
	d2v_budget *budget, uint64_t ticket, d2v_error *err) {
	d2v_audio_limits limits = { .rate = options->rate,
		.max_samples = (uint64_t)(options->max_seconds * options->rate),
		.check_md5 = options->check_md5 };
	d2v_audio_file *file;
	uint64_t charged = item->reserved, more = 0;
	item->reserved = 0;
	d2v_status status = d2v_audio_file_open(&file, buffers->bytes, buffers->size, &limits, &item->place.rejection, err);
	if (status == D2V_OK && file) {
		more = d2v_audio_file_bound(file) * sizeof(int16_t);
		if (d2v_budget_reserve(budget, ticket, more)) {
			charged += more;
			status = read_samples(item, file, buffers, options, err);
		} else
			status = D2V_END;
	}
	d2v_audio_file_close(file);
	if (status == D2V_OK && item->place.rejection.reason != D2V_REASON_NONE)
		item->kind = D2V_ITEM_REJECTED;
	// What is charged from here on is what the item carries; an encoded file may be a little larger than its bound.
	if (status == D2V_OK && item->kind == D2V_ITEM_SAMPLE)
		item->reserved = item->payload_size < charged ? item->payload_size : charged;
	d2v_budget_release(budget, charged - item->reserved);
	return status;
}
