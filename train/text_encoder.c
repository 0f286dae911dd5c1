#include "train/text_encoder.h"

#include <math.h>
#include <stdio.h>

#define NORM_EPS 1e-5f

// ---- parameters

typedef struct text_builder {
	d2v_params *params;
	const char *prefix;
	bool in_teacher;
	d2v_status status; // of the first failure
	d2v_error *err;
} text_builder;

static int add(text_builder *builder, const char *name, int64_t rows, int64_t width, d2v_init_rule init, double scale) {
	char full[D2V_PARAM_NAME];
	int index = -1;
	snprintf(full, sizeof full, "%slocal_encoder.%s", builder->prefix, name);
	int64_t shape[] = { rows ? rows : width, width };
	if (builder->status == D2V_OK)
		builder->status = d2v_params_add(
			builder->params, full, rows ? 2 : 1, shape, init, scale, builder->in_teacher, &index, builder->err);
	return index;
}

// Positions are counted from the one after <pad>, so their table has that many rows more.
static int64_t places(const d2v_modality_config *config) {
	return config->max_source_positions + D2V_TEXT_PAD + 1;
}

d2v_status d2v_text_encoder_add(
	d2v_text_encoder *encoder, d2v_params *params, const char *prefix, const d2v_model_config *config, d2v_error *err) {
	const d2v_modality_config *text = &config->text;
	int64_t width = config->embed_dim;
	*encoder = (d2v_text_encoder){ .config = text, .width = width, .positions = -1, .norm_gain = -1, .norm_bias = -1 };
	text_builder builder = { .params = params, .prefix = prefix, .err = err };
	builder.in_teacher = !config->ema_encoder_only && text->ema_local_encoder;
	bool mae = config->mae_init; // embeddings then keep what PyTorch and fairseq give them
	encoder->tokens =
		add(&builder, "embed_tokens.weight", text->vocab_size, width, D2V_INIT_EMBEDDING, mae ? 1 : D2V_BERT_SPREAD);
	if (!text->no_token_positional_embeddings)
		encoder->positions = add(&builder, "embed_positions.weight", places(text), width, D2V_INIT_EMBEDDING,
			mae ? 1 / sqrt((double)width) : D2V_BERT_SPREAD);
	if (text->layernorm_embedding) {
		encoder->norm_gain = add(&builder, "layernorm_embedding.weight", 0, width, D2V_INIT_ONE, 0);
		encoder->norm_bias = add(&builder, "layernorm_embedding.bias", 0, width, D2V_INIT_ZERO, 0);
	}
	return builder.status;
}

// ---- forward

static void embed(
	const d2v_text_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *y, d2v_real *d_y) {
	const d2v_modality_config *config = encoder->config;
	d2v_pass_run(pass, &d2v_op_embedding,
		&(d2v_embedding){
			.x = batch->text,
			.order = batch->order,
			.table = d2v_pass_weight(pass, encoder->tokens),
			.positions = d2v_pass_weight(pass, encoder->positions),
			.scale = config->no_scale_embedding ? 1 : (float)sqrt((double)encoder->width),
			.y = y,
			.batch = batch->samples,
			.tokens = batch->tokens,
			.width = encoder->width,
			.vocabulary = config->vocab_size,
			.places = places(config),
			.pad = D2V_TEXT_PAD,
			.d_y = d_y,
			.d_table = d2v_pass_gradient(pass, encoder->tokens),
			.d_positions = d2v_pass_gradient(pass, encoder->positions),
		});
}

static void norm(const d2v_text_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, const d2v_real *x,
	d2v_real *y, d2v_real *d_y) {
	int64_t rows = batch->samples * batch->tokens;
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = x,
			.gain = d2v_pass_weight(pass, encoder->norm_gain),
			.bias = d2v_pass_weight(pass, encoder->norm_bias),
			.eps = NORM_EPS,
			.after_drop = d2v_pass_dropout(pass, encoder->config->dropout, 1, batch->tokens * encoder->width),
			.y = y,
			.mean = d2v_pass_floats(pass, rows),
			.rstd = d2v_pass_floats(pass, rows),
			.rows = rows,
			.channels = encoder->width,
			.d_y = d_y,
			.d_sum = d_y,
			.d_gain = d2v_pass_gradient(pass, encoder->norm_gain),
			.d_bias = d2v_pass_gradient(pass, encoder->norm_bias),
		});
}

d2v_real *d2v_text_local(
	const d2v_text_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local) {
	int64_t rows = batch->samples * batch->tokens, count = rows * encoder->width;
	d2v_real *local = d2v_pass_reals(pass, count);
	size_t mark = d2v_pass_begin(pass);
	if (encoder->norm_gain >= 0) {
		d2v_real *embedded = d2v_pass_reals(pass, count);
		embed(encoder, pass, batch, embedded, d_local);
		norm(encoder, pass, batch, embedded, local, d_local);
	} else {
		embed(encoder, pass, batch, local, d_local);
		d2v_dropout drop = d2v_pass_dropout(pass, encoder->config->dropout, 1, batch->tokens * encoder->width);
		if (drop.p > 0)
			d2v_pass_run(
				pass, &d2v_op_drop, &(d2v_drop_in_place){ .x = local, .d_x = d_local, .drop = drop, .count = count });
	}
	d2v_pass_end(pass, mark);
	return local;
}
