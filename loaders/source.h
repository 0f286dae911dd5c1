// A source hands out batches, takes them back, and saves or restores its position. It is all the trainer knows of data.
//
// Loaders over shards implement it (loaders/prefetcher.h), synthetic batches (synthetic_source.h), recorded ones
// (recorded_source.h), and several sources together (joint_source.h). An epoch's batches are dealt to the ranks in turn; where one update of the
// original took the batches of W workers, a rank of R takes d2v_order_rounds (W / R, rounded up) batches for it. The
// position is a few integers, valid for another number of loader threads and of ranks. Threads: one thread calls; the
// source may have its own behind it.
#ifndef D2V_LOADERS_SOURCE_H
#define D2V_LOADERS_SOURCE_H

#include "base/error.h"
#include "loaders/batch.h"

typedef struct d2v_source d2v_source;

// Where a source stands: enough to go on with the very batch that would have come next. Nothing in it depends on the
// number of threads or ranks; a position saved after a whole update of the run it imitates can be taken up by any
// number of ranks.
#define D2V_SOURCE_PARTS 3
typedef struct d2v_source_place {
	uint64_t epoch; // counted from 1, as fairseq does
	uint64_t step;  // places of this epoch's sequence of batches already dealt, over all ranks (loaders/order.h)
	uint64_t index; // batches handed out by this source since the beginning of the run
	uint64_t plan;  // digest of what decides the stream (data set digest, seed, batching and mask settings): a source
					// refuses a position whose plan differs and says which setting changed is to be undone
} d2v_source_place;
typedef struct d2v_source_position {
	uint64_t epoch, step, index, plan; // as in d2v_source_place
	uint64_t parts;                    // 0, or how many sources a joint one is made of
	d2v_source_place part[D2V_SOURCE_PARTS];
} d2v_source_position;

// What waiting for data cost, since the source was opened.
#define D2V_SOURCE_STAGES 8
typedef struct d2v_source_stats {
	double waited;                    // seconds the trainer waited in next()
	double elapsed;                   // seconds since open
	uint64_t batches, samples, bytes; // handed out; bytes read from the data set
	double seconds_of_audio;
	double padding;                            // share of what was read and then cropped or padded away
	uint64_t damaged;                          // records replaced
	const char *stage_name[D2V_SOURCE_STAGES]; // "read", "decode", "mask", "digest", "wait for slot"; NULL ends
	double stage_seconds[D2V_SOURCE_STAGES];   // summed over threads
} d2v_source_stats;

// How batches get their memory: plain by default, pinned when a GPU is to read them.
typedef struct d2v_source_allocator {
	d2v_status (*alloc)(void *context, void *out, size_t bytes, d2v_error *err);
	void (*free)(void *context, void *block);
	void *context;
} d2v_source_allocator;

// The next batch, borrowed until given back; at most two may be out at a time. Never ends: epochs follow each other.
d2v_status d2v_source_next(d2v_source *source, const d2v_batch **batch, d2v_error *err);
void d2v_source_give(d2v_source *source, const d2v_batch *batch);
// The position after the last batch handed out.
d2v_source_position d2v_source_tell(const d2v_source *source);
// Before the first next, or at any time between give and next.
d2v_status d2v_source_seek(d2v_source *source, const d2v_source_position *position, d2v_error *err);
d2v_source_stats d2v_source_statistics(d2v_source *source);
// Batches that one rank gets in an epoch, empty ones included (0: endless or unknown).
uint64_t d2v_source_epoch_steps(const d2v_source *source, uint64_t epoch);
void d2v_source_close(d2v_source *source); // NULL is allowed

// For implementers: the first member of their own struct.
typedef struct d2v_source_methods {
	d2v_status (*next)(d2v_source *source, const d2v_batch **batch, d2v_error *err);
	void (*give)(d2v_source *source, const d2v_batch *batch);
	d2v_source_position (*tell)(const d2v_source *source);
	d2v_status (*seek)(d2v_source *source, const d2v_source_position *position, d2v_error *err);
	d2v_source_stats (*statistics)(d2v_source *source);
	uint64_t (*epoch_steps)(const d2v_source *source, uint64_t epoch);
	void (*close)(d2v_source *source);
} d2v_source_methods;
struct d2v_source {
	const d2v_source_methods *methods;
};

#endif
