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
static bool look_is_due(const d2v_trainer *trainer, d2v_modality modality) {
	uint64_t interval = (uint64_t)trainer->config.own.collapse_interval;
	uint64_t looks = trainer->state.collapse[d2v_trainer_watch(trainer, modality)].looks;
	return interval && looks <= trainer->state.updates / interval;
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
static bool epoch_is_over(const d2v_trainer *trainer, uint64_t epoch) {
	d2v_source_position position = d2v_source_tell(trainer->source);
	uint64_t steps = d2v_source_epoch_steps(trainer->source, epoch);
	return position.epoch > epoch || (steps && position.step >= steps);
}

// One batch of the update: forward and backward. *filled counts those that hold samples.
static d2v_status take_batch(
	d2v_trainer *trainer, d2v_loop_state *state, d2v_update *update, bool last, int *filled, d2v_error *err) {
	const d2v_batch *batch;
	d2v_step_result result;
	double asked = d2v_clock();
	D2V_TRY(d2v_source_next(trainer->source, &batch, err));
	update->waited += d2v_clock() - asked;
	update->epoch = batch->epoch;
	update->epoch_ended = epoch_is_over(trainer, batch->epoch);
	state->batches++;
	state->samples += (uint64_t)batch->samples;
	state->audio_samples += (uint64_t)batch->samples * (uint64_t)batch->length;
	state->batch_digest = d2v_hash64_chain(state->batch_digest, batch->digest);
	d2v_status status = D2V_OK;
	if (batch->samples > 0) {
		status = d2v_model_step(trainer->model, batch, state->updates, &result, err);
		if (status == D2V_OK) {
			add_result(update, &result, batch);
			++*filled;
		}
		if (status == D2V_OK && (last || update->epoch_ended) && look_is_due(trainer, batch->modality))
			status = look_for_collapse(trainer, state, batch, err);
	}
	d2v_source_give(trainer->source, batch);
	return status;
}

d2v_status d2v_trainer_update(d2v_trainer *trainer, d2v_update *update, d2v_error *err) {
	double start = d2v_clock();
	d2v_loop_state state = trainer->state;
	d2v_optimizer_result result;
	int filled = 0;
	*update = (d2v_update){ .lr = d2v_schedule_lr(&trainer->schedule, state.updates) };
	int64_t batches = d2v_config_batches_per_update(&trainer->config, state.position.epoch);
	update->ema_decay = d2v_model_move_teacher(trainer->model, state.updates);
	d2v_model_zero_gradients(trainer->model);
	// The last update of an epoch may have fewer batches, as in the original.
	for (int64_t i = 0; i < batches && !update->epoch_ended; i++)
		D2V_TRY(take_batch(trainer, &state, update, i + 1 == batches, &filled, err));
	if (!(fabs(update->loss) <= DBL_MAX))
		return d2v_fail(err, D2V_DIVERGED,
			"update %llu: the loss is %g: nothing was updated; go on from an earlier checkpoint with a lower "
			"optimization.lr or with optimization.clip_norm",
			(unsigned long long)state.updates + 1, update->loss);
	d2v_status status = d2v_optimizer_update(trainer->optimizer, update->sample_size, update->lr, &result, err);
	if (status != D2V_OK)
		return d2v_error_prefix(err, "update %llu", (unsigned long long)state.updates + 1);
	update->grad_norm = result.grad_norm;
	update->clip_coef = result.clip_coef;
	if (filled > 1) {
		update->pred_var /= filled;
		update->target_var /= filled;
		update->masked_pct /= filled;
	}
	state.updates++;
	state.position = d2v_source_tell(trainer->source);
	trainer->state = state;
	update->seconds = d2v_clock() - start;
	return D2V_OK;
}
