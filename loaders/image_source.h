// Batches of pictures from a data set of shards: read, cropped, resized, flipped and masked by threads, handed out in
// order.
//
// Training: an epoch is a keyed permutation of all pictures, cut into batches of batch_size, the last one smaller
// (recipes.md 3 and 4). Each picture is cropped at random (RandomResizedCrop: share of the area, aspect ratio), resized
// to size x size with Pillow's bytes, mirrored half of the time, and gets M masks from the 2-d block generator on its
// grid of (size / patch_size)^2 patches. Every draw is keyed by (seed, epoch, picture).
// With `eval`, for features and accuracies: the pictures come in the order of the data set, epoch after epoch alike,
// the shorter side resized to `resize` and the centre cut out; no masks, nothing at random.
//
// A batch holds u8 (B, size, size, 3) and the pictures' ordinals in the data set (ids); their labels are in its rows
// (d2v_image_source_label). Records are JPEG (or PNG) files or raw RGB8. The stream is a function of the data set and
// the options; of d2v_prefetch_options those above the line reach it. Opening reads the index only. Ranks, threads,
// damage and seeking are the prefetcher's (loaders/prefetcher.h). Threads: one thread calls.
#ifndef D2V_LOADERS_IMAGE_SOURCE_H
#define D2V_LOADERS_IMAGE_SOURCE_H

#include "loaders/masks.h"
#include "loaders/prefetch_options.h"
#include "shards/dataset.h"

typedef struct d2v_image_options {
	d2v_prefetch_options common;
	uint32_t batch_size; // pictures
	int32_t size;        // side of the square that a picture becomes; a multiple of patch_size
	int32_t patch_size;
	double scale[2];     // least and largest share of the picture's area; both 0: 0.2 and 1
	double ratio[2];     // least and largest width / height; both 0: 3/4 and 4/3
	double flip;         // chance of being mirrored left to right
	int32_t resize;      // eval: the shorter side before cutting; 0: size * 256 / 224, rounded
	int32_t clone_batch; // M; with eval there is one, unmasked
	d2v_mask_settings masks;
	bool eval; // the centre of every picture in order, without masks, instead of random crops
} d2v_image_options;

// The settings of the published base recipe (one worker); common.data remains to be set.
void d2v_image_options_init(d2v_image_options *options);

d2v_status d2v_image_source_open(d2v_source **source, const d2v_image_options *options, d2v_error *err);
// The data set behind the source (classes in its manifest, labels in its rows), borrowed until the source is closed.
d2v_dataset *d2v_image_source_dataset(const d2v_source *source);
// The label of a picture of a batch, by its id; D2V_RECORD_NO_LABEL when it has none.
int32_t d2v_image_source_label(const d2v_source *source, uint64_t id);

#endif
