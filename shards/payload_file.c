#include "shards/payload_file.h"

#include "base/memory.h"
#include "shards/codec_audio.h"
#include "shards/codec_image.h"

#include <string.h>
#include <strings.h>

#define SAMPLES_MAX ((uint64_t)1 << 31)

static bool is(const char *ending, const char *wanted) {
	return strcasecmp(ending, wanted) == 0;
}

static bool is_sound(const d2v_record *record) {
	return record->codec == D2V_CODEC_PCM16 || record->codec == D2V_CODEC_FLAC;
}

const char *d2v_payload_file_ending(const d2v_record *record) {
	switch (record->codec) {
	case D2V_CODEC_PCM16:
		return "wav";
	case D2V_CODEC_FLAC:
		return "flac";
	case D2V_CODEC_JPEG:
		return "jpg";
	case D2V_CODEC_PNG:
	case D2V_CODEC_RGB8:
		return "png";
	default:
		return "raw";
	}
}

static d2v_status encode_sound(d2v_payload_file *file, const d2v_record *record, bool flac, d2v_error *err) {
	int16_t *samples;
	if (record->units > SAMPLES_MAX)
		return d2v_fail(err, D2V_CORRUPT, "has more samples than can be true");
	D2V_TRY(d2v_alloc(&samples, record->units, sizeof *samples, err));
	d2v_status status = d2v_codec_audio_read(record, 0, record->units, samples, err);
	if (status == D2V_OK)
		status = flac ? d2v_codec_flac_encode(samples, record->units, record->rate, &file->owned, &file->size, err)
					  : d2v_codec_wav_encode(samples, record->units, record->rate, &file->owned, &file->size, err);
	d2v_free(samples);
	file->bytes = file->owned;
	return status;
}

static bool is_picture(const d2v_record *record) {
	return record->codec == D2V_CODEC_JPEG || record->codec == D2V_CODEC_PNG || record->codec == D2V_CODEC_RGB8;
}

d2v_status d2v_payload_file_pixels(
	const d2v_record *record, uint8_t **pixels, uint32_t *width, uint32_t *height, d2v_error *err) {
	d2v_image_decoder *decoder;
	d2v_image_facts facts = { 0 };
	*pixels = NULL;
	D2V_TRY(d2v_image_decoder_new(&decoder, err));
	d2v_status status = d2v_image_begin_record(decoder, record, &facts, err);
	if (status == D2V_OK)
		status = d2v_alloc(pixels, (size_t)facts.width * facts.height, 3, err);
	if (status == D2V_OK)
		status = d2v_image_whole(decoder, *pixels, err);
	d2v_image_decoder_free(decoder);
	if (status != D2V_OK) {
		d2v_free(*pixels);
		*pixels = NULL;
	}
	*width = facts.width;
	*height = facts.height;
	return status;
}

static d2v_status encode_picture(d2v_payload_file *file, const d2v_record *record, d2v_error *err) {
	uint8_t *pixels;
	uint32_t width, height;
	D2V_TRY(d2v_payload_file_pixels(record, &pixels, &width, &height, err));
	d2v_status status = d2v_image_png_encode(pixels, width, height, &file->owned, &file->size, err);
	d2v_free(pixels);
	file->bytes = file->owned;
	return status;
}

static bool is_stored_as(const d2v_record *record, const char *ending) {
	return is(ending, "raw") || (record->codec == D2V_CODEC_FLAC && is(ending, "flac")) ||
		   (record->codec == D2V_CODEC_PNG && is(ending, "png")) ||
		   (record->codec == D2V_CODEC_JPEG && (is(ending, "jpg") || is(ending, "jpeg")));
}

d2v_status d2v_payload_file_make(d2v_payload_file *file, const d2v_record *record, const char *ending, d2v_error *err) {
	*file = (d2v_payload_file){ 0 };
	if (is_stored_as(record, ending)) {
		*file = (d2v_payload_file){ .bytes = record->payload, .size = record->payload_size };
		return D2V_OK;
	}
	if (is_sound(record) && (is(ending, "wav") || is(ending, "flac")))
		return encode_sound(file, record, is(ending, "flac"), err);
	if (is_picture(record) && is(ending, "png"))
		return encode_picture(file, record, err);
	const char *can = is_sound(record)                  ? "wav, flac or raw"
					  : record->codec == D2V_CODEC_JPEG ? "jpg, png or raw"
					  : is_picture(record)              ? "png or raw"
														: "raw";
	return d2v_fail(err, D2V_INVALID, "a record stored as %s cannot be written as '%s': the ending may be %s",
		d2v_codec_name((d2v_codec)record->codec), ending, can);
}

void d2v_payload_file_release(d2v_payload_file *file) {
	d2v_free(file->owned);
	*file = (d2v_payload_file){ 0 };
}
