// The feature pass: whole samples through local encoder, context and trunk.
#include "train/model_internal.h"

typedef struct extraction {
	d2v_model *model;
	const d2v_encoder *encoder;
	const d2v_batch_place *place;
	bool teacher;
	d2v_arena arena;
	d2v_features out;
} extraction;

static void run(extraction *e) {
	d2v_model *model = e->model;
	const d2v_model_config *config = &model->config;
	d2v_pass student = d2v_model_pass(model, &e->arena, false), own = d2v_model_pass(model, &e->arena, e->teacher);
	d2v_pass *context = config->ema_encoder_only ? &student : &own; // a teacher of blocks only has no context
	d2v_pass *local = e->encoder->config->ema_local_encoder ? context : &student;
	d2v_device_batch batch = e->place->batch;
	d2v_device_batch_convert(&batch, &student);

	d2v_context_input in = { .batch = batch.samples, .clones = 1, .tokens = batch.tokens, .kept = batch.tokens };
	in.local = d2v_encoder_local(e->encoder, local, &batch, NULL);
	d2v_encoder_positions(e->encoder, context, &batch, false, NULL, &in);
	in.key_padding = batch.teacher_padding, in.slope = model->slopes;
	d2v_block_tokens tokens;
	d2v_real *x = d2v_context_forward(&e->encoder->context, context, config, &in, &tokens);
	x = d2v_blocks_forward(&model->trunk, &own, config, &tokens, x, (d2v_block_outputs){ .target = e->out.layer });
	e->out.x = d2v_model_final_norm(model, context, &tokens, x);
	e->out.local = in.local;
	e->out.batch = batch.samples, e->out.tokens = batch.tokens;
	e->out.extra = tokens.extra, e->out.width = config->embed_dim;
}

int64_t d2v_model_tokens(const d2v_model *model, d2v_modality modality, int64_t length) {
	const d2v_encoder *encoder = d2v_model_encoder(model, modality);
	return encoder ? d2v_encoder_tokens(encoder, length) : 0;
}

d2v_status d2v_model_features(
	d2v_model *model, const d2v_batch *batch, bool teacher, d2v_features *features, d2v_error *err) {
	*features = (d2v_features){ .x = NULL };
	d2v_batch_place *place = &model->places[model->place];
	extraction e = { .model = model, .place = place, .teacher = teacher };
	e.encoder = d2v_model_encoder(model, batch->modality);
	if (!e.encoder)
		return d2v_fail(
			err, D2V_INVALID, "a batch of %s for a model without that modality", d2v_modality_name(batch->modality));
	if (batch->samples < 1)
		return d2v_fail(err, D2V_INVALID, "a batch without samples");
	d2v_batch whole = *batch;
	whole.clones = 1, whole.mask = NULL, whole.keep = whole.restore = NULL;
	whole.tokens = whole.kept =
		(int32_t)d2v_encoder_tokens(e.encoder, batch->modality == D2V_TEXT ? batch->tokens : batch->length);
	D2V_TRY(d2v_encoder_check(e.encoder, &whole, err));
	D2V_TRY(d2v_model_place_batch(model, place, e.encoder, &whole, false, false, err));
	d2v_device_await_uploads(model->device);
	d2v_ops_set_dry(model->device, true);
	d2v_arena_init_measuring(&e.arena);
	run(&e);
	d2v_ops_set_dry(model->device, false);
	D2V_TRY(d2v_model_make_room(model, &e.arena, e.arena.peak, err));
	run(&e);
	D2V_TRY(d2v_device_sync(model->device, err));
	*features = e.out;
	features->padding = batch->valid ? place->padding.teacher : NULL;
	return D2V_OK;
}
