// The decoding step for pictures: JPEG and PNG files are looked at and stored as they are, or made smaller and encoded
// once more, or stored as pixels.
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/decoder.h"
#include "shards/bicubic.h"
#include "shards/codec_image.h"

#include <stdio.h>
#include <string.h>

#define CHANNELS 3
// What decoding may take beside the pixels that are wanted: only pictures in passes (progressive, interlaced) need it.
#define MEMORY_MAX ((uint64_t)256 << 20)
#define PASSES_BYTES 6               // of a pixel: a 16-bit coefficient for each of three channels
#define END_BYTES ((size_t)64 << 10) // at the end of a file, where its end mark must be; cameras write more behind it

typedef struct image_worker {
	d2v_image_decoder *decoder;
	d2v_bicubic *resizer;
	uint8_t *pixels; // as they will be stored
	size_t capacity;
} image_worker;

static void image_close(void *worker) {
	image_worker *self = worker;
	if (!self)
		return;
	d2v_image_decoder_free(self->decoder);
	d2v_bicubic_free(self->resizer);
	d2v_free(self->pixels);
	d2v_free(self);
}

static d2v_status image_open(void **worker, const d2v_ingest_options *options, d2v_error *err) {
	image_worker *self;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	d2v_status status = d2v_image_decoder_new(&self->decoder, err);
	if (status == D2V_OK && options->resize)
		status = d2v_bicubic_new(&self->resizer, err);
	if (status != D2V_OK)
		image_close(self);
	else
		*worker = self;
	return status;
}

static void image_trim(void *worker, size_t keep) {
	image_worker *self = worker;
	if (self->capacity <= keep)
		return;
	d2v_free(self->pixels);
	self->pixels = NULL;
	self->capacity = 0;
}

// ---- what comes out

typedef struct picture {
	d2v_image_facts facts;
	uint32_t width, height; // as it will be stored
	bool is_made;           // of pixels, not of the file as it is
} picture;

// The shorter side becomes `resize`, the other one follows, rounded down as torchvision's Resize does. Pictures that
// are no larger stay as they are.
static picture plan(const d2v_image_facts *facts, const d2v_ingest_options *options) {
	picture out = { .facts = *facts, .width = facts->width, .height = facts->height };
	uint32_t shorter = facts->width < facts->height ? facts->width : facts->height;
	bool shrinks = options->resize && shorter > options->resize;
	if (shrinks) {
		out.width = (uint32_t)((uint64_t)facts->width * options->resize / shorter);
		out.height = (uint32_t)((uint64_t)facts->height * options->resize / shorter);
	}
	out.is_made = shrinks || options->store == D2V_CODEC_RGB8;
	return out;
}

static uint64_t passes_memory(const d2v_image_facts *facts) {
	return facts->in_passes ? (uint64_t)facts->width * facts->height * PASSES_BYTES : 0;
}

static uint64_t memory_of(const picture *out, const d2v_ingest_options *options) {
	bool decodes = out->is_made || options->check == D2V_IMAGE_CHECK_DECODE;
	return (decodes ? passes_memory(&out->facts) : 0) +
		   (out->is_made ? (uint64_t)out->width * out->height * CHANNELS : 0);
}

static bool fits(const picture *out, const d2v_ingest_options *options, d2v_rejection *rejection) {
	uint64_t pixels = (uint64_t)out->facts.width * out->facts.height;
	if (pixels > options->max_pixels)
		d2v_reject(rejection, D2V_REASON_TOO_LARGE, "%u x %u pixels; --max-pixels is %llu", out->facts.width,
			out->facts.height, (unsigned long long)options->max_pixels);
	else if (memory_of(out, options) > MEMORY_MAX)
		d2v_reject(rejection, D2V_REASON_TOO_LARGE, "%u x %u pixels take more than %llu MiB to decode",
			out->facts.width, out->facts.height, (unsigned long long)(MEMORY_MAX >> 20));
	return rejection->reason == D2V_REASON_NONE;
}

// ---- looking at files

static bool has_end(const d2v_decoder_file *file, d2v_image_format format) {
	size_t looked = file->size < END_BYTES ? file->size : END_BYTES;
	const unsigned char *from = file->bytes + file->size - looked;
	return format == D2V_IMAGE_PNG ? memmem(from, looked, "IEND", 4) != NULL
								   : memmem(from, looked, "\xff\xd9", 2) != NULL;
}

// What a decoder says of a damaged picture is a reason to leave it out; anything else ends the ingest.
static d2v_status judge(d2v_status status, const d2v_error *why, d2v_rejection *rejection, d2v_error *err) {
	if (status == D2V_UNDECODABLE || status == D2V_CORRUPT)
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "%s", why->text);
	else if (status == D2V_UNSAFE)
		d2v_reject(rejection, D2V_REASON_TOO_LARGE, "%s", why->text);
	else if (status != D2V_OK)
		return d2v_fail(err, status, "%s", why->text);
	return D2V_OK;
}

static d2v_status look(image_worker *self, const d2v_decoder_file *file, const d2v_ingest_options *options,
	const picture *out, d2v_rejection *rejection, d2v_error *err) {
	d2v_error why = { 0 };
	if (options->check == D2V_IMAGE_CHECK_DECODE)
		return judge(d2v_image_rows(self->decoder, NULL, NULL, &why), &why, rejection, err);
	if (options->check == D2V_IMAGE_CHECK_HEADER && !has_end(file, out->facts.format))
		d2v_reject(rejection, D2V_REASON_UNDECODABLE, "cut short: the end of the %s file is missing",
			d2v_image_format_name(out->facts.format));
	return D2V_OK;
}

// ---- making pixels

static void resize_row(void *context, uint32_t y, const uint8_t *rgb) {
	(void)y;
	d2v_bicubic_row(context, rgb);
}

static d2v_status make_pixels(image_worker *self, const picture *out, d2v_error *err) {
	d2v_bicubic_job job = {
		.in_width = out->facts.width, .in_height = out->facts.height, .out_width = out->width, .out_height = out->height
	};
	d2v_image_region needs;
	if (out->width == out->facts.width && out->height == out->facts.height)
		return d2v_image_whole(self->decoder, self->pixels, err);
	D2V_TRY(d2v_bicubic_begin(self->resizer, &job, &needs, err));
	D2V_TRY(
		d2v_image_rows(self->decoder, &needs, &(d2v_image_sink){ .row = resize_row, .context = self->resizer }, err));
	d2v_bicubic_finish(self->resizer, self->pixels);
	return D2V_OK;
}

// The item keeps the pixels; the worker gets the item's old buffer for the next picture.
static void keep_pixels(d2v_item *item, image_worker *self, size_t size) {
	uint8_t *payload = item->payload;
	size_t capacity = item->payload_capacity;
	item->payload = self->pixels;
	item->payload_capacity = self->capacity;
	item->payload_size = size;
	self->pixels = payload;
	self->capacity = capacity;
}

static d2v_status keep_encoded(
	d2v_item *item, const image_worker *self, const picture *out, int quality, d2v_error *err) {
	void *bytes;
	size_t size;
	D2V_TRY(d2v_image_jpeg_encode(self->pixels, out->width, out->height, quality, &bytes, &size, err));
	d2v_free(item->payload);
	item->payload = bytes;
	item->payload_capacity = item->payload_size = size;
	return D2V_OK;
}

static d2v_status make(
	d2v_item *item, image_worker *self, const picture *out, const d2v_ingest_options *options, d2v_error *err) {
	size_t size = (size_t)out->width * out->height * CHANNELS;
	d2v_error why = { 0 };
	D2V_TRY(d2v_reserve(&self->pixels, &self->capacity, size, 1, err));
	D2V_TRY(judge(make_pixels(self, out, &why), &why, &item->place.rejection, err));
	if (item->place.rejection.reason != D2V_REASON_NONE)
		return D2V_OK;
	item->codec = options->store;
	if (options->store != D2V_CODEC_RGB8)
		return keep_encoded(item, self, out, options->quality, err);
	keep_pixels(item, self, size);
	return D2V_OK;
}

static d2v_status store(d2v_item *item, image_worker *self, d2v_decoder_file *file, const picture *out,
	const d2v_ingest_options *options, d2v_error *err) {
	item->rate = out->width;
	item->rows = out->height;
	item->units = (uint64_t)out->width * out->height;
	if (out->is_made)
		return make(item, self, out, options, err);
	D2V_TRY(look(self, file, options, out, &item->place.rejection, err));
	item->codec = out->facts.format == D2V_IMAGE_PNG ? D2V_CODEC_PNG : D2V_CODEC_JPEG;
	d2v_decoder_keep_file(item, file);
	return D2V_OK;
}

// ---- the decoder

static d2v_status image_decode(void *worker, d2v_item *item, d2v_decoder_file *file, const d2v_ingest_options *options,
	d2v_budget *budget, uint64_t ticket, d2v_error *err) {
	image_worker *self = worker;
	d2v_image_facts facts;
	d2v_error why = { 0 };
	d2v_rejection *rejection = &item->place.rejection;
	uint64_t charged = item->reserved;
	item->reserved = 0;
	d2v_status status =
		judge(d2v_image_begin(self->decoder, file->bytes, file->size, &facts, &why), &why, rejection, err);
	if (status == D2V_OK && rejection->reason == D2V_REASON_NONE) {
		picture out = plan(&facts, options);
		uint64_t more = memory_of(&out, options);
		if (fits(&out, options, rejection) && d2v_budget_reserve(budget, ticket, more)) {
			charged += more;
			status = store(item, self, file, &out, options, err);
		} else if (rejection->reason == D2V_REASON_NONE)
			status = D2V_END;
	}
	if (status == D2V_OK && rejection->reason != D2V_REASON_NONE)
		item->kind = D2V_ITEM_REJECTED;
	// What is charged from here on is what the item carries; an encoded picture may be larger than its pixels.
	if (status == D2V_OK && item->kind == D2V_ITEM_SAMPLE)
		item->reserved = item->payload_size < charged ? item->payload_size : charged;
	d2v_budget_release(budget, charged - item->reserved);
	return status;
}

static d2v_status image_describe(const d2v_ingest_options *options, json_t *described, d2v_error *err) {
	static const char *const checks[] = { "decode", "header", "none" };
	D2V_TRY(d2v_json_set(described, "check", json_string(checks[options->check]), err));
	D2V_TRY(d2v_json_set_u64(described, "max_pixels", options->max_pixels, err));
	if (!options->resize)
		return D2V_OK;
	D2V_TRY(d2v_json_set(described, "resize", json_integer(options->resize), err));
	return d2v_json_set(described, "quality", json_integer(options->quality), err);
}

static double image_expect(const d2v_ingest_options *options, const d2v_ingest_source *source) {
	return options->store == D2V_CODEC_RGB8 || options->resize ? 0 : (double)source->bytes;
}

static void image_tell(
	const d2v_ingest_options *options, const d2v_ingest_result *result, double seconds, char *text, size_t size) {
	char rate[D2V_PROGRESS_TEXT];
	(void)options;
	snprintf(text, size, "%s/s", d2v_progress_bytes(seconds > 0 ? (double)result->new_bytes / seconds : 0, rate));
}

const d2v_decoder d2v_image_item = {
	.modality = D2V_IMAGE,
	.record = "picture",
	.records = "pictures",
	.describe = image_describe,
	.expect = image_expect,
	.tell = image_tell,
	.open = image_open,
	.decode = image_decode,
	.trim = image_trim,
	.close = image_close,
};
