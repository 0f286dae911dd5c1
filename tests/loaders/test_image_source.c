// The loader of pictures over shards: what is in a batch, one stream for any number of threads and ranks, going on from
// anywhere, the evaluation's order, damage.
#include "loaders/image_source.h"

#include "base/file.h"
#include "base/memory.h"
#include "loaders/picture_crop.h"
#include "tests/base/scratch.h"
#include "tests/loaders/image_data.h"
#include "tests/loaders/source_damage.h"
#include "tests/loaders/source_stream.h"
#include "tests/ref/ref_bicubic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURES = 61, BATCH = 7, STEPS = 9 };

static d2v_error err;

static image_data data_in(void **state, const char *name, d2v_codec codec) {
	return (image_data){ .folder = scratch_path(state, name),
		.seed = 11,
		.pictures = PICTURES,
		.shards = 3,
		.smallest = 20,
		.largest = 90,
		.codec = codec };
}

static image_data make_data(void **state) {
	image_data data = data_in(state, "pictures", D2V_CODEC_JPEG);
	if (!d2v_file_exists(scratch_path(state, "pictures/dataset.json")))
		assert_ok(image_data_make(&data, &err));
	return data;
}

static d2v_image_options options_for(const image_data *data) {
	d2v_image_options options;
	d2v_image_options_init(&options);
	options.common.data = data->folder;
	options.common.seed = 5;
	options.batch_size = BATCH;
	options.size = 32;
	options.patch_size = 4;
	options.clone_batch = 3;
	return options;
}

static d2v_source *open_source(const d2v_image_options *options) {
	d2v_source *source;
	assert_ok(d2v_image_source_open(&source, options, &err));
	return source;
}

static d2v_status open_any(d2v_source **source, const void *options, d2v_error *e) {
	return d2v_image_source_open(source, options, e);
}

static source_opener opener_of(d2v_image_options *options) {
	return (source_opener){ open_any, options, &options->common };
}

// The picture as its record holds it, decoded whole; free.
static uint8_t *picture_of(const image_data *data, uint32_t id, uint32_t *width, uint32_t *height) {
	void *bytes;
	size_t size;
	d2v_image_decoder *decoder;
	d2v_image_facts facts;
	image_data_size(data, id, width, height);
	uint8_t *pixels = malloc((size_t)*width * *height * 3);
	assert_ok(image_data_payload(data, id, &bytes, &size, &err));
	if (data->codec == D2V_CODEC_RGB8)
		memcpy(pixels, bytes, size);
	else {
		assert_ok(d2v_image_decoder_new(&decoder, &err));
		assert_ok(d2v_image_begin(decoder, bytes, size, &facts, &err));
		assert_ok(d2v_image_whole(decoder, pixels, &err));
		d2v_image_decoder_free(decoder);
	}
	d2v_free(bytes);
	return pixels;
}

static void check_pixels(const d2v_batch *batch, int32_t b, const uint8_t *expected, bool mirrored) {
	uint32_t side = (uint32_t)batch->width;
	const uint8_t *image = batch->image + (size_t)b * side * side * 3;
	for (uint32_t y = 0; y < side; y++)
		for (uint32_t x = 0; x < side; x++)
			assert_memory_equal(
				image + (y * side + x) * 3, expected + (y * side + (mirrored ? side - 1 - x : x)) * 3, 3);
}

// One sample of a batch, worked out again from the picture and the keys that the headers promise.
static bool check_sample(const image_data *data, const d2v_image_options *o, const d2v_batch *batch, int32_t b) {
	static uint8_t expected[64 * 64 * 3];
	uint32_t id = (uint32_t)batch->ids[b], width, height;
	int32_t side = o->size / o->patch_size, scratch[256];
	uint8_t *pixels = picture_of(data, id, &width, &height), mask[256];
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_CROP, batch->epoch, id));
	d2v_image_region crop = d2v_picture_crop_random(width, height, o->scale, o->ratio, &random);
	bool mirrored = d2v_random_unit(&random) < o->flip;
	ref_bicubic(pixels, width, &crop, expected, (uint32_t)o->size, (uint32_t)o->size);
	check_pixels(batch, b, expected, mirrored);
	free(pixels);
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK, batch->epoch, id));
	for (int32_t m = 0; m < batch->clones; m++) {
		d2v_masks_block_2d(&o->masks, &random, side, mask, scratch);
		assert_int_equal(d2v_masks_count(mask, side * side), side * side - (int32_t)(side * side * (1 - .8)));
		assert_memory_equal(
			batch->mask + (size_t)(b * batch->clones + m) * (size_t)batch->tokens, mask, (size_t)batch->tokens);
	}
	return mirrored;
}

static void check_epoch(const image_data *data) {
	d2v_image_options options = options_for(data);
	d2v_source *source = open_source(&options);
	uint8_t seen[PICTURES] = { 0 };
	int total = 0, mirrored = 0, small = 0;
	assert_true(d2v_source_epoch_steps(source, 1) == STEPS);
	for (uint64_t i = 0; i < STEPS; i++) {
		const d2v_batch *batch = source_stream_next(source);
		small += batch->samples == PICTURES % BATCH;
		for (int32_t b = 0; b < batch->samples; b++) {
			assert_true(!seen[batch->ids[b]]);
			seen[batch->ids[b]] = 1;
			mirrored += check_sample(data, &options, batch, b);
			assert_int_equal(d2v_image_source_label(source, batch->ids[b]), batch->ids[b] % IMAGE_DATA_CLASSES);
		}
		total += batch->samples;
		assert_true(batch->modality == D2V_IMAGE && batch->height == 32 && batch->width == 32);
		assert_true(batch->clones == 3 && batch->tokens == 64 && batch->kept == (int32_t)(64 * (1 - .8)));
		assert_int_equal(batch->masked_count, batch->samples * 3 * (64 - batch->kept));
		assert_true(batch->epoch == 1 && !batch->pixels && !batch->valid && !batch->noise);
		d2v_source_give(source, batch);
	}
	assert_true(total == PICTURES && small == 1 && mirrored > PICTURES / 4 && mirrored < 3 * PICTURES / 4);
	const d2v_batch *batch = source_stream_next(source);
	assert_true(batch->epoch == 2 && batch->index == STEPS);
	d2v_source_give(source, batch);
	d2v_source_close(source);
}

static void test_batches_hold_what_they_should(void **state) {
	image_data data = make_data(state), raw = data_in(state, "raw", D2V_CODEC_RGB8);
	assert_ok(image_data_make(&raw, &err));
	check_epoch(&data);
	check_epoch(&raw);
}

static void test_evaluation(void **state) {
	image_data data = make_data(state);
	d2v_image_options options = options_for(&data);
	options.eval = true;
	options.resize = 40;
	options.common.threads = 2;
	d2v_source *source = open_source(&options);
	uint8_t *expected = malloc(512 * 512 * 3), centre[32 * 32 * 3];
	for (uint64_t at = 0; at < 2 * PICTURES;) {
		const d2v_batch *batch = source_stream_next(source);
		assert_true(!batch->mask && !batch->keep && batch->clones == 1 && batch->kept == 64);
		for (int32_t b = 0; b < batch->samples; b++, at++) {
			uint32_t id = (uint32_t)(at % PICTURES), width, height, wide, high;
			assert_true(batch->ids[b] == id);
			uint8_t *pixels = picture_of(&data, id, &width, &height);
			d2v_picture_crop_resized(width, height, 40, &wide, &high);
			assert_true((wide < high ? wide : high) == 40 && wide < 512 && high < 512);
			ref_bicubic(pixels, width, &(d2v_image_region){ .height = height, .width = width }, expected, wide, high);
			uint32_t top = (uint32_t)rint((high - 32) / 2.0), left = (uint32_t)rint((wide - 32) / 2.0);
			for (uint32_t y = 0; y < 32; y++)
				memcpy(centre + y * 32 * 3, expected + ((top + y) * wide + left) * 3, 32 * 3);
			check_pixels(batch, b, centre, false);
			free(pixels);
		}
		d2v_source_give(source, batch);
	}
	free(expected);
	d2v_source_close(source);
}

static void test_same_stream_for_any_threads(void **state) {
	image_data data = make_data(state);
	d2v_image_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	uint64_t one[3], many[3];
	source_promises_one_stream(&opener);
	source_stream_digests(open_source(&options), one, 3);
	// The comparison can fail: every option that should reach the stream does.
	enum { OTHERS = 9 };
	d2v_image_options other[OTHERS];
	for (int i = 0; i < OTHERS; i++)
		other[i] = options_for(&data);
	other[0].common.seed++;
	other[1].batch_size++;
	other[2].size = 36;
	other[3].scale[0] = .3;
	other[4].ratio[1] = 1;
	other[5].flip = 0;
	other[6].clone_batch++;
	other[7].masks.mask_prob = .7;
	other[8].eval = true;
	for (int i = 0; i < OTHERS; i++) {
		source_stream_digests(open_source(&other[i]), many, 3);
		assert_memory_not_equal(one, many, 3 * sizeof *one);
	}
}

static void test_goes_on_from_anywhere(void **state) {
	image_data data = make_data(state);
	d2v_image_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_to_go_on(&opener, "patch_size");
	d2v_source *source = open_source(&options);
	d2v_source_position position = d2v_source_tell(source);
	d2v_source_close(source);
	options.size = 40;
	source = open_source(&options);
	assert_int_equal(d2v_source_seek(source, &position, &err), D2V_INVALID);
	d2v_source_close(source);
}

static void test_ranks_share_one_stream(void **state) {
	image_data data = make_data(state);
	d2v_image_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_shares_to_ranks(&opener);
}

// ---- damage

static bool is_damaged(const void *damaged, uint64_t id) {
	const uint32_t *pictures = damaged;
	return id == pictures[0] || id == pictures[1] || id == pictures[2];
}

static void test_damage(void **state) {
	image_data data = make_data(state), broken = data_in(state, "broken", D2V_CODEC_JPEG);
	static const uint32_t bad[3] = { 7, 31, 60 };
	assert_ok(image_data_make(&broken, &err));
	for (int i = 0; i < 3; i++) {
		void *payload;
		size_t size;
		assert_ok(image_data_payload(&broken, bad[i], &payload, &size, &err));
		source_damage_flip(broken.folder, broken.shards, payload, size);
		d2v_free(payload);
	}
	d2v_image_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	// A batch each, or fewer when two meet in one.
	const source_damage damage = { data.folder, broken.folder, 3, PICTURES, is_damaged, bad, 3 };
	source_damage_promises(&opener, &damage);
}

// A record that is whole, but whose file no decoder takes: ingested without looking. As damaged as any other.
static void test_undecodable_record(void **state) {
	image_data data = data_in(state, "undecodable", D2V_CODEC_RGB8);
	data.pictures = 1, data.shards = 1;
	uint64_t digests[2];
	data.codec = D2V_CODEC_FLAC; // the payload is encoded as JPEG, and the record calls it sound
	assert_ok(image_data_make(&data, &err));
	d2v_image_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_taken taken = source_damage_take(&opener, 2, digests, NULL, NULL);
	assert_true(taken.batches == 0 && taken.status == D2V_CORRUPT);
	assert_non_null(strstr(taken.error.text, "00000.mdb: record 0"));
	options.common.max_damaged = 1; // and there is nothing else to show
	taken = source_damage_take(&opener, 2, digests, NULL, NULL);
	assert_true(taken.batches == 0 && taken.status == D2V_CORRUPT);
}

static void test_statistics(void **state) {
	image_data data = make_data(state);
	d2v_image_options options = options_for(&data);
	d2v_source *source = open_source(&options);
	for (int i = 0; i < STEPS; i++)
		d2v_source_give(source, source_stream_next(source));
	d2v_source_stats stats = d2v_source_statistics(source);
	assert_true(stats.samples == PICTURES && stats.batches == STEPS && stats.bytes > PICTURES * 500);
	assert_true(stats.padding > .2 && stats.padding < .6 && stats.seconds_of_audio == 0);
	static const char *const names[] = { "read", "decode", "resize", "mask", "digest", "wait for slot" };
	for (int i = 0; i < 6; i++) {
		assert_string_equal(stats.stage_name[i], names[i]);
		assert_true(stats.stage_seconds[i] >= 0);
	}
	assert_null(stats.stage_name[6]);
	d2v_source_close(source);
}

static void test_refusals(void **state) {
	image_data data = make_data(state);
	enum { BAD = 12 };
	d2v_image_options good = options_for(&data), bad[BAD];
	d2v_source *source;
	for (int i = 0; i < BAD; i++)
		bad[i] = good;
	bad[0].clone_batch = 0;
	bad[1].common.threads = -1;
	bad[2].batch_size = 0;
	bad[3].patch_size = 5;
	bad[4].size = 0;
	bad[5].scale[0] = NAN;
	bad[6].scale[1] = 1.5;
	bad[7].ratio[0] = 2;
	bad[8].flip = -1;
	bad[9].resize = 31;
	bad[10].masks.mask_length = 0;
	bad[11].clone_batch = 1 << 24; // more positions than 32 bits count
	for (int i = 0; i < BAD; i++) {
		assert_int_equal(d2v_image_source_open(&source, &bad[i], &err), D2V_INVALID);
		assert_null(source);
	}
	good.common.data = scratch_path(state, "nowhere");
	assert_int_not_equal(d2v_image_source_open(&source, &good, &err), D2V_OK);
}

static void test_failing_allocations(void **state) {
	image_data data = make_data(state);
	d2v_image_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_to_leave_nothing(&opener);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches_hold_what_they_should),
		cmocka_unit_test(test_evaluation),
		cmocka_unit_test(test_same_stream_for_any_threads),
		cmocka_unit_test(test_goes_on_from_anywhere),
		cmocka_unit_test(test_ranks_share_one_stream),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_undecodable_record),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
