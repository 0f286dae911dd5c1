// Fills batches of speech: what a loader thread needs to read, crop and mask utterances (loaders/filler.h).
//
// A filler has a read view and scratch memory for the longest utterance. Its samples are ordinals of the data set.
#ifndef D2V_LOADERS_SPEECH_FILLER_H
#define D2V_LOADERS_SPEECH_FILLER_H

#include "loaders/filler.h"
#include "loaders/speech_source.h"
#include "shards/dataset.h"

// All borrowed until it is freed.
d2v_status d2v_speech_filler_new(d2v_filler **filler, d2v_dataset *dataset, const d2v_speech_plan *plan,
	const d2v_speech_options *options, d2v_error *err);
// What batch number `batch` holds; D2V_ORDER_NONE: nothing.
d2v_block_shape d2v_speech_filler_shape(const d2v_speech_plan *plan, const d2v_speech_options *options, uint64_t batch);

#endif
