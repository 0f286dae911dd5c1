#include "train/tape.h"

#include "base/memory.h"

#include <string.h>

#define STRUCT_ALIGN 16

void d2v_tape_init(d2v_tape *tape) {
	*tape = (d2v_tape){ .count = 0 };
}

void d2v_tape_release(d2v_tape *tape) {
	d2v_free(tape->entries);
	d2v_free(tape->bytes);
	d2v_tape_init(tape);
}

void d2v_tape_reset(d2v_tape *tape) {
	tape->count = 0;
	tape->used = 0;
	tape->failed = D2V_OK;
}

void d2v_tape_record(d2v_tape *tape, const d2v_op_kind *kind, const void *op, const char *stage) {
	if (!kind->backward || tape->failed)
		return;
	size_t place = (kind->size + STRUCT_ALIGN - 1) / STRUCT_ALIGN * STRUCT_ALIGN;
	tape->failed = d2v_reserve(&tape->entries, &tape->capacity, tape->count + 1, sizeof *tape->entries, NULL);
	if (!tape->failed)
		tape->failed = d2v_reserve(&tape->bytes, &tape->size, tape->used + place, 1, NULL);
	if (tape->failed)
		return;
	tape->entries[tape->count++] = (d2v_tape_entry){ .kind = kind, .stage = stage, .at = tape->used };
	memcpy(tape->bytes + tape->used, op, kind->size);
	tape->used += place;
}

d2v_status d2v_tape_backward(const d2v_tape *tape, d2v_device *device, d2v_profile *profile, d2v_error *err) {
	if (tape->failed)
		return d2v_fail(err, tape->failed, "out of memory while recording a step");
	for (size_t i = tape->count; i-- > 0;) {
		const d2v_tape_entry *entry = &tape->entries[i];
		double start = d2v_profile_start(profile);
		entry->kind->backward(device, tape->bytes + entry->at);
		d2v_profile_stop(profile, device, entry->stage, entry->kind->name, true, start);
	}
	return D2V_OK;
}
