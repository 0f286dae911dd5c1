#include "train/image_encoder.h"

#include <math.h>
#include <stdio.h>

// ---- parameters

typedef struct image_builder {
	d2v_params *params;
	const char *prefix;
	bool in_teacher, mae_init;
	d2v_status status; // of the first failure
	d2v_error *err;
} image_builder;

static int add(
	image_builder *builder, const char *name, int rank, const int64_t *shape, d2v_init_rule init, double scale) {
	char full[D2V_PARAM_NAME];
	int index = -1;
	snprintf(full, sizeof full, "%s%s", builder->prefix, name);
	if (builder->status == D2V_OK)
		builder->status =
			d2v_params_add(builder->params, full, rank, shape, init, scale, builder->in_teacher, &index, builder->err);
	return index;
}

static void add_patches(d2v_image_encoder *encoder, image_builder *builder) {
	const d2v_modality_config *config = encoder->config;
	int64_t wide = config->embed_dim, side = config->patch_size;
	int64_t shape[] = { wide, config->in_chans, side, side };
	double in = (double)(config->in_chans * side * side);
	bool projected = wide != encoder->width; // then the original's local encoder is a sequence of two
	encoder->patch = add(builder, projected ? "local_encoder.0.proj.weight" : "local_encoder.proj.weight", 4, shape,
		D2V_INIT_UNIFORM, sqrt(6 / ((double)wide + in)));
	encoder->patch_bias = add(builder, projected ? "local_encoder.0.proj.bias" : "local_encoder.proj.bias", 1, shape,
		D2V_INIT_UNIFORM, 1 / sqrt(in));
	if (!projected)
		return;
	d2v_linear_start start = d2v_params_linear_start(builder->mae_init, encoder->width, wide);
	encoder->project =
		add(builder, "local_encoder.1.weight", 2, (int64_t[]){ encoder->width, wide }, start.init, start.scale);
	encoder->project_bias = add(builder, "local_encoder.1.bias", 1, &encoder->width, D2V_INIT_ZERO, 0);
}

d2v_status d2v_image_encoder_add(d2v_image_encoder *encoder, d2v_params *params, const char *prefix,
	const d2v_model_config *config, d2v_error *err) {
	const d2v_modality_config *image = &config->image;
	*encoder = (d2v_image_encoder){ .config = image, .width = config->embed_dim, .project = -1, .project_bias = -1 };
	encoder->side = image->input_size / image->patch_size;
	encoder->positions = -1;
	image_builder builder = { .params = params, .prefix = prefix, .err = err };
	builder.mae_init = config->mae_init;
	builder.in_teacher = !config->ema_encoder_only && image->ema_local_encoder;
	add_patches(encoder, &builder);
	builder.in_teacher = !config->ema_encoder_only;
	if (image->fixed_positions) {
		int64_t shape[] = { 1, encoder->side * encoder->side, encoder->width };
		encoder->positions = add(&builder, "fixed_positional_encoder.positions", 3, shape, D2V_INIT_SINCOS, 0);
	}
	if (encoder->positions >= 0)
		params->list[encoder->positions].frozen = true;
	return builder.status;
}

// ---- forward

static d2v_linear linear(d2v_pass *pass, int weight, int bias, int64_t rows, int64_t in, int64_t out) {
	return (d2v_linear){
		.w = d2v_pass_weight(pass, weight),
		.bias = d2v_pass_weight(pass, bias),
		.rows = rows,
		.in = in,
		.out = out,
		.d_w = d2v_pass_gradient(pass, weight),
		.d_bias = d2v_pass_gradient(pass, bias),
	};
}

static d2v_real *cut_patches(const d2v_image_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch) {
	const d2v_modality_config *config = encoder->config;
	d2v_real *patches = d2v_pass_reals(pass, batch->samples * config->in_chans * batch->height * batch->width);
	// Means and spreads of ImageNet's channels (recipes.md 4).
	d2v_pass_run(pass, &d2v_op_patches,
		&(d2v_patches){
			.image = batch->image,
			.pixels = batch->pixels,
			.mean = { 0.485f, 0.456f, 0.406f },
			.rstd = { 1 / 0.229f, 1 / 0.224f, 1 / 0.225f },
			.y = patches,
			.batch = batch->samples,
			.height = batch->height,
			.width = batch->width,
			.in = config->in_chans,
			.patch = config->patch_size,
		});
	return patches;
}

d2v_real *d2v_image_local(
	const d2v_image_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local) {
	const d2v_modality_config *config = encoder->config;
	int64_t rows = batch->samples * batch->tokens, pixels = config->in_chans * config->patch_size * config->patch_size;
	bool projected = encoder->project >= 0;
	d2v_real *local = d2v_pass_reals(pass, rows * encoder->width);
	size_t mark = d2v_pass_begin(pass);
	d2v_linear embed = linear(pass, encoder->patch, encoder->patch_bias, rows, pixels, config->embed_dim);
	embed.x = cut_patches(encoder, pass, batch);
	embed.y = projected ? d2v_pass_reals(pass, rows * config->embed_dim) : local;
	embed.d_y = projected ? d2v_pass_gradient_reals(pass, rows * config->embed_dim) : d_local;
	d2v_pass_run(pass, &d2v_op_linear, &embed);
	if (projected) {
		d2v_linear project =
			linear(pass, encoder->project, encoder->project_bias, rows, config->embed_dim, encoder->width);
		project.x = embed.y, project.y = local, project.d_y = d_local, project.d_x = embed.d_y;
		d2v_pass_run(pass, &d2v_op_linear, &project);
	}
	d2v_pass_end(pass, mark);
	return local;
}
