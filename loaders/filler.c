#include "loaders/filler.h"

#include "loaders/order.h"

#include <string.h>
#include <time.h>

static uint64_t nanoseconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void d2v_slot_end_stage(d2v_slot *slot, d2v_stage stage) {
	uint64_t now = nanoseconds();
	slot->stage_ns[stage] += now - slot->clock;
	slot->clock = now;
}

// The `ahead`-th sample from the start of `item`, or of the one after it.
static void ask_for(d2v_filler *filler, uint64_t epoch, uint64_t item, uint64_t after, uint64_t size, uint64_t ahead) {
	if (ahead >= size) {
		ahead -= size;
		item = after;
		size = item == D2V_ORDER_NONE ? 0 : (uint64_t)filler->methods->shape(filler, item).samples;
	}
	if (ahead < size)
		filler->methods->ask_for(filler, filler->methods->sample(filler, epoch, item, ahead));
}

static d2v_status note_damage(d2v_slot *slot, uint64_t substitute, d2v_status status, d2v_error *err) {
	if (slot->damage_count == slot->damage_capacity)
		return d2v_error_prefix(err, "more damaged records than a batch holds");
	slot->damages[slot->damage_count++] = (d2v_damage){ slot->record, substitute, status };
	return D2V_OK;
}

static d2v_status try_sample(
	d2v_filler *filler, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err) {
	slot->record = sample;
	return filler->methods->fill(filler, slot, epoch, at, sample, err);
}

// The sample of a place, or when it is damaged and that is allowed, one in its stead.
static d2v_status fill_sample(
	d2v_filler *filler, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err) {
	d2v_status status = try_sample(filler, slot, epoch, at, sample, err);
	for (uint32_t attempt = 0; d2v_status_is_skippable(status); attempt++) {
		d2v_slot_end_stage(slot, D2V_STAGE_READ);
		if (!filler->may_replace)
			return d2v_error_prefix(
				err, "damaged record (a limit of damaged records would let the run go on without it)");
		if (attempt == D2V_FILLER_ATTEMPTS)
			return d2v_error_prefix(err, "no substitute that is whole in %d attempts", D2V_FILLER_ATTEMPTS);
		uint64_t substitute = filler->methods->substitute(filler, slot, epoch, sample, attempt);
		if (note_damage(slot, substitute, status, err) != D2V_OK)
			return status;
		status = try_sample(filler, slot, epoch, at, substitute, err);
	}
	return status;
}

static d2v_status fill_samples(
	d2v_filler *filler, uint64_t epoch, uint64_t item, uint64_t after, d2v_slot *slot, d2v_error *err) {
	uint64_t size = (uint64_t)slot->batch.samples;
	for (uint64_t ahead = 0; ahead < filler->ahead; ahead++)
		ask_for(filler, epoch, item, after, size, ahead);
	for (uint64_t at = 0; at < size; at++) {
		ask_for(filler, epoch, item, after, size, at + filler->ahead);
		uint64_t sample = filler->methods->sample(filler, epoch, item, at);
		D2V_TRY(fill_sample(filler, slot, epoch, (int32_t)at, sample, err));
	}
	return D2V_OK;
}

void d2v_filler_fill(d2v_filler *filler, uint64_t epoch, uint64_t item, uint64_t after, d2v_slot *slot) {
	d2v_block_shape shape = filler->methods->shape(filler, item);
	slot->clock = nanoseconds();
	slot->damage_count = 0;
	slot->bytes = slot->read_units = slot->used_units = 0;
	memset(slot->stage_ns, 0, sizeof slot->stage_ns);
	d2v_block_place(&shape, slot->block, &slot->arrays, &slot->batch);
	slot->status = D2V_OK;
	if (item != D2V_ORDER_NONE)
		slot->status = fill_samples(filler, epoch, item, after, slot, &slot->error);
	if (slot->status != D2V_OK)
		return;
	if (!shape.unmasked)
		d2v_block_index_masks(&slot->arrays, &slot->batch);
	d2v_slot_end_stage(slot, D2V_STAGE_MASK);
	slot->batch.epoch = epoch;
	slot->batch.digest = d2v_block_digest(&slot->batch, 0);
	d2v_slot_end_stage(slot, D2V_STAGE_DIGEST);
}

void d2v_filler_free(d2v_filler *filler) {
	if (filler)
		filler->methods->free(filler);
}
