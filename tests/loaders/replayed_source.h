// The next batches of another source, copied, and handed out again as that source handed them out: the same bytes,
// indexes and positions, at no cost. So a trainer can be run on what a loader gives without the loader.
//
// Life: open (takes `count` batches of the live source, which stands behind them afterwards) -> as a source, from the
// first of them; after the last one next fails -> seek to any position that it told -> d2v_source_close. The live
// source is borrowed until then: it says how long epochs are. Threads: one.
#ifndef D2V_TESTS_LOADERS_REPLAYED_SOURCE_H
#define D2V_TESTS_LOADERS_REPLAYED_SOURCE_H

#include "loaders/source.h"

// allocator NULL: the heap. It is copied.
d2v_status replayed_source_open(
	d2v_source **source, d2v_source *live, size_t count, const d2v_source_allocator *allocator, d2v_error *err);

#endif
