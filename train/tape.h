// The tape: what a forward pass did, so that the backward pass can walk it in reverse.
//
// An entry is a copy of an operation's argument struct and the kind it belongs to. Nothing is derived or reordered.
// Pointers in the struct must stay good until the tape was walked; arrays on the host that it names (none of ours do)
// too. Life: init -> record ... -> backward -> reset -> record ... -> release. One thread.
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
} d2v_tape_entry;

typedef struct d2v_tape {
	d2v_tape_entry *entries;
	size_t count, capacity;
	unsigned char *bytes;
	size_t used, size;
	d2v_status failed; // out of memory while recording: backward reports it
} d2v_tape;

void d2v_tape_init(d2v_tape *tape);
void d2v_tape_release(d2v_tape *tape);
void d2v_tape_reset(d2v_tape *tape);
void d2v_tape_record(d2v_tape *tape, const d2v_op_kind *kind, const void *op, const char *stage);
// Runs every entry's backward, last first. profile may be NULL.
d2v_status d2v_tape_backward(const d2v_tape *tape, d2v_device *device, d2v_profile *profile, d2v_error *err);

#endif
