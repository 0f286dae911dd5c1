// The tape: what a forward pass did, so that the backward pass can walk it in reverse.
//
// An entry is a copy of an operation's argument struct and the kind it belongs to. Nothing is derived or reordered.
// Pointers in the struct must stay good until the tape was walked; arrays on the host that it names (none of ours do)
// too. Life: init -> record ... -> backward -> reset -> record ... -> release. One thread.
//
// Entries may be bound into a segment: on the way back its operations run forward once more, with the very same
// structs, before any of them runs backward. What they wrote besides the segment's result may then have been
// overwritten in the meantime (by other segments, say), but what they read from before the segment must be what it was,
// and all of them must be of a kind with both directions.
#ifndef D2V_TRAIN_TAPE_H
#define D2V_TRAIN_TAPE_H

#include "kernels/device.h"
#include "train/profile.h"

typedef struct d2v_op_kind {
	const char *name;
	size_t size; // of the argument struct
	void (*forward)(d2v_device *device, const void *op);
	void (*backward)(d2v_device *device, const void *op); // NULL: nothing flows back
} d2v_op_kind;

typedef struct d2v_tape_entry {
	const d2v_op_kind *kind;
	const char *stage; // for the profile
	size_t at;         // of the argument struct in bytes[]
	size_t again;      // of a segment's last entry: how many the segment has; 0 otherwise
} d2v_tape_entry;

typedef struct d2v_tape {
	d2v_tape_entry *entries;
	size_t count, capacity;
	unsigned char *bytes;
	size_t used, size;
	bool in_segment;
	size_t segment;    // the open segment's first entry
	d2v_status failed; // out of memory while recording: backward reports it
} d2v_tape;

void d2v_tape_init(d2v_tape *tape);
void d2v_tape_release(d2v_tape *tape);
void d2v_tape_reset(d2v_tape *tape);
void d2v_tape_record(d2v_tape *tape, const d2v_op_kind *kind, const void *op, const char *stage);
void d2v_tape_begin_segment(d2v_tape *tape); // they do not nest
void d2v_tape_end_segment(d2v_tape *tape);
// Runs backward what was recorded after the first `from` entries (0: all), last first, and forgets it. profile may be
// NULL.
d2v_status d2v_tape_backward(d2v_tape *tape, size_t from, d2v_device *device, d2v_profile *profile, d2v_error *err);

#endif
