// Joining data sets of one modality, or the parts of one that several hosts prepared, into one.
//
// Shards are immutable, so they are linked (or copied: to another file system, or when asked for), renumbered within
// their split in the order of the inputs; splits of one name become one, in the order of their names. rejected.tsv
// lists follow each other, sources are those of all inputs, statistics are made anew, and counts of documents are
// added up. Each shard is opened and held against its manifest; copies of shards, and all other files, against their digests. What must agree:
// modality, sampling rate, classes, tokenizer. The same part given twice is an error. Threads: one call uses one.
#ifndef D2V_SHARDS_MERGE_H
#define D2V_SHARDS_MERGE_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_merge_options {
	const char *out;
	const char *const *inputs;
	int input_count; // at least 1
	bool copy;       // even where links are possible
	// Called now and then, may be NULL. Returning false ends it with D2V_INTERRUPTED.
	bool (*progress)(void *context, uint64_t shards, uint64_t total, uint64_t bytes);
	void *context;
} d2v_merge_options;

typedef struct d2v_merge_result {
	uint64_t splits, shards, linked, records, units, bytes;
	uint64_t digest; // of the data set
} d2v_merge_result;

// All or nothing: the folder gets its name when it is complete. D2V_EXISTS when there is something under that name.
d2v_status d2v_merge_run(const d2v_merge_options *options, d2v_merge_result *result, d2v_error *err);

#endif
