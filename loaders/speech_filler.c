#include "loaders/speech_filler.h"

#include "base/memory.h"
#include "loaders/moments.h"
#include "loaders/order.h"
#include "shards/codec.h"

#include <string.h>
#include <time.h>

struct d2v_speech_filler {
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	const d2v_speech_plan *plan;
	const d2v_speech_options *options;
	int16_t *samples; // of a whole utterance that has to be decoded; NULL when all lie as they are
	uint8_t *mask;    // of a whole utterance
	int32_t *scratch;
	uint64_t clock; // when the current stage began
};

static uint64_t nanoseconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// Everything since the last call was spent in this stage.
static void end_stage(d2v_speech_filler *self, d2v_speech_slot *slot, enum d2v_speech_stage stage) {
	uint64_t now = nanoseconds();
	slot->stage_ns[stage] += now - self->clock;
	self->clock = now;
}

static bool must_decode(const d2v_dataset *dataset) {
	const d2v_index_row *rows = d2v_dataset_rows(dataset);
	for (uint64_t i = 0; i < d2v_dataset_records(dataset); i++)
		if (rows[i].codec != D2V_CODEC_PCM16)
			return true;
	return false;
}

d2v_status d2v_speech_filler_new(d2v_speech_filler **filler, d2v_dataset *dataset, const d2v_speech_plan *plan,
	const d2v_speech_options *options, d2v_error *err) {
	d2v_speech_filler *self;
	size_t frames = (size_t)d2v_frames_count(&options->frames, (int64_t)plan->longest);
	*filler = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->dataset = dataset;
	self->plan = plan;
	self->options = options;
	d2v_status status = d2v_dataset_view_new(&self->view, dataset, err);
	if (status == D2V_OK && must_decode(dataset))
		status = d2v_alloc(&self->samples, plan->longest, sizeof *self->samples, err);
	if (status == D2V_OK)
		status = d2v_alloc(&self->mask, frames, 1, err);
	if (status == D2V_OK)
		status = d2v_alloc(&self->scratch, d2v_masks_scratch((int64_t)frames), sizeof *self->scratch, err);
	if (status != D2V_OK)
		d2v_speech_filler_free(self);
	else
		*filler = self;
	return status;
}

void d2v_speech_filler_free(d2v_speech_filler *filler) {
	if (!filler)
		return;
	d2v_dataset_view_free(filler->view);
	d2v_free(filler->samples);
	d2v_free(filler->mask);
	d2v_free(filler->scratch);
	d2v_free(filler);
}

d2v_block_shape d2v_speech_filler_shape(
	const d2v_speech_plan *plan, const d2v_speech_options *options, uint64_t batch) {
	d2v_block_shape shape = { .modality = D2V_AUDIO, .clones = options->clone_batch };
	if (batch == D2V_ORDER_NONE)
		return shape;
	shape.samples = (int32_t)(plan->starts[batch + 1] - plan->starts[batch]);
	shape.length = (int32_t)d2v_speech_plan_target(plan, batch);
	shape.tokens = (int32_t)d2v_frames_count(&options->frames, shape.length);
	return shape;
}

// The `ahead`-th utterance from the start of `batch`, or of the batch after it.
static void ask_for(d2v_speech_filler *self, uint64_t epoch, uint64_t batch, uint64_t after, uint64_t ahead) {
	const d2v_speech_plan *plan = self->plan;
	uint64_t size = plan->starts[batch + 1] - plan->starts[batch];
	if (ahead >= size) {
		ahead -= size;
		batch = after;
	}
	if (batch != D2V_ORDER_NONE && ahead < plan->starts[batch + 1] - plan->starts[batch])
		d2v_dataset_will_need(self->view, d2v_speech_plan_sample(plan, epoch, plan->starts[batch] + ahead));
}

// The record's samples, where they lie or decoded. What the index said of it must hold: the plan was made from that.
static d2v_status read_samples(
	d2v_speech_filler *self, d2v_speech_slot *slot, uint32_t sample, const int16_t **samples, d2v_error *err) {
	const d2v_index_row *row = &d2v_dataset_rows(self->dataset)[sample];
	d2v_record record;
	D2V_TRY(d2v_dataset_read(self->view, sample, &record, err));
	end_stage(self, slot, D2V_SPEECH_READ);
	slot->bytes += row->size;
	char where[512];
	if (record.units != row->units || record.codec != row->codec)
		return d2v_fail(err, D2V_CORRUPT, "%s: the index says %llu samples, the record %llu; run d2v-shard verify",
			d2v_dataset_where(self->dataset, sample, where, sizeof where), (unsigned long long)row->units,
			(unsigned long long)record.units);
	*samples = d2v_codec_audio_view(&record);
	if (*samples)
		return D2V_OK;
	if (!self->samples)
		return d2v_fail(err, D2V_CORRUPT, "%s: the payload is not what the index says; run d2v-shard verify",
			d2v_dataset_where(self->dataset, sample, where, sizeof where));
	d2v_status status = d2v_codec_audio_read(&record, 0, record.units, self->samples, err);
	if (status != D2V_OK)
		return d2v_error_prefix(err, "%s", d2v_dataset_where(self->dataset, sample, where, sizeof where));
	*samples = self->samples;
	return D2V_OK;
}

// Cropped samples, and moments of the whole utterance.
static d2v_status fill_audio(
	d2v_speech_filler *self, d2v_speech_slot *slot, uint64_t epoch, int32_t at, uint32_t sample, d2v_error *err) {
	const int16_t *samples;
	D2V_TRY(read_samples(self, slot, sample, &samples, err));
	const d2v_speech_options *o = self->options;
	uint64_t units = d2v_dataset_rows(self->dataset)[sample].units;
	uint32_t length = (uint32_t)slot->batch.length;
	d2v_moments moments = { .mean = 0, .rstd = 1 };
	if (o->normalize)
		moments = d2v_moments_of(samples, units);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->seed, D2V_RANDOM_CROP, epoch, sample));
	uint32_t start = d2v_random_below(&random, (uint32_t)(units - length + 1));
	memcpy(slot->arrays.audio + (size_t)at * length, samples + start, length * sizeof *samples);
	slot->arrays.audio_mean[at] = moments.mean;
	slot->arrays.audio_rstd[at] = moments.rstd;
	slot->arrays.ids[at] = sample;
	slot->read_samples += units;
	slot->used_samples += length;
	end_stage(self, slot, D2V_SPEECH_DECODE);
	return D2V_OK;
}

// The clones' masks, drawn for the whole utterance and cropped at one random start.
static void fill_masks(d2v_speech_filler *self, d2v_speech_slot *slot, uint64_t epoch, int32_t at, uint32_t sample) {
	const d2v_speech_options *o = self->options;
	int32_t tokens = slot->batch.tokens;
	int32_t frames = (int32_t)d2v_frames_count(&o->frames, (int64_t)d2v_dataset_rows(self->dataset)[sample].units);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->seed, D2V_RANDOM_MASK_CROP, epoch, sample));
	uint32_t start = d2v_random_below(&random, (uint32_t)(frames - tokens + 1));
	d2v_random_start(&random, d2v_random_key_make(o->seed, D2V_RANDOM_MASK, epoch, sample));
	uint8_t *rows = slot->arrays.mask + (size_t)at * (size_t)o->clone_batch * (size_t)tokens;
	for (int32_t clone = 0; clone < o->clone_batch; clone++) {
		d2v_masks_block_1d(&o->masks, &random, frames, self->mask, self->scratch);
		memcpy(rows + (size_t)clone * (size_t)tokens, self->mask + start, (size_t)tokens);
	}
	end_stage(self, slot, D2V_SPEECH_MASK);
}

static d2v_status note_damage(
	d2v_speech_slot *slot, uint32_t record, uint32_t substitute, d2v_status status, d2v_error *err) {
	if (slot->damage_count == slot->damage_capacity)
		return d2v_error_prefix(err, "more damaged records than a batch holds");
	slot->damages[slot->damage_count++] = (d2v_speech_damage){ record, substitute, status };
	return D2V_OK;
}

static bool may_replace(const d2v_speech_options *o) {
	return o->max_damaged || o->max_damaged_share > 0;
}

// The utterance of a place, or when it is damaged and that is allowed, one in its stead.
static d2v_status fill_sample(
	d2v_speech_filler *self, d2v_speech_slot *slot, uint64_t epoch, int32_t at, uint32_t sample, d2v_error *err) {
	uint32_t damaged = sample, length = (uint32_t)slot->batch.length;
	d2v_status status = fill_audio(self, slot, epoch, at, sample, err);
	for (uint32_t attempt = 0; d2v_status_is_skippable(status); attempt++) {
		end_stage(self, slot, D2V_SPEECH_READ);
		if (!may_replace(self->options))
			return d2v_error_prefix(
				err, "damaged record (a limit of damaged records would let the run go on without it)");
		if (attempt == D2V_SPEECH_ATTEMPTS)
			return d2v_error_prefix(err, "no substitute that is whole in %d attempts", D2V_SPEECH_ATTEMPTS);
		uint32_t substitute = d2v_speech_plan_substitute(self->plan, epoch, damaged, length, attempt);
		if (note_damage(slot, sample, substitute, status, err) != D2V_OK)
			return status;
		sample = substitute;
		status = fill_audio(self, slot, epoch, at, sample, err);
	}
	if (status == D2V_OK)
		fill_masks(self, slot, epoch, at, sample);
	return status;
}

static d2v_status fill_samples(
	d2v_speech_filler *self, uint64_t epoch, uint64_t batch, uint64_t after, d2v_speech_slot *slot, d2v_error *err) {
	const d2v_speech_plan *plan = self->plan;
	for (uint64_t ahead = 0; ahead < D2V_SPEECH_AHEAD; ahead++)
		ask_for(self, epoch, batch, after, ahead);
	for (int32_t i = 0; i < slot->batch.samples; i++) {
		ask_for(self, epoch, batch, after, (uint64_t)i + D2V_SPEECH_AHEAD);
		uint32_t sample = d2v_speech_plan_sample(plan, epoch, plan->starts[batch] + (uint64_t)i);
		D2V_TRY(fill_sample(self, slot, epoch, i, sample, err));
	}
	return D2V_OK;
}

void d2v_speech_filler_fill(
	d2v_speech_filler *filler, uint64_t epoch, uint64_t batch, uint64_t after, d2v_speech_slot *slot) {
	d2v_block_shape shape = d2v_speech_filler_shape(filler->plan, filler->options, batch);
	filler->clock = nanoseconds();
	slot->damage_count = 0;
	slot->bytes = slot->read_samples = slot->used_samples = 0;
	memset(slot->stage_ns, 0, sizeof slot->stage_ns);
	d2v_block_place(&shape, slot->block, &slot->arrays, &slot->batch);
	slot->status = D2V_OK;
	if (batch != D2V_ORDER_NONE)
		slot->status = fill_samples(filler, epoch, batch, after, slot, &slot->error);
	if (slot->status != D2V_OK)
		return;
	d2v_block_index_masks(&slot->arrays, &slot->batch);
	end_stage(filler, slot, D2V_SPEECH_MASK);
	slot->batch.epoch = epoch;
	slot->batch.digest = d2v_block_digest(&slot->batch, 0);
	end_stage(filler, slot, D2V_SPEECH_DIGEST);
}
