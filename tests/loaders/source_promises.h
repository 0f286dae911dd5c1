// What every source of a data set promises (loaders/source.h, loaders/prefetcher.h), asked of any: the tests of a modality bring its
// options and how they are opened. A broken promise fails the test.
#ifndef D2V_TESTS_LOADERS_SOURCE_PROMISES_H
#define D2V_TESTS_LOADERS_SOURCE_PROMISES_H

#include "loaders/prefetcher.h"

#define SOURCE_BATCHES_MAX 512 // of two epochs and a bit

typedef struct source_opener {
	d2v_status (*open)(d2v_source **source, const void *options, d2v_error *err);
	const void *options;
	d2v_prefetch_options *common; // inside of options; set back when a promise was asked
} source_opener;

// The stream does not depend on threads and slots.
void source_promises_one_stream(const source_opener *opener);
// A source goes on from any position with what came after it, and refuses one of another plan, naming `option`.
void source_promises_to_go_on(const source_opener *opener, const char *option);
// The batches of rank r's turns stand at places r, R + r, ... of the stream of one rank; the last turn may be empty.
void source_promises_shares_to_ranks(const source_opener *opener);
// Whatever allocation fails while it is opened and gives its first batch: D2V_NO_MEMORY, and nothing is left behind.
void source_promises_to_leave_nothing(const source_opener *opener);

#endif
