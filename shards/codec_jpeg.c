#include "shards/codec_jpeg.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

// Columns and rows around a region that are decoded with it: smooth upsampling looks one chroma sample, of at most 4
// pixels, to each side.
#define MARGIN 4

// Rows begin off the alignment of vectors: to aligned ones libjpeg-turbo writes around the caches, and we read them at
// once.
#define MISALIGNED 8

// libjpeg reports what it cannot do by not returning from error_exit: we jump back to where its function was called. So
// no function between holds anything that would be lost.
typedef struct escape {
	struct jpeg_error_mgr errors; // first: libjpeg hands us a pointer to it
	jmp_buf back;
	char message[JMSG_LENGTH_MAX];
} escape;

struct d2v_jpeg {
	struct jpeg_decompress_struct info;
	escape escape;
	struct jpeg_source_mgr source;
	struct jpeg_progress_mgr progress;
	uint8_t *row; // of the columns that are decoded, as libjpeg gives them (3 or 4 channels)
	uint8_t *rgb; // of the same, when libjpeg gives no RGB
	size_t row_capacity, rgb_capacity;
};

static void leave(j_common_ptr info) {
	escape *own = (escape *)info->err;
	info->err->format_message(info, own->message);
	longjmp(own->back, 1);
}

static void ignore_message(j_common_ptr info) {
	(void)info;
}

static void ignore_warning(j_common_ptr info, int level) {
	(void)info;
	(void)level;
}

static void escape_init(escape *own) {
	jpeg_std_error(&own->errors);
	own->errors.error_exit = leave;
	own->errors.output_message = ignore_message;
	own->errors.emit_message = ignore_warning;
}

// The whole file is there from the start; wanting more means that it was cut short. Saying so suspends libjpeg, as it
// does in Pillow.
static void source_nothing(j_decompress_ptr info) {
	(void)info;
}

static boolean source_is_empty(j_decompress_ptr info) {
	(void)info;
	return FALSE;
}

static void source_skip(j_decompress_ptr info, long count) {
	struct jpeg_source_mgr *source = info->src;
	if (count <= 0)
		return;
	size_t skipped = (size_t)count < source->bytes_in_buffer ? (size_t)count : source->bytes_in_buffer;
	source->next_input_byte += skipped;
	source->bytes_in_buffer -= skipped;
}

// Scans cost time each and can be many in a small file.
static void count_scans(j_common_ptr info) {
	if (((j_decompress_ptr)info)->input_scan_number <= D2V_IMAGE_SCANS_MAX)
		return;
	escape *own = (escape *)info->err;
	snprintf(own->message, sizeof own->message, "more than %d scans", D2V_IMAGE_SCANS_MAX);
	longjmp(own->back, 1);
}

d2v_status d2v_jpeg_new(d2v_jpeg **jpeg, d2v_error *err) {
	d2v_jpeg *made;
	*jpeg = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	escape_init(&made->escape);
	made->info.err = &made->escape.errors;
	if (setjmp(made->escape.back)) {
		d2v_status status = d2v_fail(err, D2V_NO_MEMORY, "libjpeg: %s", made->escape.message);
		d2v_free(made);
		return status;
	}
	jpeg_create_decompress(&made->info);
	made->source = (struct jpeg_source_mgr){ .init_source = source_nothing,
		.fill_input_buffer = source_is_empty,
		.skip_input_data = source_skip,
		.resync_to_restart = jpeg_resync_to_restart,
		.term_source = source_nothing };
	made->info.src = &made->source;
	made->progress.progress_monitor = count_scans;
	made->info.progress = &made->progress;
	*jpeg = made;
	return D2V_OK;
}

void d2v_jpeg_free(d2v_jpeg *jpeg) {
	if (!jpeg)
		return;
	jpeg_destroy_decompress(&jpeg->info);
	d2v_free(jpeg->row);
	d2v_free(jpeg->rgb);
	d2v_free(jpeg);
}

static d2v_status fail_jpeg(d2v_jpeg *jpeg, d2v_error *err) {
	bool memory = jpeg->escape.errors.msg_code == JERR_OUT_OF_MEMORY;
	jpeg_abort_decompress(&jpeg->info);
	return d2v_fail(err, memory ? D2V_NO_MEMORY : D2V_UNDECODABLE, "libjpeg: %s", jpeg->escape.message);
}

static d2v_status fail_truncated(d2v_jpeg *jpeg, d2v_error *err) {
	jpeg_abort_decompress(&jpeg->info);
	return d2v_fail(err, D2V_UNDECODABLE, "the JPEG file is cut short");
}

static d2v_status take_facts(d2v_jpeg *jpeg, d2v_image_facts *facts, d2v_error *err) {
	struct jpeg_decompress_struct *info = &jpeg->info;
	*facts = (d2v_image_facts){ .format = D2V_IMAGE_JPEG,
		.width = info->image_width,
		.height = info->image_height,
		.bits = (uint8_t)info->data_precision,
		.in_passes = jpeg_has_multiple_scans(info) };
	switch (info->num_components) {
	case 1:
		facts->colour = D2V_IMAGE_GREY;
		return D2V_OK;
	case 3:
		facts->colour = D2V_IMAGE_COLOUR;
		return D2V_OK;
	case 4:
		facts->colour = D2V_IMAGE_CMYK;
		return D2V_OK;
	default:
		jpeg_abort_decompress(info);
		return d2v_fail(
			err, D2V_UNDECODABLE, "a JPEG file with %d channels; 1, 3 and 4 are known", info->num_components);
	}
}

d2v_status d2v_jpeg_begin(d2v_jpeg *jpeg, const void *bytes, size_t size, d2v_image_facts *facts, d2v_error *err) {
	if (setjmp(jpeg->escape.back))
		return fail_jpeg(jpeg, err);
	jpeg_abort_decompress(&jpeg->info);
	jpeg->source.next_input_byte = bytes;
	jpeg->source.bytes_in_buffer = size;
	if (jpeg_read_header(&jpeg->info, TRUE) != JPEG_HEADER_OK)
		return fail_truncated(jpeg, err);
	jpeg->info.out_color_space = jpeg->info.num_components == 4 ? JCS_CMYK : JCS_RGB;
	return take_facts(jpeg, facts, err);
}

// A progressive file that never sent some of the low frequencies gets smoothed across blocks, which looks further than
// any margin.
static bool is_smoothed(const struct jpeg_decompress_struct *info) {
	if (!info->progressive_mode || !info->coef_bits)
		return false;
	for (int c = 0; c < info->num_components; c++)
		for (int i = 0; i < 10; i++)
			if (info->coef_bits[c][i])
				return true;
	return false;
}

// Columns from *first on, *count of them, are decoded; libjpeg begins at a block. Narrow pictures are decoded whole,
// since few chroma samples are upsampled by another rule.
static void crop_columns(struct jpeg_decompress_struct *info, const d2v_image_region *region, uint32_t *first) {
	uint32_t left = region->left > MARGIN ? region->left - MARGIN : 0, right = region->left + region->width;
	right = info->output_width - right > MARGIN ? right + MARGIN : info->output_width;
	JDIMENSION offset = left, width = right - left;
	*first = 0;
	if (width == info->output_width || width < 4 * MARGIN)
		return;
	jpeg_crop_scanline(info, &offset, &width);
	*first = offset;
}

// Whole rows of blocks above the region are not even transformed. One skip, from the top and to the start of a row of
// blocks: elsewhere libjpeg's skipping has been wrong (its issues 237 and 915).
static void skip_rows(struct jpeg_decompress_struct *info, const d2v_image_region *region) {
	uint32_t step = (uint32_t)info->max_v_samp_factor * DCTSIZE;
	uint32_t above = region->top > MARGIN ? (region->top - MARGIN) / step * step : 0;
	if (above)
		jpeg_skip_scanlines(info, above);
}

// As Pillow's cmyk2rgb, of values stored inverted.
static void rgb_from_cmyk(const uint8_t *cmyk, uint8_t *rgb, uint32_t width) {
	for (uint32_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
		int white = cmyk[3];
		for (int c = 0; c < 3; c++) {
			int product = (255 - cmyk[c]) * white + 128;
			rgb[c] = (uint8_t)(white - (((product >> 8) + product) >> 8));
		}
	}
}

static void hand_out(
	d2v_jpeg *jpeg, const d2v_image_region *region, uint32_t first, uint32_t y, const d2v_image_sink *sink) {
	const uint8_t *rgb = jpeg->row + MISALIGNED + (size_t)(region->left - first) * (size_t)jpeg->info.output_components;
	if (jpeg->info.output_components == 4) {
		rgb_from_cmyk(rgb, jpeg->rgb, region->width);
		rgb = jpeg->rgb;
	}
	sink->row(sink->context, y, rgb);
}

// Called where libjpeg may jump back to the caller.
static bool read_rows(d2v_jpeg *jpeg, const d2v_image_region *region, const d2v_image_sink *sink) {
	struct jpeg_decompress_struct *info = &jpeg->info;
	uint32_t first = 0, bottom = region->top + region->height;
	JSAMPLE *row = jpeg->row + MISALIGNED;
	if (!jpeg_start_decompress(info))
		return false;
	if (!is_smoothed(info)) {
		crop_columns(info, region, &first);
		skip_rows(info, region);
	}
	while (info->output_scanline < bottom) {
		uint32_t y = info->output_scanline;
		if (jpeg_read_scanlines(info, &row, 1) != 1)
			return false;
		if (y >= region->top && sink)
			hand_out(jpeg, region, first, y - region->top, sink);
	}
	return true;
}

d2v_status d2v_jpeg_rows(d2v_jpeg *jpeg, const d2v_image_region *region, const d2v_image_sink *sink, d2v_error *err) {
	size_t width = jpeg->info.image_width;
	D2V_TRY(d2v_reserve(&jpeg->row, &jpeg->row_capacity, MISALIGNED + width * 4, 1, err));
	D2V_TRY(d2v_reserve(&jpeg->rgb, &jpeg->rgb_capacity, width * 3, 1, err));
	if (setjmp(jpeg->escape.back))
		return fail_jpeg(jpeg, err);
	if (!read_rows(jpeg, region, sink))
		return fail_truncated(jpeg, err);
	jpeg_abort_decompress(&jpeg->info);
	return D2V_OK;
}

// What the compressor writes to: grows through d2v_reserve.
typedef struct target {
	struct jpeg_destination_mgr manager; // first: libjpeg hands us a pointer to it
	uint8_t *bytes;
	size_t capacity, size;
	d2v_error *err;
	d2v_status status;
} target;

static void target_grow(j_compress_ptr info, size_t used) {
	target *to = (target *)info->dest;
	to->status = d2v_reserve(&to->bytes, &to->capacity, used + 65536, 1, to->err);
	if (to->status != D2V_OK)
		ERREXIT1(info, JERR_OUT_OF_MEMORY, 0);
	to->manager.next_output_byte = to->bytes + used;
	to->manager.free_in_buffer = to->capacity - used;
}

static void target_init(j_compress_ptr info) {
	target_grow(info, 0);
}

static boolean target_is_full(j_compress_ptr info) {
	target_grow(info, ((target *)info->dest)->capacity);
	return TRUE;
}

static void target_end(j_compress_ptr info) {
	target *to = (target *)info->dest;
	to->size = to->capacity - to->manager.free_in_buffer;
}

// Called where libjpeg may jump back to the caller.
static void write_rows(struct jpeg_compress_struct *info, const uint8_t *pixels, int quality) {
	jpeg_set_defaults(info);
	jpeg_set_quality(info, quality, TRUE);
	jpeg_start_compress(info, TRUE);
	while (info->next_scanline < info->image_height) {
		union {
			const uint8_t *read_only;
			JSAMPLE *row; // libjpeg only reads through it; its interface has no const
		} at = { .read_only = pixels + (size_t)info->next_scanline * info->image_width * 3 };
		jpeg_write_scanlines(info, &at.row, 1);
	}
	jpeg_finish_compress(info);
}

d2v_status d2v_image_jpeg_encode(
	const uint8_t *pixels, uint32_t width, uint32_t height, int quality, void **bytes, size_t *size, d2v_error *err) {
	struct jpeg_compress_struct info = { 0 };
	escape own;
	target to = { .manager = { .init_destination = target_init,
					  .empty_output_buffer = target_is_full,
					  .term_destination = target_end },
		.err = err };
	*bytes = NULL;
	escape_init(&own);
	info.err = &own.errors;
	if (setjmp(own.back)) {
		jpeg_destroy_compress(&info);
		d2v_free(to.bytes);
		return to.status != D2V_OK ? to.status : d2v_fail(err, D2V_INVALID, "libjpeg: %s", own.message);
	}
	jpeg_create_compress(&info);
	info.dest = &to.manager;
	info.image_width = width;
	info.image_height = height;
	info.input_components = 3;
	info.in_color_space = JCS_RGB;
	write_rows(&info, pixels, quality);
	jpeg_destroy_compress(&info);
	*bytes = to.bytes;
	*size = to.size;
	return D2V_OK;
}
