// One sample of a gallery: a figure with what is in the record and, over it, what a model in training does not see.
//
// The mask is the one that the loader draws for the first copy of the sample in the first epoch (loaders/masks.h, keyed
// by seed, epoch and sample), before a batch crops it; of text, whose samples are cut from the stream, one like it.
#ifndef D2V_TOOLS_SHARD_GALLERY_SAMPLE_H
#define D2V_TOOLS_SHARD_GALLERY_SAMPLE_H

#include "loaders/frames.h"
#include "loaders/masks.h"
#include "shards/dataset.h"
#include "shards/token_text.h"
#include "tools/shard_page.h"

typedef struct shard_gallery_look {
	const d2v_manifest *manifest; // borrowed
	d2v_mask_settings masks;
	uint64_t seed;
	d2v_frames_spec frames;          // sound
	uint64_t longest;                // sound: units of the longest sample, which is as wide as the page
	bool sound;                      // with players
	int32_t side;                    // pictures: patches along a side
	int32_t tokens;                  // text: of a block
	const d2v_token_text *tokenizer; // text; borrowed
} shard_gallery_look;

// Appends the figure. sample: the record's number in its split, which the mask is keyed by; place: how `show` finds it.
// Errors do not name the record.
d2v_status shard_gallery_sample(shard_page *page, const shard_gallery_look *look, uint64_t sample,
	const d2v_dataset_place *place, const d2v_record *record, d2v_error *err);

#endif
