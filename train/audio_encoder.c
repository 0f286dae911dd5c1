#include "train/audio_encoder.h"

#include <math.h>
#include <stdio.h>

#define NORM_EPS 1e-5f

int64_t d2v_audio_position_kernel(const d2v_modality_config *config) {
	int64_t kernel = config->conv_pos_width / config->conv_pos_depth;
	return kernel > 3 ? kernel : 3;
}

// ---- parameters

typedef struct audio_builder {
	d2v_params *params;
	const char *prefix;
	bool in_teacher;
	d2v_status status; // of the first failure
	d2v_error *err;
} audio_builder;

static int add(audio_builder *builder, const char *name, const char *suffix, int rank, const int64_t *shape,
	d2v_init_rule init, double scale) {
	char full[D2V_PARAM_NAME];
	int index = -1;
	snprintf(full, sizeof full, "%s%s.%s", builder->prefix, name, suffix);
	if (builder->status == D2V_OK)
		builder->status =
			d2v_params_add(builder->params, full, rank, shape, init, scale, builder->in_teacher, &index, builder->err);
	return index;
}

static void add_norm(audio_builder *builder, const char *name, int64_t channels, int *gain, int *bias) {
	*gain = add(builder, name, "weight", 1, &channels, D2V_INIT_ONE, 0);
	*bias = add(builder, name, "bias", 1, &channels, D2V_INIT_ZERO, 0);
}

// PyTorch's default for both: U(-1/sqrt(fan in), 1/sqrt(fan in)).
static void add_default(
	audio_builder *builder, const char *name, int rank, const int64_t *shape, int *weight, int *bias) {
	double fan_in = (double)shape[1] * (rank > 2 ? (double)shape[2] : 1);
	*weight = add(builder, name, "weight", rank, shape, D2V_INIT_UNIFORM, 1 / sqrt(fan_in));
	*bias = add(builder, name, "bias", 1, shape, D2V_INIT_UNIFORM, 1 / sqrt(fan_in));
}

static void add_extractor(d2v_audio_encoder *encoder, audio_builder *builder) {
	char name[64];
	int64_t in = 1;
	for (int i = 0; i < encoder->spec.count; i++) {
		int64_t out = encoder->spec.layer[i].channels, kernel = encoder->spec.layer[i].kernel;
		snprintf(name, sizeof name, "local_encoder.conv_layers.%d.0", i);
		encoder->conv[i] = add(builder, name, "weight", 3, (int64_t[]){ out, in, kernel }, D2V_INIT_NORMAL,
			sqrt(2 / (double)(in * kernel)));
		snprintf(name, sizeof name, "local_encoder.conv_layers.%d.2.1", i);
		add_norm(builder, name, out, &encoder->gain[i], &encoder->bias[i]);
		in = out;
	}
	add_norm(builder, "project_features.1", in, &encoder->project_gain, &encoder->project_bias);
	add_default(builder, "project_features.2", 2, (int64_t[]){ encoder->width, in }, &encoder->project,
		&encoder->project_offset);
}

static void add_positions(d2v_audio_encoder *encoder, audio_builder *builder) {
	const d2v_modality_config *config = encoder->config;
	int64_t shape[] = { encoder->width, encoder->width / config->conv_pos_groups, d2v_audio_position_kernel(config) };
	encoder->before_gain = encoder->before_bias = -1;
	if (config->conv_pos_pre_ln)
		add_norm(
			builder, "relative_positional_encoder.0", encoder->width, &encoder->before_gain, &encoder->before_bias);
	for (int i = 0; i < config->conv_pos_depth; i++) {
		char name[64]; // with the norm everything moves down by one
		snprintf(name, sizeof name, "relative_positional_encoder.%s%d.0", config->conv_pos_pre_ln ? "1." : "", i + 1);
		add_default(builder, name, 3, shape, &encoder->position[i], &encoder->position_bias[i]);
	}
}

d2v_status d2v_audio_encoder_add(d2v_audio_encoder *encoder, d2v_params *params, const char *prefix,
	const d2v_model_config *config, d2v_error *err) {
	*encoder = (d2v_audio_encoder){ .config = &config->audio, .width = config->embed_dim };
	D2V_ASSERT(config->audio.conv_pos_depth <= D2V_POSITIONS_MAX);
	D2V_TRY(d2v_conv_spec_parse(config->audio.feature_encoder_spec, &encoder->spec, err));
	audio_builder builder = { .params = params, .prefix = prefix, .err = err };
	builder.in_teacher = !config->ema_encoder_only && config->audio.ema_local_encoder;
	add_extractor(encoder, &builder);
	builder.in_teacher = !config->ema_encoder_only;
	add_positions(encoder, &builder);
	return builder.status;
}

// ---- the extractor

static int64_t steps_after(const d2v_audio_encoder *encoder, int layers, int64_t length) {
	d2v_conv_spec first = encoder->spec;
	first.count = layers;
	return d2v_conv_spec_frames(&first, length);
}

// Gradients of activations, by turns: that of layer i's output is in of[i % 2].
typedef struct turns {
	d2v_real *of[2];
} turns;

static turns take_turns(const d2v_audio_encoder *encoder, d2v_pass *pass, int64_t batch, int64_t length) {
	int64_t size[2] = { 0, 0 };
	int last = encoder->spec.count - 1;
	for (int i = 0; i <= last; i++) {
		int64_t count = batch * steps_after(encoder, i + 1, length) * encoder->spec.layer[i].channels;
		for (int turn = 0; turn < 2; turn++)
			if ((turn == i % 2 || i == last) && count > size[turn]) // the last one passes through both
				size[turn] = count;
	}
	turns gradients;
	for (int turn = 0; turn < 2; turn++)
		gradients.of[turn] = d2v_pass_gradient_reals(pass, size[turn]);
	return gradients;
}

// Conv -> LN over channels -> GELU.
static void extract_layer(const d2v_audio_encoder *encoder, d2v_pass *pass, int layer, const d2v_real *x, d2v_real *y,
	int64_t batch, int64_t steps_in, int64_t steps_out, turns gradients) {
	int64_t in = layer == 0 ? 1 : encoder->spec.layer[layer - 1].channels;
	int64_t out = encoder->spec.layer[layer].channels, rows = batch * steps_out;
	size_t mark = d2v_pass_begin_layer(pass);
	d2v_real *conv = d2v_pass_reals(pass, rows * out);
	d2v_pass_run(pass, &d2v_op_conv1d,
		&(d2v_conv1d){
			.x = x,
			.w = d2v_pass_weight(pass, encoder->conv[layer]),
			.y = conv,
			.rows = batch,
			.steps_in = steps_in,
			.steps_out = steps_out,
			.in = in,
			.out = out,
			.kernel = encoder->spec.layer[layer].kernel,
			.stride = encoder->spec.layer[layer].stride,
			.groups = 1,
			.d_y = gradients.of[layer % 2],
			.d_x = layer == 0 ? NULL : gradients.of[(layer - 1) % 2],
			.d_w = d2v_pass_gradient(pass, encoder->conv[layer]),
		});
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = conv,
			.gain = d2v_pass_weight(pass, encoder->gain[layer]),
			.bias = d2v_pass_weight(pass, encoder->bias[layer]),
			.eps = NORM_EPS,
			.gelu = true,
			.y = y,
			.mean = d2v_pass_floats(pass, rows),
			.rstd = d2v_pass_floats(pass, rows),
			.rows = rows,
			.channels = out,
			.d_y = gradients.of[layer % 2],
			.d_sum = gradients.of[layer % 2],
			.d_gain = d2v_pass_gradient(pass, encoder->gain[layer]),
			.d_bias = d2v_pass_gradient(pass, encoder->bias[layer]),
		});
	d2v_pass_end_layer(pass, mark);
}

static void extract(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_real *wave, d2v_real *features,
	int64_t batch, int64_t length, turns gradients) {
	size_t mark = d2v_pass_begin(pass);
	const d2v_real *x = wave;
	int64_t steps = length;
	for (int i = 0; i < encoder->spec.count; i++) {
		int64_t next = steps_after(encoder, i + 1, length);
		bool last = i + 1 == encoder->spec.count;
		d2v_real *y = last ? features : d2v_pass_reals(pass, batch * next * encoder->spec.layer[i].channels);
		extract_layer(encoder, pass, i, x, y, batch, steps, next, gradients);
		x = y, steps = next;
	}
	d2v_pass_end(pass, mark);
}

d2v_real *d2v_audio_local(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_real *wave, int64_t batch,
	int64_t length, d2v_real *d_local) {
	int last = encoder->spec.count - 1;
	int64_t channels = encoder->spec.layer[last].channels, rows = batch * steps_after(encoder, last + 1, length);
	double multiplier = encoder->config->local_grad_mult;
	d2v_real *local = d2v_pass_reals(pass, rows * encoder->width);
	size_t mark = d2v_pass_begin(pass);
	d2v_real *features = d2v_pass_reals(pass, rows * channels), *normed = d2v_pass_reals(pass, rows * channels);
	turns gradients = take_turns(encoder, pass, batch, length);
	d2v_real *d_features = gradients.of[multiplier == 1 ? last % 2 : (last + 1) % 2];

	d2v_pass unrecorded = *pass;
	unrecorded.tape = NULL;
	extract(encoder, multiplier > 0 ? pass : &unrecorded, wave, features, batch, length, gradients);
	if (multiplier > 0 && multiplier != 1)
		d2v_pass_run(pass, &d2v_op_scale_gradient,
			&(d2v_scale_gradient){ .d_y = d_features,
				.d_x = gradients.of[last % 2],
				.factor = (float)multiplier,
				.count = rows * channels });
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = features,
			.gain = d2v_pass_weight(pass, encoder->project_gain),
			.bias = d2v_pass_weight(pass, encoder->project_bias),
			.eps = NORM_EPS,
			.y = normed,
			.mean = d2v_pass_floats(pass, rows),
			.rstd = d2v_pass_floats(pass, rows),
			.rows = rows,
			.channels = channels,
			.d_y = d_features,
			.d_sum = d_features,
			.d_gain = d2v_pass_gradient(pass, encoder->project_gain),
			.d_bias = d2v_pass_gradient(pass, encoder->project_bias),
		});
	d2v_pass_run(pass, &d2v_op_linear,
		&(d2v_linear){
			.x = normed,
			.w = d2v_pass_weight(pass, encoder->project),
			.bias = d2v_pass_weight(pass, encoder->project_offset),
			.y = local,
			.rows = rows,
			.in = channels,
			.out = encoder->width,
			.d_y = d_local,
			.d_x = d_features,
			.d_w = d2v_pass_gradient(pass, encoder->project),
			.d_bias = d2v_pass_gradient(pass, encoder->project_offset),
		});
	d2v_pass_end(pass, mark);
	return local;
}

// ---- positions

int d2v_audio_input_frame(const d2v_audio_encoder *encoder) {
	return (int)(encoder->config->conv_pos_depth % 2);
}

static d2v_real *norm_before(
	const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_real *x, int64_t rows, d2v_real *gradient) {
	d2v_real *y = d2v_pass_reals(pass, rows * encoder->width);
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = x,
			.gain = d2v_pass_weight(pass, encoder->before_gain),
			.bias = d2v_pass_weight(pass, encoder->before_bias),
			.eps = NORM_EPS,
			.y = y,
			.mean = d2v_pass_floats(pass, rows),
			.rstd = d2v_pass_floats(pass, rows),
			.rows = rows,
			.channels = encoder->width,
			.d_y = gradient,
			.d_sum = gradient,
			.d_gain = d2v_pass_gradient(pass, encoder->before_gain),
			.d_bias = d2v_pass_gradient(pass, encoder->before_bias),
		});
	return y;
}

// Conv -> SamePad -> LN without gain -> GELU. d_y is the gradient of y, and then of the convolution's output, whose columns
// the norm sums for the convolution's bias.
static void position_layer(const d2v_audio_encoder *encoder, d2v_pass *pass, int layer, const d2v_real *x, d2v_real *y,
	int64_t rows, int64_t tokens, d2v_real *d_y, d2v_real *d_x) {
	int64_t kernel = d2v_audio_position_kernel(encoder->config);
	size_t mark = d2v_pass_begin_layer(pass);
	d2v_real *conv = d2v_pass_reals(pass, rows * tokens * encoder->width);
	d2v_pass_run(pass, &d2v_op_conv1d,
		&(d2v_conv1d){
			.x = x,
			.w = d2v_pass_weight(pass, encoder->position[layer]),
			.bias = d2v_pass_weight(pass, encoder->position_bias[layer]),
			.y = conv,
			.rows = rows,
			.steps_in = tokens,
			.steps_out = tokens,
			.in = encoder->width,
			.out = encoder->width,
			.kernel = kernel,
			.stride = 1,
			.pad = kernel / 2,
			.groups = encoder->config->conv_pos_groups,
			.d_y = d_y,
			.d_x = d_x,
			.d_w = d2v_pass_gradient(pass, encoder->position[layer]),
		});
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = conv,
			.eps = NORM_EPS,
			.gelu = true,
			.y = y,
			.mean = d2v_pass_floats(pass, rows * tokens),
			.rstd = d2v_pass_floats(pass, rows * tokens),
			.rows = rows * tokens,
			.channels = encoder->width,
			.d_y = d_y,
			.d_sum = d_y,
			.d_bias_before = d2v_pass_gradient(pass, encoder->position_bias[layer]),
		});
	d2v_pass_end_layer(pass, mark);
}

d2v_real *d2v_audio_positions(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2]) {
	int64_t depth = encoder->config->conv_pos_depth, count = rows * tokens * encoder->width;
	d2v_real *out = d2v_pass_reals(pass, count);
	size_t mark = d2v_pass_begin(pass);
	int frame = d2v_audio_input_frame(encoder);
	if (encoder->config->conv_pos_pre_ln)
		x = norm_before(encoder, pass, x, rows * tokens, frames[frame]);
	for (int i = 0; i < depth; i++, frame = 1 - frame) {
		d2v_real *y = i + 1 == depth ? out : d2v_pass_reals(pass, count);
		position_layer(encoder, pass, i, x, y, rows, tokens, frames[1 - frame], frames[frame]);
		x = y;
	}
	d2v_pass_end(pass, mark);
	return out;
}

d2v_real *d2v_audio_masked_positions(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch,
	const d2v_real *local, d2v_real *d_local, d2v_real *const frames[2]) {
	d2v_real *masked = d2v_pass_reals(pass, batch->rows * batch->tokens * encoder->width);
	d2v_pass_run(pass, &d2v_op_mask_rows,
		&(d2v_mask_rows){
			.x = local,
			.mask = batch->mask,
			.out = masked,
			.batch = batch->samples,
			.clones = batch->clones,
			.tokens = batch->tokens,
			.width = encoder->width,
			.d_out = frames[d2v_audio_input_frame(encoder)],
			.d_x = d_local,
		});
	return d2v_audio_positions(encoder, pass, masked, batch->rows, batch->tokens, frames);
}
