#include "loaders/image_filler.h"

#include "base/memory.h"
#include "loaders/order.h"
#include "loaders/picture_crop.h"
#include "shards/bicubic.h"

#include <string.h>

#define AHEAD 64 // records asked for before they are read: 7 MB of ImageNet, which keeps a disk as busy as it can be

typedef struct image_filler {
	d2v_filler filler;
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	const d2v_image_options *options;
	d2v_image_decoder *decoder;
	d2v_bicubic *resizer;
	int32_t *scratch; // of the mask generator
} image_filler;

d2v_block_shape d2v_image_filler_shape(const d2v_image_options *o, uint64_t records, uint64_t batch) {
	int32_t side = o->size / o->patch_size;
	bool masked = !o->eval;
	d2v_block_shape shape = { .modality = D2V_IMAGE,
		.clones = masked ? o->clone_batch : 1,
		.tokens = side * side,
		.height = o->size,
		.width = o->size,
		.unmasked = !masked };
	if (batch == D2V_ORDER_NONE)
		return shape;
	uint64_t left = records - batch * o->batch_size;
	shape.samples = (int32_t)(left < o->batch_size ? left : o->batch_size);
	return shape;
}

static d2v_block_shape shape(const d2v_filler *filler, uint64_t batch) {
	const image_filler *self = (const image_filler *)filler;
	return d2v_image_filler_shape(self->options, d2v_dataset_records(self->dataset), batch);
}

static uint64_t sample_at(const d2v_filler *filler, uint64_t epoch, uint64_t batch, uint64_t at) {
	const image_filler *self = (const image_filler *)filler;
	const d2v_image_options *o = self->options;
	uint64_t place = batch * o->batch_size + at;
	if (o->eval)
		return place;
	d2v_random_key key = d2v_random_key_make(o->common.seed, D2V_RANDOM_ORDER, epoch, 0);
	return d2v_random_permute(key, d2v_dataset_records(self->dataset), place);
}

static void ask_for(d2v_filler *filler, uint64_t sample) {
	d2v_dataset_will_need(((image_filler *)filler)->view, sample);
}

// What is shown of a picture: a part of it (the crop), and what that becomes.
typedef struct showing {
	d2v_image_region crop;
	d2v_bicubic_job job;
} showing;

static showing show_random_crop(
	const d2v_image_options *o, const d2v_image_facts *facts, uint64_t epoch, uint64_t sample) {
	showing s;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_CROP, epoch, sample));
	s.crop = d2v_picture_crop_random(facts->width, facts->height, o->scale, o->ratio, &random);
	s.job = (d2v_bicubic_job){ .in_width = s.crop.width,
		.in_height = s.crop.height,
		.out_width = (uint32_t)o->size,
		.out_height = (uint32_t)o->size,
		.mirror = d2v_random_unit(&random) < o->flip };
	return s;
}

static showing show_centre(const d2v_image_options *o, const d2v_image_facts *facts) {
	uint32_t size = (uint32_t)o->size;
	showing s = { .crop = { .height = facts->height, .width = facts->width },
		.job = { .in_width = facts->width, .in_height = facts->height } };
	d2v_picture_crop_resized(facts->width, facts->height, (uint32_t)o->resize, &s.job.out_width, &s.job.out_height);
	s.job.window = (d2v_image_region){ .top = d2v_picture_crop_centre(s.job.out_height, size),
		.left = d2v_picture_crop_centre(s.job.out_width, size),
		.height = size,
		.width = size };
	return s;
}

static void resize_row(void *context, uint32_t y, const uint8_t *rgb) {
	(void)y;
	d2v_bicubic_row(context, rgb);
}

// Decodes what is needed of the picture, and resizes it on the way.
static d2v_status show(image_filler *self, d2v_slot *slot, const showing *s, uint8_t *pixels, d2v_error *err) {
	d2v_image_region needs;
	d2v_image_sink sink = { .row = resize_row, .context = self->resizer };
	D2V_TRY(d2v_bicubic_begin(self->resizer, &s->job, &needs, err));
	needs.top += s->crop.top;
	needs.left += s->crop.left;
	D2V_TRY(d2v_image_rows(self->decoder, &needs, &sink, err));
	d2v_slot_end_stage(slot, D2V_STAGE_DECODE);
	d2v_bicubic_finish(self->resizer, pixels);
	d2v_slot_end_stage(slot, D2V_STAGE_RESIZE);
	return D2V_OK;
}

static d2v_status fill_pixels(
	image_filler *self, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err) {
	const d2v_image_options *o = self->options;
	d2v_record record;
	d2v_image_facts facts;
	D2V_TRY(d2v_dataset_read(self->view, sample, &record, err));
	d2v_slot_end_stage(slot, D2V_STAGE_READ);
	slot->bytes += record.payload_size;
	d2v_status status = d2v_image_begin_record(self->decoder, &record, &facts, err);
	if (status == D2V_OK) {
		showing s = o->eval ? show_centre(o, &facts) : show_random_crop(o, &facts, epoch, sample);
		slot->read_units += (uint64_t)facts.width * facts.height;
		slot->used_units += (uint64_t)s.crop.width * s.crop.height;
		status = show(self, slot, &s, slot->arrays.image + (size_t)at * (size_t)o->size * (size_t)o->size * 3, err);
	}
	char where[512];
	if (status != D2V_OK)
		return d2v_error_prefix(err, "%s", d2v_dataset_where(self->dataset, sample, where, sizeof where));
	slot->arrays.ids[at] = sample;
	return D2V_OK;
}

static void fill_masks(image_filler *self, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample) {
	const d2v_image_options *o = self->options;
	size_t tokens = (size_t)slot->batch.tokens;
	uint8_t *rows = slot->arrays.mask + (size_t)at * (size_t)o->clone_batch * tokens;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(o->common.seed, D2V_RANDOM_MASK, epoch, sample));
	for (int32_t clone = 0; clone < o->clone_batch; clone++)
		d2v_masks_block_2d(&o->masks, &random, o->size / o->patch_size, rows + (size_t)clone * tokens, self->scratch);
	d2v_slot_end_stage(slot, D2V_STAGE_MASK);
}

static d2v_status fill(
	d2v_filler *filler, d2v_slot *slot, uint64_t epoch, int32_t at, uint64_t sample, d2v_error *err) {
	image_filler *self = (image_filler *)filler;
	D2V_TRY(fill_pixels(self, slot, epoch, at, sample, err));
	if (slot->arrays.mask)
		fill_masks(self, slot, epoch, at, sample);
	return D2V_OK;
}

static uint64_t substitute(
	const d2v_filler *filler, const d2v_slot *slot, uint64_t epoch, uint64_t damaged, uint32_t attempt) {
	const image_filler *self = (const image_filler *)filler;
	uint64_t records = d2v_dataset_records(self->dataset);
	(void)slot; // any picture fits
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(self->options->common.seed, D2V_RANDOM_SUBSTITUTE, epoch, damaged));
	random.counter = attempt;
	return d2v_random_below(&random, records < UINT32_MAX ? (uint32_t)records : UINT32_MAX);
}

static void free_filler(d2v_filler *filler) {
	image_filler *self = (image_filler *)filler;
	d2v_dataset_view_free(self->view);
	d2v_image_decoder_free(self->decoder);
	d2v_bicubic_free(self->resizer);
	d2v_free(self->scratch);
	d2v_free(self);
}

static const d2v_filler_methods methods = { shape, sample_at, ask_for, fill, substitute, free_filler };

d2v_status d2v_image_filler_new(
	d2v_filler **filler, d2v_dataset *dataset, const d2v_image_options *options, d2v_error *err) {
	image_filler *self;
	int32_t side = options->size / options->patch_size;
	*filler = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->filler = (d2v_filler){ .methods = &methods, .ahead = AHEAD };
	self->dataset = dataset;
	self->options = options;
	d2v_status status = d2v_dataset_view_new(&self->view, dataset, err);
	if (status == D2V_OK)
		status = d2v_image_decoder_new(&self->decoder, err);
	if (status == D2V_OK)
		status = d2v_bicubic_new(&self->resizer, err);
	if (status == D2V_OK)
		status = d2v_alloc(&self->scratch, d2v_masks_scratch((int64_t)side * side), sizeof *self->scratch, err);
	if (status != D2V_OK)
		free_filler(&self->filler);
	else
		*filler = &self->filler;
	return status;
}
