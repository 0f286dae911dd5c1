// What steps and feature passes have in common: passes, padding, the arena.
#include "base/memory.h"
#include "train/model_internal.h"

// The working copy, or the masters themselves where the working type is theirs.
static const d2v_real *working(const d2v_real *copy, const float *masters) {
	return copy ? copy : (const d2v_real *)(const void *)masters;
}

d2v_pass d2v_model_pass(d2v_model *model, d2v_arena *arena, bool teacher) {
	return (d2v_pass){
		.device = model->device,
		.arena = arena,
		.params = &model->params,
		.teacher = teacher,
		.weights = teacher ? working(model->teacher_working, model->teacher) : working(model->working, model->weights),
		.masters = teacher ? model->teacher : model->weights,
		.gradients = model->gradients,
		.touched = model->touched,
		.seed = (uint64_t)model->config.seed,
		.stage = "",
		.profile = d2v_ops_is_dry(model->device) ? NULL : model->profile,
	};
}

d2v_real *d2v_model_final_norm(const d2v_model *model, d2v_pass *pass, const d2v_block_tokens *tokens, d2v_real *x) {
	const d2v_model_config *config = &model->config;
	int64_t rows = tokens->rows * tokens->count;
	if (!config->layer_norm_first)
		return x;
	d2v_real *y = d2v_pass_reals(pass, rows * config->embed_dim);
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = x,
			.gain = d2v_pass_weight(pass, model->norm_gain),
			.bias = d2v_pass_weight(pass, model->norm_bias),
			.eps = (float)config->norm_eps,
			.y = y,
			.mean = d2v_pass_floats(pass, rows),
			.rstd = d2v_pass_floats(pass, rows),
			.rows = rows,
			.channels = config->embed_dim,
			.d_y = tokens->stream,
			.d_sum = tokens->stream,
			.d_gain = d2v_pass_gradient(pass, model->norm_gain),
			.d_bias = d2v_pass_gradient(pass, model->norm_bias),
		});
	return y;
}

static d2v_status set_padding(
	d2v_padding *padding, const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err) {
	int64_t *valid = NULL;
	if (batch->valid) {
		D2V_TRY(d2v_alloc(&valid, (size_t)batch->samples, sizeof *valid, err));
		for (int32_t b = 0; b < batch->samples; b++)
			valid[b] = d2v_encoder_valid_tokens(encoder, batch, b);
	}
	d2v_status status = d2v_padding_set(padding, batch, encoder->config->num_extra_tokens, valid, err);
	d2v_free(valid);
	return status;
}

d2v_batch_parts d2v_model_batch_parts(
	const d2v_encoder *encoder, const d2v_batch_place *place, bool masks, bool training, int64_t width) {
	return (d2v_batch_parts){
		.masks = masks,
		.padding = &place->padding,
		.order = training ? &place->order : NULL,
		.extra = encoder->config->num_extra_tokens,
		.channels = encoder->config->in_chans,
		.width = width,
	};
}

d2v_status d2v_model_place_batch(d2v_model *model, d2v_batch_place *place, const d2v_encoder *encoder,
	const d2v_batch *batch, bool masks, bool training, d2v_error *err) {
	D2V_TRY(set_padding(&place->padding, encoder, batch, err));
	if (training && batch->modality == D2V_TEXT)
		D2V_TRY(d2v_token_order_set(&place->order, batch->text, (size_t)batch->samples * (size_t)batch->tokens,
			(size_t)encoder->config->vocab_size, err));
	d2v_batch_parts parts = d2v_model_batch_parts(encoder, place, masks, training, model->config.embed_dim);
	return d2v_batch_place_fill(place, model->device, batch, &parts, err);
}

d2v_status d2v_model_make_room(d2v_model *model, d2v_arena *arena, size_t bytes, d2v_error *err) {
	if (bytes > model->block_size) {
		d2v_device_free(model->device, model->block);
		model->block = NULL;
		model->block_size = 0;
		D2V_TRY(d2v_device_alloc(model->device, &model->block, bytes, err));
		model->block_size = bytes;
	}
	d2v_arena_init(arena, model->block, model->block_size);
	return D2V_OK;
}
