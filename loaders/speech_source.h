// Batches of speech from a data set of shards: planned from the index, read, cropped and masked by threads, handed out
// in order.
//
// The stream is a function of the data set and of the options above the line in d2v_speech_options; threads, slots and
// allocator do not touch it. Every draw is keyed by (seed, epoch, utterance). With R ranks each gets its turns of the
// same sequence (loaders/order.h). Opening reads the index only; the threads start with the first next. A batch holds
// i16 samples with mean and 1/sqrt(variance + 1e-5) of each whole utterance; the shortest of the batch is its length,
// longer ones are cropped at a random start. The M masks of an utterance are drawn for its whole length by the 1-d
// block generator and cropped at another random start; K is what row 0 of this rank's batch shows (model.md 5.6).
// Threads: one thread calls (statistics and tell too).
#ifndef D2V_LOADERS_SPEECH_SOURCE_H
#define D2V_LOADERS_SPEECH_SOURCE_H

#include "loaders/frames.h"
#include "loaders/masks.h"
#include "loaders/source.h"
#include "loaders/speech_plan.h"

typedef struct d2v_speech_options {
	const char *data;  // folder of the data set, borrowed while opening
	const char *split; // as d2v_dataset_open takes it; NULL: the only one or "train"
	uint64_t seed;
	d2v_speech_limits limits;
	int32_t clone_batch; // M
	d2v_mask_settings masks;
	d2v_frames_spec frames;       // the conv extractor, for frame counts
	bool normalize;               // false: mean 0, rstd 1
	uint32_t rate;                // samples per second the data set must have; 0: 16000
	uint32_t imitated_world_size; // workers of the run being imitated, whose batches make one update; 0: world_size
	// What does not decide the stream as a whole:
	uint32_t world_size, rank; // world_size 0: 1
	int threads;               // 0: 1
	int slots;                 // batches being made or waiting; at least 3; 0: threads + 3
	// A record found damaged stops the loader, unless so many different ones (or such a share of all records, whichever
	// is more) may be replaced, each by an utterance of at least the needed length that seed, epoch and record choose.
	// A shard damaged outside of its records counts as one.
	uint64_t max_damaged;
	double max_damaged_share;
	d2v_source_allocator allocator; // all zero: the heap
} d2v_speech_options;

// The settings of the published base recipe (one worker); data remains to be set.
void d2v_speech_options_init(d2v_speech_options *options);

d2v_status d2v_speech_source_open(d2v_source **source, const d2v_speech_options *options, d2v_error *err);
// The plan behind the source, borrowed until it is closed: for --plan and for statistics.
const d2v_speech_plan *d2v_speech_source_plan(const d2v_source *source);

#endif
