// Fills batches of pictures: what a loader thread needs to read, decode, crop, resize and mask (loaders/filler.h).
//
// A filler has a read view, a decoder and a resizer. Its samples are ordinals of the data set. Rows go from the decoder
// straight into the resizer, so the stage "decode" holds the horizontal pass too.
#ifndef D2V_LOADERS_IMAGE_FILLER_H
#define D2V_LOADERS_IMAGE_FILLER_H

#include "loaders/filler.h"
#include "loaders/image_source.h"

// Both borrowed until it is freed.
d2v_status d2v_image_filler_new(
	d2v_filler **filler, d2v_dataset *dataset, const d2v_image_options *options, d2v_error *err);
// What batch number `batch` of so many records holds; D2V_ORDER_NONE: nothing.
d2v_block_shape d2v_image_filler_shape(const d2v_image_options *options, uint64_t records, uint64_t batch);

#endif
