#include "shards/codec_png.h"

#include "base/memory.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#define SIGNATURE 8
#define CHUNK_MAX ((png_alloc_size_t)8 << 20) // of chunks that are no pixels: texts and profiles nobody reads

// libpng reports what it cannot do by jumping back to where its function was called.
struct d2v_png {
	png_structp reader; // of the picture that was begun, NULL: none
	png_infop info;
	const uint8_t *bytes;
	size_t size, at;
	char message[256];
	d2v_image_facts facts;
	int depth, type; // as libpng calls them, before anything is converted
	uint8_t palette[256][3];
	uint8_t *raw; // a row, or all of an interlaced picture
	uint8_t *rgb; // a row
	size_t raw_capacity, rgb_capacity;
};

static void leave(png_structp reader, png_const_charp message) {
	d2v_png *png = png_get_error_ptr(reader);
	snprintf(png->message, sizeof png->message, "%s", message);
	png_longjmp(reader, 1);
}

static void ignore_warning(png_structp reader, png_const_charp message) {
	(void)reader;
	(void)message;
}

static void read_bytes(png_structp reader, png_bytep out, size_t count) {
	d2v_png *png = png_get_io_ptr(reader);
	if (count > png->size - png->at)
		png_error(reader, "the file is cut short");
	memcpy(out, png->bytes + png->at, count);
	png->at += count;
}

static void end_picture(d2v_png *png) {
	png_destroy_read_struct(&png->reader, &png->info, NULL);
	png->reader = NULL;
	png->info = NULL;
}

d2v_status d2v_png_new(d2v_png **png, d2v_error *err) {
	return d2v_alloc_zero(png, 1, sizeof **png, err);
}

void d2v_png_free(d2v_png *png) {
	if (!png)
		return;
	end_picture(png);
	d2v_free(png->raw);
	d2v_free(png->rgb);
	d2v_free(png);
}

bool d2v_png_is(const void *bytes, size_t size) {
	return size >= SIGNATURE && png_sig_cmp(bytes, 0, SIGNATURE) == 0;
}

static d2v_status fail_png(d2v_png *png, d2v_error *err) {
	end_picture(png);
	return d2v_fail(err, D2V_UNDECODABLE, "libpng: %s", png->message);
}

static d2v_status start_picture(d2v_png *png, d2v_error *err) {
	end_picture(png);
	png->reader = png_create_read_struct(PNG_LIBPNG_VER_STRING, png, leave, ignore_warning);
	if (png->reader)
		png->info = png_create_info_struct(png->reader);
	if (!png->info) {
		end_picture(png);
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for libpng");
	}
	return D2V_OK;
}

// Indices past the palette's end are grey, as Pillow's palettes are until they are filled.
static void take_palette(d2v_png *png) {
	png_colorp colours = NULL;
	int count = 0;
	png_get_PLTE(png->reader, png->info, &colours, &count);
	for (int i = 0; i < 256; i++) {
		uint8_t grey = (uint8_t)i;
		if (i < count) {
			png->palette[i][0] = colours[i].red;
			png->palette[i][1] = colours[i].green;
			png->palette[i][2] = colours[i].blue;
		} else
			memset(png->palette[i], grey, 3);
	}
}

// Called where libpng may jump back to the caller.
static void read_header(d2v_png *png) {
	png_set_user_limits(png->reader, D2V_IMAGE_SIDE_MAX, D2V_IMAGE_SIDE_MAX);
	png_set_chunk_malloc_max(png->reader, CHUNK_MAX);
	png_set_read_fn(png->reader, png, read_bytes);
	png_read_info(png->reader, png->info);
	png->depth = png_get_bit_depth(png->reader, png->info);
	png->type = png_get_color_type(png->reader, png->info);
	if (png->type == PNG_COLOR_TYPE_PALETTE)
		take_palette(png);
}

d2v_status d2v_png_begin(d2v_png *png, const void *bytes, size_t size, d2v_image_facts *facts, d2v_error *err) {
	D2V_TRY(start_picture(png, err));
	png->bytes = bytes;
	png->size = size;
	png->at = 0;
	if (setjmp(png_jmpbuf(png->reader)))
		return fail_png(png, err);
	read_header(png);
	png->facts = (d2v_image_facts){ .format = D2V_IMAGE_PNG,
		.colour = png->type == PNG_COLOR_TYPE_PALETTE ? D2V_IMAGE_PALETTE
				  : png->type & PNG_COLOR_MASK_COLOR  ? D2V_IMAGE_COLOUR
													  : D2V_IMAGE_GREY,
		.width = png_get_image_width(png->reader, png->info),
		.height = png_get_image_height(png->reader, png->info),
		.bits = (uint8_t)png->depth,
		.alpha = (png->type & PNG_COLOR_MASK_ALPHA) != 0,
		.in_passes = png_get_interlace_type(png->reader, png->info) != PNG_INTERLACE_NONE };
	*facts = png->facts;
	return D2V_OK;
}

static bool is_wide_grey(const d2v_png *png) {
	return png->type == PNG_COLOR_TYPE_GRAY && png->depth == 16;
}

// After this a row has 1 byte a pixel (grey and indices, unscaled), 2 (grey of 16 bits, big-endian) or 3. Called where
// libpng may jump back to the caller.
static size_t choose_form(d2v_png *png) {
	if (png->depth < 8)
		png_set_packing(png->reader);
	if (png->depth == 16 && !is_wide_grey(png))
		png_set_strip_16(png->reader);
	if (png->type & PNG_COLOR_MASK_ALPHA)
		png_set_strip_alpha(png->reader);
	png_set_interlace_handling(png->reader);
	png_read_update_info(png->reader, png->info);
	return png_get_rowbytes(png->reader, png->info);
}

static void rgb_from_grey(const d2v_png *png, const uint8_t *raw, uint8_t *rgb, uint32_t width) {
	int scale = png->depth < 8 ? 255 / ((1 << png->depth) - 1) : 1;
	for (uint32_t x = 0; x < width; x++)
		memset(rgb + (size_t)x * 3, raw[x] * scale, 3);
}

static void rgb_from_wide_grey(const uint8_t *raw, uint8_t *rgb, uint32_t width) {
	for (uint32_t x = 0; x < width; x++)
		memset(rgb + (size_t)x * 3, raw[2 * x] ? 255 : raw[2 * x + 1], 3);
}

static void hand_out(
	d2v_png *png, const d2v_image_region *region, uint32_t y, const uint8_t *raw, const d2v_image_sink *sink) {
	const uint8_t *rgb = png->rgb;
	if (png->type == PNG_COLOR_TYPE_PALETTE)
		for (uint32_t x = 0; x < region->width; x++)
			memcpy(png->rgb + (size_t)x * 3, png->palette[raw[region->left + x]], 3);
	else if (is_wide_grey(png))
		rgb_from_wide_grey(raw + (size_t)region->left * 2, png->rgb, region->width);
	else if (!(png->type & PNG_COLOR_MASK_COLOR))
		rgb_from_grey(png, raw + region->left, png->rgb, region->width);
	else
		rgb = raw + (size_t)region->left * 3;
	sink->row(sink->context, y, rgb);
}

// Interlaced pictures come in passes over all rows, others row by row. Called where libpng may jump back to the caller.
static void read_rows(d2v_png *png, const d2v_image_region *region, const d2v_image_sink *sink, size_t row_size) {
	uint32_t end = region->top + region->height, height = png->facts.height;
	if (png->facts.in_passes)
		for (int pass = 0; pass < 7; pass++)
			for (uint32_t y = 0; y < height; y++)
				png_read_row(png->reader, png->raw + y * row_size, NULL);
	for (uint32_t y = 0; y < end; y++) {
		if (!png->facts.in_passes)
			png_read_row(png->reader, png->raw, NULL);
		if (y >= region->top && sink)
			hand_out(png, region, y - region->top, png->raw + (png->facts.in_passes ? y * row_size : 0), sink);
	}
}

d2v_status d2v_png_rows(d2v_png *png, const d2v_image_region *region, const d2v_image_sink *sink, d2v_error *err) {
	volatile size_t row_size = 0; // kept over the jump
	if (setjmp(png_jmpbuf(png->reader)))
		return fail_png(png, err);
	row_size = choose_form(png);
	d2v_status status = d2v_reserve(
		&png->raw, &png->raw_capacity, png->facts.in_passes ? row_size * png->facts.height : row_size, 1, err);
	if (status == D2V_OK)
		status = d2v_reserve(&png->rgb, &png->rgb_capacity, (size_t)png->facts.width * 3, 1, err);
	if (status == D2V_OK)
		read_rows(png, region, sink, row_size);
	end_picture(png);
	return status;
}

// What the encoder writes to.
typedef struct target {
	uint8_t *bytes;
	size_t capacity, size;
	d2v_status status;
	d2v_error *err;
} target;

static void write_bytes(png_structp writer, png_bytep bytes, size_t count) {
	target *to = png_get_io_ptr(writer);
	to->status = d2v_reserve(&to->bytes, &to->capacity, to->size + count, 1, to->err);
	if (to->status != D2V_OK)
		png_error(writer, "no memory");
	memcpy(to->bytes + to->size, bytes, count);
	to->size += count;
}

static void flush_nothing(png_structp writer) {
	(void)writer;
}

static void leave_writer(png_structp writer, png_const_charp message) {
	target *to = png_get_error_ptr(writer);
	if (to->status == D2V_OK)
		to->status = d2v_fail(to->err, D2V_INVALID, "libpng: %s", message);
	png_longjmp(writer, 1);
}

// Called where libpng may jump back to the caller.
static void write_picture(png_structp writer, png_infop info, const uint8_t *pixels, uint32_t width, uint32_t height) {
	png_set_IHDR(writer, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
		PNG_FILTER_TYPE_DEFAULT);
	png_write_info(writer, info);
	for (uint32_t y = 0; y < height; y++)
		png_write_row(writer, pixels + (size_t)y * width * 3);
	png_write_end(writer, NULL);
}

d2v_status d2v_image_png_encode(
	const uint8_t *pixels, uint32_t width, uint32_t height, void **bytes, size_t *size, d2v_error *err) {
	target to = { .err = err };
	*bytes = NULL;
	png_structp writer = png_create_write_struct(PNG_LIBPNG_VER_STRING, &to, leave_writer, ignore_warning);
	png_infop info = writer ? png_create_info_struct(writer) : NULL;
	if (!info) {
		png_destroy_write_struct(&writer, NULL);
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for libpng");
	}
	if (setjmp(png_jmpbuf(writer)) == 0) {
		png_set_write_fn(writer, &to, write_bytes, flush_nothing);
		write_picture(writer, info, pixels, width, height);
	}
	png_destroy_write_struct(&writer, &info);
	if (to.status != D2V_OK) {
		d2v_free(to.bytes);
		return to.status;
	}
	*bytes = to.bytes;
	*size = to.size;
	return D2V_OK;
}
