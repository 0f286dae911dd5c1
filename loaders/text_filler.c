#include "loaders/text_filler.h"

#include "base/memory.h"
#include "loaders/order.h"
#include "shards/codec_tokens.h"

#include <string.h>

#define AHEAD 8 // blocks asked for before they are read

typedef struct text_filler {
	d2v_filler filler;
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	const d2v_text_plan *plan;
	const d2v_text_options *options;
	const uint32_t *map; // (ids) the tokenizer's ids to the model's
	uint32_t ids;
	int32_t *scratch;
} text_filler;

d2v_block_shape d2v_text_filler_shape(const d2v_text_plan *plan, const d2v_text_options *options, uint64_t batch) {
	d2v_block_shape shape = { .modality = D2V_TEXT, .clones = options->clone_batch, .unmasked = options->eval };
	if (batch == D2V_ORDER_NONE)
		return shape;
	shape.samples = (int32_t)d2v_text_plan_size(plan, batch);
	shape.tokens = (int32_t)d2v_text_plan_width(plan, batch);
	shape.valid = d2v_text_plan_pads(plan, batch);
	return shape;
}

static d2v_block_shape shape(const d2v_filler *filler, uint64_t batch) {
	const text_filler *self = (const text_filler *)filler;
	return d2v_text_filler_shape(self->plan, self->options, batch);
}

static uint64_t sample_at(const d2v_filler *filler, uint64_t epoch, uint64_t batch, uint64_t at) {
	(void)epoch; // which blocks make a batch is fixed for the run
	return d2v_text_plan_block(((const text_filler *)filler)->plan, batch, at);
}

static void ask_for(d2v_filler *filler, uint64_t block) {
	text_filler *self = (text_filler *)filler;
	uint64_t offset;
	d2v_dataset_will_need(self->view, d2v_text_plan_record(self->plan, block, &offset));
}

// The record's tokens. What the index said of it must hold: the plan was made from that.
static d2v_status view_record(text_filler *self, d2v_slot *slot, uint64_t record, d2v_tokens *tokens, d2v_error *err) {
	const d2v_index_row *row = &d2v_dataset_rows(self->dataset)[record];
	d2v_record found;
	char where[512];
	slot->record = record;
	D2V_TRY(d2v_dataset_read(self->view, record, &found, err));
	if (found.units != row->units || found.codec != row->codec)
		return d2v_fail(err, D2V_CORRUPT, "%s: the index says %llu tokens, the record %llu; run d2v-shard verify",
			d2v_dataset_where(self->dataset, record, where, sizeof where), (unsigned long long)row->units,
			(unsigned long long)found.units);
	d2v_status status = d2v_codec_tokens_view(&found, tokens, err);
	if (status != D2V_OK)
		return d2v_error_prefix(err, "%s", d2v_dataset_where(self->dataset, record, where, sizeof where));
	return D2V_OK;
}

// count of the record's tokens from `offset` on, as the model's ids.
static d2v_status map_tokens(const text_filler *self, uint64_t record, const d2v_tokens *tokens, uint64_t offset,
	uint32_t count, int32_t *out, d2v_error *err) {
	char where[512];
	for (uint32_t i = 0; i < count; i++) {
		uint32_t token = d2v_tokens_at(tokens, offset + i);
		if (token < self->ids)
			out[i] = (int32_t)self->map[token];
		else if (token == D2V_TOKEN_LINE_END)
			out[i] = D2V_DICTIONARY_EOS;
		else
			return d2v_fail(err, D2V_CORRUPT, "%s: token %u; the tokenizer has %u; run d2v-shard verify",
				d2v_dataset_where(self->dataset, record, where, sizeof where), token, self->ids);
	}
	return D2V_OK;
}

static d2v_status fill_tokens(text_filler *self, d2v_slot *slot, int32_t at, uint64_t block, d2v_error *err) {
	uint32_t width = (uint32_t)slot->batch.tokens, left = d2v_text_plan_tokens(self->plan, block), filled = 1;
	int32_t *out = slot->arrays.text + (size_t)at * width;
	uint64_t offset, record = d2v_text_plan_record(self->plan, block, &offset);
	left = left < width ? left : width - 1; // a substitute may be longer than what it stands in for
	slot->read_units += left + 1;
	slot->used_units += left + 1;
	out[0] = D2V_DICTIONARY_BOS;
	for (; left; record++, offset = 0) {
		d2v_tokens tokens;
		uint64_t there = self->plan->starts[record + 1] - self->plan->starts[record] - offset;
		uint32_t count = there < left ? (uint32_t)there : left;
		if (!count)
			continue;
		D2V_TRY(view_record(self, slot, record, &tokens, err));
		d2v_slot_end_stage(slot, D2V_STAGE_READ);
		D2V_TRY(map_tokens(self, record, &tokens, offset, count, out + filled, err));
		d2v_slot_end_stage(slot, D2V_STAGE_DECODE);
		slot->bytes += count * (tokens.narrow ? sizeof *tokens.narrow : sizeof *tokens.wide);
		filled += count;
		left -= count;
	}
	for (uint32_t i = filled; i < width; i++)
		out[i] = D2V_DICTIONARY_PAD;
	if (slot->arrays.valid)
		slot->arrays.valid[at] = (int32_t)filled;
	slot->arrays.ids[at] = block;
	return D2V_OK;
}

static void fill_masks(text_filler *self, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t block) {
	const d2v_text_options *o = self->options;
	int32_t tokens = slot->batch.tokens;
	uint8_t *rows = slot->arrays.mask + (size_t)at * (size_t)o->clone_batch * (size_t)tokens;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK, epoch, block));
	for (int32_t clone = 0; clone < o->clone_batch; clone++)
		d2v_masks_random(o->masks.mask_prob, &random, tokens, rows + (size_t)clone * (size_t)tokens, self->scratch);
	d2v_slot_end_stage(slot, D2V_STAGE_MASK);
}

static d2v_status fill(d2v_filler *filler, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t block, d2v_error *err) {
	text_filler *self = (text_filler *)filler;
	D2V_TRY(fill_tokens(self, slot, at, block, err));
	if (!self->options->eval)
		fill_masks(self, slot, epoch, at, block);
	return D2V_OK;
}

static uint64_t substitute(
	const d2v_filler *filler, const d2v_slot *slot, uint64_t epoch, uint64_t damaged, uint32_t attempt) {
	(void)slot;
	return d2v_text_plan_substitute(((const text_filler *)filler)->plan, epoch, damaged, attempt);
}

static void free_filler(d2v_filler *filler) {
	text_filler *self = (text_filler *)filler;
	d2v_dataset_view_free(self->view);
	d2v_free(self->scratch);
	d2v_free(self);
}

static const d2v_filler_methods methods = { shape, sample_at, ask_for, fill, substitute, free_filler };

d2v_status d2v_text_filler_new(d2v_filler **filler, d2v_dataset *dataset, const d2v_text_plan *plan,
	const d2v_dictionary *dictionary, const d2v_text_options *options, d2v_error *err) {
	text_filler *self;
	*filler = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->filler = (d2v_filler){ .methods = &methods, .ahead = AHEAD };
	self->dataset = dataset;
	self->plan = plan;
	self->options = options;
	self->map = d2v_dictionary_map(dictionary, &self->ids);
	d2v_status status = d2v_dataset_view_new(&self->view, dataset, err);
	if (status == D2V_OK)
		status = d2v_alloc(&self->scratch, d2v_masks_scratch(plan->length + 1), sizeof *self->scratch, err);
	if (status != D2V_OK)
		free_filler(&self->filler);
	else
		*filler = &self->filler;
	return status;
}
