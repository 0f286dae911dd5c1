#include "tests/loaders/source_damage.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "tests/base/scratch.h"
#include "tests/loaders/source_stream.h"

#include <stdio.h>
#include <string.h>

static d2v_error err;

static void flip_bit(const char *path, size_t at, unsigned char byte) {
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	fputc(byte ^ 4, file);
	fclose(file);
}

void source_damage_flip(const char *folder, uint32_t shards, const void *bytes, size_t size) {
	uint32_t found = 0;
	for (uint32_t shard = 0; shard < shards; shard++) {
		char path[1024];
		void *all;
		size_t all_size;
		snprintf(path, sizeof path, "%s/train/%05u.mdb", folder, shard);
		assert_ok(d2v_file_read(path, 1u << 30, &all, &all_size, &err));
		const unsigned char *at = memmem(all, all_size, bytes, size);
		if (at) {
			flip_bit(path, (size_t)(at - (const unsigned char *)all) + size / 2, at[size / 2]);
			found++;
		}
		d2v_free(all);
	}
	assert_int_equal(found, 1);
}

// ---- taking

static void count_warning(void *context, d2v_log_level level, const char *line) {
	(void)line;
	*(uint64_t *)context += level == D2V_LOG_WARNING;
}

static void take_batches(d2v_source *source, uint64_t most, uint64_t *digests, source_damage_hits *hits,
	const void *context, source_taken *taken) {
	const d2v_batch *batch;
	for (; taken->batches < most; taken->batches++) {
		taken->status = d2v_source_next(source, &batch, &taken->error);
		if (taken->status != D2V_OK) {
			assert_int_equal(d2v_source_next(source, &batch, NULL), taken->status);
			break;
		}
		digests[taken->batches] = batch->digest;
		for (int32_t b = 0; hits && b < batch->samples; b++)
			assert_false(hits(context, batch->ids[b]));
		d2v_source_give(source, batch);
	}
	taken->damaged = d2v_source_statistics(source).damaged;
}

source_taken source_damage_take(
	const source_opener *opener, uint64_t most, uint64_t *digests, source_damage_hits *hits, const void *context) {
	d2v_source *source;
	source_taken taken = { 0 };
	d2v_log_set_sink(count_warning, &taken.warnings);
	taken.status = opener->open(&source, opener->options, &taken.error);
	if (taken.status == D2V_OK)
		take_batches(source, most, digests, hits, context, &taken);
	d2v_source_close(source);
	d2v_log_set_sink(NULL, NULL);
	return taken;
}

// ---- promises

// A stream of two epochs, or the beginning of one.
typedef struct stream {
	uint64_t digests[SOURCE_BATCHES_MAX];
	source_taken taken;
} stream;

static void take(const source_opener *opener, const source_damage *damage, int threads, uint64_t most, stream *into) {
	opener->common->threads = threads;
	into->taken = source_damage_take(opener, most, into->digests, damage->hits, damage->context);
}

// At the same batch for any number of threads, before the first epoch is over.
static void expect_stop(const source_opener *opener, const source_damage *damage, uint64_t steps, stream *one) {
	stream many;
	take(opener, damage, 1, 2 * steps, one);
	take(opener, damage, 4, 2 * steps, &many);
	assert_true(one->taken.status == D2V_CORRUPT && many.taken.status == D2V_CORRUPT);
	assert_true(one->taken.batches < steps && many.taken.batches == one->taken.batches);
	assert_memory_equal(one->digests, many.digests, one->taken.batches * sizeof *one->digests);
	assert_non_null(strstr(one->taken.error.text, ".mdb"));
}

static void expect_replaced(const source_damage *damage, const stream *whole, const stream *got, uint64_t steps) {
	uint64_t differ = 0;
	assert_true(got->taken.status == D2V_OK && got->taken.batches == 2 * steps);
	assert_int_equal(got->taken.damaged, damage->damaged);
	assert_int_equal(got->taken.warnings, damage->damaged);
	for (uint64_t i = 0; i < 2 * steps; i++)
		differ += got->digests[i] != whole->digests[i];
	assert_in_range(differ, 2, 2 * damage->batches);
}

void source_damage_promises(const source_opener *opener, const source_damage *damage) {
	d2v_prefetch_options before = *opener->common;
	d2v_source *source;
	stream whole, one, many;
	opener->common->data = damage->whole;
	assert_ok(opener->open(&source, opener->options, &err));
	uint64_t steps = source_stream_epoch(source);
	assert_true(steps > 6 && 2 * steps <= SOURCE_BATCHES_MAX);
	assert_ok(opener->open(&source, opener->options, &err));
	source_stream_digests(source, whole.digests, 2 * steps);

	opener->common->data = damage->broken;
	expect_stop(opener, damage, steps, &one);
	assert_int_equal(one.taken.damaged, 0);
	assert_memory_equal(one.digests, whole.digests, one.taken.batches * sizeof *one.digests);

	opener->common->max_damaged = damage->damaged;
	take(opener, damage, 1, 2 * steps, &one);
	take(opener, damage, 4, 2 * steps, &many);
	expect_replaced(damage, &whole, &one, steps);
	expect_replaced(damage, &whole, &many, steps);
	assert_memory_equal(one.digests, many.digests, 2 * steps * sizeof *one.digests);

	opener->common->max_damaged = 0;
	opener->common->max_damaged_share = ((double)damage->damaged + .5) / (double)damage->records;
	take(opener, damage, 1, 2 * steps, &one);
	expect_replaced(damage, &whole, &one, steps);

	opener->common->max_damaged_share = 0, opener->common->max_damaged = damage->damaged - 1;
	expect_stop(opener, damage, steps, &one);
	assert_true(damage->damaged == 1 || strstr(one.taken.error.text, "allowed"));
	*opener->common = before;
}
