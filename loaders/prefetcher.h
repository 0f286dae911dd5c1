// The threaded prefetcher: a source (loaders/source.h) over a data set of shards, the same for speech, images and text.
//
// It owns what does not depend on the modality: the data set and its damage, the order of an epoch and its dealing to
// ranks, the threads and their ordered ring, lending, seeking, statistics. The modality gives a plan: how many batches
// an epoch has, how large the largest is, and fillers that make them (loaders/filler.h).
//
// The stream is a function of data set, seed and plan; threads, slots and allocator do not touch it. With R ranks each
// gets its turns of the same sequence (loaders/order.h). The threads start with the first next.
// Life: a modality's open ends with d2v_prefetcher_open; d2v_source_close.
// Threads: one thread calls (statistics and tell too).
#ifndef D2V_LOADERS_PREFETCHER_H
#define D2V_LOADERS_PREFETCHER_H

#include "loaders/filler.h"
#include "loaders/prefetch_options.h"
#include "shards/dataset.h"

#define D2V_PREFETCH_SETTINGS 320

// How an epoch is cut, by the modality.
typedef struct d2v_prefetch_plan {
	uint64_t items;                       // batches in an epoch, all ranks together
	bool sequential;                      // items in order of their numbers, instead of a new permutation every epoch
	size_t largest_block;                 // bytes of the largest batch, the empty one included (d2v_block_size)
	uint64_t largest_samples;             // of the batch that has most
	uint64_t digest;                      // of what decides the stream
	double units_per_second;              // audio: samples per second, for the statistics; otherwise 0
	char settings[D2V_PREFETCH_SETTINGS]; // "seed 1, batch_size 64, ...": named when a saved position does not fit
} d2v_prefetch_plan;

// What a modality is. `self` is its own: options and plan, read by all threads, constant from plan to release.
typedef struct d2v_prefetch_kind {
	d2v_modality modality;
	unsigned stages; // 1 << d2v_stage for each that the fillers go through, for the statistics
	// Fills a plan of zeros. What options borrow is there only until it comes back.
	d2v_status (*plan)(void *self, d2v_dataset *dataset, d2v_prefetch_plan *plan, d2v_error *err);
	d2v_status (*filler_new)(void *self, d2v_dataset *dataset, d2v_filler **filler, d2v_error *err); // one per thread
	void (*release)(void *self);
} d2v_prefetch_kind;

// Opens the data set, plans, and makes the threads' fillers. Takes over self, whatever comes back; kind is borrowed
// until the source is closed. options: checked already (d2v_prefetch_options_check), copied. Damage outside of the
// records is named and counted against the limit. D2V_INVALID when the data set is of another modality.
d2v_status d2v_prefetcher_open(d2v_source **source, const d2v_prefetch_kind *kind, void *self,
	const d2v_prefetch_options *options, d2v_error *err);

// Back from the source to the modality's self and to the data set (its manifest, labels, names), borrowed until it is
// closed. The source must be a prefetcher's.
const void *d2v_prefetcher_self(const d2v_source *source);
d2v_dataset *d2v_prefetcher_dataset_of(const d2v_source *source);

#endif
