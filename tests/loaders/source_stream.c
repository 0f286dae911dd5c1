#include "tests/loaders/source_stream.h"

#include "tests/base/scratch.h"

const d2v_batch *source_stream_next(d2v_source *source) {
	d2v_error err = { 0 };
	const d2v_batch *batch;
	assert_ok(d2v_source_next(source, &batch, &err));
	return batch;
}

void source_stream_digests(d2v_source *source, uint64_t *digests, uint64_t count) {
	for (uint64_t i = 0; i < count; i++) {
		const d2v_batch *batch = source_stream_next(source);
		assert_true(batch->index == i);
		digests[i] = batch->digest;
		d2v_source_give(source, batch);
	}
	d2v_source_close(source);
}

uint64_t source_stream_epoch(d2v_source *source) {
	uint64_t steps = d2v_source_epoch_steps(source, 1);
	d2v_source_close(source);
	return steps;
}
