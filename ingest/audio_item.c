// The decoding step for sound: any audio file becomes mono 16-bit samples of one rate, or FLAC of those.
#include "base/json.h"
#include "base/memory.h"
#include "ingest/audio_file.h"
#include "ingest/decoder.h"
#include "shards/codec_audio.h"

#include <stdio.h>

typedef struct audio_worker {
	int16_t *samples;
	size_t capacity;
} audio_worker;

static d2v_status audio_open(void **worker, const d2v_ingest_options *options, d2v_error *err) {
	(void)options;
	audio_worker *opened;
	D2V_TRY(d2v_alloc_zero(&opened, 1, sizeof *opened, err));
	*worker = opened;
	return D2V_OK;
}

static void audio_close(void *worker) {
	if (worker)
		d2v_free(((audio_worker *)worker)->samples);
	d2v_free(worker);
}

static void audio_trim(void *worker, size_t keep) {
	audio_worker *self = worker;
	if (self->capacity * sizeof *self->samples <= keep)
		return;
	d2v_free(self->samples);
	*self = (audio_worker){ 0 };
}

// The item keeps the samples; the worker gets the item's old buffer for the next file.
static void keep_samples(d2v_item *item, audio_worker *self) {
	audio_worker old = { .samples = (int16_t *)(void *)item->payload,
		.capacity = item->payload_capacity / sizeof(int16_t) };
	item->payload = (unsigned char *)self->samples;
	item->payload_capacity = self->capacity * sizeof(int16_t);
	item->payload_size = item->units * sizeof(int16_t);
	*self = old;
}

static d2v_status encode(d2v_item *item, const audio_worker *self, d2v_error *err) {
	void *bytes;
	size_t size;
	D2V_TRY(d2v_codec_flac_encode(self->samples, item->units, item->rate, &bytes, &size, err));
	d2v_free(item->payload);
	item->payload = bytes;
	item->payload_capacity = item->payload_size = size;
	return D2V_OK;
}

static d2v_status read_samples(d2v_item *item, d2v_audio_file *opened, d2v_decoder_file *file, audio_worker *self,
	const d2v_ingest_options *options, d2v_error *err) {
	D2V_TRY(d2v_audio_file_read(opened, &self->samples, &self->capacity, &item->units, &item->place.rejection, err));
	if (item->place.rejection.reason != D2V_REASON_NONE)
		return D2V_OK;
	item->codec = options->store;
	item->rate = options->rate;
	item->rows = 1;
	if (options->store == D2V_CODEC_PCM16)
		keep_samples(item, self);
	else if (d2v_audio_file_is_plain_flac(opened))
		d2v_decoder_keep_file(item, file);
	else
		return encode(item, self, err);
	return D2V_OK;
}

static d2v_status audio_decode(void *worker, d2v_item *item, d2v_decoder_file *file, const d2v_ingest_options *options,
	d2v_budget *budget, uint64_t ticket, d2v_error *err) {
	d2v_audio_limits limits = { .rate = options->rate,
		.max_samples = (uint64_t)(options->max_seconds * options->rate),
		.check_md5 = options->check_md5 };
	d2v_audio_file *opened;
	uint64_t charged = item->reserved, more = 0;
	item->reserved = 0;
	d2v_status status = d2v_audio_file_open(&opened, file->bytes, file->size, &limits, &item->place.rejection, err);
	if (status == D2V_OK && opened) {
		more = d2v_audio_file_bound(opened) * sizeof(int16_t);
		if (d2v_budget_reserve(budget, ticket, more)) {
			charged += more;
			status = read_samples(item, opened, file, worker, options, err);
		} else
			status = D2V_END;
	}
	d2v_audio_file_close(opened);
	if (status == D2V_OK && item->place.rejection.reason != D2V_REASON_NONE)
		item->kind = D2V_ITEM_REJECTED;
	// What is charged from here on is what the item carries; an encoded file may be a little larger than its bound.
	if (status == D2V_OK && item->kind == D2V_ITEM_SAMPLE)
		item->reserved = item->payload_size < charged ? item->payload_size : charged;
	d2v_budget_release(budget, charged - item->reserved);
	return status;
}

static d2v_status audio_describe(const d2v_ingest_options *options, json_t *described, d2v_error *err) {
	D2V_TRY(d2v_json_set(described, "rate", json_integer(options->rate), err));
	D2V_TRY(d2v_json_set(described, "max_seconds", json_real(options->max_seconds), err));
	return d2v_json_set(described, "check_md5", json_boolean(options->check_md5), err);
}

static double audio_expect(const d2v_ingest_options *options, const d2v_ingest_source *source) {
	return options->store == D2V_CODEC_FLAC && source->hours ? (double)source->bytes
															 : source->hours * 3600 * options->rate * 2;
}

static void audio_tell(
	const d2v_ingest_options *options, const d2v_ingest_result *result, double seconds, char *text, size_t size) {
	double audio = (double)result->new_units / options->rate;
	snprintf(text, size, "%.2f h  %.0fx real time", audio / 3600, seconds > 0 ? audio / seconds : 0);
}

const d2v_decoder d2v_audio_item = {
	.modality = D2V_AUDIO,
	.record = "recording",
	.records = "recordings",
	.describe = audio_describe,
	.expect = audio_expect,
	.tell = audio_tell,
	.open = audio_open,
	.decode = audio_decode,
	.trim = audio_trim,
	.close = audio_close,
};
