// How many records carry each label, from index rows alone. Life: make -> release. Threads: plain functions.
#ifndef D2V_SHARDS_LABEL_COUNTS_H
#define D2V_SHARDS_LABEL_COUNTS_H

#include "base/error.h"
#include "shards/shard_index.h"

#include <stddef.h>

typedef struct d2v_label_count {
	int32_t label;
	uint64_t records;
} d2v_label_count;

typedef struct d2v_label_counts {
	d2v_label_count *items; // by label, ascending; records without one are not among them
	size_t count;
	uint64_t unlabelled;
} d2v_label_counts;

d2v_status d2v_label_counts_make(d2v_label_counts *counts, const d2v_index_row *rows, uint64_t records, d2v_error *err);
void d2v_label_counts_release(d2v_label_counts *counts);

#endif
