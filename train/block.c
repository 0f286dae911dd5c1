#include "train/block.h"

#include <stdio.h>

int64_t d2v_mlp_width(const d2v_model_config *config) {
	return (int64_t)((double)config->embed_dim * config->mlp_ratio);
}

// ---- parameters

typedef struct block_builder {
	d2v_params *params;
	const char *prefix;
	bool in_teacher, mae_init;
	d2v_status status; // of the first failure
	d2v_error *err;
} block_builder;

static int add(block_builder *builder, const char *name, int64_t out, int64_t in, d2v_init_rule init, double scale) {
	char full[D2V_PARAM_NAME + 64];
	int index = -1;
	snprintf(full, sizeof full, "%s.%s", builder->prefix, name);
	if (builder->status == D2V_OK)
		builder->status = d2v_params_add(builder->params, full, in ? 2 : 1, (int64_t[]){ out, in ? in : 1 }, init,
			scale, builder->in_teacher, &index, builder->err);
	return index;
}

static int add_linear(block_builder *builder, const char *name, int64_t out, int64_t in) {
	d2v_linear_start start = d2v_params_linear_start(builder->mae_init, out, in);
	return add(builder, name, out, in, start.init, start.scale);
}

d2v_status d2v_block_add(d2v_block *block, d2v_params *params, const char *prefix, const d2v_model_config *config,
	double drop_path, bool in_teacher, d2v_error *err) {
	int64_t width = config->embed_dim, hidden = d2v_mlp_width(config);
	block_builder builder = { .params = params, .prefix = prefix, .in_teacher = in_teacher, .err = err };
	builder.mae_init = config->mae_init;
	*block = (d2v_block){ .norm1_gain = -1, .norm1_bias = -1, .norm2_gain = -1, .norm2_bias = -1 };
	block->drop_path = drop_path;
	if (config->norm_affine) {
		block->norm1_gain = add(&builder, "norm1.weight", width, 0, D2V_INIT_ONE, 0);
		block->norm1_bias = add(&builder, "norm1.bias", width, 0, D2V_INIT_ZERO, 0);
	}
	block->qkv = add_linear(&builder, "attn.qkv.weight", 3 * width, width);
	block->qkv_bias = add(&builder, "attn.qkv.bias", 3 * width, 0, D2V_INIT_ZERO, 0);
	block->proj = add_linear(&builder, "attn.proj.weight", width, width);
	block->proj_bias = add(&builder, "attn.proj.bias", width, 0, D2V_INIT_ZERO, 0);
	if (config->norm_affine) {
		block->norm2_gain = add(&builder, "norm2.weight", width, 0, D2V_INIT_ONE, 0);
		block->norm2_bias = add(&builder, "norm2.bias", width, 0, D2V_INIT_ZERO, 0);
	}
	block->fc1 = add_linear(&builder, "mlp.fc1.weight", hidden, width);
	block->fc1_bias = add(&builder, "mlp.fc1.bias", hidden, 0, D2V_INIT_ZERO, 0);
	block->fc2 = add_linear(&builder, "mlp.fc2.weight", width, hidden);
	block->fc2_bias = add(&builder, "mlp.fc2.bias", width, 0, D2V_INIT_ZERO, 0);
	return builder.status;
}

void d2v_block_take_scratch(d2v_block_tokens *tokens, d2v_pass *pass, const d2v_model_config *config) {
	int64_t rows = tokens->rows * tokens->count, width = config->embed_dim, hidden = d2v_mlp_width(config);
	tokens->stream = d2v_pass_gradient_reals(pass, rows * width);
	tokens->branch = d2v_pass_reals(pass, rows * width);
	tokens->narrow = d2v_pass_reals(pass, rows * width);
	tokens->wide = d2v_pass_gradient_reals(pass, rows * (hidden > 3 * width ? hidden : 3 * width));
}

// ---- forward

// The arguments that every step of a block needs.
typedef struct block_run {
	const d2v_block *block;
	d2v_pass *pass;
	const d2v_model_config *config;
	const d2v_block_tokens *tokens;
	int64_t rows, width, hidden; // rows = R*N
} block_run;

static d2v_norm affine_norm(const block_run *run, int gain, int bias) {
	return (d2v_norm){
		.gain = d2v_pass_weight(run->pass, gain),
		.bias = d2v_pass_weight(run->pass, bias),
		.eps = (float)run->config->norm_eps,
		.mean = d2v_pass_floats(run->pass, run->rows),
		.rstd = d2v_pass_floats(run->pass, run->rows),
		.rows = run->rows,
		.channels = run->width,
		.d_gain = d2v_pass_gradient(run->pass, gain),
		.d_bias = d2v_pass_gradient(run->pass, bias),
	};
}

static d2v_linear linear(const block_run *run, int weight, int bias, int64_t in, int64_t out) {
	return (d2v_linear){
		.w = d2v_pass_weight(run->pass, weight),
		.bias = d2v_pass_weight(run->pass, bias),
		.rows = run->rows,
		.in = in,
		.out = out,
		.d_w = d2v_pass_gradient(run->pass, weight),
		.d_bias = d2v_pass_gradient(run->pass, bias),
	};
}

static void drop_in_place(const block_run *run, d2v_real *x, d2v_real *d_x, d2v_dropout drop, int64_t count) {
	if (drop.p > 0)
		d2v_pass_run(run->pass, &d2v_op_drop, &(d2v_drop_in_place){ .x = x, .d_x = d_x, .drop = drop, .count = count });
}

// The dropout of a branch, and of the whole branch of a row (stochastic depth). When both are on the first is run here,
// in place, since the norm that adds the branch takes one.
static d2v_dropout branch_dropout(const block_run *run, double p, d2v_real *branch, d2v_real *d_branch) {
	int64_t row = run->tokens->count * run->width;
	d2v_dropout drop = d2v_pass_dropout(run->pass, p, 1, row);
	d2v_dropout path = d2v_pass_dropout(run->pass, run->block->drop_path, row, row);
	if (!(path.p > 0))
		return drop;
	drop_in_place(run, branch, d_branch, drop, run->rows * run->width);
	return path;
}

// Whether the gradient of a branch needs a buffer of its own, apart from that of the sum it is part of.
static bool is_dropped(const block_run *run, double p) {
	return run->pass->training && (p > 0 || run->block->drop_path > 0);
}

// Whether the norm that takes a branch writes the gradient of the branch's last layer as it is: then it sums its
// columns too, for the layer's bias. It does unless the branch is dropped in place before. p: of what branch_dropout is
// asked for.
static bool is_next_to_norm(const block_run *run, double p) {
	return !(run->pass->training && p > 0 && run->block->drop_path > 0);
}

// x to the attention's projection, in tokens->branch; the gradient comes from d_branch. d_x is added to, or
// overwritten. d_bias: of the projection; NULL: the norm that takes the branch sees to it.
static void attend(
	const block_run *run, const d2v_real *x, d2v_real *d_x, bool accumulate, d2v_real *d_branch, float *d_bias) {
	d2v_pass *pass = run->pass;
	const d2v_block_tokens *tokens = run->tokens;
	const d2v_block *block = run->block;
	d2v_real *all = d2v_pass_reals(pass, run->rows * 3 * run->width);
	d2v_real *mixed = d2v_pass_reals(pass, run->rows * run->width);

	d2v_linear qkv = linear(run, block->qkv, block->qkv_bias, run->width, 3 * run->width);
	qkv.x = x, qkv.y = all, qkv.d_y = tokens->wide, qkv.d_x = d_x, qkv.accumulate_d_x = accumulate;
	qkv.d_bias = NULL; // attention's, which writes d_y
	d2v_pass_run(pass, &d2v_op_linear, &qkv);

	d2v_attention attention = {
		.qkv = all,
		.out = mixed,
		.lse = d2v_pass_floats(pass, run->rows * run->config->num_heads),
		.slope = tokens->slope,
		.scale = tokens->scale,
		.positions = tokens->positions,
		.key_padding = tokens->key_padding,
		.drop = d2v_pass_dropout(pass, run->config->attention_dropout, 1,
			run->config->num_heads * tokens->count * d2v_attention_draws(tokens->count)),
		.rows = tokens->rows,
		.tokens = tokens->count,
		.extra = tokens->extra,
		.heads = run->config->num_heads,
		.width = run->width,
		.d_out = tokens->narrow,
		.d_qkv = tokens->wide,
		.d_scale = pass->tape ? tokens->d_scale : NULL,
		.d_qkv_bias = d2v_pass_gradient(pass, block->qkv_bias),
	};
	attention.kept = d2v_pass_kept(pass, d2v_attention_kept_bytes(pass->device, &attention));
	d2v_pass_run(pass, &d2v_op_attention, &attention);

	d2v_linear proj = linear(run, block->proj, block->proj_bias, run->width, run->width);
	proj.x = mixed, proj.y = tokens->branch, proj.d_y = d_branch, proj.d_x = tokens->narrow, proj.d_bias = d_bias;
	d2v_pass_run(pass, &d2v_op_linear, &proj);
}

// x to fc2(drop(GELU(fc1 x))), dropped again, in m. d_bias: of fc2; NULL: the norm that takes m sees to it.
static void mlp(const block_run *run, const d2v_real *x, d2v_real *d_x, bool accumulate, d2v_real *m, d2v_real *d_m,
	float *d_bias) {
	d2v_pass *pass = run->pass;
	d2v_real *pre = d2v_pass_gradient_reals(pass, run->rows * run->hidden);
	d2v_real *hidden = d2v_pass_reals(pass, run->rows * run->hidden);

	d2v_linear fc1 = linear(run, run->block->fc1, run->block->fc1_bias, run->width, run->hidden);
	fc1.x = x, fc1.y = hidden, fc1.gelu = true, fc1.pre = pre;
	fc1.d_y = run->tokens->wide, fc1.d_x = d_x, fc1.accumulate_d_x = accumulate;
	d2v_pass_run(pass, &d2v_op_linear, &fc1);
	d2v_dropout drop = d2v_pass_dropout(pass, run->config->activation_dropout, 1, run->tokens->count * run->hidden);
	drop_in_place(run, hidden, run->tokens->wide, drop, run->rows * run->hidden);

	d2v_linear fc2 = linear(run, run->block->fc2, run->block->fc2_bias, run->hidden, run->width);
	fc2.x = hidden, fc2.y = m, fc2.d_y = d_m, fc2.d_x = run->tokens->wide, fc2.d_bias = d_bias;
	d2v_pass_run(pass, &d2v_op_linear, &fc2);
	drop = d2v_pass_dropout(pass, run->config->activation_dropout, 1, run->tokens->count * run->width);
	drop_in_place(run, m, d_m, drop, run->rows * run->width);
}

// r = LN1(x + a); y = LN2(r + m)
static void post_norm(const block_run *run, const d2v_real *x, d2v_real *m, d2v_real *y) {
	d2v_pass *pass = run->pass;
	const d2v_block_tokens *tokens = run->tokens;
	const d2v_model_config *config = run->config;
	int64_t count = run->rows * run->width;
	d2v_real *sum1 = d2v_pass_reals(pass, count), *r = d2v_pass_reals(pass, count), *sum2 = d2v_pass_reals(pass, count);

	bool apart = is_dropped(run, config->encoder_dropout);
	d2v_real *d_attention = apart ? tokens->branch : tokens->stream;
	bool next = is_next_to_norm(run, config->encoder_dropout);
	float *d_bias = d2v_pass_gradient(pass, run->block->proj_bias);
	attend(run, x, tokens->stream, true, d_attention, next ? NULL : d_bias);
	d2v_norm norm1 = affine_norm(run, run->block->norm1_gain, run->block->norm1_bias);
	norm1.x = x, norm1.residual = tokens->branch, norm1.sum = sum1, norm1.y = r;
	norm1.drop = branch_dropout(run, config->encoder_dropout, tokens->branch, d_attention);
	norm1.d_y = norm1.d_sum = tokens->stream, norm1.d_residual = apart ? tokens->branch : NULL;
	norm1.d_bias_before = next ? d_bias : NULL;
	d2v_pass_run(pass, &d2v_op_norm, &norm1);

	apart = is_dropped(run, config->post_mlp_drop) || is_dropped(run, config->activation_dropout);
	d2v_real *d_m = apart ? tokens->branch : tokens->stream;
	next = is_next_to_norm(run, config->post_mlp_drop) && !(pass->training && config->activation_dropout > 0);
	d_bias = d2v_pass_gradient(pass, run->block->fc2_bias);
	mlp(run, r, tokens->stream, true, m, d_m, next ? NULL : d_bias);
	d2v_norm norm2 = affine_norm(run, run->block->norm2_gain, run->block->norm2_bias);
	norm2.x = r, norm2.residual = m, norm2.sum = sum2, norm2.y = y;
	norm2.drop = branch_dropout(run, config->post_mlp_drop, m, d_m);
	norm2.d_y = norm2.d_sum = tokens->stream, norm2.d_residual = apart ? tokens->branch : NULL;
	norm2.d_bias_before = next ? d_bias : NULL;
	d2v_pass_run(pass, &d2v_op_norm, &norm2);
}

// x1 = x + Attn(LN1 x); m = MLP(LN2 x1); y = m + drop(m): the original overwrites the residual with the MLP's output.
static void norm_first(const block_run *run, const d2v_real *x, d2v_real *m, d2v_real *y) {
	d2v_pass *pass = run->pass;
	const d2v_block_tokens *tokens = run->tokens;
	const d2v_model_config *config = run->config;
	int64_t count = run->rows * run->width, row = tokens->count * run->width;
	d2v_real *n1 = d2v_pass_reals(pass, count), *sum = d2v_pass_reals(pass, count), *n2 = d2v_pass_reals(pass, count);

	d2v_norm norm1 = affine_norm(run, run->block->norm1_gain, run->block->norm1_bias);
	norm1.x = x, norm1.y = n1, norm1.d_y = tokens->narrow, norm1.d_sum = tokens->stream;
	norm1.accumulate_d_sum = true; // the stream holds the gradient of x1, of which x is a term
	d2v_pass_run(pass, &d2v_op_norm, &norm1);

	bool apart = is_dropped(run, config->encoder_dropout);
	d2v_real *d_attention = apart ? tokens->branch : tokens->stream;
	bool next = is_next_to_norm(run, config->encoder_dropout);
	float *d_bias = d2v_pass_gradient(pass, run->block->proj_bias);
	attend(run, n1, tokens->narrow, false, d_attention, next ? NULL : d_bias);
	d2v_norm norm2 = affine_norm(run, run->block->norm2_gain, run->block->norm2_bias);
	norm2.x = x, norm2.residual = tokens->branch, norm2.sum = sum, norm2.y = n2;
	norm2.drop = branch_dropout(run, config->encoder_dropout, tokens->branch, d_attention);
	norm2.d_y = tokens->narrow, norm2.d_sum = tokens->stream, norm2.d_residual = apart ? tokens->branch : NULL;
	norm2.d_bias_before = next ? d_bias : NULL;
	d2v_pass_run(pass, &d2v_op_norm, &norm2);

	mlp(run, n2, tokens->narrow, false, m, tokens->branch, d2v_pass_gradient(pass, run->block->fc2_bias));
	d2v_dropout drop = d2v_pass_dropout(pass, config->post_mlp_drop, 1, row);
	d2v_dropout path = d2v_pass_dropout(pass, run->block->drop_path, row, row);
	d2v_pass_run(pass, &d2v_op_twice,
		&(d2v_twice){
			.x = m,
			.y = y,
			.scratch = tokens->wide ? tokens->wide : tokens->branch,
			.drop = drop,
			.path = path,
			.count = count,
			.d_y = tokens->stream,
			.d_x = tokens->branch,
		});
}

d2v_real *d2v_block_forward(const d2v_block *block, d2v_pass *pass, const d2v_model_config *config,
	const d2v_block_tokens *tokens, const d2v_real *x, const d2v_real **target) {
	block_run run = { .block = block, .pass = pass, .config = config, .tokens = tokens };
	run.rows = tokens->rows * tokens->count, run.width = config->embed_dim, run.hidden = d2v_mlp_width(config);
	d2v_real *y = d2v_pass_reals(pass, run.rows * run.width);
	d2v_real *m = target ? d2v_pass_reals(pass, run.rows * run.width) : tokens->narrow;
	size_t mark = d2v_pass_begin_layer(pass);
	if (config->layer_norm_first)
		norm_first(&run, x, m, y);
	else
		post_norm(&run, x, m, y);
	d2v_pass_end_layer(pass, mark);
	if (target)
		*target = config->end_of_block_targets ? y : m;
	return y;
}
