// The text loader: what is in a batch, one stream for any number of threads and ranks, going on from anywhere, damage,
// evaluation.
#include "base/file.h"
#include "base/memory.h"
#include "loaders/text_source.h"
#include "shards/codec_tokens.h"
#include "shards/dictionary.h"
#include "tests/base/scratch.h"
#include "tests/loaders/source_damage.h"
#include "tests/loaders/source_stream.h"
#include "tests/loaders/text_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static d2v_error err;

static text_data data_in(void **state, const char *name) {
	return (text_data){ .folder = scratch_path(state, name),
		.seed = 3,
		.records = 40,
		.shards = 3,
		.most = 400,
		.codec = D2V_CODEC_TOK16 };
}

static text_data make_data(void **state) {
	text_data data = data_in(state, "text");
	if (!d2v_file_exists(scratch_path(state, "text/dataset.json")))
		assert_ok(text_data_make(&data, &err));
	return data;
}

static uint64_t tokens_of(const text_data *data) {
	uint64_t tokens = 0;
	for (uint32_t i = 0; i < data->records; i++)
		tokens += text_data_length(data, i);
	return tokens;
}

static d2v_text_options options_for(const text_data *data) {
	d2v_text_options options;
	d2v_text_options_init(&options);
	options.common.data = data->folder;
	options.common.seed = 5;
	options.limits = (d2v_text_limits){ .tokens_per_sample = 65, .batch_size = 4 };
	options.clone_batch = 3;
	return options;
}

static d2v_source *open_source(const d2v_text_options *options) {
	d2v_source *source;
	assert_ok(d2v_text_source_open(&source, options, &err));
	return source;
}

static d2v_status open_any(d2v_source **source, const void *options, d2v_error *e) {
	return d2v_text_source_open(source, options, e);
}

static source_opener opener_of(d2v_text_options *options) {
	return (source_opener){ open_any, options, &options->common };
}

// Built as the fixture says: most frequent first, so id 1, 2, ... without the multiples of 7, from row 4 on.
static int32_t row_of(uint32_t token) {
	if (token == D2V_TOKEN_LINE_END)
		return D2V_DICTIONARY_EOS;
	return token % 7 ? (int32_t)(D2V_DICTIONARY_SPECIALS + token - 1 - token / 7) : D2V_DICTIONARY_UNK;
}

// One sample of a batch, worked out again from the stream.
static void check_text(const text_data *data, const d2v_batch *batch, int32_t b, uint32_t length) {
	uint64_t tokens = tokens_of(data), from = batch->ids[b] * length;
	uint64_t count = tokens - from < length ? tokens - from : length;
	const int32_t *text = batch->text + (size_t)b * (size_t)batch->tokens;
	assert_true(from < tokens);
	assert_int_equal(text[0], D2V_DICTIONARY_BOS);
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(text[1 + i], row_of(text_data_token(data, from + i)));
	for (uint64_t i = 1 + count; i < (uint64_t)batch->tokens; i++)
		assert_int_equal(text[i], D2V_DICTIONARY_PAD);
	if (batch->valid)
		assert_int_equal(batch->valid[b], 1 + count);
	else
		assert_int_equal(batch->tokens, 1 + count);
}

static void check_masks(const d2v_text_options *o, const d2v_batch *batch, int32_t b) {
	int32_t tokens = batch->tokens, kept = (int32_t)((double)tokens * (1 - o->masks.mask_prob));
	uint8_t mask[256];
	int32_t scratch[300];
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK, batch->epoch, batch->ids[b]));
	for (int32_t m = 0; m < batch->clones; m++) {
		d2v_masks_random(o->masks.mask_prob, &random, tokens, mask, scratch);
		assert_int_equal(d2v_masks_count(mask, tokens), tokens - kept);
		assert_memory_equal(batch->mask + (size_t)(b * batch->clones + m) * (size_t)tokens, mask, (size_t)tokens);
	}
	assert_int_equal(batch->kept, kept);
}

static void test_batches_hold_what_they_should(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	uint64_t blocks = (tokens_of(&data) + 63) / 64, total = 0, padded = 0, first[4];
	uint8_t *seen = calloc(blocks, 1);
	d2v_source *source = open_source(&options);
	uint64_t steps = d2v_source_epoch_steps(source, 1);
	assert_int_equal(steps, (blocks + 3) / 4);
	assert_true(tokens_of(&data) % 64 != 0); // there is a short one
	assert_int_equal(d2v_text_source_rows(source), (TEXT_DATA_IDS - TEXT_DATA_IDS / 7 - 1 + 4 + 7) / 8 * 8 + 1);
	for (uint64_t i = 0; i < 2 * steps; i++) {
		const d2v_batch *batch = source_stream_next(source);
		assert_true(batch->epoch == i / steps + 1 && batch->modality == D2V_TEXT && batch->clones == 3);
		padded += batch->valid != NULL;
		for (int32_t b = 0; b < batch->samples; b++) {
			check_text(&data, batch, b, 64);
			check_masks(&options, batch, b);
			assert_int_equal(seen[batch->ids[b]], i / steps);
			seen[batch->ids[b]]++;
			// What makes a batch is fixed for the run; so the short one's company is the same again.
			if (batch->valid && b < 4 && i < steps)
				first[b] = batch->ids[b];
			else if (batch->valid && b < 4)
				assert_int_equal(batch->ids[b], first[b]);
		}
		total += (uint64_t)batch->samples;
		d2v_source_give(source, batch);
	}
	assert_int_equal(total, 2 * blocks);
	assert_int_equal(padded, 2);
	free(seen);
	d2v_source_close(source);
}

static void test_wide_tokens_give_the_same_stream(void **state) {
	text_data data = make_data(state), wide = data_in(state, "wide");
	wide.codec = D2V_CODEC_TOK32;
	wide.merged = true;
	assert_ok(text_data_make(&wide, &err));
	d2v_text_options options = options_for(&data), other = options_for(&wide);
	uint64_t a[32], b[32];
	source_stream_digests(open_source(&options), a, 32);
	source_stream_digests(open_source(&other), b, 32);
	assert_memory_equal(a, b, sizeof a);
}

static void test_last_batch_that_is_no_multiple_is_dropped(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	uint64_t blocks = (tokens_of(&data) + 63) / 64;
	static const struct { uint32_t batch, multiple; } cases[] = { { 4, 8 }, { 8, 8 }, { 12, 8 }, { 5, 2 }, { 3, 2 } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint32_t size = cases[i].batch, multiple = cases[i].multiple;
		options.limits.batch_size = size;
		options.limits.required_batch_size_multiple = multiple;
		size = size > multiple ? size - size % multiple : size;
		d2v_source *source = open_source(&options);
		uint64_t full = blocks / size, rest = blocks % size, total = 0;
		uint64_t wanted = rest              ? full * size + rest - rest % multiple
						  : size % multiple ? (full - 1) * size
											: full * size;
		for (uint64_t k = d2v_source_epoch_steps(source, 1); k; k--) {
			const d2v_batch *batch = source_stream_next(source);
			total += (uint64_t)batch->samples;
			assert_true(batch->samples > 0 && (uint32_t)batch->samples <= size);
			d2v_source_give(source, batch);
		}
		assert_int_equal(total, wanted);
		d2v_source_close(source);
	}
	options.limits = (d2v_text_limits){ .tokens_per_sample = 65, .max_tokens = 65 * 4 + 64 };
	uint64_t limited[8], counted[8];
	source_stream_digests(open_source(&options), limited, 8);
	options.limits = (d2v_text_limits){ .tokens_per_sample = 65, .batch_size = 4 };
	source_stream_digests(open_source(&options), counted, 8);
	assert_memory_equal(limited, counted, sizeof limited);
}

static void test_evaluation_is_in_order(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	options.eval = true;
	options.common.threads = 2;
	options.limits.required_batch_size_multiple = 8; // drops nothing here
	d2v_source *source = open_source(&options);
	uint64_t steps = d2v_source_epoch_steps(source, 1), block = 0;
	for (uint64_t i = 0; i < 2 * steps; i++) {
		const d2v_batch *batch = source_stream_next(source);
		block = i == steps ? 0 : block;
		assert_true(!batch->mask && !batch->keep && batch->kept == batch->tokens && batch->masked_count == 0);
		for (int32_t b = 0; b < batch->samples; b++) {
			assert_int_equal(batch->ids[b], block++);
			check_text(&data, batch, b, 64);
		}
		d2v_source_give(source, batch);
	}
	assert_int_equal(block, (tokens_of(&data) + 63) / 64);
	d2v_source_close(source);
}

static void test_same_stream_for_any_threads(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	uint64_t one[4], many[4];
	source_promises_one_stream(&opener);
	source_stream_digests(open_source(&options), one, 4);
	// The comparison can fail: every option that should reach the stream does.
	d2v_text_options others[4];
	for (int i = 0; i < 4; i++)
		others[i] = options_for(&data);
	others[0].common.seed++;
	others[1].masks.mask_prob = .4;
	others[2].limits.tokens_per_sample = 64;
	others[3].clone_batch = 2;
	for (int i = 0; i < 4; i++) {
		source_stream_digests(open_source(&others[i]), many, 4);
		for (int k = 0; k < 4; k++)
			assert_true(one[k] != many[k]);
	}
}

static void test_goes_on_from_anywhere(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_to_go_on(&opener, "tokens_per_sample");
}

static void test_ranks_share_one_stream(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_shares_to_ranks(&opener);
}

// Places of the stream that a damaged record has.
typedef struct stretch {
	uint64_t from, to;
} stretch;

static bool is_damaged(const void *damaged, uint64_t block) {
	const stretch *record = damaged;
	return (block + 1) * 64 > record->from && block * 64 < record->to;
}

// Flips a bit of a record's tokens; says where they are.
static stretch damage_record(const text_data *data, uint32_t record) {
	uint16_t tokens[400];
	uint32_t length = text_data_length(data, record);
	stretch places = { 0 };
	for (uint32_t i = 0; i < record; i++)
		places.from += text_data_length(data, i);
	places.to = places.from + length;
	for (uint32_t i = 0; i < length; i++)
		tokens[i] = (uint16_t)text_data_token(data, places.from + i);
	source_damage_flip(data->folder, data->shards, tokens, length * sizeof *tokens);
	return places;
}

static void test_damage(void **state) {
	text_data data = make_data(state), broken = data_in(state, "broken");
	assert_ok(text_data_make(&broken, &err));
	uint32_t record = 17;
	while (text_data_length(&broken, record) < 200)
		record++;
	stretch places = damage_record(&broken, record);
	d2v_text_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	const source_damage damage = { data.folder, broken.folder, 1, data.records, is_damaged, &places,
		(places.to - 1) / 64 - places.from / 64 + 1 };
	source_damage_promises(&opener, &damage);
}

static void change_file(const char *path, long at) {
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	fseek(file, at, SEEK_SET);
	int byte = fgetc(file);
	fseek(file, at, SEEK_SET);
	fputc(byte ^ 1, file);
	fclose(file);
}

static void test_changed_dictionary(void **state) {
	text_data data = data_in(state, "dictionary");
	assert_ok(text_data_make(&data, &err));
	d2v_text_options options = options_for(&data);
	d2v_source *source;
	change_file(scratch_path(state, "dictionary/tokenizer/dict.txt"), 2);
	assert_int_equal(d2v_text_source_open(&source, &options, &err), D2V_CORRUPT);
	assert_non_null(strstr(err.text, "dict.txt"));
	assert_ok(d2v_file_remove(scratch_path(state, "dictionary/tokenizer/dict.txt"), &err));
	assert_int_not_equal(d2v_text_source_open(&source, &options, &err), D2V_OK);
	assert_null(source);
}

static void test_refusals(void **state) {
	text_data data = make_data(state);
	d2v_text_options good = options_for(&data), bad[10];
	for (int i = 0; i < 10; i++)
		bad[i] = good;
	bad[0].clone_batch = 0;
	bad[1].common.threads = -1;
	bad[2].limits.tokens_per_sample = 1;
	bad[3].limits.batch_size = 0;
	bad[4].masks.mask_prob = NAN;
	bad[5].masks.mask_length = 2;
	bad[6].limits.max_tokens = 64;
	bad[7].limits.batch_size = 100000, bad[7].limits.required_batch_size_multiple = 50000;
	bad[8].masks.inverse_mask = true;
	bad[9].common.world_size = 2, bad[9].common.rank = 2;
	for (int i = 0; i < 10; i++) {
		d2v_source *source;
		assert_int_equal(d2v_text_source_open(&source, &bad[i], &err), D2V_INVALID);
		assert_null(source);
	}
}

static void test_failing_allocations(void **state) {
	text_data data = make_data(state);
	d2v_text_options options = options_for(&data);
	source_opener opener = opener_of(&options);
	source_promises_to_leave_nothing(&opener);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches_hold_what_they_should),
		cmocka_unit_test(test_wide_tokens_give_the_same_stream),
		cmocka_unit_test(test_last_batch_that_is_no_multiple_is_dropped),
		cmocka_unit_test(test_evaluation_is_in_order),
		cmocka_unit_test(test_same_stream_for_any_threads),
		cmocka_unit_test(test_goes_on_from_anywhere),
		cmocka_unit_test(test_ranks_share_one_stream),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_changed_dictionary),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
