#include "train/decoder_1d.h"

#include <math.h>
#include <stdio.h>

#define NORM_EPS 1e-5f

int64_t d2v_decoder_1d_projection_width(const d2v_decoder_config *config) {
	return (int64_t)((double)config->decoder_dim * config->projection_ratio);
}

int64_t d2v_decoder_1d_widest(const d2v_decoder_config *config, int64_t width) {
	int64_t widest = config->decoder_dim > width ? config->decoder_dim : width;
	int64_t between = config->projection_layers > 1 ? d2v_decoder_1d_projection_width(config) : 0;
	return between > widest ? between : widest;
}

static int64_t input_of(const d2v_decoder_1d *decoder, int layer) {
	return layer == 0 ? decoder->width : decoder->config->decoder_dim;
}

static bool has_residual(const d2v_decoder_1d *decoder, int layer) {
	return decoder->config->decoder_residual && input_of(decoder, layer) == decoder->config->decoder_dim;
}

// ---- parameters
// --------------------------------------------------------------------------------------------------------

static d2v_status add_pair(d2v_params *params, const char *name, int rank, const int64_t *shape, int64_t fan_in,
	int *weight, int *bias, d2v_error *err) {
	char full[D2V_PARAM_NAME];
	double bound = 1 / sqrt((double)fan_in); // PyTorch's default
	snprintf(full, sizeof full, "%s.weight", name);
	D2V_TRY(d2v_params_add(params, full, rank, shape, D2V_INIT_UNIFORM, bound, false, weight, err));
	snprintf(full, sizeof full, "%s.bias", name);
	return d2v_params_add(params, full, 1, shape, D2V_INIT_UNIFORM, bound, false, bias, err);
}

d2v_status d2v_decoder_1d_add(d2v_decoder_1d *decoder, d2v_params *params, const char *prefix, int64_t width,
	const d2v_decoder_config *config, d2v_error *err) {
	D2V_ASSERT(config->decoder_layers <= D2V_DECODER_LAYERS_MAX && config->projection_layers <= D2V_PROJECTIONS_MAX);
	*decoder = (d2v_decoder_1d){ .config = config, .width = width };
	char name[D2V_PARAM_NAME - 16];
	for (int i = 0; i < config->decoder_layers; i++) {
		int64_t in = input_of(decoder, i) / config->decoder_groups;
		snprintf(name, sizeof name, "%sblocks.%d.0", prefix, i);
		D2V_TRY(add_pair(params, name, 3, (int64_t[]){ config->decoder_dim, in, config->decoder_kernel },
			in * config->decoder_kernel, &decoder->conv[i], &decoder->conv_bias[i], err));
	}
	int64_t in = config->decoder_dim;
	for (int i = 0; i < config->projection_layers; i++) {
		int64_t out = i + 1 == config->projection_layers ? width
					  : i == 0                           ? d2v_decoder_1d_projection_width(config)
														 : in;
		if (config->projection_layers == 1)
			snprintf(name, sizeof name, "%sproj", prefix);
		else
			snprintf(name, sizeof name, "%sproj.%d", prefix, 2 * i); // the odd ones are the GELUs
		D2V_TRY(add_pair(params, name, 2, (int64_t[]){ out, in }, in, &decoder->proj[i], &decoder->proj_bias[i], err));
		in = out;
	}
	return D2V_OK;
}

// ---- forward
// -----------------------------------------------------------------------------------------------------------

int d2v_decoder_1d_input_frame(const d2v_decoder_1d *decoder) {
	int64_t moves = decoder->config->projection_layers;
	for (int i = 0; i < decoder->config->decoder_layers; i++)
		moves += has_residual(decoder, i) ? 0 : 1;
	return (int)(moves % 2);
}

// y = GELU(LN(conv(x))) (+ x). The gradient of y is in frames[*frame]; that of x will be there too when there is a
// residual, to which the convolution's is added, and in the other frame otherwise.
static d2v_real *conv_layer(const d2v_decoder_1d *decoder, d2v_pass *pass, int layer, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2], int *input_frame) {
	const d2v_decoder_config *config = decoder->config;
	bool residual = has_residual(decoder, layer);
	d2v_real *d_x = frames[*input_frame], *d_y = residual ? d_x : frames[1 - *input_frame];
	d2v_real *d_conv = residual ? frames[1 - *input_frame] : d_y;
	int64_t count = rows * tokens * config->decoder_dim;
	d2v_real *y = d2v_pass_reals(pass, count), *conv = d2v_pass_reals(pass, count);
	d2v_pass_run(pass, &d2v_op_conv1d,
		&(d2v_conv1d){
			.x = x,
			.w = d2v_pass_weight(pass, decoder->conv[layer]),
			.bias = d2v_pass_weight(pass, decoder->conv_bias[layer]),
			.y = conv,
			.rows = rows,
			.steps_in = tokens,
			.steps_out = tokens, // of an even kernel's tokens + 1 the last is dropped (SamePad)
			.in = input_of(decoder, layer),
			.out = config->decoder_dim,
			.kernel = config->decoder_kernel,
			.stride = 1,
			.pad = config->decoder_kernel / 2,
			.groups = config->decoder_groups,
			.d_y = d_conv,
			.d_x = d_x,
			.accumulate_d_x = residual,
			.d_w = d2v_pass_gradient(pass, decoder->conv[layer]),
			.d_bias = d2v_pass_gradient(pass, decoder->conv_bias[layer]),
		});
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
		});
	if (!residual)
		*input_frame = 1 - *input_frame;
	return y;
}

d2v_real *d2v_decoder_1d_forward(const d2v_decoder_1d *decoder, d2v_pass *pass, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2]) {
	const d2v_decoder_config *config = decoder->config;
	int frame = d2v_decoder_1d_input_frame(decoder);
	for (int i = 0; i < config->decoder_layers; i++)
		x = conv_layer(decoder, pass, i, x, rows, tokens, frames, &frame);
	int64_t in = config->decoder_dim;
	d2v_real *y = NULL;
	for (int i = 0; i < config->projection_layers; i++) {
		bool last = i + 1 == config->projection_layers;
		int64_t out = last ? decoder->width : i == 0 ? d2v_decoder_1d_projection_width(config) : in;
		y = d2v_pass_reals(pass, rows * tokens * out);
		d2v_pass_run(pass, &d2v_op_linear,
			&(d2v_linear){
				.x = x,
				.w = d2v_pass_weight(pass, decoder->proj[i]),
				.bias = d2v_pass_weight(pass, decoder->proj_bias[i]),
				.y = y,
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
		x = y, in = out;
	}
	return y;
}
