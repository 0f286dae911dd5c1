// When to save, what to keep, and going on from what was saved.
#include "base/log.h"
#include "base/memory.h"
#include "train/trainer_internal.h"

#define SMALL_RANGE 1e6 // a working type that ends below it wants its gradients scaled

static d2v_status save_as(d2v_trainer *trainer, uint64_t name, d2v_error *err) {
	char *path = NULL;
	D2V_TRY(d2v_checkpoint_name(&path, trainer->config.checkpoint.save_dir, name, err));
	d2v_status status =
		d2v_checkpoint_save(path, trainer->model, trainer->optimizer, &trainer->state, trainer->stored_config, err);
	d2v_free(path);
	return status;
}

static d2v_status save_last(d2v_trainer *trainer, d2v_error *err) {
	D2V_TRY(save_as(trainer, D2V_CHECKPOINT_LAST, err));
	trainer->saved = trainer->state.updates;
	trainer->has_saved = true;
	return D2V_OK;
}

d2v_status d2v_trainer_save_last(d2v_trainer *trainer, d2v_error *err) {
	if (trainer->config.checkpoint.no_save || trainer->state.updates == 0)
		return D2V_OK;
	if (trainer->has_saved && trainer->saved == trainer->state.updates)
		return D2V_OK;
	return save_last(trainer, err);
}

static d2v_status save_numbered(d2v_trainer *trainer, d2v_error *err) {
	const d2v_saving_config *config = &trainer->config.checkpoint;
	D2V_TRY(save_as(trainer, trainer->state.updates, err));
	return d2v_checkpoint_prune(config->save_dir, config->keep_interval_updates, err);
}

// A full disk may have room again by the next time; everything else will not get better by going on.
static d2v_status forgive_full_disk(d2v_status status, d2v_error *err) {
	if (status != D2V_NO_SPACE)
		return status;
	d2v_warn(
		"%s; the previous checkpoint is intact, training goes on and saving is tried again the next time", err->text);
	return D2V_OK;
}

d2v_status d2v_trainer_save_if_due(d2v_trainer *trainer, const d2v_update *update, d2v_error *err) {
	const d2v_saving_config *config = &trainer->config.checkpoint;
	d2v_error own;
	err = err ? err : &own; // forgive_full_disk wants the text
	if (config->no_save)
		return D2V_OK;
	bool numbered =
		config->save_interval_updates > 0 && trainer->state.updates % (uint64_t)config->save_interval_updates == 0;
	bool epoch =
		config->save_interval > 0 && update->epoch_ended && update->epoch_ended % (uint64_t)config->save_interval == 0;
	if (numbered && config->keep_interval_updates != 0)
		D2V_TRY(forgive_full_disk(save_numbered(trainer, err), err));
	if (numbered || epoch)
		D2V_TRY(forgive_full_disk(save_last(trainer, err), err));
	return D2V_OK;
}

// ---- going on

static d2v_status check_same_run(const d2v_trainer *trainer, const d2v_checkpoint *checkpoint, d2v_error *err) {
	const char *path = d2v_checkpoint_path(checkpoint);
	d2v_config_difference difference;
	D2V_TRY(d2v_config_compare(&trainer->config, d2v_checkpoint_config(checkpoint), path, &difference, err));
	if (difference.model_key[0])
		return d2v_fail(err, D2V_INVALID,
			"%s: was made with another %s; undo that, or choose another checkpoint.save_dir for a new run", path,
			difference.model_key);
	if (difference.other_keys[0])
		d2v_warn("%s: was made with another %s; the present values hold from here on", path, difference.other_keys);
	int threads = d2v_device_threads(trainer->device), before = d2v_checkpoint_state(checkpoint)->threads;
	if (threads != before)
		d2v_warn("%s: was made with %d compute thread%s, now there are %d: results may differ in the last bits", path,
			before, before == 1 ? "" : "s", threads);
	return D2V_OK;
}

static d2v_status go_on(d2v_trainer *trainer, const d2v_checkpoint *checkpoint, d2v_error *err) {
	D2V_TRY(check_same_run(trainer, checkpoint, err));
	D2V_TRY(d2v_checkpoint_load(checkpoint, trainer->model, trainer->optimizer, err));
	trainer->state = *d2v_checkpoint_state(checkpoint);
	trainer->state.threads = d2v_device_threads(trainer->device);
	d2v_status status = d2v_source_seek(trainer->source, &trainer->state.position, err);
	if (status != D2V_OK)
		return d2v_error_prefix(err, "%s", d2v_checkpoint_path(checkpoint));
	if (!trainer->options.quiet)
		d2v_info("going on from update %llu, %s", (unsigned long long)trainer->state.updates,
			d2v_checkpoint_path(checkpoint));
	return D2V_OK;
}

// What a checkpoint says of the scale holds where gradients are scaled now, too.
static void start_loss_scale(d2v_trainer *trainer) {
	int scaling = trainer->config.own.loss_scaling;
	bool small = d2v_device_real_max(trainer->device) < SMALL_RANGE;
	if (scaling == D2V_LOSS_SCALING_NEVER || (scaling == D2V_LOSS_SCALING_AUTO && !small))
		trainer->state.loss_scale = (d2v_loss_scale){ 0 };
	else if (trainer->state.loss_scale.scale == 0)
		trainer->state.loss_scale.scale = trainer->scaling.init;
}

static d2v_status resume(d2v_trainer *trainer, d2v_error *err) {
	d2v_checkpoint *checkpoint = NULL;
	D2V_TRY(d2v_checkpoint_find(&checkpoint, trainer->config.checkpoint.save_dir, err));
	if (!checkpoint) {
		trainer->state = (d2v_loop_state){ .threads = d2v_device_threads(trainer->device),
			.position = d2v_source_tell(trainer->source) };
		return d2v_model_init(trainer->model, err);
	}
	d2v_status status = go_on(trainer, checkpoint, err);
	d2v_checkpoint_close(checkpoint);
	return status;
}

d2v_status d2v_trainer_resume(d2v_trainer *trainer, d2v_error *err) {
	D2V_TRY(resume(trainer, err));
	start_loss_scale(trainer);
	return D2V_OK;
}
