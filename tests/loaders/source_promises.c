#include "tests/loaders/source_promises.h"

#include "base/memory.h"
#include "tests/base/scratch.h"
#include "tests/loaders/source_stream.h"

#include <string.h>

static d2v_error err;

static d2v_source *open_source(const source_opener *opener) {
	d2v_source *source;
	assert_ok(opener->open(&source, opener->options, &err));
	return source;
}

// Batches of an epoch: enough of them for the promises to mean something.
static uint64_t epoch_of(const source_opener *opener) {
	uint64_t steps = source_stream_epoch(open_source(opener));
	assert_true(steps > 6 && 2 * steps + 3 <= SOURCE_BATCHES_MAX);
	return steps;
}

void source_promises_one_stream(const source_opener *opener) {
	static const struct { int threads, slots; } cases[] = { { 2, 0 }, { 8, 0 }, { 8, 3 }, { 1, 16 } };
	d2v_prefetch_options before = *opener->common;
	uint64_t count = 2 * epoch_of(opener) + 3, one[SOURCE_BATCHES_MAX], many[SOURCE_BATCHES_MAX];
	source_stream_digests(open_source(opener), one, count);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		opener->common->threads = cases[i].threads;
		opener->common->slots = cases[i].slots;
		source_stream_digests(open_source(opener), many, count);
		assert_memory_equal(one, many, count * sizeof *one);
	}
	*opener->common = before;
}

void source_promises_to_go_on(const source_opener *opener, const char *option) {
	d2v_prefetch_options before = *opener->common;
	uint64_t steps = epoch_of(opener), count = 2 * steps + 3, digests[SOURCE_BATCHES_MAX];
	d2v_source_position positions[SOURCE_BATCHES_MAX];
	d2v_source *source = open_source(opener);
	for (uint64_t i = 0; i < count; i++) {
		positions[i] = d2v_source_tell(source);
		const d2v_batch *batch = source_stream_next(source);
		digests[i] = batch->digest;
		d2v_source_give(source, batch);
	}
	assert_true(positions[0].epoch == 1 && positions[0].step == 0 && positions[0].index == 0);
	assert_true(positions[steps].epoch == 2 && positions[steps].step == 0 && positions[steps].index == steps);
	for (uint64_t from = 0; from + 2 < count; from++) {
		if (from % 3 == 0) { // another number of threads, and a fresh process's source
			d2v_source_close(source);
			opener->common->threads = 1 + (int)(from / 3 % 3);
			source = open_source(opener);
		}
		assert_ok(d2v_source_seek(source, &positions[from], &err));
		for (uint64_t i = from; i < from + 2; i++) {
			const d2v_batch *batch = source_stream_next(source);
			assert_true(batch->digest == digests[i] && batch->index == i);
			d2v_source_give(source, batch);
		}
		d2v_source_position now = d2v_source_tell(source);
		assert_memory_equal(&now, &positions[from + 2], sizeof now);
	}
	d2v_source_position wrong = positions[3];
	wrong.plan ^= 1;
	assert_int_equal(d2v_source_seek(source, &wrong, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, option));
	wrong = positions[3], wrong.epoch = 0;
	assert_int_equal(d2v_source_seek(source, &wrong, &err), D2V_INVALID);
	wrong = positions[3], wrong.step = UINT64_MAX;
	assert_int_equal(d2v_source_seek(source, &wrong, &err), D2V_INVALID);
	d2v_source_close(source);
	*opener->common = before;
}

void source_promises_shares_to_ranks(const source_opener *opener) {
	d2v_prefetch_options before = *opener->common;
	uint64_t steps = epoch_of(opener), all[SOURCE_BATCHES_MAX];
	source_stream_digests(open_source(opener), all, 2 * steps);
	for (uint32_t ranks = 2; ranks <= 5; ranks++) {
		uint64_t turns = (steps + ranks - 1) / ranks, empty = 0;
		for (uint32_t rank = 0; rank < ranks; rank++) {
			opener->common->world_size = ranks, opener->common->rank = rank, opener->common->threads = 2;
			d2v_source *source = open_source(opener);
			assert_true(d2v_source_epoch_steps(source, 1) == turns);
			for (uint64_t i = 0; i < 2 * turns; i++) {
				const d2v_batch *batch = source_stream_next(source);
				uint64_t place = i % turns * ranks + rank;
				assert_true(batch->epoch == i / turns + 1);
				if (place < steps)
					assert_true(batch->digest == all[i / turns * steps + place]);
				else {
					assert_true(batch->samples == 0 && batch->kept == 0 && batch->masked_count == 0);
					empty++;
				}
				d2v_source_give(source, batch);
			}
			d2v_source_close(source);
		}
		assert_true(empty == 2 * (turns * ranks - steps));
	}
	*opener->common = before;
}

void source_promises_to_leave_nothing(const source_opener *opener) {
	long live = d2v_memory_live();
	for (long n = 0;; n++) {
		d2v_source *source;
		const d2v_batch *batch = NULL;
		d2v_memory_fail_after(n);
		d2v_status status = opener->open(&source, opener->options, NULL);
		if (status == D2V_OK)
			status = d2v_source_next(source, &batch, NULL);
		d2v_memory_fail_after(-1);
		if (batch)
			d2v_source_give(source, batch);
		d2v_source_close(source);
		assert_int_equal(d2v_memory_live(), live);
		if (status == D2V_OK)
			break;
		assert_int_equal(status, D2V_NO_MEMORY);
		assert_true(n < 10000);
	}
}
