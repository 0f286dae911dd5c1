// Every allocation and write of an ingest of pictures fails once, from the first pass over the names to the manifest:
// it says so, leaks nothing, publishes no data set, and the same command afterwards gives the bytes of an ingest that
// nothing befell.
#include "tests/base/scratch.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/ingest.h"
#include "shards/codec_image.h"
#include "shards/manifest.h"
#include "shards/verify.h"

#include <stdio.h>
#include <string.h>

#define PICTURES 6 // of which one is cut off
#define SIDE 48

static void write_picture(const char *root, int number) {
	char folder[SCRATCH_PATH + 32], path[SCRATCH_PATH + 64];
	uint8_t pixels[SIDE * SIDE * 3];
	void *bytes;
	size_t size;
	d2v_error err = { 0 };
	for (size_t i = 0; i < sizeof pixels; i++)
		pixels[i] = (uint8_t)(i * (size_t)(number + 1) / 7);
	snprintf(folder, sizeof folder, "%s/train/class-%d", root, 2 - number / 2);
	assert_ok(d2v_file_make_directories(folder, &err));
	snprintf(path, sizeof path, "%s/%d.%s", folder, number, number % 2 ? "png" : "jpg");
	assert_ok(number % 2 ? d2v_image_png_encode(pixels, SIDE, SIDE - 3, &bytes, &size, &err)
						 : d2v_image_jpeg_encode(pixels, SIDE, SIDE - 3, 80, &bytes, &size, &err));
	assert_ok(d2v_file_replace(path, bytes, number == 3 ? size / 2 : size, &err));
	d2v_free(bytes);
}

static d2v_status ingest(
	const char *from, const char *out, uint32_t resize, d2v_ingest_result *result, d2v_error *err) {
	d2v_ingest_source source = { .where = from };
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	options.out = out;
	options.layout = &d2v_layout_images;
	options.places.texts = false;
	options.places.split_folders = options.places.label_folders = true;
	options.sources = &source;
	options.source_count = 1;
	options.store = resize ? D2V_CODEC_RGB8 : D2V_CODEC_JPEG;
	options.resize = resize;
	options.shard_size = 4096; // a picture or two
	options.max_rejected = 1;
	options.max_rejected_is_percent = false;
	options.quiet = true;
	return d2v_ingest_run(&options, result, err);
}

// One failure of the n-th kind; true: n was beyond the last.
static bool fail_at(const char *from, const char *out, long n, void (*fail_after)(long), d2v_status expected,
	uint32_t resize, const d2v_ingest_result *whole) {
	d2v_error err = { 0 };
	d2v_ingest_result result;
	assert_ok(d2v_file_remove_tree(out, &err));
	long live = d2v_memory_live();
	fail_after(n);
	d2v_status status = ingest(from, out, resize, &result, &err);
	fail_after(-1);
	if (d2v_memory_live() != live)
		fail_msg("failure %ld: %ld blocks were not freed", n, d2v_memory_live() - live);
	if (status == D2V_OK) {
		assert_int_equal(result.digest, whole->digest);
		return true;
	}
	if (status != expected)
		fail_msg("failure %ld: %s: %s", n, d2v_status_name(status), err.text);
	assert_true(err.text[0]);
	assert_ok(ingest(from, out, resize, &result, &err));
	assert_int_equal(result.digest, whole->digest);
	assert_int_equal(result.records, PICTURES - 1);
	assert_int_equal(result.rejected, 1);
	assert_int_equal(result.classes, 3);
	assert_int_equal(result.unlabelled, 0);
	return false;
}

static void walk(void **state, void (*fail_after)(long), d2v_status expected, uint32_t resize) {
	d2v_error err = { 0 };
	d2v_ingest_result whole;
	char from[SCRATCH_PATH], out[SCRATCH_PATH];
	long n = 0;
	d2v_log_set_level(D2V_LOG_ERROR);
	snprintf(from, sizeof from, "%s", scratch_path(state, "pictures"));
	snprintf(out, sizeof out, "%s", scratch_path(state, "out"));
	for (int i = 0; i < PICTURES; i++)
		write_picture(from, i);
	assert_ok(ingest(from, out, resize, &whole, &err));
	assert_true(whole.shards >= 2);
	assert_ok(d2v_verify_dataset(out, &(d2v_verify_options){ .decode = true }, &(d2v_verify_result){ 0 }, &err));
	while (!fail_at(from, out, n, fail_after, expected, resize, &whole))
		n += 1 + n / 7;
	assert_true(n > 10); // the harness can fail
	print_message("# up to place %ld\n", n);
}

static void test_every_allocation(void **state) {
	walk(state, d2v_memory_fail_after, D2V_NO_MEMORY, 0);
}

static void test_every_allocation_of_pixels(void **state) {
	walk(state, d2v_memory_fail_after, D2V_NO_MEMORY, 40);
}

static void test_every_write(void **state) {
	walk(state, d2v_file_fail_after, D2V_NO_SPACE, 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_allocation, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_allocation_of_pixels, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(test_every_write, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
