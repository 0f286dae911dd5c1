#include "train/context.h"

#include <stdio.h>

// ---- parameters

d2v_status d2v_blocks_add(d2v_blocks *blocks, d2v_params *params, const char *prefix, const d2v_model_config *config,
	int64_t count, double first_drop_path, double last_drop_path, bool in_teacher, d2v_error *err) {
	D2V_ASSERT(count <= D2V_BLOCKS_MAX);
	blocks->count = (int)count;
	for (int i = 0; i < blocks->count; i++) {
		char name[D2V_PARAM_NAME + 16]; // a name that is too long is refused where it is added
		snprintf(name, sizeof name, "%s%d", prefix, i);
		double share = count > 1 ? (double)i / (double)(count - 1) : 0;
		double drop_path = first_drop_path + share * (last_drop_path - first_drop_path);
		D2V_TRY(d2v_block_add(&blocks->list[i], params, name, config, drop_path, in_teacher, err));
	}
	return D2V_OK;
}

static d2v_status add_alibi_scale(
	d2v_context *context, d2v_params *params, const char *name, const d2v_model_config *config, d2v_error *err) {
	const d2v_modality_config *modality = context->config;
	int64_t layers = modality->learned_alibi_scale_per_layer ? modality->prenet_depth + config->depth : 1;
	int64_t heads = modality->learned_alibi_scale_per_head ? config->num_heads : 1;
	D2V_TRY(d2v_params_add(params, name, 5, (int64_t[]){ layers, 1, heads, 1, 1 }, D2V_INIT_FIXED,
		modality->alibi_scale, !config->ema_encoder_only, &context->alibi_scale, err));
	params->list[context->alibi_scale].frozen = !modality->learned_alibi_scale;
	return D2V_OK;
}

d2v_status d2v_context_add_tokens(d2v_context *context, d2v_params *params, const char *prefix,
	const d2v_model_config *config, const d2v_modality_config *modality, d2v_error *err) {
	*context = (d2v_context){ .config = modality, .extra = -1, .alibi_scale = -1, .norm_gain = -1, .norm_bias = -1 };
	context->prenet.layerdrop = modality->prenet_layerdrop;
	char name[D2V_PARAM_NAME];
	if (modality->num_extra_tokens > 0) {
		snprintf(name, sizeof name, "%sextra_tokens", prefix);
		D2V_TRY(d2v_params_add(params, name, 3, (int64_t[]){ 1, modality->num_extra_tokens, config->embed_dim },
			modality->init_extra_token_zero ? D2V_INIT_EXTRA : D2V_INIT_NORMAL, 1, !config->ema_encoder_only,
			&context->extra, err));
	}
	if (modality->use_alibi_encoder) {
		snprintf(name, sizeof name, "%salibi_scale", prefix);
		D2V_TRY(add_alibi_scale(context, params, name, config, err));
	}
	return D2V_OK;
}

d2v_status d2v_context_add_encoder(d2v_context *context, d2v_params *params, const char *prefix,
	const d2v_model_config *config, bool bare, d2v_error *err) {
	const d2v_modality_config *modality = context->config;
	bool in_teacher = !config->ema_encoder_only;
	char name[D2V_PARAM_NAME];
	context->norm = !bare && !config->layer_norm_first;
	context->dropout = bare ? 0 : modality->prenet_dropout;
	snprintf(name, sizeof name, "%scontext_encoder.blocks.", prefix);
	D2V_TRY(d2v_blocks_add(&context->prenet, params, name, config, modality->prenet_depth,
		modality->start_drop_path_rate, modality->end_drop_path_rate, in_teacher, err));
	if (!context->norm || !config->norm_affine)
		return D2V_OK;
	int64_t width = config->embed_dim;
	snprintf(name, sizeof name, "%scontext_encoder.norm.weight", prefix);
	D2V_TRY(d2v_params_add(params, name, 1, &width, D2V_INIT_ONE, 0, in_teacher, &context->norm_gain, err));
	snprintf(name, sizeof name, "%scontext_encoder.norm.bias", prefix);
	return d2v_params_add(params, name, 1, &width, D2V_INIT_ZERO, 0, in_teacher, &context->norm_bias, err);
}

// ---- forward

// One scale for all heads, to each of them.
static void spread_scale(d2v_pass *pass, const float *one, float *d_one, float *each, float *d_each, int64_t heads) {
	d2v_spread_scale op = { .one = one, .each = each, .heads = heads, .d_one = d_one, .d_each = d_each };
	if (d_one)
		d2v_pass_run(pass, &d2v_op_spread_scale, &op);
	else
		d2v_op_spread_scale.forward(pass->device, &op);
}

// The scale of each head, and where its gradient goes; of each block, where they differ.
static void set_alibi(const d2v_context *context, d2v_pass *pass, int64_t heads, d2v_block_tokens *tokens) {
	if (context->alibi_scale < 0)
		return;
	const d2v_param *param = &pass->params->list[context->alibi_scale];
	int64_t layers = param->shape[0];
	const float *scale = d2v_pass_master(pass, context->alibi_scale);
	float *d_scale = d2v_pass_gradient(pass, context->alibi_scale);
	tokens->scale = scale, tokens->d_scale = d_scale;
	tokens->scale_step = layers > 1 ? heads : 0;
	if (param->shape[2] == heads)
		return;
	float *each = d2v_pass_floats(pass, layers * heads), *d_each = NULL;
	if (d_scale) {
		d_each = d2v_pass_floats(pass, layers * heads);
		d2v_device_zero(pass->device, d_each, (size_t)(layers * heads) * sizeof *d_each);
	}
	for (int64_t i = 0; i < layers; i++)
		spread_scale(
			pass, scale + i, d_scale ? d_scale + i : NULL, each + i * heads, d_each ? d_each + i * heads : NULL, heads);
	tokens->scale = each, tokens->d_scale = d_each;
}

// The scales of the block that follows `blocks` others.
static void skip_scales(d2v_block_tokens *tokens, int64_t blocks) {
	if (!tokens->scale)
		return;
	tokens->scale += blocks * tokens->scale_step;
	if (tokens->d_scale)
		tokens->d_scale += blocks * tokens->scale_step;
}

static void context_norm(const d2v_context *context, d2v_pass *pass, const d2v_model_config *config,
	const d2v_block_tokens *tokens, const d2v_real *x, d2v_real *y) {
	int64_t rows = tokens->rows * tokens->count;
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = x,
			.gain = d2v_pass_weight(pass, context->norm_gain),
			.bias = d2v_pass_weight(pass, context->norm_bias),
			.eps = (float)config->norm_eps,
			.after_drop = d2v_pass_dropout(pass, context->dropout, 1, tokens->count * config->embed_dim),
			.y = y,
			.mean = d2v_pass_floats(pass, rows),
			.rstd = d2v_pass_floats(pass, rows),
			.rows = rows,
			.channels = config->embed_dim,
			.d_y = tokens->stream,
			.d_sum = tokens->stream,
			.d_gain = d2v_pass_gradient(pass, context->norm_gain),
			.d_bias = d2v_pass_gradient(pass, context->norm_bias),
		});
}

d2v_real *d2v_context_forward(const d2v_context *context, d2v_pass *pass, const d2v_model_config *config,
	const d2v_context_input *in, d2v_block_tokens *tokens) {
	int64_t extra = context->config->num_extra_tokens;
	*tokens = (d2v_block_tokens){ .rows = in->batch * in->clones, .count = extra + in->kept, .extra = extra };
	tokens->positions = in->keep, tokens->key_padding = in->key_padding;
	tokens->slope = context->alibi_scale >= 0 ? in->slope : NULL;
	set_alibi(context, pass, config->num_heads, tokens);
	int64_t count = tokens->rows * tokens->count * config->embed_dim;
	d2v_real *gathered = d2v_pass_reals(pass, count);
	d2v_block_take_scratch(tokens, pass, config);

	d2v_pass_run(pass, &d2v_op_gather,
		&(d2v_gather){
			.x = in->local,
			.add = in->positions,
			.table = in->table,
			.extra = d2v_pass_weight(pass, context->extra),
			.keep = in->keep,
			.restore = in->restore,
			.out = gathered,
			.batch = in->batch,
			.clones = in->clones,
			.tokens = in->tokens,
			.kept = in->kept,
			.extra_tokens = extra,
			.width = config->embed_dim,
			.d_out = tokens->stream,
			.d_x = in->d_local,
			.d_add = in->positions ? in->d_positions : NULL,
			.d_extra = d2v_pass_gradient(pass, context->extra),
		});
	d2v_real *x = gathered;
	if (context->norm) {
		x = d2v_pass_reals(pass, count);
		context_norm(context, pass, config, tokens, gathered, x);
	} else {
		d2v_dropout drop = d2v_pass_dropout(pass, context->dropout, 1, tokens->count * config->embed_dim);
		if (drop.p > 0)
			d2v_pass_run(pass, &d2v_op_drop,
				&(d2v_drop_in_place){ .x = x, .d_x = tokens->stream, .drop = drop, .count = count });
	}
	x = d2v_blocks_forward(&context->prenet, pass, config, tokens, x, (d2v_block_outputs){ .block = NULL });
	skip_scales(tokens, context->prenet.count);
	return x;
}

// Drawn on the host: the same on every device.
static bool is_layer_dropped(const d2v_pass *pass, double layerdrop, uint64_t layer) {
	if (!pass->training || !(layerdrop > 0) || d2v_ops_is_dry(pass->device)) // a plan must hold all layers
		return false;
	d2v_random random;
	d2v_random_start(
		&random, d2v_random_key_make(pass->seed, D2V_RANDOM_LAYER_DROP, pass->update, pass->part << 32 | layer));
	return d2v_random_unit(&random) <= layerdrop;
}

d2v_real *d2v_blocks_forward(const d2v_blocks *blocks, d2v_pass *pass, const d2v_model_config *config,
	const d2v_block_tokens *tokens, d2v_real *x, d2v_block_outputs outputs) {
	for (int i = 0; i < blocks->count; i++) {
		if (outputs.block)
			outputs.block[i] = NULL;
		if (is_layer_dropped(pass, blocks->layerdrop, blocks->first_layer + (uint64_t)i))
			continue;
		d2v_block_tokens own = *tokens;
		skip_scales(&own, i);
		x = d2v_block_forward(&blocks->list[i], pass, config, &own, x, outputs.target ? &outputs.target[i] : NULL);
		if (outputs.block)
			outputs.block[i] = x;
	}
	return x;
}
