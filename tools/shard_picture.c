#include "tools/shard_picture.h"

#include "base/memory.h"
#include "shards/codec_image.h"
#include "shards/payload_file.h"

d2v_status shard_picture_new(shard_picture *picture, uint32_t width, uint32_t height, d2v_error *err) {
	*picture = (shard_picture){ .width = width, .height = height };
	size_t pixels;
	if (!d2v_mul_fits(width, height, &pixels))
		return d2v_fail(err, D2V_NO_MEMORY, "a picture of %u x %u is too large", width, height);
	return d2v_alloc_zero(&picture->rgb, pixels, 3, err);
}

d2v_status shard_picture_of_record(shard_picture *picture, const d2v_record *record, d2v_error *err) {
	*picture = (shard_picture){ 0 };
	return d2v_payload_file_pixels(record, &picture->rgb, &picture->width, &picture->height, err);
}

void shard_picture_release(shard_picture *picture) {
	d2v_free(picture->rgb);
	*picture = (shard_picture){ 0 };
}

void shard_picture_fit(uint32_t *width, uint32_t *height, uint32_t max_width, uint32_t max_height) {
	double scale = 1;
	if (*width > max_width)
		scale = (double)max_width / *width;
	if (*height * scale > max_height)
		scale = (double)max_height / *height;
	*width = (uint32_t)(*width * scale + .5);
	*height = (uint32_t)(*height * scale + .5);
	*width = *width ? *width : 1;
	*height = *height ? *height : 1;
}

// The pixels of `from` that pixel `at` of `count` covers: [first, end), never empty.
static void covered(uint32_t at, uint32_t count, uint32_t from, uint32_t *first, uint32_t *end) {
	*first = (uint32_t)((uint64_t)at * from / count);
	*end = (uint32_t)((uint64_t)(at + 1) * from / count);
	*end = *end > *first ? *end : *first + 1;
}

static void average(
	const shard_picture *from, uint32_t top, uint32_t bottom, uint32_t left, uint32_t right, uint8_t *rgb) {
	uint64_t sums[3] = { 0 }, pixels = (uint64_t)(bottom - top) * (right - left);
	for (uint32_t y = top; y < bottom; y++) {
		const uint8_t *at = from->rgb + ((size_t)y * from->width + left) * 3;
		for (uint32_t x = left; x < right; x++, at += 3)
			for (int c = 0; c < 3; c++)
				sums[c] += at[c];
	}
	for (int c = 0; c < 3; c++)
		rgb[c] = (uint8_t)((sums[c] + pixels / 2) / pixels);
}

d2v_status shard_picture_resize(
	const shard_picture *from, uint32_t width, uint32_t height, shard_picture *picture, d2v_error *err) {
	D2V_TRY(shard_picture_new(picture, width, height, err));
	for (uint32_t y = 0; y < height; y++) {
		uint32_t top, bottom, left, right;
		covered(y, height, from->height, &top, &bottom);
		for (uint32_t x = 0; x < width; x++) {
			covered(x, width, from->width, &left, &right);
			average(from, top, bottom, left, right, picture->rgb + ((size_t)y * width + x) * 3);
		}
	}
	return D2V_OK;
}

d2v_status shard_picture_png(const shard_picture *picture, void **bytes, size_t *size, d2v_error *err) {
	return d2v_image_png_encode(picture->rgb, picture->width, picture->height, bytes, size, err);
}
