// Pictures: Pillow's pixels for every kind of JPEG and PNG, regions equal to the whole, damage, bombs, encoding.
#include "shards/codec_image.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "tests/base/scratch.h"
#include "tests/shards/stored_pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

static d2v_error err;
static d2v_image_decoder *decoder;

static int open_decoder(void **state) {
	(void)state;
	return d2v_image_decoder_new(&decoder, &err) == D2V_OK ? 0 : -1;
}

static int close_decoder(void **state) {
	(void)state;
	d2v_image_decoder_free(decoder);
	return 0;
}

static d2v_status decode(const void *bytes, size_t size, d2v_image_facts *facts, uint8_t **pixels) {
	*pixels = NULL;
	D2V_TRY(d2v_image_begin(decoder, bytes, size, facts, &err));
	*pixels = malloc((size_t)facts->width * facts->height * 3);
	d2v_status status = d2v_image_whole(decoder, *pixels, &err);
	if (status != D2V_OK) {
		free(*pixels);
		*pixels = NULL;
	}
	return status;
}

// ---- Pillow's pixels

static void check_stored(void *context, char **fields) {
	int *counts = context;
	void *bytes;
	size_t size;
	uint8_t *pixels;
	d2v_image_facts facts;
	assert_ok(stored_read(fields[0], &bytes, &size, &err));
	d2v_status status = decode(bytes, size, &facts, &pixels);
	if (strcmp(fields[3], "-") == 0) {
		if (!d2v_status_is_skippable(status) || !*err.text)
			fail_msg("%s: %s instead of an error", fields[0], d2v_status_name(status));
		counts[1]++;
	} else {
		char digest[17];
		if (status != D2V_OK)
			fail_msg("%s: %s", fields[0], err.text);
		d2v_hash64_hex(d2v_hash64(pixels, (size_t)facts.width * facts.height * 3), digest);
		if (facts.width != (uint32_t)atoi(fields[1]) || facts.height != (uint32_t)atoi(fields[2]) ||
			strcmp(digest, fields[3]) != 0)
			fail_msg("%s: %u x %u pixels with digest %s, Pillow has %s x %s with %s", fields[0], facts.width,
				facts.height, digest, fields[1], fields[2], fields[3]);
		counts[0]++;
	}
	free(pixels);
	d2v_free(bytes);
}

static void test_pixels_are_those_of_pillow(void **state) {
	(void)state;
	int counts[2] = { 0 };
	assert_ok(stored_lines("pixels.tsv", check_stored, counts, &err));
	assert_true(counts[0] >= 50 && counts[1] >= 10);
}

static void check_facts(
	const char *file, d2v_image_format format, d2v_image_colour colour, int bits, bool alpha, bool in_passes) {
	void *bytes;
	size_t size;
	d2v_image_facts facts;
	assert_ok(stored_read(file, &bytes, &size, &err));
	assert_ok(d2v_image_begin(decoder, bytes, size, &facts, &err));
	if (facts.format != format || facts.colour != colour || facts.bits != bits || facts.alpha != alpha ||
		facts.in_passes != in_passes)
		fail_msg("%s: %s, %s, %d bits, alpha %d, in passes %d", file, d2v_image_format_name(facts.format),
			d2v_image_colour_name(facts.colour), facts.bits, facts.alpha, facts.in_passes);
	d2v_free(bytes);
}

static void test_facts(void **state) {
	(void)state;
	check_facts("colour-420.jpg", D2V_IMAGE_JPEG, D2V_IMAGE_COLOUR, 8, false, false);
	check_facts("colour-420-progressive.jpg", D2V_IMAGE_JPEG, D2V_IMAGE_COLOUR, 8, false, true);
	check_facts("grey.jpg", D2V_IMAGE_JPEG, D2V_IMAGE_GREY, 8, false, false);
	check_facts("cmyk-no-adobe.jpg", D2V_IMAGE_JPEG, D2V_IMAGE_CMYK, 8, false, false);
	check_facts("palette-4.png", D2V_IMAGE_PNG, D2V_IMAGE_PALETTE, 4, false, false);
	check_facts("grey-alpha-16-interlaced.png", D2V_IMAGE_PNG, D2V_IMAGE_GREY, 16, true, true);
	check_facts("rgb-alpha-8.png", D2V_IMAGE_PNG, D2V_IMAGE_COLOUR, 8, true, false);
}

// ---- regions

typedef struct layout {         // of a JPEG made here
	int channels, across, down; // sampling factors of the first channel; the others have 1
	bool progressive;
	unsigned restart; // MCUs between restart markers
} layout;

static void draw(uint8_t *pixels, uint32_t width, uint32_t height, int channels, d2v_random *random) {
	for (uint32_t y = 0; y < height; y++)
		for (uint32_t x = 0; x < width; x++)
			for (int c = 0; c < channels; c++)
				pixels[((size_t)y * width + x) * (size_t)channels + (size_t)c] =
					(uint8_t)(x * (unsigned)(3 + c) + y * (unsigned)(7 - c) + d2v_random_below(random, 60));
}

static void make_jpeg(
	const layout *l, uint32_t width, uint32_t height, d2v_random *random, unsigned char **bytes, unsigned long *size) {
	struct jpeg_compress_struct info;
	struct jpeg_error_mgr errors;
	uint8_t *pixels = malloc((size_t)width * height * (size_t)l->channels);
	draw(pixels, width, height, l->channels, random);
	info.err = jpeg_std_error(&errors);
	jpeg_create_compress(&info);
	*bytes = NULL;
	jpeg_mem_dest(&info, bytes, size);
	info.image_width = width;
	info.image_height = height;
	info.input_components = l->channels;
	info.in_color_space = l->channels == 1 ? JCS_GRAYSCALE : l->channels == 3 ? JCS_RGB : JCS_CMYK;
	jpeg_set_defaults(&info);
	if (l->channels == 4)
		jpeg_set_colorspace(&info, JCS_YCCK);
	jpeg_set_quality(&info, 50 + (int)d2v_random_below(random, 50), TRUE);
	for (int c = 0; c < l->channels; c++) {
		info.comp_info[c].h_samp_factor = c % 3 ? 1 : l->across;
		info.comp_info[c].v_samp_factor = c % 3 ? 1 : l->down;
	}
	info.restart_interval = l->restart;
	if (l->progressive)
		jpeg_simple_progression(&info);
	jpeg_start_compress(&info, TRUE);
	while (info.next_scanline < height) {
		JSAMPLE *row = pixels + (size_t)info.next_scanline * width * (size_t)l->channels;
		jpeg_write_scanlines(&info, &row, 1);
	}
	jpeg_finish_compress(&info);
	jpeg_destroy_compress(&info);
	free(pixels);
}

typedef struct taken { // what a region's rows are compared with
	const uint8_t *whole;
	uint32_t width, rows;
	d2v_image_region region;
	bool equal;
} taken;

static void compare_row(void *context, uint32_t y, const uint8_t *rgb) {
	taken *t = context;
	const uint8_t *expected = t->whole + ((size_t)(t->region.top + y) * t->width + t->region.left) * 3;
	t->equal = t->equal && y == t->rows && memcmp(rgb, expected, (size_t)t->region.width * 3) == 0;
	t->rows++;
}

static d2v_image_region random_region(const d2v_image_facts *facts, d2v_random *random) {
	d2v_image_region region = { .top = d2v_random_below(random, facts->height),
		.left = d2v_random_below(random, facts->width) };
	region.height = 1 + d2v_random_below(random, facts->height - region.top);
	region.width = 1 + d2v_random_below(random, facts->width - region.left);
	return region;
}

// `count` random regions of a file against all of it.
static void check_regions(const void *bytes, size_t size, int count, d2v_random *random, const char *what) {
	uint8_t *whole;
	d2v_image_facts facts;
	assert_ok(decode(bytes, size, &facts, &whole));
	for (int i = 0; i < count; i++) {
		taken t = { .whole = whole, .width = facts.width, .region = random_region(&facts, random), .equal = true };
		assert_ok(d2v_image_begin(decoder, bytes, size, &facts, &err));
		assert_ok(d2v_image_rows(decoder, &t.region, &(d2v_image_sink){ compare_row, &t }, &err));
		if (!t.equal || t.rows != t.region.height)
			fail_msg("%s: %u x %u at %u, %u of %u x %u pixels differs from the whole picture", what, t.region.width,
				t.region.height, t.region.left, t.region.top, facts.width, facts.height);
	}
	free(whole);
}

static void test_regions_equal_the_whole(void **state) {
	(void)state;
	static const layout layouts[] = { { 1, 1, 1, false, 0 }, { 1, 1, 1, true, 0 }, { 1, 2, 2, false, 3 },
		{ 3, 1, 1, false, 0 }, { 3, 1, 1, true, 0 }, { 3, 2, 1, false, 0 }, { 3, 2, 1, true, 5 }, { 3, 2, 2, false, 0 },
		{ 3, 2, 2, true, 0 }, { 3, 2, 2, false, 4 }, { 3, 1, 2, false, 0 }, { 3, 1, 2, true, 0 }, { 3, 4, 1, false, 0 },
		{ 3, 4, 1, true, 0 }, { 3, 4, 2, false, 0 }, { 3, 1, 4, false, 7 }, { 3, 2, 4, true, 0 }, { 4, 1, 1, false, 0 },
		{ 4, 2, 2, false, 0 }, { 4, 2, 2, true, 0 } };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(3, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
		for (int picture = 0; picture < 8; picture++) {
			const layout *l = &layouts[i];
			char what[128];
			unsigned char *bytes;
			unsigned long size;
			uint32_t most = picture % 2 ? 60 : 300;
			uint32_t width = 1 + d2v_random_below(&random, most), height = 1 + d2v_random_below(&random, most);
			make_jpeg(l, width, height, &random, &bytes, &size);
			snprintf(what, sizeof what, "%d channels, %d x %d%s, restart %u", l->channels, l->across, l->down,
				l->progressive ? ", progressive" : "", l->restart);
			check_regions(bytes, size, 12, &random, what);
			free(bytes);
		}
}

static void check_stored_regions(void *context, char **fields) {
	void *bytes;
	size_t size;
	if (strcmp(fields[3], "-") == 0)
		return;
	assert_ok(stored_read(fields[0], &bytes, &size, &err));
	check_regions(bytes, size, 10, context, fields[0]);
	d2v_free(bytes);
}

static void test_regions_of_stored_pictures(void **state) {
	(void)state;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(4, D2V_RANDOM_SYNTHETIC, 0, 0));
	assert_ok(stored_lines("pixels.tsv", check_stored_regions, &random, &err));
}

// ---- damage

// Cut anywhere, and with bytes changed anywhere: an answer, never a crash, and the decoder goes on.
static void test_damaged_files(void **state) {
	(void)state;
	static const char *const files[] = { "colour-420.jpg", "colour-420-progressive.jpg", "rgb-8.png",
		"palette-4-interlaced.png" };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(5, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
		void *bytes;
		size_t size;
		assert_ok(stored_read(files[f], &bytes, &size, &err));
		for (size_t i = 0; i < 400; i++) {
			d2v_image_facts facts;
			uint8_t *pixels, *copy = malloc(size); // of its own, so that a read behind its end is seen
			size_t length = i % 2 ? d2v_random_below(&random, (uint32_t)size) : size;
			memcpy(copy, bytes, size);
			for (int flips = i % 2 ? 0 : 3; flips; flips--)
				copy[d2v_random_below(&random, (uint32_t)size)] = (uint8_t)d2v_random_u32(&random);
			uint8_t *exact = malloc(length ? length : 1);
			memcpy(exact, copy, length);
			d2v_status status = decode(exact, length, &facts, &pixels);
			assert_true(status == D2V_OK || d2v_status_is_skippable(status));
			free(pixels);
			free(exact);
			free(copy);
		}
		d2v_free(bytes);
	}
}

// Every coefficient and bit in a scan of its own: small to store, long to decode.
static void test_a_bomb_of_scans(void **state) {
	(void)state;
	enum { SCANS = 1 + 63 * 10 };
	static jpeg_scan_info scans[SCANS];
	struct jpeg_compress_struct info;
	struct jpeg_error_mgr errors;
	unsigned char *bytes = NULL;
	unsigned long size = 0;
	d2v_image_facts facts;
	uint8_t *pixels, row[16] = { 200, 3, 90 };
	scans[0] = (jpeg_scan_info){ .comps_in_scan = 1 };
	for (int i = 1; i < SCANS; i++) {
		int bit = 9 - (i - 1) % 10, first = bit == 9;
		scans[i] = (jpeg_scan_info){
			.comps_in_scan = 1, .Ss = 1 + (i - 1) / 10, .Se = 1 + (i - 1) / 10, .Ah = first ? 0 : bit + 1, .Al = bit
		};
	}
	info.err = jpeg_std_error(&errors);
	jpeg_create_compress(&info);
	jpeg_mem_dest(&info, &bytes, &size);
	info.image_width = info.image_height = 16;
	info.input_components = 1;
	info.in_color_space = JCS_GRAYSCALE;
	jpeg_set_defaults(&info);
	info.scan_info = scans;
	info.num_scans = SCANS;
	jpeg_start_compress(&info, TRUE);
	while (info.next_scanline < 16)
		jpeg_write_scanlines(&info, &(JSAMPLE *){ row }, 1);
	jpeg_finish_compress(&info);
	jpeg_destroy_compress(&info);
	assert_int_equal(decode(bytes, size, &facts, &pixels), D2V_UNDECODABLE);
	assert_non_null(strstr(err.text, "scans"));
	free(bytes);
}

static void test_records(void **state) {
	(void)state;
	uint8_t pixels[5 * 4 * 3] = { 1, 2, 3 };
	d2v_image_facts facts;
	d2v_record record = {
		.codec = D2V_CODEC_RGB8, .rate = 5, .rows = 4, .units = 20, .payload = pixels, .payload_size = sizeof pixels
	};
	taken t = { .whole = pixels, .width = 5, .region = { 1, 2, 3, 2 }, .equal = true };
	assert_ok(d2v_image_begin_record(decoder, &record, &facts, &err));
	assert_ok(d2v_image_rows(decoder, &t.region, &(d2v_image_sink){ compare_row, &t }, &err));
	assert_true(t.equal && t.rows == 3 && facts.width == 5 && facts.height == 4);
	record.payload_size--;
	assert_int_equal(d2v_image_begin_record(decoder, &record, &facts, &err), D2V_CORRUPT);
	record.codec = D2V_CODEC_FLAC;
	assert_int_equal(d2v_image_begin_record(decoder, &record, &facts, &err), D2V_CORRUPT);

	void *bytes;
	size_t size;
	assert_ok(stored_read("grey.jpg", &bytes, &size, &err));
	record = (d2v_record){ .codec = D2V_CODEC_JPEG, .rate = 53, .rows = 37, .payload = bytes, .payload_size = size };
	assert_ok(d2v_image_begin_record(decoder, &record, &facts, &err));
	record.rate = 54;
	assert_int_equal(d2v_image_begin_record(decoder, &record, &facts, &err), D2V_CORRUPT);
	d2v_free(bytes);
}

// ---- encoding

static void test_encoding(void **state) {
	(void)state;
	enum { WIDTH = 61, HEIGHT = 45 };
	static uint8_t pixels[WIDTH * HEIGHT * 3];
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(6, D2V_RANDOM_SYNTHETIC, 0, 0));
	draw(pixels, WIDTH, HEIGHT, 3, &random);
	void *bytes, *again;
	size_t size, size_again;
	uint8_t *back;
	d2v_image_facts facts;
	assert_ok(d2v_image_png_encode(pixels, WIDTH, HEIGHT, &bytes, &size, &err));
	assert_ok(decode(bytes, size, &facts, &back));
	assert_true(facts.format == D2V_IMAGE_PNG && facts.width == WIDTH && facts.height == HEIGHT);
	assert_memory_equal(back, pixels, sizeof pixels);
	free(back);
	d2v_free(bytes);
	assert_ok(d2v_image_jpeg_encode(pixels, WIDTH, HEIGHT, 90, &bytes, &size, &err));
	assert_ok(d2v_image_jpeg_encode(pixels, WIDTH, HEIGHT, 90, &again, &size_again, &err));
	assert_true(size == size_again && memcmp(bytes, again, size) == 0);
	assert_ok(decode(bytes, size, &facts, &back));
	assert_true(facts.format == D2V_IMAGE_JPEG && facts.width == WIDTH && facts.height == HEIGHT);
	free(back);
	d2v_free(bytes);
	d2v_free(again);
	assert_int_not_equal(d2v_image_jpeg_encode(pixels, 0, HEIGHT, 90, &bytes, &size, &err), D2V_OK);
	assert_int_not_equal(d2v_image_png_encode(pixels, 0, HEIGHT, &bytes, &size, &err), D2V_OK);
}

static void test_failing_allocations(void **state) {
	(void)state;
	void *bytes;
	size_t size;
	assert_ok(stored_read("palette-4.png", &bytes, &size, &err));
	long live = d2v_memory_live();
	d2v_status status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK; n++) {
		d2v_image_decoder *own = NULL;
		d2v_image_facts facts;
		d2v_memory_fail_after(n);
		status = d2v_image_decoder_new(&own, &err);
		if (status == D2V_OK)
			status = d2v_image_begin(own, bytes, size, &facts, &err);
		if (status == D2V_OK)
			status = d2v_image_rows(own, NULL, NULL, &err);
		d2v_memory_fail_after(-1);
		d2v_image_decoder_free(own);
		assert_true(status == D2V_OK || status == D2V_NO_MEMORY);
		assert_true(d2v_memory_live() == live);
	}
	d2v_free(bytes);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pixels_are_those_of_pillow),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_regions_equal_the_whole),
		cmocka_unit_test(test_regions_of_stored_pictures),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_a_bomb_of_scans),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, open_decoder, close_decoder);
}
