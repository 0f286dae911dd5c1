// Batches of speech from a data set of shards: planned from the index, read, cropped and masked by threads, handed out
// in order.
//
// The stream is a function of the data set and the options; of d2v_prefetch_options those above the line reach it.
// Every draw is keyed by (seed, epoch, utterance). Opening reads the index only. Ranks, threads, damage and seeking are
// the prefetcher's (loaders/prefetcher.h). A batch holds
// i16 samples with mean and 1/sqrt(variance + 1e-5) of each whole utterance; the shortest of the batch is its length,
// longer ones are cropped at a random start. The M masks of an utterance are drawn for its whole length by the 1-d
// block generator and cropped at another random start; K is what row 0 of this rank's batch shows (model.md 5.6).
// For evaluation (`eval`) nothing is drawn and nothing is masked: whole utterances, the longest first, every epoch
// alike, as normalised f32 (`wave`), padded with zeros to the longest of the batch; longer ones end at max_sample_size.
// A batch then holds only utterances that make equally many frames, so that no frame is padding and what a model makes
// of an utterance does not depend on its neighbours: padded frames would reach the last real ones through the
// positional convolutions, as in the original (model.md 2.2). Threads: one thread calls (statistics and tell too).
#ifndef D2V_LOADERS_SPEECH_SOURCE_H
#define D2V_LOADERS_SPEECH_SOURCE_H

#include "loaders/frames.h"
#include "loaders/masks.h"
#include "loaders/prefetch_options.h"
#include "loaders/speech_plan.h"

typedef struct d2v_speech_options {
	d2v_prefetch_options common;
	d2v_speech_limits limits;
	int32_t clone_batch; // M
	d2v_mask_settings masks;
	d2v_frames_spec frames; // the conv extractor, for frame counts
	bool normalize;         // false: mean 0, rstd 1
	uint32_t rate;          // samples per second the data set must have; 0: 16000
	bool eval;              // whole, in order, unmasked
} d2v_speech_options;

// The settings of the published base recipe (one worker); common.data remains to be set.
void d2v_speech_options_init(d2v_speech_options *options);

d2v_status d2v_speech_source_open(d2v_source **source, const d2v_speech_options *options, d2v_error *err);
// The plan behind the source, borrowed until it is closed: for --plan and for statistics.
const d2v_speech_plan *d2v_speech_source_plan(const d2v_source *source);

#endif
