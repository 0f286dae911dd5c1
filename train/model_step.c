// One step: student, teacher, targets, losses, and back.
//
// Local encoder and teacher run once for the batch. The masked copies go through the student's encoder, the decoder and
// the losses in groups of samples, one group after another in the same memory: forward, and back as far as the local
// features. Mostly there is one group.
#include "train/model_internal.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

typedef struct step {
	d2v_model *model;
	const d2v_encoder *encoder; // the batch's modality's
	const d2v_batch *host;
	d2v_arena arena, insides; // the second: of layers that are computed again
	bool gradients;           // a training step; otherwise an evaluation
	bool *touched;            // what the student's pass marks
	uint64_t part;            // of the update
	d2v_pass student;
	d2v_device_batch batch;
	d2v_real *d_local; // (B, T, D)
	int64_t groups;
	d2v_step_view view;
	double *sums; // device
	// Of the group at hand, with R its rows:
	int64_t first; // sample
	d2v_device_batch group;
	d2v_block_tokens tokens; // the student's
	d2v_real *frames[2];     // (R, T, widest): gradients of everything that has all T positions
} step;

enum { SUM_LOSS, SUM_PRED_VAR, SUM_TARGET_VAR, SUM_CLS }; // the last one of every group
#define SUMS_MAX (SUM_CLS + D2V_CLONE_GROUPS_MAX)

static d2v_pass student_pass(step *s, uint64_t update) {
	d2v_model *model = s->model;
	d2v_pass pass = d2v_model_pass(model, &s->arena, false);
	pass.tape = s->gradients ? &model->tape : NULL;
	pass.insides = model->memory.recompute ? &s->insides : NULL;
	pass.training = s->gradients;
	pass.update = update;
	pass.part = s->part;
	pass.touched = s->touched;
	return pass;
}

static d2v_pass teacher_pass(step *s) {
	d2v_pass pass = d2v_model_pass(s->model, &s->arena, true);
	pass.stage = "teacher";
	return pass;
}

// ---- student

static void drop_tokens(step *s, d2v_real *x, double p) {
	int64_t row = s->tokens.count * s->model->config.embed_dim;
	d2v_dropout drop = d2v_pass_dropout(&s->student, p, 1, row);
	if (drop.p > 0)
		d2v_pass_run(&s->student, &d2v_op_drop,
			&(d2v_drop_in_place){ .x = x, .d_x = s->tokens.stream, .drop = drop, .count = s->tokens.rows * row });
}

// Of the group's copies.
static d2v_real *student_encoder(step *s) {
	const d2v_model *model = s->model;
	const d2v_device_batch *batch = &s->group;
	size_t local = (size_t)(s->first * batch->tokens * model->config.embed_dim); // where the group's begin
	d2v_context_input in = { .local = d2v_real_at(model->device, s->view.local_features, local),
		.keep = batch->keep,
		.restore = batch->restore };
	in.key_padding = batch->key_padding, in.slope = model->slopes;
	in.batch = batch->samples, in.clones = batch->clones, in.tokens = batch->tokens, in.kept = batch->kept;
	in.d_local = s->d_local ? d2v_real_at(model->device, s->d_local, local) : NULL;
	s->student.stage = "positions";
	d2v_encoder_positions(s->encoder, &s->student, batch, true, s->frames, &in);
	s->student.stage = "trunk";
	d2v_real *x = d2v_context_forward(&s->encoder->context, &s->student, &model->config, &in, &s->tokens);
	drop_tokens(s, x, model->config.dropout_input);
	s->view.encoder_in = x;
	x = d2v_blocks_forward(
		&model->trunk, &s->student, &model->config, &s->tokens, x, (d2v_block_outputs){ .block = s->view.block });
	return d2v_model_final_norm(model, &s->student, &s->tokens, x);
}

// ---- teacher

// (B, T, D) in f32.
static const float *teacher_targets(step *s, const d2v_real *student_local) {
	d2v_model *model = s->model;
	const d2v_model_config *config = &model->config;
	const d2v_device_batch *batch = &s->batch;
	d2v_pass teacher = teacher_pass(s), context = teacher;
	if (config->ema_encoder_only) { // the teacher has only blocks: the student's own context, not averaged
		context = s->student;
		context.tape = NULL;
		context.stage = "teacher";
	}
	bool own_local = !config->ema_encoder_only && s->encoder->config->ema_local_encoder;
	float *target = d2v_pass_floats(&teacher, batch->samples * batch->tokens * config->embed_dim);
	size_t mark = d2v_arena_mark(&s->arena);
	d2v_context_input in = { .batch = batch->samples, .clones = 1, .tokens = batch->tokens, .kept = batch->tokens };
	in.local = own_local ? d2v_encoder_local(s->encoder, &teacher, batch, NULL) : student_local;
	d2v_encoder_positions(s->encoder, &context, batch, false, NULL, &in);
	in.key_padding = batch->teacher_padding, in.slope = model->slopes;
	d2v_block_tokens tokens;
	d2v_real *x = d2v_context_forward(&s->encoder->context, &context, config, &in, &tokens);
	s->student.site = context.site > s->student.site ? context.site : s->student.site; // draws are not used twice
	s->view.teacher_in = x;
	d2v_blocks_forward(
		&model->trunk, &teacher, config, &tokens, x, (d2v_block_outputs){ .target = s->view.teacher_target });

	int64_t top = config->average_top_k_layers < config->depth ? config->average_top_k_layers : config->depth;
	d2v_pass_run(&teacher, &d2v_op_target,
		&(d2v_target){
			.layers = s->view.teacher_target + config->depth - top,
			.count = top,
			.batch_norm_layer = config->batch_norm_target_layer,
			.instance_norm_layer = config->instance_norm_target_layer,
			.layer_norm_layer = config->layer_norm_target_layer,
			.layer_norm_mean = config->layer_norm_targets,
			.instance_norm_mean = config->instance_norm_targets,
			.y = target,
			.batch = batch->samples,
			.tokens = batch->tokens,
			.extra_tokens = tokens.extra,
			.width = config->embed_dim,
		});
	if (!model->watch) { // what comes next may have its memory
		d2v_arena_rewind(&s->arena, mark);
		s->view.teacher_in = NULL;
		memset(s->view.teacher_target, 0, sizeof s->view.teacher_target);
	}
	return target;
}

// ---- losses

static float loss_scale(const d2v_model_config *config) {
	return (float)(isnan(config->loss_scale) ? 1 / sqrt((double)config->embed_dim) : config->loss_scale);
}

// The group's rows of an array (rows of the batch, T, D).
static d2v_real *rows_of_group(const step *s, const d2v_real *whole) {
	int64_t row = s->batch.tokens * s->model->config.embed_dim;
	return d2v_real_at(s->model->device, whole, (size_t)(s->group.first_row * row));
}

static const float *target_of_group(const step *s) {
	return s->view.target + s->first * s->batch.tokens * s->model->config.embed_dim;
}

static void decode(step *s, d2v_pass *pass, const d2v_real *x) {
	const d2v_model *model = s->model;
	const d2v_conv_decoder *decoder = &s->encoder->decoder;
	const d2v_device_batch *batch = &s->group;
	pass->stage = "decoder";
	d2v_real *in = d2v_pass_reals(pass, batch->rows * batch->tokens * model->config.embed_dim);
	d2v_pass_run(pass, &d2v_op_restore,
		&(d2v_restore){
			.x = x,
			.restore = batch->restore,
			.keep = batch->keep,
			.noise = batch->noise,
			.noise_key = d2v_pass_key(pass, D2V_RANDOM_NOISE),
			.noise_std = (float)s->encoder->config->mask_noise_std,
			.noise_first = batch->first_row * batch->tokens * model->config.embed_dim,
			.out = in,
			.rows = batch->rows,
			.tokens = batch->tokens,
			.kept = batch->kept,
			.extra_tokens = s->tokens.extra,
			.width = model->config.embed_dim,
			.d_out = s->frames[d2v_conv_decoder_input_frame(decoder)],
			.d_x = s->tokens.stream,
		});
	d2v_conv_decoder_forward(
		decoder, pass, in, batch->rows, batch->tokens, s->frames, rows_of_group(s, s->view.decoder_out));
}

// The original adds up the loss over the copies that a worker holds and multiplies by the positions it masked, so that
// the weight in the end grows with a worker's batch (spec/gpu.md 4). With cls_loss_rows it is what that many copies
// give.
static float cls_weight(const d2v_model_config *config, const d2v_device_batch *batch, double gradient_scale) {
	double share = config->cls_loss_rows ? (double)config->cls_loss_rows / (double)batch->rows : 1;
	return (float)(config->cls_loss * share * (double)batch->masked_count * gradient_scale);
}

// The prediction of the extra token. Its loss adds to the gradient of x, so in a training step it waits on the tape for
// the decoder's gradient to be there.
static void cls_loss(step *s, const d2v_real *x, int64_t group) {
	const d2v_model_config *config = &s->model->config;
	const d2v_device_batch *batch = &s->group;
	size_t bytes =
		(size_t)(s->tokens.rows * s->tokens.count * config->embed_dim) * d2v_device_real_size(s->model->device);
	d2v_real *d_x = s->gradients ? s->tokens.stream : d2v_arena_take(&s->arena, bytes);
	d2v_device_zero(s->model->device, d_x, bytes); // all there is when the decoder is not trained
	d2v_cls op = {
		.x = x,
		.target = target_of_group(s),
		.beta = (float)config->loss_beta,
		.scale = loss_scale(config),
		.weight = cls_weight(config, &s->batch, s->model->gradient_scale),
		.batch = batch->samples,
		.clones = batch->clones,
		.tokens = batch->tokens,
		.row_tokens = s->tokens.count,
		.extra_tokens = s->tokens.extra,
		.width = config->embed_dim,
		.d_x = d_x,
		.loss = s->sums + SUM_CLS + group,
	};
	if (s->gradients)
		d2v_pass_run(&s->student, &d2v_op_cls, &op);
	else
		d2v_cls_loss(s->model->device, &op);
}

// Of the group, or of the whole batch; with the spreads when it is the whole batch anyway.
static d2v_regression regression(const step *s, const d2v_device_batch *batch) {
	const d2v_model_config *config = &s->model->config;
	bool whole = batch->rows == s->batch.rows;
	return (d2v_regression){
		.pred = whole ? s->view.decoder_out : rows_of_group(s, s->view.decoder_out),
		.target = whole ? s->view.target : target_of_group(s),
		.masked = batch->masked,
		.masked_count = batch->masked_count,
		.masked_first = batch->first_row * batch->tokens,
		.beta = (float)config->loss_beta,
		.scale = loss_scale(config),
		.weight = (float)(config->d2v_loss * s->model->gradient_scale),
		.batch = batch->samples,
		.clones = batch->clones,
		.tokens = batch->tokens,
		.width = config->embed_dim,
		.loss = s->sums + SUM_LOSS,
		.pred_var = whole ? s->sums + SUM_PRED_VAR : NULL,
		.target_var = whole ? s->sums + SUM_TARGET_VAR : NULL,
	};
}

// x: the encoder's output. In the original the decoder's input dropout is in place, so the extra token's prediction
// sees it.
static void losses(step *s, d2v_real *x, int64_t group) {
	const d2v_model_config *config = &s->model->config;
	drop_tokens(s, x, s->encoder->config->decoder.input_dropout);
	if (config->cls_loss > 0)
		cls_loss(s, x, group);
	d2v_pass pass = s->student;
	if (!(config->d2v_loss > 0)) // then nothing of the decoder is trained
		pass.tape = NULL;
	decode(s, &pass, x);
	s->student.site = pass.site;
	s->student.stage = "loss";
	d2v_regression op = regression(s, &s->group);
	op.d_pred = s->gradients && config->d2v_loss > 0 ? s->frames[0] : NULL;
	d2v_pass_run(&s->student, &d2v_op_regression, &op);
}

// ---- the whole

static void take_gradients(step *s) {
	int64_t local = s->batch.samples * s->batch.tokens * s->model->config.embed_dim;
	s->d_local = d2v_pass_gradient_reals(&s->student, local);
	if (s->d_local) // several operations add to it
		d2v_device_zero(s->model->device, s->d_local, (size_t)local * d2v_device_real_size(s->model->device));
}

// What all copies share: inputs, local features and targets.
static void begin(step *s, uint64_t update) {
	d2v_model *model = s->model;
	int64_t extra = s->encoder->config->num_extra_tokens, most = model->memory.clone_groups;
	d2v_tape_reset(&model->tape);
	s->student = student_pass(s, update);
	s->student.stage = "input";
	d2v_device_batch_convert(&s->batch, &s->student);
	s->groups = most < 1 ? 1 : most < s->batch.samples ? most : s->batch.samples;
	s->sums = d2v_arena_take(&s->arena, SUMS_MAX * sizeof *s->sums);
	d2v_device_zero(model->device, s->sums, SUMS_MAX * sizeof *s->sums);
	take_gradients(s);
	s->student.stage = "extractor";
	s->view = (d2v_step_view){ .batch = s->batch.samples, .clones = s->batch.clones, .tokens = s->batch.tokens };
	s->view.kept = s->batch.kept, s->view.extra = extra;
	s->view.local_features = d2v_encoder_local(s->encoder, &s->student, &s->batch, s->d_local);
	s->view.target = teacher_targets(s, s->view.local_features);
	s->view.decoder_out = d2v_pass_reals(&s->student, s->batch.rows * s->batch.tokens * model->config.embed_dim);
}

// The copies of some samples, as far as the losses.
static void run_group(step *s, int64_t group) {
	int64_t samples = s->batch.samples, end = samples * (group + 1) / s->groups;
	s->first = samples * group / s->groups;
	s->group = d2v_device_batch_slice(
		&s->batch, s->host, s->model->device, s->first, end - s->first, s->view.extra, s->model->config.embed_dim);
	s->student.first_row = s->group.first_row;
	for (int i = 0; i < 2; i++)
		s->frames[i] =
			d2v_pass_gradient_reals(&s->student, s->group.rows * s->group.tokens * d2v_encoder_widest(s->encoder));
	d2v_real *x = student_encoder(s);
	s->view.encoder_out = x;
	losses(s, x, group);
}

static d2v_status go_back(step *s, size_t from, d2v_error *err) {
	return s->gradients ? d2v_tape_backward(&s->model->tape, from, s->model->device, s->student.profile, err) : D2V_OK;
}

static void watch_bias(step *s) {
	const d2v_block_tokens *tokens = &s->tokens;
	int64_t heads = s->model->config.num_heads;
	float *bias = d2v_arena_take(&s->arena, (size_t)(heads * tokens->count * tokens->count) * sizeof *bias);
	d2v_attention_bias(s->model->device,
		&(d2v_attention){ .slope = tokens->slope,
			.scale = tokens->scale,
			.positions = tokens->positions,
			.rows = 1,
			.tokens = tokens->count,
			.extra = tokens->extra,
			.heads = heads,
			.width = s->model->config.embed_dim },
		bias);
	s->view.encoder_bias = bias;
}

// Forward and back, in the arenas of `s`.
static d2v_status run_all(step *s, uint64_t update, d2v_error *err) {
	begin(s, update);
	size_t shared = s->model->tape.count, mark = d2v_arena_mark(&s->arena);
	uint64_t site = s->student.site;
	for (int64_t group = 0; group < s->groups; group++) {
		if (group > 0) {
			D2V_TRY(go_back(s, shared, err));
			d2v_arena_rewind(&s->arena, mark);
			s->student.site = site; // draws are counted through all rows
		}
		run_group(s, group);
	}
	if (s->groups > 1) { // of which only the last one is left
		s->view.encoder_in = s->view.encoder_out = NULL;
		memset(s->view.block, 0, sizeof s->view.block);
		d2v_regression whole = regression(s, &s->batch);
		d2v_pass_run(&s->student, &d2v_op_regression, &whole);
	} else if (s->model->watch) {
		watch_bias(s);
	}
	return go_back(s, 0, err);
}

static size_t plan(step *s) {
	d2v_ops_set_dry(s->model->device, true);
	d2v_arena_init_measuring(&s->arena);
	d2v_arena_init_measuring(&s->insides);
	(void)run_all(s, 0, NULL);
	d2v_ops_set_dry(s->model->device, false);
	return s->arena.peak + s->insides.peak;
}

// The memory that plan() asked for.
static d2v_status make_room(step *s, d2v_error *err) {
	size_t outputs = s->arena.peak, insides = s->insides.peak;
	d2v_status status = d2v_model_make_room(s->model, &s->arena, outputs + insides, err);
	if (status == D2V_NO_MEMORY)
		(void)d2v_error_prefix(err, "no room for a step (d2v.recompute=true or d2v.clone_groups=N take less, and "
									"d2v-train --plan says what fits)");
	D2V_TRY(status);
	d2v_arena_init(&s->insides, s->arena.base + outputs, insides);
	return D2V_OK;
}

static step step_of(d2v_model *model, const d2v_step_wish *wish) {
	return (step){
		.model = model,
		.encoder = d2v_model_encoder(model, wish->host->modality),
		.host = wish->host,
		.batch = wish->place->batch,
		.gradients = wish->gradients,
		.touched = wish->touched,
		.part = wish->part,
	};
}

d2v_status d2v_model_run_step(
	d2v_model *model, const d2v_step_wish *wish, bool in_room, d2v_step_running *running, d2v_error *err) {
	step s = step_of(model, wish);
	if (plan(&s) > model->block_size && in_room)
		return d2v_fail(err, D2V_NO_MEMORY, "the step needs more memory than was taken");
	D2V_TRY(make_room(&s, err));
	D2V_TRY(run_all(&s, wish->update, err));
	*running = (d2v_step_running){ .batch = wish->host, .sums = s.sums, .groups = s.groups, .view = s.view };
	return D2V_OK;
}

d2v_status d2v_model_await_step(
	d2v_model *model, const d2v_step_running *running, d2v_step_result *result, d2v_error *err) {
	double sums[SUMS_MAX] = { 0 };
	d2v_device_download(model->device, sums, running->sums, sizeof sums);
	D2V_TRY(d2v_device_sync(model->device, err));
	const d2v_batch *batch = running->batch;
	*result = (d2v_step_result){ .sample_size = batch->masked_count };
	double scale = model->gradient_scale; // of the losses, too
	result->loss_regression = sums[SUM_LOSS] / scale;
	for (int64_t group = 0; group < running->groups; group++)
		result->loss_cls += sums[SUM_CLS + group] / scale;
	result->loss = result->loss_regression + result->loss_cls;
	result->pred_var = sums[SUM_PRED_VAR], result->target_var = sums[SUM_TARGET_VAR];
	result->masked_pct = 1 - (double)batch->kept / (double)batch->tokens;
	result->modality = batch->modality;
	result->flops = d2v_model_step_flops(&model->config, &(d2v_step_shape){ .modality = batch->modality,
															 .batch = batch->samples,
															 .clones = batch->clones,
															 .length = batch->length,
															 .tokens = batch->tokens,
															 .kept = batch->kept });
	return D2V_OK;
}

d2v_status d2v_model_step_memory(d2v_model *model, const d2v_step_shape *shape, size_t *bytes, d2v_error *err) {
	const d2v_encoder *encoder = d2v_model_encoder(model, shape->modality);
	int64_t tokens = shape->tokens, kept = shape->kept;
	if (!encoder)
		return d2v_fail(err, D2V_INVALID, "the model has no encoder of %s", d2v_modality_name(shape->modality));
	if (shape->batch < 1 || shape->clones < 1 || kept < 1 || kept > tokens ||
		shape->batch > INT32_MAX / tokens / shape->clones)
		return d2v_fail(err, D2V_INVALID, "no such batch: %lld samples, %lld copies, %lld of %lld positions kept",
			(long long)shape->batch, (long long)shape->clones, (long long)kept, (long long)tokens);
	d2v_batch batch = { .modality = shape->modality, .samples = (int32_t)shape->batch };
	batch.clones = (int32_t)shape->clones, batch.length = (int32_t)shape->length, batch.tokens = (int32_t)tokens;
	batch.height = batch.width = (int32_t)encoder->config->input_size;
	batch.kept = (int32_t)kept, batch.masked_count = (int32_t)(shape->batch * shape->clones * tokens);
	d2v_batch_place place = { .memory = NULL };
	d2v_batch_parts parts = d2v_model_batch_parts(encoder, &place, true, true, model->config.embed_dim);
	d2v_arena arena;
	d2v_arena_init_measuring(&arena);
	d2v_device_batch_upload(&place.batch, model->device, &arena, &batch, &parts);
	step s = step_of(model, &(d2v_step_wish){ .host = &batch, .place = &place, .gradients = true });
	*bytes = plan(&s) + 2 * arena.peak; // this batch and the next
	return D2V_OK;
}
