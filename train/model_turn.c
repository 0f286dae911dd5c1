// When steps happen: begin and end of one, and what is done for the next one in between. What a step is made of is in
// model_step.c.
#include "base/hash.h"
#include "train/model_internal.h"

#include <string.h>

static d2v_status check_batch(const d2v_model *model, const d2v_batch *batch, d2v_error *err) {
	const d2v_encoder *encoder = d2v_model_encoder(model, batch->modality);
	if (!encoder)
		return d2v_fail(
			err, D2V_INVALID, "a batch of %s for a model without that modality", d2v_modality_name(batch->modality));
	if (batch->clones < 1 || batch->kept < 1 || batch->kept > batch->tokens)
		return d2v_fail(err, D2V_INVALID, "a batch of %d copies with %d of %d positions kept", batch->clones,
			batch->kept, batch->tokens);
	if (!batch->mask || !batch->keep || !batch->restore)
		return d2v_fail(err, D2V_INVALID, "a batch without masks");
	return d2v_encoder_check(encoder, batch, err);
}

static d2v_status place_batch(
	d2v_model *model, d2v_batch_place *place, const d2v_batch *batch, bool gradients, d2v_error *err) {
	return d2v_model_place_batch(model, place, d2v_model_encoder(model, batch->modality), batch, true, gradients, err);
}

// ---- the step at hand

static bool lies_ahead(const d2v_step_ahead *ahead, const d2v_batch *batch) {
	return ahead->running.batch == batch && ahead->index == batch->index && ahead->digest == batch->digest;
}

// Runs the operations that were kept for this step, if there are such.
static bool launch_kept(d2v_model *model, uint64_t update) {
	const d2v_step_ahead *ahead = &model->ahead;
	if (!ahead->kept || ahead->update != update || ahead->part != model->parts || ahead->block != model->block ||
		!d2v_device_graph_launch(model->device))
		return false;
	for (int i = 0; i < model->params.count; i++)
		model->touched[i] |= ahead->touched[i];
	model->running = ahead->running;
	return true;
}

static d2v_status run_now(d2v_model *model, const d2v_batch *batch, uint64_t update, bool gradients, d2v_error *err) {
	const d2v_step_wish wish = { .host = batch,
		.place = &model->places[model->place],
		.gradients = gradients,
		.touched = model->touched,
		.update = update,
		.part = model->parts };
	return d2v_model_run_step(model, &wish, false, &model->running, err);
}

static d2v_status begin_filled(
	d2v_model *model, const d2v_batch *batch, uint64_t update, bool gradients, d2v_error *err) {
	D2V_TRY(check_batch(model, batch, err));
	bool ahead = gradients && lies_ahead(&model->ahead, batch);
	model->place ^= ahead;
	if (!ahead)
		D2V_TRY(place_batch(model, &model->places[model->place], batch, gradients, err));
	d2v_device_await_uploads(model->device);
	if (!(ahead && launch_kept(model, update)))
		D2V_TRY(run_now(model, batch, update, gradients, err));
	model->ahead.running.batch = NULL;
	model->view = model->running.view;
	model->parts += gradients;
	model->last_update = gradients ? update : model->last_update;
	return D2V_OK;
}

static d2v_status begin(d2v_model *model, const d2v_batch *batch, uint64_t update, bool gradients, d2v_error *err) {
	D2V_ASSERT(!model->running.batch);
	if (batch->samples == 0) {
		model->running = (d2v_step_running){ .batch = batch };
		return D2V_OK;
	}
	d2v_status status = begin_filled(model, batch, update, gradients, err);
	if (status != D2V_OK) { // what was asked for before may still read the batch
		(void)d2v_device_sync(model->device, NULL);
		model->running.batch = model->ahead.running.batch = NULL;
	}
	return status;
}

d2v_status d2v_model_step_begin(d2v_model *model, const d2v_batch *batch, uint64_t update, d2v_error *err) {
	return begin(model, batch, update, true, err);
}

d2v_status d2v_model_step_end(d2v_model *model, d2v_step_result *result, d2v_error *err) {
	d2v_step_running running = model->running;
	D2V_ASSERT(running.batch);
	*result = (d2v_step_result){ .loss = 0 };
	model->running.batch = NULL;
	return running.sums ? d2v_model_await_step(model, &running, result, err) : D2V_OK;
}

d2v_status d2v_model_step(
	d2v_model *model, const d2v_batch *batch, uint64_t update, d2v_step_result *result, d2v_error *err) {
	D2V_TRY(begin(model, batch, update, true, err));
	return d2v_model_step_end(model, result, err);
}

d2v_status d2v_model_evaluate(d2v_model *model, const d2v_batch *batch, d2v_step_result *result, d2v_error *err) {
	D2V_TRY(begin(model, batch, 0, false, err));
	return d2v_model_step_end(model, result, err);
}

// ---- the next step

// What decides which operations a step of this batch is made of, but for layer drop.
static uint64_t shape_of(const d2v_device_batch *b, d2v_modality modality) {
	const int64_t numbers[] = { modality, b->samples, b->clones, b->tokens, b->kept, b->length, b->height, b->width,
		b->given != NULL, b->given_noise != NULL, b->key_padding != NULL, b->teacher_padding != NULL };
	return d2v_hash64(numbers, sizeof numbers);
}

// Has the device keep the step's operations, if it keeps any, and its memory is there already.
static void keep_operations(d2v_model *model, const d2v_batch *batch) {
	d2v_step_ahead *ahead = &model->ahead;
	const d2v_step_wish wish = { .host = batch,
		.place = &model->places[!model->place],
		.gradients = true,
		.touched = ahead->touched,
		.update = ahead->update,
		.part = ahead->part };
	if (model->profile || model->watch ||
		!d2v_device_graph_begin(model->device, shape_of(&wish.place->batch, batch->modality)))
		return;
	memset(ahead->touched, 0, (size_t)model->params.count * sizeof *ahead->touched);
	bool all = d2v_model_run_step(model, &wish, true, &ahead->running, NULL) == D2V_OK;
	ahead->block = model->block;
	ahead->kept = d2v_device_graph_end(model->device, all);
}

void d2v_model_step_ahead(d2v_model *model, const d2v_batch *batch, uint64_t update) {
	d2v_step_ahead *ahead = &model->ahead;
	ahead->running.batch = NULL;
	ahead->kept = false;
	if (batch->samples == 0 || check_batch(model, batch, NULL) != D2V_OK ||
		place_batch(model, &model->places[!model->place], batch, true, NULL) != D2V_OK)
		return;
	ahead->index = batch->index;
	ahead->digest = batch->digest;
	ahead->update = update;
	ahead->part = update == model->last_update ? model->parts : 0;
	keep_operations(model, batch);
	ahead->running.batch = batch;
}
