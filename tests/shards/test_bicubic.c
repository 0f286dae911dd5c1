// Resizing: Pillow's bytes for the stored pictures, and equality with the plain loops for any size, window and mirror.
#include "shards/bicubic.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "loaders/picture_crop.h"
#include "tests/base/scratch.h"
#include "tests/ref/ref_bicubic.h"
#include "tests/shards/stored_pictures.h"
#include "train/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static d2v_error err;

typedef struct stored { // golden/image-transform/images.json
	const char *name;
	uint32_t width, height;
	d2v_image_region box;
} stored;

static const stored pictures[] = {
	{ "landscape", 360, 300, { 21, 37, 250, 301 } },
	{ "portrait", 100, 150, { 3, 0, 141, 97 } },
	{ "wide", 300, 90, { 0, 113, 90, 67 } },
	{ "odd", 97, 131, { 10, 20, 33, 41 } },
	{ "gray", 128, 128, { 0, 0, 128, 128 } },
	{ "narrow", 41, 160, { 77, 1, 62, 39 } },
};

// What is known of a result: its bytes, or their digest. Nothing known is nothing checked, and counted by the caller.
typedef struct known {
	const d2v_safetensors *file; // golden/image-transform/expected.safetensors, or NULL:
	char digest[8][2][64];       // what, digest
	int digests, checked;
} known;

static void check_known(known *k, const char *name, const char *what, const uint8_t *out, size_t size) {
	char key[128], digest[17];
	snprintf(key, sizeof key, "%s/%s", name, what);
	const d2v_tensor_info *info = k->file ? d2v_safetensors_find(k->file, key) : NULL;
	if (info) {
		assert_int_equal(info->size, size);
		assert_memory_equal(out, info->data, size);
		k->checked++;
	}
	d2v_hash64_hex(d2v_hash64(out, size), digest);
	for (int i = 0; i < k->digests; i++)
		if (strcmp(k->digest[i][0], what) == 0) {
			assert_string_equal(k->digest[i][1], digest);
			k->checked++;
		}
}

static void check_crops(d2v_bicubic *resizer, known *k, const stored *p, const uint8_t *in) {
	static uint8_t crop[360 * 300 * 3], out[224 * 224 * 3];
	for (uint32_t y = 0; y < p->box.height; y++)
		memcpy(crop + (size_t)y * p->box.width * 3, in + ((p->box.top + y) * p->width + p->box.left) * 3,
			(size_t)p->box.width * 3);
	d2v_bicubic_job job = { .in_width = p->box.width, .in_height = p->box.height, .out_width = 64, .out_height = 64 };
	assert_ok(d2v_bicubic_resize(resizer, &job, crop, out, &err));
	check_known(k, p->name, "crop_resize64", out, 64 * 64 * 3);
	job.mirror = true;
	assert_ok(d2v_bicubic_resize(resizer, &job, crop, out, &err));
	check_known(k, p->name, "crop_resize64_flipped", out, 64 * 64 * 3);
	job = (d2v_bicubic_job){ p->box.width, p->box.height, 224, 224, .mirror = false };
	assert_ok(d2v_bicubic_resize(resizer, &job, crop, out, &err));
	check_known(k, p->name, "crop_resize224", out, sizeof out);
}

static void check_picture(d2v_bicubic *resizer, known *k, const stored *p, const uint8_t *in) {
	static uint8_t out[224 * 224 * 3];
	check_crops(resizer, k, p, in);
	d2v_bicubic_job job = { .in_width = p->width, .in_height = p->height };
	d2v_picture_crop_resized(p->width, p->height, 256, &job.out_width, &job.out_height);
	job.window = (d2v_image_region){ d2v_picture_crop_centre(job.out_height, 224),
		d2v_picture_crop_centre(job.out_width, 224), 224, 224 };
	assert_ok(d2v_bicubic_resize(resizer, &job, in, out, &err));
	check_known(k, p->name, "resize256_centercrop224", out, sizeof out);
}

// From the stored decoded pixels, where the samples are.
static void test_all_stored_pictures(void **state) {
	(void)state;
	const char *shared = getenv("D2V_SHARED");
	char path[SCRATCH_PATH];
	known k = { 0 };
	d2v_safetensors *file;
	d2v_bicubic *resizer;
	if (!shared || !*shared)
		skip();
	snprintf(path, sizeof path, "%s/golden/image-transform/expected.safetensors", shared);
	assert_ok(d2v_safetensors_open(&file, path, &err));
	assert_ok(d2v_bicubic_new(&resizer, &err));
	k.file = file;
	for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
		snprintf(path, sizeof path, "%s/decoded", pictures[i].name);
		const d2v_tensor_info *decoded = d2v_safetensors_find(file, path);
		assert_non_null(decoded);
		check_picture(resizer, &k, &pictures[i], decoded->data);
	}
	assert_int_equal(k.checked, 6 + 6 + 4 + 1);
	d2v_bicubic_free(resizer);
	d2v_safetensors_close(file);
}

typedef struct looked_for {
	const char *file;
	known known;
} looked_for;

static void note_digest(void *context, char **fields) {
	looked_for *l = context;
	if (strcmp(fields[0], l->file) != 0)
		return;
	assert_true(l->known.digests < 8);
	snprintf(l->known.digest[l->known.digests][0], 64, "%s", fields[1]);
	snprintf(l->known.digest[l->known.digests++][1], 64, "%s", fields[2]);
}

// Through our own decoder, against the digests of four of them.
static void test_pictures_in_the_tree(void **state) {
	(void)state;
	d2v_bicubic *resizer;
	d2v_image_decoder *decoder;
	int checked = 0;
	assert_ok(d2v_bicubic_new(&resizer, &err));
	assert_ok(d2v_image_decoder_new(&decoder, &err));
	for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
		const stored *p = &pictures[i];
		char file[64];
		void *bytes;
		size_t size;
		d2v_image_facts facts;
		snprintf(file, sizeof file, "%s.jpg", p->name);
		looked_for looked = { .file = file };
		assert_ok(stored_lines("resized.tsv", note_digest, &looked, &err));
		if (!looked.known.digests)
			continue;
		assert_ok(stored_read(file, &bytes, &size, &err));
		assert_ok(d2v_image_begin(decoder, bytes, size, &facts, &err));
		uint8_t *pixels = malloc((size_t)facts.width * facts.height * 3);
		assert_ok(d2v_image_whole(decoder, pixels, &err));
		check_known(&looked.known, p->name, "decoded", pixels, (size_t)facts.width * facts.height * 3);
		check_picture(resizer, &looked.known, p, pixels);
		assert_int_equal(looked.known.checked, looked.known.digests);
		checked += looked.known.checked;
		free(pixels);
		d2v_free(bytes);
	}
	assert_true(checked >= 15);
	d2v_image_decoder_free(decoder);
	d2v_bicubic_free(resizer);
}

static uint8_t *noise(uint32_t width, uint32_t height, uint64_t seed) {
	size_t size = (size_t)width * height * 3;
	uint8_t *pixels = malloc(size);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (size_t i = 0; i < size; i++) { // mostly extremes, so that sums are clipped
		uint32_t draw = d2v_random_u32(&random);
		pixels[i] = draw & 256 ? (uint8_t)draw : draw & 512 ? 255 : 0;
	}
	return pixels;
}

// One random picture, output size, window and mirror, against the plain loops.
static void check_random(d2v_bicubic *resizer, uint64_t seed, uint32_t most) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_CROP, 0, 0));
	d2v_bicubic_job job = { .in_width = 1 + d2v_random_below(&random, most),
		.in_height = 1 + d2v_random_below(&random, most),
		.out_width = 1 + d2v_random_below(&random, most),
		.out_height = 1 + d2v_random_below(&random, most),
		.mirror = d2v_random_below(&random, 2) };
	job.window.top = d2v_random_below(&random, job.out_height);
	job.window.left = d2v_random_below(&random, job.out_width);
	job.window.height = 1 + d2v_random_below(&random, job.out_height - job.window.top);
	job.window.width = 1 + d2v_random_below(&random, job.out_width - job.window.left);
	uint8_t *in = noise(job.in_width, job.in_height, seed), *all = malloc((size_t)job.out_width * job.out_height * 3);
	uint8_t *out = malloc((size_t)job.window.width * job.window.height * 3);
	d2v_image_region whole = { .height = job.in_height, .width = job.in_width };
	ref_bicubic(in, job.in_width, &whole, all, job.out_width, job.out_height);
	assert_ok(d2v_bicubic_resize(resizer, &job, in, out, &err));
	for (uint32_t y = 0; y < job.window.height; y++)
		for (uint32_t x = 0; x < job.window.width; x++) {
			uint32_t column = job.window.left + (job.mirror ? job.window.width - 1 - x : x);
			const uint8_t *expected = all + ((size_t)(job.window.top + y) * job.out_width + column) * 3;
			if (memcmp(out + ((size_t)y * job.window.width + x) * 3, expected, 3) != 0)
				fail_msg("seed %llu: %u x %u to %u x %u: pixel %u, %u of the window differs", (unsigned long long)seed,
					job.in_width, job.in_height, job.out_width, job.out_height, x, y);
		}
	free(in);
	free(all);
	free(out);
}

static void test_any_size_equals_the_plain_loops(void **state) {
	(void)state;
	d2v_bicubic *resizer;
	assert_ok(d2v_bicubic_new(&resizer, &err));
	for (uint64_t seed = 1; seed <= 300; seed++)
		check_random(resizer, seed, seed % 3 ? 40 : 150);
	d2v_bicubic_free(resizer);
}

static void test_failing_allocations(void **state) {
	(void)state;
	uint8_t *in = noise(30, 20, 1), out[8 * 8 * 3];
	d2v_bicubic_job job = { .in_width = 30, .in_height = 20, .out_width = 8, .out_height = 8 };
	long live = d2v_memory_live();
	d2v_status status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK; n++) {
		d2v_bicubic *resizer = NULL;
		d2v_memory_fail_after(n);
		status = d2v_bicubic_new(&resizer, &err);
		if (status == D2V_OK)
			status = d2v_bicubic_resize(resizer, &job, in, out, &err);
		d2v_memory_fail_after(-1);
		d2v_bicubic_free(resizer);
		assert_true(status == D2V_OK || status == D2V_NO_MEMORY);
		assert_true(d2v_memory_live() == live);
	}
	free(in);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_stored_pictures),
		cmocka_unit_test(test_pictures_in_the_tree),
		cmocka_unit_test(test_any_size_equals_the_plain_loops),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
