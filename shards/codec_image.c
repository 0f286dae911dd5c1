#include "shards/codec_image.h"

#include "base/memory.h"
#include "shards/codec_jpeg.h"
#include "shards/codec_png.h"

#include <string.h>

struct d2v_image_decoder {
	d2v_jpeg *jpeg;
	d2v_png *png;
	d2v_image_facts facts; // of the picture that was begun
	bool begun;
	const uint8_t *pixels; // of a picture that lies as it is
};

const char *d2v_image_format_name(d2v_image_format format) {
	return format == D2V_IMAGE_JPEG ? "jpeg" : format == D2V_IMAGE_PNG ? "png" : "rgb8";
}

const char *d2v_image_colour_name(d2v_image_colour colour) {
	static const char *const names[] = { "unknown", "grey", "colour", "cmyk", "palette" };
	return names[colour >= D2V_IMAGE_GREY && colour <= D2V_IMAGE_PALETTE ? colour : 0];
}

d2v_status d2v_image_decoder_new(d2v_image_decoder **decoder, d2v_error *err) {
	d2v_image_decoder *made;
	*decoder = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	d2v_status status = d2v_jpeg_new(&made->jpeg, err);
	if (status == D2V_OK)
		status = d2v_png_new(&made->png, err);
	if (status != D2V_OK)
		d2v_image_decoder_free(made);
	else
		*decoder = made;
	return status;
}

void d2v_image_decoder_free(d2v_image_decoder *decoder) {
	if (!decoder)
		return;
	d2v_jpeg_free(decoder->jpeg);
	d2v_png_free(decoder->png);
	d2v_free(decoder);
}

static d2v_status check_size(const d2v_image_facts *facts, d2v_error *err) {
	if (!facts->width || !facts->height)
		return d2v_fail(err, D2V_UNDECODABLE, "a picture of %u x %u pixels", facts->width, facts->height);
	if (facts->width > D2V_IMAGE_SIDE_MAX || facts->height > D2V_IMAGE_SIDE_MAX ||
		(uint64_t)facts->width * facts->height > D2V_IMAGE_PIXELS_MAX)
		return d2v_fail(err, D2V_UNSAFE, "a picture of %u x %u pixels; at most %u are decoded", facts->width,
			facts->height, D2V_IMAGE_PIXELS_MAX);
	return D2V_OK;
}

static bool is_jpeg(const void *bytes, size_t size) {
	return size >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0;
}

d2v_status d2v_image_begin(
	d2v_image_decoder *decoder, const void *bytes, size_t size, d2v_image_facts *facts, d2v_error *err) {
	d2v_status status;
	*facts = (d2v_image_facts){ 0 };
	decoder->begun = false;
	decoder->pixels = NULL;
	if (is_jpeg(bytes, size))
		status = d2v_jpeg_begin(decoder->jpeg, bytes, size, facts, err);
	else if (d2v_png_is(bytes, size))
		status = d2v_png_begin(decoder->png, bytes, size, facts, err);
	else if (!size)
		status = d2v_fail(err, D2V_UNDECODABLE, "the file is empty");
	else
		status = d2v_fail(err, D2V_UNDECODABLE, "neither a JPEG nor a PNG file");
	if (status == D2V_OK)
		status = check_size(facts, err);
	decoder->begun = status == D2V_OK;
	decoder->facts = *facts;
	return status;
}

static d2v_status begin_rgb(
	d2v_image_decoder *decoder, const d2v_record *record, d2v_image_facts *facts, d2v_error *err) {
	*facts = (d2v_image_facts){
		.format = D2V_IMAGE_RGB, .colour = D2V_IMAGE_COLOUR, .width = record->rate, .height = record->rows, .bits = 8
	};
	decoder->facts = *facts;
	decoder->begun = false;
	D2V_TRY(check_size(facts, err));
	if (record->payload_size != (uint64_t)facts->width * facts->height * 3)
		return d2v_fail(err, D2V_CORRUPT, "%llu bytes cannot be %u x %u pixels",
			(unsigned long long)record->payload_size, facts->width, facts->height);
	decoder->pixels = record->payload;
	decoder->begun = true;
	return D2V_OK;
}

d2v_status d2v_image_begin_record(
	d2v_image_decoder *decoder, const d2v_record *record, d2v_image_facts *facts, d2v_error *err) {
	if (record->codec == D2V_CODEC_RGB8)
		return begin_rgb(decoder, record, facts, err);
	if (record->codec != D2V_CODEC_JPEG && record->codec != D2V_CODEC_PNG)
		return d2v_fail(err, D2V_CORRUPT, "its payload is %s and no picture", d2v_codec_name(record->codec));
	D2V_TRY(d2v_image_begin(decoder, record->payload, record->payload_size, facts, err));
	if (facts->width == record->rate && facts->height == record->rows)
		return D2V_OK;
	decoder->begun = false;
	return d2v_fail(err, D2V_CORRUPT, "its payload has %u x %u pixels, the record says %u x %u", facts->width,
		facts->height, record->rate, record->rows);
}

d2v_status d2v_image_rows(
	d2v_image_decoder *decoder, const d2v_image_region *region, const d2v_image_sink *sink, d2v_error *err) {
	const d2v_image_facts *facts = &decoder->facts;
	d2v_image_region whole = { .height = facts->height, .width = facts->width };
	region = region ? region : &whole;
	D2V_ASSERT(decoder->begun && region->height && region->width && region->top < facts->height &&
			   region->left < facts->width && region->height <= facts->height - region->top &&
			   region->width <= facts->width - region->left);
	decoder->begun = false;
	if (facts->format == D2V_IMAGE_JPEG)
		return d2v_jpeg_rows(decoder->jpeg, region, sink, err);
	if (facts->format == D2V_IMAGE_PNG)
		return d2v_png_rows(decoder->png, region, sink, err);
	for (uint32_t y = 0; y < region->height && sink; y++)
		sink->row(sink->context, y, decoder->pixels + ((size_t)(region->top + y) * facts->width + region->left) * 3);
	return D2V_OK;
}

typedef struct whole {
	uint8_t *pixels;
	size_t row_size;
} whole;

static void copy_row(void *context, uint32_t y, const uint8_t *rgb) {
	const whole *to = context;
	memcpy(to->pixels + y * to->row_size, rgb, to->row_size);
}

d2v_status d2v_image_whole(d2v_image_decoder *decoder, uint8_t *pixels, d2v_error *err) {
	whole to = { .pixels = pixels, .row_size = (size_t)decoder->facts.width * 3 };
	return d2v_image_rows(decoder, NULL, &(d2v_image_sink){ .row = copy_row, .context = &to }, err);
}
