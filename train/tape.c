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
	tape->in_segment = false;
	tape->failed = D2V_OK;
}

void d2v_tape_record(d2v_tape *tape, const d2v_op_kind *kind, const void *op, const char *stage) {
	D2V_ASSERT(!tape->in_segment || (kind->forward && kind->backward));
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

void d2v_tape_begin_segment(d2v_tape *tape) {
	D2V_ASSERT(!tape->in_segment);
	tape->in_segment = true;
	tape->segment = tape->count;
}

void d2v_tape_end_segment(d2v_tape *tape) {
	D2V_ASSERT(tape->in_segment);
	tape->in_segment = false;
	if (tape->count > tape->segment)
		tape->entries[tape->count - 1].again = tape->count - tape->segment;
}

static void run_entry(
	const d2v_tape *tape, size_t index, d2v_device *device, d2v_profile *profile, d2v_profile_way way) {
	const d2v_tape_entry *entry = &tape->entries[index];
	double start = d2v_profile_start(profile);
	(way == D2V_PROFILE_BACKWARD ? entry->kind->backward : entry->kind->forward)(device, tape->bytes + entry->at);
	d2v_profile_stop(profile, device, entry->stage, entry->kind->name, way, start);
}

d2v_status d2v_tape_backward(d2v_tape *tape, size_t from, d2v_device *device, d2v_profile *profile, d2v_error *err) {
	if (tape->failed)
		return d2v_fail(err, tape->failed, "out of memory while recording a step");
	for (size_t i = tape->count; i-- > from;) {
		for (size_t left = tape->entries[i].again; left > 0; left--)
			run_entry(tape, i + 1 - left, device, profile, D2V_PROFILE_AGAIN);
		run_entry(tape, i, device, profile, D2V_PROFILE_BACKWARD);
	}
	if (tape->count > from) {
		tape->used = tape->entries[from].at;
		tape->count = from;
	}
	return D2V_OK;
}
