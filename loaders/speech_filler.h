// Fills one batch from the data set: what a loader thread does between claiming a slot and publishing it.
//
// A filler belongs to one thread: a read view and scratch memory for the longest utterance, all taken when it is made,
// so that filling allocates nothing. Slots belong to the source.
#ifndef D2V_LOADERS_SPEECH_FILLER_H
#define D2V_LOADERS_SPEECH_FILLER_H

#include "loaders/batch_block.h"
#include "loaders/speech_source.h"
#include "shards/dataset.h"

#define D2V_SPEECH_AHEAD 8     // records asked for before they are read
#define D2V_SPEECH_ATTEMPTS 64 // substitutes tried for one damaged record

enum d2v_speech_stage { D2V_SPEECH_READ, D2V_SPEECH_DECODE, D2V_SPEECH_MASK, D2V_SPEECH_DIGEST, D2V_SPEECH_STAGES };

typedef struct d2v_speech_damage {
	uint32_t record, substitute; // the first that was tried, itself damaged or not
	d2v_status status;
} d2v_speech_damage;

// A batch on its way, with what making it cost. A failure travels in it to where the batch would have come.
typedef struct d2v_speech_slot {
	void *block; // of the largest batch's size
	d2v_block_arrays arrays;
	d2v_batch batch;
	d2v_status status;
	d2v_error error;
	d2v_speech_damage *damages; // (damage_capacity)
	size_t damage_count, damage_capacity;
	uint64_t bytes, read_samples, used_samples;
	uint64_t stage_ns[D2V_SPEECH_STAGES];
} d2v_speech_slot;

typedef struct d2v_speech_filler d2v_speech_filler;

// All borrowed until it is freed.
d2v_status d2v_speech_filler_new(d2v_speech_filler **filler, d2v_dataset *dataset, const d2v_speech_plan *plan,
	const d2v_speech_options *options, d2v_error *err);
void d2v_speech_filler_free(d2v_speech_filler *filler); // NULL is allowed
d2v_block_shape d2v_speech_filler_shape(const d2v_speech_plan *plan, const d2v_speech_options *options, uint64_t batch);
// Batch number `batch` of the epoch (D2V_ORDER_NONE: an empty one); `after` is probably this thread's next, to look
// ahead. slot->status says how it went.
void d2v_speech_filler_fill(
	d2v_speech_filler *filler, uint64_t epoch, uint64_t batch, uint64_t after, d2v_speech_slot *slot);

#endif
