// The sources without a data set: recorded batches come out as they went in, synthetic ones are a function of their index,
// replayed ones are those of another source.
#include "base/memory.h"
#include "loaders/batch_block.h"
#include "loaders/recorded_source.h"
#include "loaders/synthetic_source.h"
#include "tests/loaders/replayed_source.h"

#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { B = 2, M = 2, R = 4, T = 4, L = 6, K = 3 };
static const float wave[B * L] = { 1, 2, 3, 4, 5, 6, -1, -2, -3, -4, 0, 0 };
static const uint8_t padding[B * L] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1 };
static const uint8_t mask[R * T] = { 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0 };

static d2v_recorded recorded_audio(void) {
	return (d2v_recorded){ .modality = D2V_AUDIO,
		.samples = B,
		.clones = M,
		.tokens = T,
		.length = L,
		.wave = wave,
		.padding = padding,
		.mask = mask };
}

static d2v_source *open_recorded(void) {
	d2v_source *source;
	assert_int_equal(d2v_recorded_source_open(&source, NULL, NULL), D2V_OK);
	return source;
}

static void test_recorded_derives_lists(void **state) {
	(void)state;
	d2v_source *source = open_recorded();
	d2v_recorded given = recorded_audio();
	const d2v_batch *batch;
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_OK);
	assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_OK);
	assert_int_equal(batch->kept, K); // of row 0
	assert_memory_equal(batch->wave, wave, sizeof wave);
	assert_memory_equal(batch->mask, mask, sizeof mask);
	static const int32_t valid[B] = { 6, 4 };
	// Row 2 masks one more than row 0 (its first masked position 2 is shown), row 3 one fewer (its last is not).
	static const int32_t keep[R * K] = { 0, 2, 3, 1, 2, 3, 0, 1, 2, 0, 1, 2 };
	static const int32_t restore[R * T] = { 0, 3, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3 };
	static const int32_t masked[] = { 1, 4, 10, 11 };
	assert_memory_equal(batch->valid, valid, sizeof valid);
	assert_memory_equal(batch->keep, keep, sizeof keep);
	assert_memory_equal(batch->restore, restore, sizeof restore);
	assert_int_equal(batch->masked_count, 4);
	assert_memory_equal(batch->masked, masked, sizeof masked);
	d2v_source_give(source, batch);
	d2v_source_close(source);
}

static void test_recorded_takes_lists(void **state) {
	(void)state;
	d2v_source *source = open_recorded();
	d2v_recorded given = recorded_audio();
	given.samples = 1, given.clones = 1, given.padding = NULL, given.kept = K;
	given.ids_keep = (const int64_t[]){ 3, 0, 2 };
	given.ids_restore = (const int64_t[]){ 1, 3, 2, 0 };
	given.noise = (const float[]){ 5, 6 }, given.noise_count = 2;
	const d2v_batch *batch;
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_OK);
	assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_OK);
	assert_int_equal(batch->kept, K);
	assert_memory_equal(batch->keep, ((int32_t[]){ 3, 0, 2 }), 3 * sizeof(int32_t));
	assert_memory_equal(batch->restore, ((int32_t[]){ 1, 3, 2, 0 }), 4 * sizeof(int32_t));
	assert_true(batch->noise[1] == 6 && !batch->valid);
	d2v_source_give(source, batch);
	given.ids_keep = (const int64_t[]){ 3, 2, 0 };
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_INVALID); // restore says otherwise
	given.ids_restore = (const int64_t[]){ 1, 1, 2, 0 };
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_INVALID); // no permutation
	given.ids_restore = (const int64_t[]){ 1, 4, 2, 0 };
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_INVALID);
	d2v_source_close(source);
}

static void test_recorded_refuses(void **state) {
	(void)state;
	d2v_source *source = open_recorded();
	d2v_recorded given = recorded_audio();
	uint8_t holes[B * L] = { 0, 1, 0 };
	given.padding = holes;
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_INVALID);
	given.padding = NULL, given.wave = NULL;
	assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_INVALID);
	const d2v_batch *batch;
	assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_INVALID); // nothing was recorded
	d2v_source_close(source);
}

static void test_recorded_goes_round_and_seeks(void **state) {
	(void)state;
	d2v_source *source = open_recorded();
	d2v_recorded given = recorded_audio();
	for (int i = 0; i < 3; i++) {
		given.samples = 1 + i % B;
		assert_int_equal(d2v_recorded_source_add(source, &given, NULL), D2V_OK);
	}
	assert_true(d2v_source_epoch_steps(source, 1) == 3);
	const d2v_batch *first, *second;
	for (uint64_t i = 0; i < 8; i += 2) { // two out at a time
		assert_int_equal(d2v_source_next(source, &first, NULL), D2V_OK);
		assert_int_equal(d2v_source_next(source, &second, NULL), D2V_OK);
		assert_true(first->index == i && second->index == i + 1 && first->epoch == i / 3 + 1);
		assert_int_equal(first->samples, 1 + (int)(i % 3) % B);
		d2v_source_give(source, first);
		d2v_source_give(source, second);
	}
	d2v_source_position position = d2v_source_tell(source);
	assert_true(position.index == 8 && position.epoch == 3 && position.step == 2);
	position.index = 4;
	assert_int_equal(d2v_source_seek(source, &position, NULL), D2V_OK);
	assert_int_equal(d2v_source_next(source, &first, NULL), D2V_OK);
	assert_true(first->index == 4);
	d2v_source_give(source, first);
	position.plan++;
	assert_int_equal(d2v_source_seek(source, &position, NULL), D2V_INVALID);
	d2v_source_close(source);
}

static d2v_synthetic_options synthetic_audio(void) {
	return (d2v_synthetic_options){ .modality = D2V_AUDIO,
		.seed = 3,
		.samples = 3,
		.clones = 2,
		.masks = { .mask_prob = .5, .mask_prob_adjust = .05, .mask_length = 5 },
		.length = 8000,
		.frames = d2v_frames_published() };
}

static void digests_of(const d2v_synthetic_options *options, uint64_t from, uint64_t *digests, int count) {
	d2v_source *source;
	const d2v_batch *batch;
	assert_int_equal(d2v_synthetic_source_open(&source, options, NULL), D2V_OK);
	d2v_source_position position = d2v_source_tell(source);
	position.index = from;
	assert_int_equal(d2v_source_seek(source, &position, NULL), D2V_OK);
	for (int i = 0; i < count; i++) {
		assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_OK);
		digests[i] = batch->digest;
		d2v_source_give(source, batch);
	}
	d2v_source_close(source);
}

static void test_synthetic_is_a_function_of_the_index(void **state) {
	(void)state;
	d2v_synthetic_options options = synthetic_audio();
	uint64_t all[6], later[3], other[6], round[6];
	digests_of(&options, 0, all, 6);
	digests_of(&options, 3, later, 3);
	assert_memory_equal(all + 3, later, sizeof later);
	for (int i = 1; i < 6; i++)
		assert_true(all[i] != all[0]);
	options.repeat = 2;
	digests_of(&options, 0, round, 6);
	for (int i = 0; i < 6; i++)
		assert_true(round[i] == all[i % 2]);
	options.repeat = 0, options.seed = 4;
	digests_of(&options, 0, other, 6);
	assert_true(other[0] != all[0]);
}

static d2v_synthetic_options synthetic_image(void) {
	return (d2v_synthetic_options){ .modality = D2V_IMAGE,
		.samples = 2,
		.clones = 4,
		.side = 112,
		.patch = 8,
		.masks = { .mask_prob = .8, .mask_prob_adjust = .07, .mask_length = 3, .inverse_mask = true } };
}

static d2v_synthetic_options synthetic_text(void) {
	return (d2v_synthetic_options){ .modality = D2V_TEXT,
		.samples = 2,
		.clones = 4,
		.tokens = 512,
		.vocabulary = 50265,
		.masks = { .mask_prob = .48, .mask_length = 1 } };
}

static void test_synthetic_batches_are_whole(void **state) {
	(void)state;
	d2v_synthetic_options all[3] = { synthetic_audio(), synthetic_image(), synthetic_text() };
	static const int expected_tokens[3] = { 24, 196, 512 }, expected_kept[3] = { 12, 39, 266 };
	for (int i = 0; i < 3; i++) {
		d2v_source *source;
		const d2v_batch *batch;
		assert_int_equal(d2v_synthetic_source_open(&source, &all[i], NULL), D2V_OK);
		assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_OK);
		assert_int_equal(batch->tokens, expected_tokens[i]);
		assert_int_equal(batch->kept, expected_kept[i]);
		assert_int_equal(batch->masked_count, batch->samples * batch->clones * (batch->tokens - batch->kept));
		assert_true((batch->audio != NULL) == (i == 0));
		assert_true((batch->image != NULL) == (i == 1));
		assert_true((batch->text != NULL) == (i == 2));
		if (batch->audio) // uniform noise: variance 1/3
			assert_true(fabsf(batch->audio_rstd[0] - sqrtf(3)) < .05f && fabsf(batch->audio_mean[0]) < .05f);
		for (int t = 0; batch->text && t < 1024; t++)
			assert_true(batch->text[t] >= 4 && batch->text[t] < 50265);
		d2v_source_give(source, batch);
		d2v_source_close(source);
	}
	all[1].side = 113;
	d2v_source *source;
	assert_int_equal(d2v_synthetic_source_open(&source, &all[1], NULL), D2V_INVALID);
}

static void expect_replayed(d2v_source *source, const d2v_batch *expected, const d2v_source_position *after) {
	const d2v_batch *batch;
	assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_OK);
	d2v_source_position position = d2v_source_tell(source);
	assert_true(batch->index == expected->index && batch->epoch == expected->epoch && batch->block != expected->block);
	assert_true(batch->kept == expected->kept && batch->masked_count == expected->masked_count);
	assert_true(batch->digest == expected->digest && d2v_block_digest(batch, 0) == expected->digest);
	assert_memory_equal(&position, after, sizeof position);
	d2v_source_give(source, batch);
}

// What `options` gives from its third batch on, three batches of it replayed.
static void expect_replay(const d2v_synthetic_options *options) {
	d2v_source *live, *source;
	const d2v_batch *batch;
	assert_int_equal(d2v_synthetic_source_open(&live, options, NULL), D2V_OK);
	d2v_source_position start = d2v_source_tell(live), after;
	start.index = 2;
	assert_int_equal(d2v_source_seek(live, &start, NULL), D2V_OK);
	start = d2v_source_tell(live);
	assert_int_equal(replayed_source_open(&source, live, 3, NULL, NULL), D2V_OK);
	assert_true(d2v_source_tell(live).index == 5 && d2v_source_tell(source).index == 2);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(d2v_source_seek(live, &start, NULL), D2V_OK);
		assert_int_equal(d2v_source_seek(source, &start, NULL), D2V_OK);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(d2v_source_next(live, &batch, NULL), D2V_OK);
			after = d2v_source_tell(live);
			expect_replayed(source, batch, &after);
			d2v_source_give(live, batch);
		}
		assert_int_equal(d2v_source_next(source, &batch, NULL), D2V_INVALID); // there is no fourth
	}
	after.index++;
	assert_int_equal(d2v_source_seek(source, &after, NULL), D2V_INVALID);
	start.index--;
	assert_int_equal(d2v_source_seek(source, &start, NULL), D2V_INVALID);
	d2v_source_close(source);
	d2v_source_close(live);
}

static void test_replayed_is_what_another_gave(void **state) {
	(void)state;
	d2v_synthetic_options all[3] = { synthetic_audio(), synthetic_image(), synthetic_text() };
	for (int i = 0; i < 3; i++)
		expect_replay(&all[i]);
}

static void test_replayed_refuses_recorded(void **state) {
	(void)state;
	d2v_source *live = open_recorded(), *source;
	d2v_recorded given = recorded_audio();
	static const float noise[R];
	given.noise = noise, given.noise_count = R;
	assert_int_equal(d2v_recorded_source_add(live, &given, NULL), D2V_OK);
	assert_int_equal(replayed_source_open(&source, live, 1, NULL, NULL), D2V_UNSUPPORTED); // how long the noise is, no batch says
	d2v_source_close(live);
}

static void test_failing_allocations(void **state) {
	(void)state;
	long live = d2v_memory_live();
	for (long n = 0;; n++) {
		d2v_source *synthetic = NULL, *recorded = NULL, *replayed = NULL;
		d2v_synthetic_options options = synthetic_audio();
		d2v_recorded given = recorded_audio();
		given.samples = 1, given.clones = 1, given.padding = NULL, given.kept = K;
		given.ids_keep = (const int64_t[]){ 3, 0, 2 };
		given.ids_restore = (const int64_t[]){ 1, 3, 2, 0 };
		d2v_memory_fail_after(n);
		bool made = d2v_synthetic_source_open(&synthetic, &options, NULL) == D2V_OK &&
					d2v_recorded_source_open(&recorded, NULL, NULL) == D2V_OK &&
					d2v_recorded_source_add(recorded, &given, NULL) == D2V_OK &&
					replayed_source_open(&replayed, synthetic, 2, NULL, NULL) == D2V_OK;
		d2v_memory_fail_after(-1);
		d2v_source_close(replayed);
		d2v_source_close(synthetic);
		d2v_source_close(recorded);
		assert_int_equal(d2v_memory_live(), live);
		if (made)
			break;
		assert_true(n < 100);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded_derives_lists),
		cmocka_unit_test(test_recorded_takes_lists),
		cmocka_unit_test(test_recorded_refuses),
		cmocka_unit_test(test_recorded_goes_round_and_seeks),
		cmocka_unit_test(test_synthetic_is_a_function_of_the_index),
		cmocka_unit_test(test_synthetic_batches_are_whole),
		cmocka_unit_test(test_replayed_is_what_another_gave),
		cmocka_unit_test(test_replayed_refuses_recorded),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
