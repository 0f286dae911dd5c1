#include "train/conv_decoder.h"

#include <math.h>
#include <stdio.h>

#define NORM_EPS 1e-5f

int64_t d2v_conv_decoder_projection_width(const d2v_decoder_config *config) {
	return (int64_t)((double)config->decoder_dim * config->projection_ratio);
}

int64_t d2v_conv_decoder_widest(const d2v_conv_decoder *decoder) {
	int64_t dim = decoder->config->decoder_dim, widest = dim > decoder->width ? dim : decoder->width;
	int64_t between = decoder->projections > 1 ? d2v_conv_decoder_projection_width(decoder->config) : 0;
	return between > widest ? between : widest;
}

static int64_t input_of(const d2v_conv_decoder *decoder, int layer) {
	return layer == 0 ? decoder->width : decoder->config->decoder_dim;
}

static bool has_residual(const d2v_conv_decoder *decoder, int layer) {
	return decoder->config->decoder_residual && input_of(decoder, layer) == decoder->config->decoder_dim;
}

// ---- parameters

typedef struct decoder_builder {
	d2v_params *params;
	const char *prefix;
	d2v_status status; // of the first failure
	d2v_error *err;
} decoder_builder;

static int add(decoder_builder *builder, const char *name, const char *suffix, int rank, const int64_t *shape,
	d2v_init_rule init, double scale) {
	char full[D2V_PARAM_NAME];
	int index = -1;
	snprintf(full, sizeof full, "%s%s.%s", builder->prefix, name, suffix);
	if (builder->status == D2V_OK)
		builder->status = d2v_params_add(builder->params, full, rank, shape, init, scale, false, &index, builder->err);
	return index;
}

// PyTorch's default for both: U(-1/sqrt(fan in), 1/sqrt(fan in)).
static void add_default(
	decoder_builder *builder, const char *name, int rank, const int64_t *shape, int *weight, int *bias) {
	double fan_in = 1;
	for (int i = 1; i < rank; i++)
		fan_in *= (double)shape[i];
	*weight = add(builder, name, "weight", rank, shape, D2V_INIT_UNIFORM, 1 / sqrt(fan_in));
	*bias = add(builder, name, "bias", 1, shape, D2V_INIT_UNIFORM, 1 / sqrt(fan_in));
}

static void add_convolutions(d2v_conv_decoder *decoder, decoder_builder *builder) {
	const d2v_decoder_config *config = decoder->config;
	char name[64];
	for (int i = 0; i < config->decoder_layers; i++) {
		int64_t in = input_of(decoder, i) / config->decoder_groups, kernel = config->decoder_kernel;
		snprintf(name, sizeof name, "blocks.%d.0", i);
		add_default(builder, name, decoder->side ? 4 : 3, (int64_t[]){ config->decoder_dim, in, kernel, kernel },
			&decoder->conv[i], &decoder->conv_bias[i]);
	}
}

static int64_t projection_output(const d2v_conv_decoder *decoder, int64_t layer, int64_t in) {
	if (layer + 1 == decoder->projections)
		return decoder->width;
	return layer == 0 ? d2v_conv_decoder_projection_width(decoder->config) : in;
}

static void add_projections(d2v_conv_decoder *decoder, decoder_builder *builder, const d2v_conv_decoder_shape *like) {
	char name[64] = "proj";
	int64_t in = decoder->config->decoder_dim;
	for (int i = 0; i < decoder->projections; i++) {
		int64_t shape[] = { projection_output(decoder, i, in), in };
		if (decoder->projections > 1)
			snprintf(name, sizeof name, "proj.%d", 2 * i); // the odd ones are the GELUs
		if (like->block_projection) {
			d2v_linear_start start = d2v_params_linear_start(like->mae_init, shape[0], shape[1]);
			decoder->proj[i] = add(builder, name, "weight", 2, shape, start.init, start.scale);
			decoder->proj_bias[i] = add(builder, name, "bias", 1, shape, D2V_INIT_ZERO, 0);
		} else {
			add_default(builder, name, 2, shape, &decoder->proj[i], &decoder->proj_bias[i]);
		}
		in = shape[0];
	}
}

d2v_status d2v_conv_decoder_add(d2v_conv_decoder *decoder, d2v_params *params, const char *prefix,
	d2v_conv_decoder_shape shape, const d2v_decoder_config *config, d2v_error *err) {
	D2V_ASSERT(config->decoder_layers <= D2V_DECODER_LAYERS_MAX && config->projection_layers <= D2V_PROJECTIONS_MAX);
	*decoder = (d2v_conv_decoder){ .config = config, .width = shape.width, .side = shape.side };
	decoder->projections = shape.side ? 1 : config->projection_layers;
	decoder_builder builder = { .params = params, .prefix = prefix, .err = err };
	add_convolutions(decoder, &builder);
	add_projections(decoder, &builder, &shape);
	return builder.status;
}

// ---- forward

int d2v_conv_decoder_input_frame(const d2v_conv_decoder *decoder) {
	int64_t moves = decoder->projections;
	for (int i = 0; i < decoder->config->decoder_layers; i++)
		moves += has_residual(decoder, i) ? 0 : 1;
	return (int)(moves % 2);
}

typedef struct conv_place { // of one convolution; the gradient of its bias is the norm's affair, which writes d_y
	int layer;
	const d2v_real *x;
	d2v_real *y, *d_y, *d_x;
	bool accumulate;
	int64_t rows, tokens;
} conv_place;

static void convolve_row(const d2v_conv_decoder *decoder, d2v_pass *pass, const conv_place *at) {
	const d2v_decoder_config *config = decoder->config;
	d2v_pass_run(pass, &d2v_op_conv1d,
		&(d2v_conv1d){
			.x = at->x,
			.w = d2v_pass_weight(pass, decoder->conv[at->layer]),
			.bias = d2v_pass_weight(pass, decoder->conv_bias[at->layer]),
			.y = at->y,
			.rows = at->rows,
			.steps_in = at->tokens,
			.steps_out = at->tokens, // of an even kernel's tokens + 1 the last is dropped (SamePad)
			.in = input_of(decoder, at->layer),
			.out = config->decoder_dim,
			.kernel = config->decoder_kernel,
			.stride = 1,
			.pad = config->decoder_kernel / 2,
			.groups = config->decoder_groups,
			.d_y = at->d_y,
			.d_x = at->d_x,
			.accumulate_d_x = at->accumulate,
			.d_w = d2v_pass_gradient(pass, decoder->conv[at->layer]),
		});
}

static void convolve_plane(const d2v_conv_decoder *decoder, d2v_pass *pass, const conv_place *at) {
	const d2v_decoder_config *config = decoder->config;
	d2v_pass_run(pass, &d2v_op_conv2d,
		&(d2v_conv2d){
			.x = at->x,
			.w = d2v_pass_weight(pass, decoder->conv[at->layer]),
			.bias = d2v_pass_weight(pass, decoder->conv_bias[at->layer]),
			.y = at->y,
			.rows = at->rows,
			.height = decoder->side,
			.width = decoder->side,
			.in = input_of(decoder, at->layer),
			.out = config->decoder_dim,
			.kernel = config->decoder_kernel,
			.groups = config->decoder_groups,
			.d_y = at->d_y,
			.d_x = at->d_x,
			.accumulate_d_x = at->accumulate,
			.d_w = d2v_pass_gradient(pass, decoder->conv[at->layer]),
		});
}

// y = GELU(LN(conv(x))) (+ x). The gradient of y is in frames[*frame]; that of x will be there too when there is a
// residual, to which the convolution's is added, and in the other frame otherwise.
static d2v_real *conv_layer(const d2v_conv_decoder *decoder, d2v_pass *pass, int layer, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2], int *input_frame) {
	const d2v_decoder_config *config = decoder->config;
	bool residual = has_residual(decoder, layer);
	d2v_real *d_x = frames[*input_frame], *d_y = residual ? d_x : frames[1 - *input_frame];
	d2v_real *d_conv = residual ? frames[1 - *input_frame] : d_y;
	int64_t count = rows * tokens * config->decoder_dim;
	d2v_real *y = d2v_pass_reals(pass, count);
	size_t mark = d2v_pass_begin_layer(pass);
	d2v_real *conv = d2v_pass_reals(pass, count);
	conv_place place = { .layer = layer, .x = x, .y = conv, .d_y = d_conv, .d_x = d_x, .accumulate = residual };
	place.rows = rows, place.tokens = tokens;
	if (decoder->side)
		convolve_plane(decoder, pass, &place);
	else
		convolve_row(decoder, pass, &place);
	d2v_pass_run(pass, &d2v_op_norm,
		&(d2v_norm){
			.x = conv,
			.eps = NORM_EPS,
			.gelu = true,
			.add = residual ? x : NULL,
			.y = y,
			.mean = d2v_pass_floats(pass, rows * tokens),
			.rstd = d2v_pass_floats(pass, rows * tokens),
			.rows = rows * tokens,
			.channels = config->decoder_dim,
			.d_y = d_y,
			.d_sum = d_conv,
			.d_bias_before = d2v_pass_gradient(pass, decoder->conv_bias[layer]),
		});
	d2v_pass_end_layer(pass, mark);
	if (!residual)
		*input_frame = 1 - *input_frame;
	return y;
}

void d2v_conv_decoder_forward(const d2v_conv_decoder *decoder, d2v_pass *pass, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2], d2v_real *y) {
	const d2v_decoder_config *config = decoder->config;
	int frame = d2v_conv_decoder_input_frame(decoder);
	for (int i = 0; i < config->decoder_layers; i++)
		x = conv_layer(decoder, pass, i, x, rows, tokens, frames, &frame);
	int64_t in = config->decoder_dim;
	for (int i = 0; i < decoder->projections; i++) {
		bool last = i + 1 == decoder->projections;
		int64_t out = projection_output(decoder, i, in);
		d2v_real *to = last ? y : d2v_pass_reals(pass, rows * tokens * out);
		d2v_pass_run(pass, &d2v_op_linear,
			&(d2v_linear){
				.x = x,
				.w = d2v_pass_weight(pass, decoder->proj[i]),
				.bias = d2v_pass_weight(pass, decoder->proj_bias[i]),
				.y = to,
				.gelu = !last,
				.pre = last ? NULL : d2v_pass_gradient_reals(pass, rows * tokens * out),
				.rows = rows * tokens,
				.in = in,
				.out = out,
				.d_y = frames[1 - frame],
				.d_x = frames[frame],
				.d_w = d2v_pass_gradient(pass, decoder->proj[i]),
				.d_bias = d2v_pass_gradient(pass, decoder->proj_bias[i]),
			});
		frame = 1 - frame;
		x = to, in = out;
	}
}
