// How a batch comes into being: what the modality brings (d2v_filler_methods), and the walk over a batch's samples that
// all modalities share (look-ahead, substitutes for damaged records, index lists, digest).
//
// An epoch's batches are numbered as the modality's plan cuts them; such a number is an item, and order.h says which
// item comes when. A sample is a number too, whose meaning is the modality's: a record, or a block of text. A filler
// belongs to one thread: a read view and scratch memory, all taken when it is made, so that filling allocates nothing.
// Slots belong to the prefetcher. Everything drawn at random is keyed by (seed, epoch, sample), never by who draws it.
#ifndef D2V_LOADERS_FILLER_H
#define D2V_LOADERS_FILLER_H

#include "loaders/batch_block.h"

#define D2V_FILLER_ATTEMPTS 64 // substitutes tried for one damaged sample

typedef enum d2v_stage {
	D2V_STAGE_READ,
	D2V_STAGE_DECODE,
	D2V_STAGE_RESIZE,
	D2V_STAGE_MASK,
	D2V_STAGE_DIGEST,
	D2V_STAGES
} d2v_stage;

typedef struct d2v_damage {
	uint64_t record, substitute; // the record that is damaged; the first sample tried instead, itself damaged or not
	d2v_status status;
} d2v_damage;

// A batch on its way, with what making it cost. A failure travels in it to where the batch would have come.
typedef struct d2v_slot {
	void *block; // of the largest batch's size
	d2v_block_arrays arrays;
	d2v_batch batch;
	d2v_status status;
	d2v_error error;
	uint64_t record;     // being read: the sample's number, unless a fill of several records says otherwise
	d2v_damage *damages; // (damage_capacity)
	size_t damage_count, damage_capacity;
	uint64_t bytes;                  // read from the data set
	uint64_t read_units, used_units; // what was read, and what of it was neither cropped nor padding
	uint64_t stage_ns[D2V_STAGES];
	uint64_t clock; // when the current stage began
} d2v_slot;

typedef struct d2v_filler d2v_filler;

typedef struct d2v_filler_methods {
	// What the item will be; D2V_ORDER_NONE: an empty batch.
	d2v_block_shape (*shape)(const d2v_filler *filler, uint64_t item);
	// The sample at place `at` of the item, in this epoch.
	uint64_t (*sample)(const d2v_filler *filler, uint64_t epoch, uint64_t item, uint64_t at);
	// Asks the kernel for what the sample needs; returns at once.
	void (*ask_for)(d2v_filler *filler, uint64_t sample);
	// Fills place `at` of the slot's arrays (the masks too) with the sample, says how in bytes and *_units and ends the
	// stages it went through. A status that d2v_status_is_skippable calls for a substitute.
	d2v_status (*fill)(d2v_filler *filler, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err);
	// For attempt 0, 1, ... a sample to stand in for `damaged` in this batch: a function of its arguments.
	uint64_t (*substitute)(
		const d2v_filler *filler, const d2v_slot *slot, uint64_t epoch, uint64_t damaged, uint32_t attempt);
	void (*free)(d2v_filler *filler);
} d2v_filler_methods;

// The first member of a modality's own struct.
struct d2v_filler {
	const d2v_filler_methods *methods;
	uint64_t ahead;   // samples asked for before they are filled
	bool may_replace; // damaged samples; otherwise the first one fails the batch
};

// Batch number `item` of the epoch (D2V_ORDER_NONE: an empty one); `after` is probably this thread's next, to look
// ahead. slot->status says how it went.
void d2v_filler_fill(d2v_filler *filler, uint64_t epoch, uint64_t item, uint64_t after, d2v_slot *slot);
void d2v_filler_free(d2v_filler *filler); // NULL is allowed

// Everything since the last call was spent in this stage.
void d2v_slot_end_stage(d2v_slot *slot, d2v_stage stage);

#endif
