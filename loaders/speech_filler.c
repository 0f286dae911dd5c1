#include "loaders/speech_filler.h"

#include "base/memory.h"
#include "loaders/moments.h"
#include "loaders/order.h"
#include "shards/codec_audio.h"

#include <string.h>

#define AHEAD 8 // records asked for before they are read

typedef struct speech_filler {
	d2v_filler filler;
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	const d2v_speech_plan *plan;
	const d2v_speech_options *options;
	int16_t *samples; // of a whole utterance that has to be decoded; NULL when all lie as they are
	uint8_t *mask;    // of a whole utterance
	int32_t *scratch;
} speech_filler;

static bool must_decode(const d2v_dataset *dataset) {
	const d2v_index_row *rows = d2v_dataset_rows(dataset);
	for (uint64_t i = 0; i < d2v_dataset_records(dataset); i++)
		if (rows[i].codec != D2V_CODEC_PCM16)
			return true;
	return false;
}

d2v_block_shape d2v_speech_filler_shape(
	const d2v_speech_plan *plan, const d2v_speech_options *options, uint64_t batch) {
	d2v_block_shape shape = { .modality = D2V_AUDIO, .clones = options->clone_batch };
	if (batch == D2V_ORDER_NONE)
		return shape;
	shape.samples = (int32_t)(plan->starts[batch + 1] - plan->starts[batch]);
	shape.length = (int32_t)d2v_speech_plan_target(plan, batch);
	if (options->eval) {
		shape.length = (int32_t)plan->lengths[plan->starts[batch]];
		shape.normalised = shape.unmasked = shape.valid = true;
	}
	shape.tokens = (int32_t)d2v_frames_count(&options->frames, shape.length);
	return shape;
}

static d2v_block_shape shape(const d2v_filler *filler, uint64_t batch) {
	const speech_filler *self = (const speech_filler *)filler;
	return d2v_speech_filler_shape(self->plan, self->options, batch);
}

static uint64_t sample_at(const d2v_filler *filler, uint64_t epoch, uint64_t batch, uint64_t at) {
	const speech_filler *self = (const speech_filler *)filler;
	return d2v_speech_plan_sample(self->plan, self->options->eval ? 0 : epoch, self->plan->starts[batch] + at);
}

static void ask_for(d2v_filler *filler, uint64_t sample) {
	d2v_dataset_will_need(((speech_filler *)filler)->view, sample);
}

// The record's samples, where they lie or decoded. What the index said of it must hold: the plan was made from that.
static d2v_status read_samples(
	speech_filler *self, d2v_slot *slot, uint64_t sample, const int16_t **samples, d2v_error *err) {
	const d2v_index_row *row = &d2v_dataset_rows(self->dataset)[sample];
	d2v_record record;
	D2V_TRY(d2v_dataset_read(self->view, sample, &record, err));
	d2v_slot_end_stage(slot, D2V_STAGE_READ);
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
	speech_filler *self, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err) {
	const int16_t *samples;
	D2V_TRY(read_samples(self, slot, sample, &samples, err));
	const d2v_speech_options *o = self->options;
	uint64_t units = d2v_dataset_rows(self->dataset)[sample].units;
	uint32_t length = (uint32_t)slot->batch.length;
	d2v_moments moments = { .mean = 0, .rstd = 1 };
	if (o->normalize)
		moments = d2v_moments_of(samples, units);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_CROP, epoch, sample));
	uint32_t start = d2v_random_below(&random, (uint32_t)(units - length + 1));
	memcpy(slot->arrays.audio + (size_t)at * length, samples + start, length * sizeof *samples);
	slot->arrays.audio_mean[at] = moments.mean;
	slot->arrays.audio_rstd[at] = moments.rstd;
	slot->arrays.ids[at] = sample;
	slot->read_units += units;
	slot->used_units += length;
	d2v_slot_end_stage(slot, D2V_STAGE_DECODE);
	return D2V_OK;
}

// The clones' masks, drawn for the whole utterance and cropped at one random start.
static void fill_masks(speech_filler *self, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample) {
	const d2v_speech_options *o = self->options;
	int32_t tokens = slot->batch.tokens;
	int32_t frames = (int32_t)d2v_frames_count(&o->frames, (int64_t)d2v_dataset_rows(self->dataset)[sample].units);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK_CROP, epoch, sample));
	uint32_t start = d2v_random_below(&random, (uint32_t)(frames - tokens + 1));
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK, epoch, sample));
	uint8_t *rows = slot->arrays.mask + (size_t)at * (size_t)o->clone_batch * (size_t)tokens;
	for (int32_t clone = 0; clone < o->clone_batch; clone++) {
		d2v_masks_block_1d(&o->masks, &random, frames, self->mask, self->scratch);
		memcpy(rows + (size_t)clone * (size_t)tokens, self->mask + start, (size_t)tokens);
	}
	d2v_slot_end_stage(slot, D2V_STAGE_MASK);
}

// The whole utterance, or its beginning, normalised; zeros behind it.
static d2v_status fill_whole(speech_filler *self, d2v_slot *slot, int32_t at, uint64_t sample, d2v_error *err) {
	const int16_t *samples;
	D2V_TRY(read_samples(self, slot, sample, &samples, err));
	uint64_t units = d2v_dataset_rows(self->dataset)[sample].units, length = (uint64_t)slot->batch.length;
	uint64_t count = units < length ? units : length;
	d2v_moments moments = { .mean = 0, .rstd = 1 };
	if (self->options->normalize)
		moments = d2v_moments_of(samples, units);
	float *wave = slot->arrays.wave + (size_t)at * length;
	for (uint64_t i = 0; i < count; i++)
		wave[i] = ((float)samples[i] / 32768 - moments.mean) * moments.rstd;
	memset(wave + count, 0, (length - count) * sizeof *wave);
	slot->arrays.valid[at] = (int32_t)count;
	slot->arrays.ids[at] = sample;
	slot->read_units += length;
	slot->used_units += count;
	d2v_slot_end_stage(slot, D2V_STAGE_DECODE);
	return D2V_OK;
}

static d2v_status fill(
	d2v_filler *filler, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err) {
	speech_filler *self = (speech_filler *)filler;
	if (self->options->eval)
		return fill_whole(self, slot, at, sample, err);
	D2V_TRY(fill_audio(self, slot, epoch, at, sample, err));
	fill_masks(self, slot, epoch, at, sample);
	return D2V_OK;
}

static uint64_t substitute(
	const d2v_filler *filler, const d2v_slot *slot, uint64_t epoch, uint64_t damaged, uint32_t attempt) {
	const d2v_speech_plan *plan = ((const speech_filler *)filler)->plan;
	return d2v_speech_plan_substitute(plan, epoch, (uint32_t)damaged, (uint32_t)slot->batch.length, attempt);
}

static void free_filler(d2v_filler *filler) {
	speech_filler *self = (speech_filler *)filler;
	d2v_dataset_view_free(self->view);
	d2v_free(self->samples);
	d2v_free(self->mask);
	d2v_free(self->scratch);
	d2v_free(self);
}

static const d2v_filler_methods methods = { shape, sample_at, ask_for, fill, substitute, free_filler };

d2v_status d2v_speech_filler_new(d2v_filler **filler, d2v_dataset *dataset, const d2v_speech_plan *plan,
	const d2v_speech_options *options, d2v_error *err) {
	speech_filler *self;
	size_t frames = (size_t)d2v_frames_count(&options->frames, (int64_t)plan->longest);
	*filler = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->filler = (d2v_filler){ .methods = &methods, .ahead = AHEAD };
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
		free_filler(&self->filler);
	else
		*filler = &self->filler;
	return status;
}
