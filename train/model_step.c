// One step: student, teacher, targets, losses, and back.
#include "train/model_internal.h"

#include "base/memory.h"

#include <math.h>

typedef struct step {
	d2v_model *model;
	const d2v_batch *host;
	d2v_arena arena;
	bool gradients; // a training step; otherwise an evaluation
	d2v_pass student;
	d2v_device_batch batch;
	d2v_tokens tokens;   // the student's
	d2v_real *frames[2]; // (R, T, widest): gradients of everything that has all T positions
	d2v_real *d_local;   // (B, T, D)
	d2v_step_view view;
	double *sums; // device: loss, cls, pred_var, target_var
} step;

enum { SUM_LOSS, SUM_CLS, SUM_PRED_VAR, SUM_TARGET_VAR, SUMS };

static const d2v_real *working(const d2v_real *copy, const float *masters) {
	return copy ? copy : (const d2v_real *)(const void *)masters;
}

static d2v_pass student_pass(step *s, uint64_t update) {
	d2v_model *model = s->model;
	return (d2v_pass){
		.device = model->device,
		.arena = &s->arena,
		.tape = s->gradients ? &model->tape : NULL,
		.params = &model->params,
		.weights = working(model->working, model->weights),
		.masters = model->weights,
		.gradients = model->gradients,
		.touched = model->touched,
		.training = s->gradients,
		.seed = (uint64_t)model->config.seed,
		.update = update,
		.part = model->parts,
		.stage = "",
		.profile = d2v_ops_is_dry(model->device) ? NULL : model->profile,
	};
}

static d2v_pass teacher_pass(const step *s) {
	d2v_pass pass = s->student;
	pass.tape = NULL;
	pass.teacher = true;
	pass.training = false;
	pass.weights = working(s->model->teacher_working, s->model->teacher);
	pass.masters = s->model->teacher;
	pass.stage = "teacher";
	return pass;
}

// ---- student
// -----------------------------------------------------------------------------------------------------------

static const d2v_real *local_features(step *s, d2v_pass *pass, d2v_real *d_local) {
	return d2v_audio_local(&s->model->audio, pass, s->batch.wave, s->batch.samples, s->host->length, d_local);
}

// Masked frames are zeroed before the positional convolutions, which run for every copy over all frames.
static const d2v_real *student_positions(step *s, const d2v_real *local) {
	const d2v_device_batch *batch = &s->batch;
	int64_t width = s->model->config.embed_dim;
	d2v_real *masked = d2v_pass_reals(&s->student, batch->rows * batch->tokens * width);
	d2v_pass_run(&s->student, &d2v_op_mask_rows,
		&(d2v_mask_rows){
			.x = local,
			.mask = batch->mask,
			.out = masked,
			.batch = batch->samples,
			.clones = batch->clones,
			.tokens = batch->tokens,
			.width = width,
			.d_out = s->frames[d2v_audio_input_frame(&s->model->audio)],
			.d_x = s->d_local,
		});
	return d2v_audio_positions(&s->model->audio, &s->student, masked, batch->rows, batch->tokens, s->frames);
}

static d2v_real *final_norm(step *s, const d2v_real *x) {
	const d2v_model_config *config = &s->model->config;
	int64_t rows = s->tokens.rows * s->tokens.count;
	d2v_real *y = d2v_pass_reals(&s->student, rows * config->embed_dim);
	d2v_pass_run(&s->student, &d2v_op_norm,
		&(d2v_norm){
			.x = x,
			.gain = d2v_pass_weight(&s->student, s->model->norm_gain),
			.bias = d2v_pass_weight(&s->student, s->model->norm_bias),
			.eps = (float)config->norm_eps,
			.y = y,
			.mean = d2v_pass_floats(&s->student, rows),
			.rstd = d2v_pass_floats(&s->student, rows),
			.rows = rows,
			.channels = config->embed_dim,
			.d_y = s->tokens.stream,
			.d_sum = s->tokens.stream,
			.d_gain = d2v_pass_gradient(&s->student, s->model->norm_gain),
			.d_bias = d2v_pass_gradient(&s->student, s->model->norm_bias),
		});
	return y;
}

static void drop_tokens(step *s, d2v_real *x, double p) {
	d2v_dropout drop = d2v_pass_dropout(&s->student, p, 1);
	if (drop.p > 0)
		d2v_pass_run(&s->student, &d2v_op_drop,
			&(d2v_drop_in_place){ .x = x,
				.d_x = s->tokens.stream,
				.drop = drop,
				.count = s->tokens.rows * s->tokens.count * s->model->config.embed_dim });
}

static d2v_real *student_encoder(step *s, const d2v_real *local) {
	const d2v_model *model = s->model;
	const d2v_device_batch *batch = &s->batch;
	s->student.stage = "positions";
	const d2v_real *positions = student_positions(s, local);
	s->student.stage = "trunk";
	d2v_context_input in = { .local = local, .positions = positions, .keep = batch->keep, .restore = batch->restore };
	in.key_padding = batch->key_padding, in.slope = model->slopes;
	in.batch = batch->samples, in.clones = batch->clones, in.tokens = batch->tokens, in.kept = batch->kept;
	in.d_local = s->d_local, in.d_positions = s->frames[0];
	d2v_real *x = d2v_context_forward(&model->context, &s->student, &model->config, &in, &s->tokens);
	drop_tokens(s, x, model->config.dropout_input);
	s->view.encoder_in = x;
	x = d2v_blocks_forward(
		&model->trunk, &s->student, &model->config, &s->tokens, x, (d2v_block_outputs){ .block = s->view.block });
	return model->config.layer_norm_first ? final_norm(s, x) : x;
}

// ---- teacher
// -----------------------------------------------------------------------------------------------------------

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
	bool own_local = !config->ema_encoder_only && model->modality->ema_local_encoder;
	d2v_context_input in = { .batch = batch->samples, .clones = 1, .tokens = batch->tokens, .kept = batch->tokens };
	in.local = own_local ? local_features(s, &teacher, NULL) : student_local;
	in.positions = d2v_audio_positions(
		&model->audio, &context, in.local, batch->samples, batch->tokens, (d2v_real *[2]){ NULL, NULL });
	in.key_padding = batch->teacher_padding, in.slope = model->slopes;
	d2v_tokens tokens;
	d2v_real *x = d2v_context_forward(&model->context, &context, config, &in, &tokens);
	s->student.site = context.site > s->student.site ? context.site : s->student.site; // draws are not used twice
	s->view.teacher_in = x;
	d2v_blocks_forward(
		&model->trunk, &teacher, config, &tokens, x, (d2v_block_outputs){ .target = s->view.teacher_target });

	int64_t top = config->average_top_k_layers < config->depth ? config->average_top_k_layers : config->depth;
	float *target = d2v_pass_floats(&teacher, batch->samples * batch->tokens * config->embed_dim);
	d2v_pass_run(&teacher, &d2v_op_target,
		&(d2v_target){
			.layers = s->view.teacher_target + config->depth - top,
			.count = top,
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
	return target;
}

// ---- losses
// ------------------------------------------------------------------------------------------------------------

static float loss_scale(const d2v_model_config *config) {
	return (float)(isnan(config->loss_scale) ? 1 / sqrt((double)config->embed_dim) : config->loss_scale);
}

static const d2v_real *decode(step *s, d2v_pass *pass, const d2v_real *x) {
	const d2v_model *model = s->model;
	const d2v_device_batch *batch = &s->batch;
	pass->stage = "decoder";
	d2v_real *in = d2v_pass_reals(pass, batch->rows * batch->tokens * model->config.embed_dim);
	d2v_pass_run(pass, &d2v_op_restore,
		&(d2v_restore){
			.x = x,
			.restore = batch->restore,
			.keep = batch->keep,
			.noise = batch->noise,
			.noise_key = d2v_pass_key(pass, D2V_RANDOM_NOISE),
			.noise_std = (float)model->modality->mask_noise_std,
			.out = in,
			.rows = batch->rows,
			.tokens = batch->tokens,
			.kept = batch->kept,
			.extra_tokens = s->tokens.extra,
			.width = model->config.embed_dim,
			.d_out = s->frames[d2v_decoder_1d_input_frame(&model->decoder)],
			.d_x = s->tokens.stream,
		});
	return d2v_decoder_1d_forward(&model->decoder, pass, in, batch->rows, batch->tokens, s->frames);
}

// The prediction of the extra token. Its loss adds to the gradient of x, so in a training step it waits on the tape for
// the decoder's gradient to be there.
static void cls_loss(step *s, const d2v_real *x) {
	const d2v_model_config *config = &s->model->config;
	const d2v_device_batch *batch = &s->batch;
	size_t bytes =
		(size_t)(s->tokens.rows * s->tokens.count * config->embed_dim) * d2v_device_real_size(s->model->device);
	d2v_real *d_x = s->gradients ? s->tokens.stream : d2v_arena_take(&s->arena, bytes);
	d2v_device_zero(s->model->device, d_x, bytes); // all there is when the decoder is not trained
	d2v_cls op = {
		.x = x,
		.target = s->view.target,
		.beta = (float)config->loss_beta,
		.scale = loss_scale(config),
		.weight = (float)(config->cls_loss * (double)batch->masked_count),
		.batch = batch->samples,
		.clones = batch->clones,
		.tokens = batch->tokens,
		.row_tokens = s->tokens.count,
		.extra_tokens = s->tokens.extra,
		.width = config->embed_dim,
		.d_x = d_x,
		.loss = s->sums + SUM_CLS,
	};
	if (s->gradients)
		d2v_pass_run(&s->student, &d2v_op_cls, &op);
	else
		d2v_cls_loss(s->model->device, &op);
}

static void regression_loss(step *s) {
	const d2v_model_config *config = &s->model->config;
	const d2v_device_batch *batch = &s->batch;
	d2v_pass_run(&s->student, &d2v_op_regression,
		&(d2v_regression){
			.pred = s->view.decoder_out,
			.target = s->view.target,
			.masked = batch->masked,
			.masked_count = batch->masked_count,
			.beta = (float)config->loss_beta,
			.scale = loss_scale(config),
			.weight = (float)config->d2v_loss,
			.batch = batch->samples,
			.clones = batch->clones,
			.tokens = batch->tokens,
			.width = config->embed_dim,
			.d_pred = s->gradients && config->d2v_loss > 0 ? s->frames[0] : NULL,
			.loss = s->sums + SUM_LOSS,
			.pred_var = s->sums + SUM_PRED_VAR,
			.target_var = s->sums + SUM_TARGET_VAR,
		});
}

// x: the encoder's output. In the original the decoder's input dropout is in place, so the extra token's prediction
// sees it.
static void losses(step *s, d2v_real *x) {
	const d2v_model_config *config = &s->model->config;
	drop_tokens(s, x, s->model->modality->decoder.input_dropout);
	if (config->cls_loss > 0)
		cls_loss(s, x);
	d2v_pass pass = s->student;
	if (!(config->d2v_loss > 0)) // then nothing of the decoder is trained
		pass.tape = NULL;
	s->view.decoder_out = decode(s, &pass, x);
	s->student.site = pass.site;
	s->student.stage = "loss";
	regression_loss(s);
}

// ---- the whole
// ---------------------------------------------------------------------------------------------------------

static void take_gradients(step *s) {
	const d2v_model *model = s->model;
	const d2v_device_batch *batch = &s->batch;
	int64_t widest = d2v_decoder_1d_widest(&model->modality->decoder, model->config.embed_dim);
	int64_t local = batch->samples * batch->tokens * model->config.embed_dim;
	for (int i = 0; i < 2; i++)
		s->frames[i] = d2v_pass_gradient_reals(&s->student, batch->rows * batch->tokens * widest);
	s->d_local = d2v_pass_gradient_reals(&s->student, local);
	if (s->d_local) // several operations add to it
		d2v_device_zero(model->device, s->d_local, (size_t)local * d2v_device_real_size(model->device));
}

// Everything up to the losses, in the arena of `s`.
static void run_forward(step *s, uint64_t update) {
	d2v_model *model = s->model;
	int64_t extra = model->modality->num_extra_tokens;
	d2v_tape_reset(&model->tape);
	s->student = student_pass(s, update);
	s->student.stage = "upload";
	d2v_device_batch_upload(&s->batch, &s->student, s->host, &model->padding, extra, model->config.embed_dim);
	s->sums = d2v_arena_take(&s->arena, SUMS * sizeof *s->sums);
	d2v_device_zero(model->device, s->sums, SUMS * sizeof *s->sums);
	take_gradients(s);
	s->student.stage = "extractor";
	const d2v_real *local = local_features(s, &s->student, s->d_local);
	s->view = (d2v_step_view){ .batch = s->batch.samples, .clones = s->batch.clones, .tokens = s->batch.tokens };
	s->view.kept = s->batch.kept, s->view.extra = extra;
	s->view.local_features = local;
	s->view.target = teacher_targets(s, local);
	d2v_real *x = student_encoder(s, local);
	s->view.encoder_out = x;
	losses(s, x);
}

static void watch_bias(step *s) {
	const d2v_tokens *tokens = &s->tokens;
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

static size_t plan(step *s) {
	d2v_ops_set_dry(s->model->device, true);
	d2v_arena_init_measuring(&s->arena);
	run_forward(s, 0);
	if (s->model->watch_bias)
		watch_bias(s);
	d2v_ops_set_dry(s->model->device, false);
	return s->arena.peak;
}

// The arena only grows; what it held before is of no use any more.
static d2v_status make_room(step *s, size_t bytes, d2v_error *err) {
	d2v_model *model = s->model;
	if (bytes > model->block_size) {
		d2v_device_free(model->device, model->block);
		model->block = NULL;
		model->block_size = 0;
		D2V_TRY(d2v_device_alloc(model->device, &model->block, bytes, err));
		model->block_size = bytes;
	}
	d2v_arena_init(&s->arena, model->block, model->block_size);
	return D2V_OK;
}

static d2v_status check_batch(const d2v_model *model, const d2v_batch *batch, d2v_error *err) {
	if (batch->modality != model->config.supported_modality)
		return d2v_fail(err, D2V_INVALID, "a batch of %s for a model of %s", d2v_modality_name(batch->modality),
			d2v_modality_name(model->config.supported_modality));
	int64_t frames = d2v_conv_spec_frames(&model->audio.spec, batch->length);
	if (frames < 1 || frames != batch->tokens)
		return d2v_fail(err, D2V_INVALID, "%d samples make %lld frames, the batch says %d", batch->length,
			(long long)frames, batch->tokens);
	if (batch->clones < 1 || batch->kept < 1 || batch->kept > batch->tokens)
		return d2v_fail(err, D2V_INVALID, "a batch of %d copies with %d of %d positions kept", batch->clones,
			batch->kept, batch->tokens);
	if (!batch->mask || !batch->keep || !batch->restore || !(batch->wave || batch->audio))
		return d2v_fail(err, D2V_INVALID, "a batch without input or masks");
	return D2V_OK;
}

// A sample of which not even one frame is whole counts as not padded, as in the original (its index -1 is the last
// frame).
static d2v_status set_padding(d2v_model *model, const d2v_batch *batch, d2v_error *err) {
	int64_t *frames = NULL;
	if (batch->valid) {
		D2V_TRY(d2v_alloc(&frames, (size_t)batch->samples, sizeof *frames, err));
		for (int32_t b = 0; b < batch->samples; b++) {
			frames[b] = d2v_conv_spec_frames(&model->audio.spec, batch->valid[b]);
			if (frames[b] < 1)
				frames[b] = batch->tokens;
		}
	}
	d2v_status status = d2v_padding_set(&model->padding, batch, model->modality->num_extra_tokens, frames, err);
	d2v_free(frames);
	return status;
}

static d2v_status read_result(const step *s, d2v_step_result *result, d2v_error *err) {
	double sums[SUMS] = { 0 };
	d2v_device_download(s->model->device, sums, s->sums, sizeof sums);
	D2V_TRY(d2v_device_sync(s->model->device, err));
	const d2v_batch *batch = s->host;
	*result = (d2v_step_result){ .sample_size = batch->masked_count };
	result->loss_regression = sums[SUM_LOSS], result->loss_cls = sums[SUM_CLS];
	result->loss = sums[SUM_LOSS] + sums[SUM_CLS];
	result->pred_var = sums[SUM_PRED_VAR], result->target_var = sums[SUM_TARGET_VAR];
	result->masked_pct = 1 - (double)batch->kept / (double)batch->tokens;
	result->flops = d2v_model_step_flops(
		&s->model->config, batch->samples, batch->clones, batch->length, batch->tokens, batch->kept);
	return D2V_OK;
}

static d2v_status run_step(d2v_model *model, const d2v_batch *batch, uint64_t update, bool gradients,
	d2v_step_result *result, d2v_error *err) {
	*result = (d2v_step_result){ .loss = 0 };
	if (batch->samples == 0)
		return D2V_OK;
	D2V_TRY(check_batch(model, batch, err));
	D2V_TRY(set_padding(model, batch, err));
	step s = { .model = model, .host = batch, .gradients = gradients };
	D2V_TRY(make_room(&s, plan(&s), err));
	run_forward(&s, update);
	if (model->watch_bias)
		watch_bias(&s);
	if (gradients)
		D2V_TRY(d2v_tape_backward(&model->tape, model->device, model->profile, err));
	model->view = s.view;
	model->parts += gradients;
	return read_result(&s, result, err);
}

d2v_status d2v_model_step(
	d2v_model *model, const d2v_batch *batch, uint64_t update, d2v_step_result *result, d2v_error *err) {
	return run_step(model, batch, update, true, result, err);
}

d2v_status d2v_model_evaluate(d2v_model *model, const d2v_batch *batch, d2v_step_result *result, d2v_error *err) {
	return run_step(model, batch, 0, false, result, err);
}

d2v_status d2v_model_step_memory(d2v_model *model, int64_t batch, int64_t clones, int64_t length, int64_t tokens,
	int64_t kept, size_t *bytes, d2v_error *err) {
	if (batch < 1 || clones < 1 || kept < 1 || kept > tokens || batch * clones > INT32_MAX / tokens)
		return d2v_fail(err, D2V_INVALID, "no such batch: %lld samples, %lld copies, %lld of %lld positions kept",
			(long long)batch, (long long)clones, (long long)kept, (long long)tokens);
	d2v_batch shape = { .modality = model->config.supported_modality, .samples = (int32_t)batch };
	shape.clones = (int32_t)clones, shape.length = (int32_t)length, shape.tokens = (int32_t)tokens;
	shape.kept = (int32_t)kept, shape.masked_count = (int32_t)(batch * clones * tokens);
	model->padding.in_student = model->padding.in_teacher = false;
	step s = { .model = model, .host = &shape, .gradients = true };
	*bytes = plan(&s);
	return D2V_OK;
}
