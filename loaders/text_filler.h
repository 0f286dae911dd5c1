// Fills batches of text: what a loader thread needs to read, map and mask blocks of tokens (loaders/filler.h).
//
// A filler has a read view and scratch memory for one mask. Its samples are blocks of the plan.
#ifndef D2V_LOADERS_TEXT_FILLER_H
#define D2V_LOADERS_TEXT_FILLER_H

#include "loaders/filler.h"
#include "loaders/text_source.h"
#include "shards/dataset.h"
#include "shards/dictionary.h"

// All borrowed until it is freed.
d2v_status d2v_text_filler_new(d2v_filler **filler, d2v_dataset *dataset, const d2v_text_plan *plan,
	const d2v_dictionary *dictionary, const d2v_text_options *options, d2v_error *err);
// What batch number `batch` holds; D2V_ORDER_NONE: nothing.
d2v_block_shape d2v_text_filler_shape(const d2v_text_plan *plan, const d2v_text_options *options, uint64_t batch);

#endif
