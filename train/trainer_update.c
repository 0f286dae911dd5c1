// One update: teacher, batches, gradients, optimizer.
#include "base/hash.h"
#include "base/log.h"
#include "train/trainer_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void warn_lines(char *sentences) {
	for (char *line = strtok(sentences, "\n"); line; line = strtok(NULL, "\n"))
		d2v_warn("%s", line);
}

// Every modality is looked at when its turn comes after another interval.
static bool look_is_due(const d2v_trainer *trainer, const d2v_loop_state *state, d2v_modality modality) {
	uint64_t interval = (uint64_t)trainer->config.own.collapse_interval;
	uint64_t looks = state->collapse[d2v_trainer_watch(trainer, modality)].looks;
	return interval && looks <= state->updates / interval;
}

static d2v_status look_for_collapse(
	d2v_trainer *trainer, d2v_loop_state *state, const d2v_batch *batch, d2v_error *err) {
	const d2v_model_config *model = &trainer->config.model;
	d2v_collapse_limits limits = { .min_target_var = model->min_target_var, .min_pred_var = model->min_pred_var };
	char sentences[D2V_COLLAPSE_TEXT];
	d2v_collapse *watch = &state->collapse[d2v_trainer_watch(trainer, batch->modality)];
	D2V_TRY(d2v_collapse_look(watch, trainer->model, batch, &limits, sentences, err));
	warn_lines(sentences);
	return D2V_OK;
}

static void add_result(d2v_update *update, const d2v_step_result *result, const d2v_batch *batch) {
	update->loss += result->loss;
	update->loss_regression += result->loss_regression;
	update->loss_cls += result->loss_cls;
	update->sample_size += (double)result->sample_size;
	update->pred_var += result->pred_var;
	update->target_var += result->target_var;
	update->masked_pct += result->masked_pct;
	update->flops += result->flops;
	update->modality = batch->modality;
	update->samples += (uint64_t)batch->samples;
	update->text_tokens += batch->modality == D2V_TEXT ? (uint64_t)batch->samples * (uint64_t)batch->tokens : 0;
	update->audio_samples += (uint64_t)batch->samples * (uint64_t)batch->length;
}

// Whether the source has begun another epoch. Some stand at the end of the old one until they are asked.
static bool epoch_is_over(const d2v_trainer *trainer, const d2v_source_position *position, uint64_t epoch) {
	uint64_t steps = d2v_source_epoch_steps(trainer->source, epoch);
	return position->epoch > epoch || (steps && position->step >= steps);
}

static void ask_source(d2v_trainer *trainer, d2v_update *update, d2v_taken *taken) {
	double asked = d2v_clock();
	*taken = (d2v_taken){ .batch = NULL };
	taken->status = d2v_source_next(trainer->source, &taken->batch, &taken->error);
	update->waited += d2v_clock() - asked;
	if (taken->status != D2V_OK)
		return;
	taken->position = d2v_source_tell(trainer->source);
	taken->epoch_ended = epoch_is_over(trainer, &taken->position, taken->batch->epoch);
}

static d2v_status next_batch(d2v_trainer *trainer, d2v_update *update, d2v_taken *taken, d2v_error *err) {
	if (trainer->is_ahead)
		*taken = trainer->ahead;
	else
		ask_source(trainer, update, taken);
	trainer->is_ahead = false;
	if (taken->status != D2V_OK)
		return d2v_fail(err, taken->status, "%s", taken->error.text);
	return D2V_OK;
}

d2v_status d2v_trainer_give_back(d2v_trainer *trainer, d2v_error *err) {
	if (!trainer->is_ahead)
		return D2V_OK;
	trainer->is_ahead = false;
	if (trainer->ahead.batch)
		d2v_source_give(trainer->source, trainer->ahead.batch);
	return d2v_source_seek(trainer->source, &trainer->state.position, err);
}

// While a step runs: takes the batch after it, unless the run is over by then, and has the model prepare for it. state:
// as it will be when that batch's turn comes.
static void take_ahead(d2v_trainer *trainer, const d2v_loop_state *state, d2v_update *update) {
	if (d2v_trainer_end_reason(trainer, state))
		return;
	ask_source(trainer, update, &trainer->ahead);
	trainer->is_ahead = true;
	if (trainer->ahead.batch)
		d2v_model_step_ahead(trainer->model, trainer->ahead.batch, state->updates);
}

// Forward and backward of one batch. last: of the update.
static d2v_status run_step(d2v_trainer *trainer, const d2v_loop_state *state, const d2v_batch *batch, bool last,
	d2v_update *update, d2v_error *err) {
	d2v_step_result result;
	d2v_loop_state after = *state;
	after.updates += last;
	D2V_TRY(d2v_model_step_begin(trainer->model, batch, state->updates, err));
	take_ahead(trainer, &after, update);
	D2V_TRY(d2v_model_step_end(trainer->model, &result, err));
	add_result(update, &result, batch);
	return D2V_OK;
}

// One batch of the update. full: it is the last one, unless the epoch ends before. *filled counts those that hold
// samples.
static d2v_status take_batch(
	d2v_trainer *trainer, d2v_loop_state *state, d2v_update *update, bool full, int *filled, d2v_error *err) {
	d2v_taken taken;
	D2V_TRY(next_batch(trainer, update, &taken, err));
	const d2v_batch *batch = taken.batch;
	update->epoch = batch->epoch;
	update->epoch_ended = taken.epoch_ended ? batch->epoch : 0;
	bool last = full || update->epoch_ended;
	state->position = taken.position;
	state->batches++;
	state->samples += (uint64_t)batch->samples;
	state->audio_samples += (uint64_t)batch->samples * (uint64_t)batch->length;
	state->batch_digest = d2v_hash64_chain(state->batch_digest, batch->digest);
	d2v_status status = D2V_OK;
	if (batch->samples > 0) {
		++*filled;
		status = run_step(trainer, state, batch, last, update, err);
		if (status == D2V_OK && last && look_is_due(trainer, state, batch->modality))
			status = look_for_collapse(trainer, state, batch, err);
	}
	d2v_source_give(trainer->source, batch);
	return status;
}

// The gradient of one update's batches: all of it in *update but what the whole update has.
static d2v_status add_up_gradient(d2v_trainer *trainer, d2v_loop_state *state, d2v_update *update, d2v_error *err) {
	int filled = 0;
	int64_t batches = d2v_config_batches_per_update(&trainer->config, state->position.epoch);
	d2v_model_zero_gradients(trainer->model);
	// The last update of an epoch may have fewer batches, as in the original.
	for (int64_t i = 0; i < batches && !update->epoch_ended; i++)
		D2V_TRY(take_batch(trainer, state, update, i + 1 == batches, &filled, err));
	if (filled > 1) {
		update->pred_var /= filled;
		update->target_var /= filled;
		update->masked_pct /= filled;
	}
	return D2V_OK;
}

// D2V_DIVERGED: the loss or the gradient is not finite, and nothing was changed.
static d2v_status apply_gradient(d2v_trainer *trainer, const d2v_loop_state *state, d2v_update *update, d2v_error *err) {
	d2v_optimizer_result result;
	double scale = update->loss_scale > 0 ? update->loss_scale : 1, size = update->sample_size;
	if (!(fabs(update->loss) <= DBL_MAX))
		return d2v_fail(err, D2V_DIVERGED,
			"update %llu: the loss is %g: nothing was updated; go on from an earlier checkpoint with a lower "
			"optimization.lr or with optimization.clip_norm",
			(unsigned long long)state->updates + 1, update->loss);
	d2v_status status =
		d2v_optimizer_update(trainer->optimizer, size > 0 ? size * scale : scale, update->lr, &result, err);
	if (status != D2V_OK)
		return d2v_error_prefix(err, "update %llu", (unsigned long long)state->updates + 1);
	update->grad_norm = result.grad_norm;
	update->clip_coef = result.clip_coef;
	return D2V_OK;
}

// After an attempt that came to nothing: halves the scale and says so.
static d2v_status scale_down(d2v_trainer *trainer, d2v_loop_state *state, d2v_error *err) {
	double before = state->loss_scale.scale;
	unsigned long long update = (unsigned long long)state->updates + 1;
	if (d2v_loss_scale_shrink(&state->loss_scale, &trainer->scaling, err) != D2V_OK)
		return d2v_error_prefix(err, "update %llu", update);
	if (!trainer->options.quiet)
		d2v_info("update %llu: scaled by %g a gradient is too large for its type: nothing was updated, the scale is %g from "
				 "here on, and the next batches are tried",
			update, before, state->loss_scale.scale);
	return D2V_OK;
}

// One attempt at the update; update->done: it happened.
static d2v_status attempt(d2v_trainer *trainer, d2v_loop_state *state, d2v_update *update, d2v_error *err) {
	d2v_loop_state tried = *state;
	d2v_error own;
	err = err ? err : &own;
	update->loss_scale = state->loss_scale.scale;
	d2v_model_scale_gradients(trainer->model, update->loss_scale > 0 ? update->loss_scale : 1);
	D2V_TRY(add_up_gradient(trainer, &tried, update, err));
	d2v_status status = apply_gradient(trainer, &tried, update, err);
	update->done = status == D2V_OK;
	if (status == D2V_DIVERGED && update->loss_scale > 0) {
		memcpy(tried.collapse, state->collapse, sizeof tried.collapse); // looks at what is not finite say nothing
		status = scale_down(trainer, &tried, err);
	} else if (update->done && update->loss_scale > 0) {
		d2v_loss_scale_grow(&tried.loss_scale, &trainer->scaling);
	}
	if (status == D2V_OK)
		*state = tried;
	return status;
}

// Of attempts that came to nothing stay the time they took, and what was worked through in it.
static void begin_again(d2v_update *update) {
	d2v_update kept = { .lr = update->lr, .ema_decay = update->ema_decay, .waited = update->waited, .flops = update->flops };
	kept.samples = update->samples, kept.audio_samples = update->audio_samples, kept.text_tokens = update->text_tokens;
	*update = kept;
}

d2v_status d2v_trainer_update(d2v_trainer *trainer, d2v_update *update, d2v_error *err) {
	double start = d2v_clock();
	d2v_loop_state state = trainer->state;
	uint64_t epoch_ended = 0, epochs = (uint64_t)trainer->config.optimization.max_epoch;
	*update = (d2v_update){ .lr = d2v_schedule_lr(&trainer->schedule, state.updates) };
	update->ema_decay = d2v_model_move_teacher(trainer->model, state.updates);
	// With the last epoch over there is nothing left to try.
	while (!update->done && !(epochs && state.position.epoch > epochs)) {
		begin_again(update);
		D2V_TRY(attempt(trainer, &state, update, err));
		epoch_ended = update->epoch_ended ? update->epoch_ended : epoch_ended;
	}
	update->epoch_ended = epoch_ended;
	state.updates += update->done;
	trainer->state = state;
	update->seconds = d2v_clock() - start;
	return D2V_OK;
}
