// The loader over shards: what is in a batch, one stream for any number of threads and ranks, going on from anywhere,
// damage.
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "loaders/bench.h"
#include "loaders/speech_source.h"
#include "tests/base/scratch.h"
#include "tests/loaders/source_damage.h"
#include "tests/loaders/source_stream.h"
#include "tests/loaders/speech_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UTTERANCES = 70, BATCHES_MAX = 256 };

static d2v_error err;

static speech_data data_in(void **state, const char *name, d2v_codec codec) {
	return (speech_data){ .folder = scratch_path(state, name),
		.seed = 11,
		.utterances = UTTERANCES,
		.shards = 3,
		.shortest = 1600,
		.longest = 8000,
		.codec = codec };
}

static speech_data make_data(void **state) {
	speech_data data = data_in(state, "speech", D2V_CODEC_PCM16);
	if (!d2v_file_exists(scratch_path(state, "speech/dataset.json")))
		assert_ok(speech_data_make(&data, &err));
	return data;
}

static d2v_speech_options options_for(const speech_data *data) {
	d2v_speech_options options;
	d2v_speech_options_init(&options);
	options.common.data = data->folder;
	options.limits = (d2v_speech_limits){ .max_tokens = 20000, .min_sample_size = 2000, .max_sample_size = 6400 };
	options.frames = (d2v_frames_spec){ { { 10, 5 }, { 3, 2 }, { 2, 2 } }, 3 };
	options.clone_batch = 3;
	options.common.seed = 5;
	return options;
}

static d2v_source *open_source(const d2v_speech_options *options) {
	d2v_source *source;
	assert_ok(d2v_speech_source_open(&source, options, &err));
	return source;
}

static d2v_status open_any(d2v_source **source, const void *options, d2v_error *e) {
	return d2v_speech_source_open(source, options, e);
}

static source_opener opener_of(d2v_speech_options *options) {
	return (source_opener){ open_any, options, &options->common };
}

static uint64_t epoch_of(const d2v_speech_options *options) {
	uint64_t steps = source_stream_epoch(open_source(options));
	assert_true(steps > 8 && 3 * steps < BATCHES_MAX);
	return steps;
}

// One sample of a batch, worked out again from the sound and the keys that the headers promise.
static void check_sample(const speech_data *data, const d2v_speech_options *o, const d2v_batch *batch, int32_t b) {
	uint32_t id = (uint32_t)batch->ids[b], length = speech_data_length(data, id), target = (uint32_t)batch->length;
	int16_t *sound = malloc(length * sizeof *sound);
	speech_data_sound(data, id, sound, length);
	long double sum = 0, squares = 0;
	for (uint32_t i = 0; i < length; i++)
		sum += sound[i] / 32768.0L;
	for (uint32_t i = 0; i < length; i++)
		squares += (sound[i] / 32768.0L - sum / length) * (sound[i] / 32768.0L - sum / length);
	assert_true(fabsl(batch->audio_mean[b] - sum / length) <= 1e-7L * fabsl(sum / length) + 1e-12L);
	long double rstd = 1 / sqrtl(squares / length + 1e-5L);
	assert_true(fabsl(batch->audio_rstd[b] - rstd) <= 1e-7L * rstd);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_CROP, batch->epoch, id));
	uint32_t start = d2v_random_below(&random, length - target + 1);
	assert_memory_equal(batch->audio + (size_t)b * target, sound + start, target * sizeof *sound);
	free(sound);

	int32_t frames = (int32_t)d2v_frames_count(&o->frames, length), tokens = batch->tokens;
	uint8_t *mask = malloc((size_t)frames);
	int32_t *scratch = malloc(d2v_masks_scratch(frames) * sizeof *scratch);
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK_CROP, batch->epoch, id));
	uint32_t mask_start = d2v_random_below(&random, (uint32_t)(frames - tokens + 1));
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK, batch->epoch, id));
	for (int32_t m = 0; m < batch->clones; m++) {
		d2v_masks_block_1d(&o->masks, &random, frames, mask, scratch);
		assert_int_equal(d2v_masks_count(mask, frames), frames / 2);
		assert_memory_equal(
			batch->mask + (size_t)(b * batch->clones + m) * (size_t)tokens, mask + mask_start, (size_t)tokens);
	}
	free(mask);
	free(scratch);
}

static void test_batches_hold_what_they_should(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	d2v_source *source = open_source(&options);
	const d2v_speech_plan *plan = d2v_speech_source_plan(source);
	uint64_t steps = d2v_source_epoch_steps(source, 1), total = 0;
	uint8_t seen[UTTERANCES] = { 0 };
	assert_true(steps == plan->batches);
	for (uint64_t i = 0; i < steps; i++) {
		const d2v_batch *batch = source_stream_next(source);
		uint32_t shortest = UINT32_MAX;
		for (int32_t b = 0; b < batch->samples; b++) {
			uint32_t length = speech_data_length(&data, (uint32_t)batch->ids[b]);
			assert_true(length >= 2000 && !seen[batch->ids[b]]);
			seen[batch->ids[b]] = 1;
			shortest = length < shortest ? length : shortest;
			check_sample(&data, &options, batch, b);
		}
		total += (uint64_t)batch->samples;
		assert_int_equal(batch->length, shortest < 6400 ? shortest : 6400);
		assert_int_equal(batch->tokens, d2v_frames_count(&options.frames, batch->length));
		assert_int_equal(batch->clones, 3);
		assert_int_equal(batch->kept, batch->tokens - d2v_masks_count(batch->mask, batch->tokens));
		assert_int_equal(
			batch->masked_count, d2v_masks_count(batch->mask, (int64_t)batch->samples * batch->clones * batch->tokens));
		assert_true(batch->epoch == 1 && !batch->valid && !batch->wave && !batch->noise);
		assert_true((uintptr_t)batch->block % 64 == 0 && batch->block_size > (size_t)batch->samples * shortest * 2);
		d2v_source_give(source, batch);
	}
	assert_true(total == plan->samples);
	const d2v_batch *batch = source_stream_next(source);
	assert_true(batch->epoch == 2 && batch->index == steps);
	d2v_source_give(source, batch);
	d2v_source_close(source);
}

// For evaluation: every utterance once an epoch, whole, normalised, with zeros behind it that make no frame; the same
// in every epoch.
static void test_evaluation(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	options.limits.min_sample_size = 0;
	options.eval = true;
	options.common.threads = 2;
	d2v_source *source = open_source(&options);
	uint64_t steps = d2v_source_epoch_steps(source, 1);
	uint64_t *digests = malloc(steps * sizeof *digests);
	int seen[UTTERANCES] = { 0 }, cut = 0, padded = 0;
	for (uint64_t i = 0; i < 2 * steps; i++) {
		const d2v_batch *batch = source_stream_next(source);
		assert_true(!batch->mask && !batch->keep && !batch->audio && batch->wave && batch->valid && batch->clones == 1);
		if (i >= steps)
			assert_true(batch->digest == digests[i - steps]);
		else
			digests[i] = batch->digest;
		for (int32_t b = 0; b < batch->samples; b++) {
			uint32_t id = (uint32_t)batch->ids[b], length = speech_data_length(&data, id);
			uint32_t wanted = length < options.limits.max_sample_size ? length : options.limits.max_sample_size;
			int16_t *sound = malloc(length * sizeof *sound);
			speech_data_sound(&data, id, sound, length);
			seen[id]++;
			cut += wanted < length;
			padded += wanted < (uint32_t)batch->length;
			assert_int_equal(
				d2v_frames_count(&options.frames, wanted), d2v_frames_count(&options.frames, batch->length));
			assert_int_equal(batch->valid[b], wanted);
			double mean = 0, squares = 0;
			for (uint32_t k = 0; k < length; k++)
				mean += sound[k] / 32768.0 / length;
			for (uint32_t k = 0; k < length; k++)
				squares += pow(sound[k] / 32768.0 - mean, 2) / length;
			const float *wave = batch->wave + (size_t)b * (size_t)batch->length;
			for (uint32_t k = 0; k < (uint32_t)batch->length; k++) {
				double value = k < wanted ? (sound[k] / 32768.0 - mean) / sqrt(squares + 1e-5) : 0;
				assert_true(fabs(wave[k] - value) <= 1e-6 * fabs(value) + (k < wanted ? 1e-6 : 0));
			}
			free(sound);
		}
		d2v_source_give(source, batch);
	}
	for (int i = 0; i < UTTERANCES; i++)
		assert_int_equal(seen[i], 2);
	assert_true(cut > 0 && padded > 0);
	free(digests);
	d2v_source_close(source);
}

static void test_same_stream_for_any_threads(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	uint64_t one[4], many[4];
	source_promises_one_stream(&opener);
	source_stream_digests(open_source(&options), one, 4);
	// The comparison can fail: every option that should reach the stream does.
	d2v_speech_options other = options_for(&data);
	other.common.seed++;
	source_stream_digests(open_source(&other), many, 4);
	assert_memory_not_equal(one, many, 4 * sizeof *one);
	other = options_for(&data), other.masks.mask_prob = .4;
	source_stream_digests(open_source(&other), many, 4);
	for (int i = 0; i < 4; i++)
		assert_true(one[i] != many[i]);
}

static void test_goes_on_from_anywhere(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_to_go_on(&opener, "max_tokens");
}

static void test_ranks_share_one_stream(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_shares_to_ranks(&opener);
}

static void test_other_number_of_ranks_goes_on(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	uint64_t steps = epoch_of(&options), all[BATCHES_MAX];
	options.common.imitated_world_size = 6;
	options.common.world_size = 2, options.common.rank = 1;
	d2v_source *source = open_source(&options);
	assert_true(d2v_source_epoch_steps(source, 1) == (steps + 5) / 6 * 3);
	for (int i = 0; i < 6; i++) // two updates of three turns
		d2v_source_give(source, source_stream_next(source));
	d2v_source_position position = d2v_source_tell(source);
	d2v_source_close(source);
	options.common.world_size = 1, options.common.rank = 0;
	source_stream_digests(open_source(&options), all, 16);
	options.common.world_size = 3, options.common.rank = 2;
	source = open_source(&options);
	assert_ok(d2v_source_seek(source, &position, &err));
	const d2v_batch *batch = source_stream_next(source);
	assert_true(batch->digest == all[12 + 2]);
	d2v_source_give(source, batch);
	position.step = 13; // in the middle of an update
	assert_int_equal(d2v_source_seek(source, &position, &err), D2V_INVALID);
	d2v_source_close(source);
}

static void test_two_out_given_in_any_order(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	uint64_t digests[8];
	source_stream_digests(open_source(&options), digests, 8);
	d2v_source *source = open_source(&options);
	for (int i = 0; i < 8; i += 2) {
		const d2v_batch *first = source_stream_next(source), *second = source_stream_next(source);
		assert_true(first->digest == digests[i] && second->digest == digests[i + 1]);
		d2v_source_give(source, i % 4 ? first : second);
		d2v_source_give(source, i % 4 ? second : first);
	}
	d2v_source_close(source);
}

static void test_flac_gives_the_same_stream(void **state) {
	speech_data data = make_data(state), flac = data_in(state, "flac", D2V_CODEC_FLAC);
	assert_ok(speech_data_make(&flac, &err));
	d2v_speech_options options = options_for(&data);
	uint64_t plain[20], decoded[20];
	source_stream_digests(open_source(&options), plain, 20);
	options = options_for(&flac), options.common.threads = 2;
	source_stream_digests(open_source(&options), decoded, 20);
	assert_memory_equal(plain, decoded, sizeof plain);
}

static bool is_damaged(const void *damaged, uint64_t id) {
	const uint32_t *utterances = damaged;
	return id == utterances[0] || id == utterances[1] || id == utterances[2];
}

static void test_damage(void **state) {
	speech_data data = make_data(state), broken = data_in(state, "broken", D2V_CODEC_PCM16);
	static const uint32_t bad[3] = { 7, 31, 64 };
	assert_ok(speech_data_make(&broken, &err));
	for (int i = 0; i < 3; i++) {
		uint32_t length = speech_data_length(&broken, bad[i]);
		int16_t *sound = malloc(length * sizeof *sound);
		assert_true(length >= 2000); // it takes part
		speech_data_sound(&broken, bad[i], sound, length);
		source_damage_flip(broken.folder, broken.shards, sound, length * sizeof *sound);
		free(sound);
	}
	d2v_speech_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	// A batch each, or fewer when two meet in one.
	const source_damage damage = { data.folder, broken.folder, 3, UTTERANCES, is_damaged, bad, 3 };
	source_damage_promises(&opener, &damage);
}

// One bit anywhere in a shard whose records are all read: found, named, and the stream stops or, when allowed, goes on.
// Never a wrong batch.
static void test_any_flipped_bit(void **state) {
	speech_data data = data_in(state, "flips", D2V_CODEC_PCM16);
	data.utterances = 12, data.shards = 1;
	assert_ok(speech_data_make(&data, &err));
	d2v_speech_options options = options_for(&data);
	options.limits.min_sample_size = 0; // no record stays unread
	source_opener opener = opener_of(&options);
	uint64_t whole[4], got[4], found = 0, size, steps = source_stream_epoch(open_source(&options));
	assert_in_range(steps, 2, 4);
	source_stream_digests(open_source(&options), whole, steps);
	const char *path = scratch_path(state, "flips/train/00000.mdb");
	assert_ok(d2v_file_size(path, &size, &err));
	enum { FLIPS = 400 };
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(3, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (int i = 0; i < FLIPS; i++) {
		// The first and last pages thoroughly (LMDB's own), the rest here and there.
		long at = i < 150   ? (long)d2v_random_below(&random, 8192)
				  : i < 300 ? (long)size - 1 - (long)d2v_random_below(&random, 16384)
							: (long)d2v_random_below(&random, (uint32_t)size);
		FILE *file = fopen(path, "r+b");
		assert_non_null(file);
		fseek(file, at, SEEK_SET);
		int byte = fgetc(file), flipped = byte ^ 1 << d2v_random_below(&random, 8);
		fseek(file, at, SEEK_SET);
		fputc(flipped, file);
		fclose(file);

		options.common.max_damaged = 0;
		source_taken taken = source_damage_take(&opener, steps, got, NULL, NULL);
		assert_memory_equal(got, whole, taken.batches * sizeof *got);
		assert_true(taken.status == D2V_OK || taken.status == D2V_CORRUPT);
		if (taken.status != D2V_OK) {
			found++;
			assert_non_null(strstr(taken.error.text, "00000.mdb"));
			options.common.max_damaged = 1;
			taken = source_damage_take(&opener, steps, got, NULL, NULL);
			assert_true(taken.status == D2V_OK && taken.batches == steps);
			assert_true(taken.damaged == 1 && taken.warnings == 1);
		}

		file = fopen(path, "r+b");
		assert_non_null(file);
		fseek(file, at, SEEK_SET);
		fputc(byte, file);
		fclose(file);
	}
	assert_int_equal(found, FLIPS);
}

static void test_statistics(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options loader = options_for(&data);
	d2v_bench_options options = { .skip = 2, .threads = loader.common.threads = 2 };
	d2v_bench_result result;
	d2v_source *source;
	assert_ok(d2v_speech_source_open(&source, &loader, &err));
	assert_ok(d2v_bench_run(source, &options, &result, &err));
	d2v_source_close(source);
	uint64_t steps = epoch_of(&loader), digests[BATCHES_MAX], chain = 0, most = 0, used = 0;
	source_stream_digests(open_source(&loader), digests, steps + 2);
	for (uint64_t i = 0; i < steps + 2; i++)
		chain = d2v_hash64_chain(chain, digests[i]);
	assert_true(result.digest == chain && result.batches == steps && result.epoch_batches == steps);
	assert_true(result.modality == D2V_AUDIO && result.tokens == 0);
	assert_true(result.samples <= UTTERANCES && result.seconds > 0 && result.peak_rss > 0);
	for (uint32_t i = 0; i < UTTERANCES; i++)
		most += speech_data_length(&data, i);
	used = (uint64_t)(result.audio_seconds * 16000 + .5);
	assert_true(used < most && used > most / 2);
	assert_true(result.padding > 0 && result.padding < .5);
	assert_true(result.bytes > 2 * used);
	json_t *json;
	assert_ok(d2v_bench_json(&result, &json, &err));
	assert_true(json_number_value(json_object_get(json, "batches")) == (double)steps);
	json_decref(json);
}

static void test_refusals(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options good = options_for(&data), bad[9];
	for (int i = 0; i < 9; i++)
		bad[i] = good;
	bad[0].clone_batch = 0;
	bad[1].common.threads = -1;
	bad[2].common.slots = 2;
	bad[3].common.world_size = 2, bad[3].common.rank = 2;
	bad[4].masks.mask_prob = 2;
	bad[5].rate = 8000;
	bad[6].limits.max_tokens = 100;
	bad[7].limits.min_sample_size = 0, bad[7].frames.layer[0].kernel = 3000; // gives no frame
	bad[8].common.max_damaged_share = NAN;
	for (int i = 0; i < 9; i++) {
		d2v_source *source;
		assert_int_equal(d2v_speech_source_open(&source, &bad[i], &err), D2V_INVALID);
		assert_null(source);
	}
	d2v_source *source;
	good.common.data = scratch_path(state, "nowhere");
	assert_int_not_equal(d2v_speech_source_open(&source, &good, &err), D2V_OK);
}

static void test_failing_allocations(void **state) {
	speech_data data = make_data(state);
	d2v_speech_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_to_leave_nothing(&opener);
}

// An allocator of the caller's: counts, and fails when told to.
typedef struct counting {
	int live, left;
} counting;

static d2v_status counting_alloc(void *context, void *out, size_t bytes, d2v_error *e) {
	counting *c = context;
	if (!c->left--)
		return d2v_fail(e, D2V_NO_MEMORY, "pinned memory is used up");
	c->live++;
	return d2v_alloc(out, bytes, 1, e);
}

static void counting_free(void *context, void *block) {
	((counting *)context)->live--;
	d2v_free(block);
}

static void test_given_allocator(void **state) {
	speech_data data = make_data(state);
	counting counts = { 0 };
	d2v_speech_options options = options_for(&data);
	options.common.allocator = (d2v_source_allocator){ counting_alloc, counting_free, &counts };
	options.common.slots = 4;
	for (int left = 0; left <= 4; left++) {
		d2v_source *source;
		counts.left = left;
		d2v_status status = d2v_speech_source_open(&source, &options, &err);
		assert_int_equal(status, left < 4 ? D2V_NO_MEMORY : D2V_OK);
		if (status == D2V_OK) {
			assert_int_equal(counts.live, 4);
			for (int i = 0; i < 10; i++)
				d2v_source_give(source, source_stream_next(source)); // nothing more is asked for
		}
		d2v_source_close(source);
		assert_int_equal(counts.live, 0);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches_hold_what_they_should),
		cmocka_unit_test(test_evaluation),
		cmocka_unit_test(test_same_stream_for_any_threads),
		cmocka_unit_test(test_goes_on_from_anywhere),
		cmocka_unit_test(test_ranks_share_one_stream),
		cmocka_unit_test(test_other_number_of_ranks_goes_on),
		cmocka_unit_test(test_two_out_given_in_any_order),
		cmocka_unit_test(test_flac_gives_the_same_stream),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_any_flipped_bit),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_given_allocator),
	};
	return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
