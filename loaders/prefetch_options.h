// What every loader over shards is told, whatever the modality: where the data is, who this process is among the ranks,
// how many threads work, and what to do with damage.
#ifndef D2V_LOADERS_PREFETCH_OPTIONS_H
#define D2V_LOADERS_PREFETCH_OPTIONS_H

#include "loaders/source.h"

#define D2V_PREFETCH_OUT 2 // batches that may be out at a time

typedef struct d2v_prefetch_options {
	const char *data;  // folder of the data set, borrowed while opening
	const char *split; // as d2v_dataset_open takes it; NULL: the only one or "train"
	uint64_t seed;
	uint32_t imitated_world_size; // workers of the run being imitated, whose batches make one update; 0: world_size
	// What does not decide the stream as a whole:
	uint32_t world_size, rank; // world_size 0: 1
	int threads;               // 0: 1
	int slots;                 // batches being made or waiting; at least 3; 0: threads + 3
	// A record found damaged stops the loader, unless so many different ones (or such a share of all records, whichever
	// is more) may be replaced, each by a sample that fits its place and that seed, epoch and sample choose. A shard
	// damaged outside of its records counts as one.
	uint64_t max_damaged;
	double max_damaged_share;
	d2v_source_allocator allocator; // all zero: the heap
} d2v_prefetch_options;

// Zeros that mean a default become that default; D2V_INVALID when a number is out of its range.
d2v_status d2v_prefetch_options_check(d2v_prefetch_options *options, d2v_error *err);

#endif
