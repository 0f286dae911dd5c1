// What the loaders' tests do with any source. A failure fails the test.
#ifndef D2V_TESTS_LOADERS_SOURCE_STREAM_H
#define D2V_TESTS_LOADERS_SOURCE_STREAM_H

#include "loaders/source.h"

const d2v_batch *source_stream_next(d2v_source *source);
// Of the first `count` batches of a source just opened, which is closed.
void source_stream_digests(d2v_source *source, uint64_t *digests, uint64_t count);
// Batches of the first epoch; the source is closed.
uint64_t source_stream_epoch(d2v_source *source);

#endif
