#include "train/trainer.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/trainer_internal.h"

#include <math.h>

// The published stop conditions hold only after this many updates (spec/model.md 7).
#define VARIANCE_GRACE 5000

static d2v_status open_all(d2v_trainer *trainer, d2v_error *err) {
	const d2v_config *config = &trainer->config;
	char *lock = NULL;
	if (!config->checkpoint.save_dir[0])
		return d2v_fail(err, D2V_INVALID, "checkpoint.save_dir is empty: give the folder of this run");
	D2V_TRY(d2v_file_make_directories(config->checkpoint.save_dir, err));
	D2V_TRY(d2v_path_join(&lock, config->checkpoint.save_dir, "lock", err));
	d2v_status status = d2v_file_lock(&trainer->lock, lock, err);
	d2v_free(lock);
	D2V_TRY(status);
	D2V_TRY(d2v_config_stored(config, &trainer->stored_config, err));
	D2V_TRY(d2v_model_new(&trainer->model, trainer->device, &config->model, err));
	d2v_model_set_memory(trainer->model, d2v_config_memory(config));
	d2v_optimizer_config optimizer = d2v_config_optimizer(config);
	D2V_TRY(d2v_optimizer_new(&trainer->optimizer, trainer->model, &optimizer, err));
	trainer->schedule = d2v_config_schedule(config);
	trainer->scaling = d2v_config_loss_scale(config);
	D2V_TRY(d2v_trainer_resume(trainer, err));
	trainer->first = trainer->state.updates;
	return d2v_trainer_open_reports(trainer, err);
}

d2v_status d2v_trainer_new(d2v_trainer **out, const d2v_config *config, d2v_device *device, d2v_source *source,
	const d2v_trainer_options *options, d2v_error *err) {
	d2v_trainer *trainer;
	*out = NULL;
	D2V_TRY(d2v_alloc_zero(&trainer, 1, sizeof *trainer, err));
	trainer->config = *config;
	trainer->options = *options;
	trainer->device = device;
	trainer->source = source;
	trainer->lock = -1;
	d2v_device_graph_allow(device, config->own.cuda_graph);
	trainer->started = d2v_clock();
	d2v_status status = open_all(trainer, err);
	if (status != D2V_OK) {
		d2v_trainer_free(trainer);
		return status;
	}
	*out = trainer;
	return D2V_OK;
}

void d2v_trainer_free(d2v_trainer *trainer) {
	if (!trainer)
		return;
	d2v_progress_free(trainer->progress);
	d2v_metrics_close(trainer->metrics);
	d2v_tensorboard_close(trainer->board);
	d2v_optimizer_free(trainer->optimizer);
	d2v_model_free(trainer->model);
	d2v_free(trainer->stored_config);
	d2v_file_unlock(trainer->lock);
	d2v_free(trainer);
}

const d2v_loop_state *d2v_trainer_state(const d2v_trainer *trainer) {
	return &trainer->state;
}

d2v_model *d2v_trainer_model(d2v_trainer *trainer) {
	return trainer->model;
}

const char *d2v_trainer_end_reason(const d2v_trainer *trainer, const d2v_loop_state *state) {
	const d2v_optimization_config *limits = &trainer->config.optimization;
	if (limits->max_update > 0 && state->updates >= (uint64_t)limits->max_update)
		return "optimization.max_update is reached";
	if (limits->max_epoch > 0 && state->position.epoch > (uint64_t)limits->max_epoch)
		return "optimization.max_epoch is reached";
	if (limits->stop_time_hours > 0 && d2v_clock() - trainer->started >= limits->stop_time_hours * 3600)
		return "optimization.stop_time_hours is reached";
	return NULL;
}

// The original's own stop conditions; written so that a NaN trips them.
static d2v_status check_spread(const d2v_trainer *trainer, const d2v_update *update, d2v_error *err) {
	const d2v_model_config *model = &trainer->config.model;
	if (trainer->state.updates <= VARIANCE_GRACE)
		return D2V_OK;
	if (model->min_target_var > 0 && !(update->target_var >= model->min_target_var))
		return d2v_fail(err, D2V_DIVERGED,
			"update %llu: the targets' spread is %.4g, below model.min_target_var %.4g: the teacher has collapsed; "
			"start "
			"again with a lower optimization.lr or a higher model.ema_decay",
			(unsigned long long)trainer->state.updates, update->target_var, model->min_target_var);
	if (model->min_pred_var > 0 && !(update->pred_var >= model->min_pred_var))
		return d2v_fail(err, D2V_DIVERGED,
			"update %llu: the predictions' spread is %.4g, below model.min_pred_var %.4g: the model predicts the same "
			"everywhere; start again with a lower optimization.lr or a longer lr_scheduler.warmup_updates",
			(unsigned long long)trainer->state.updates, update->pred_var, model->min_pred_var);
	return D2V_OK;
}

static d2v_status save_and_report_stop(d2v_trainer *trainer, d2v_error *err) {
	D2V_TRY(d2v_trainer_save_last(trainer, err));
	if (trainer->config.checkpoint.no_save)
		return d2v_fail(err, D2V_INTERRUPTED, "stopped after update %llu; nothing was saved (checkpoint.no_save)",
			(unsigned long long)trainer->state.updates);
	return d2v_fail(err, D2V_INTERRUPTED, "stopped after update %llu, saved in %s; the same command goes on from there",
		(unsigned long long)trainer->state.updates, trainer->config.checkpoint.save_dir);
}

// The state after a collapse is worth looking at, so it is saved; the failure that is reported stays the collapse.
static d2v_status save_then_fail(d2v_trainer *trainer, d2v_status status) {
	d2v_error other;
	if (d2v_trainer_save_last(trainer, &other) != D2V_OK)
		d2v_warn("%s", other.text);
	return status;
}

static d2v_status run(d2v_trainer *trainer, d2v_error *err) {
	const char *reason = d2v_trainer_end_reason(trainer, &trainer->state);
	if (reason && trainer->state.updates > 0)
		d2v_info("%s at update %llu: nothing to do", reason, (unsigned long long)trainer->state.updates);
	if (!reason && trainer->state.updates == 0)
		D2V_TRY(d2v_trainer_probe_if_due(trainer, err));
	while (!reason) {
		d2v_update update;
		D2V_TRY(d2v_trainer_update(trainer, &update, err));
		reason = d2v_trainer_end_reason(trainer, &trainer->state);
		bool stop = trainer->options.stop_asked && trainer->options.stop_asked();
		if (!stop)
			D2V_TRY(d2v_trainer_probe_if_due(trainer, err));
		D2V_TRY(d2v_trainer_report(trainer, &update, reason || stop, err));
		d2v_status status = check_spread(trainer, &update, err);
		if (status != D2V_OK)
			return save_then_fail(trainer, status);
		D2V_TRY(d2v_trainer_save_if_due(trainer, &update, err));
		if (stop && !reason)
			return save_and_report_stop(trainer, err);
	}
	return d2v_trainer_save_last(trainer, err);
}

d2v_status d2v_trainer_run(d2v_trainer *trainer, d2v_error *err) {
	d2v_status status = run(trainer, err), given = d2v_trainer_give_back(trainer, status == D2V_OK ? err : NULL);
	return status == D2V_OK ? given : status;
}
