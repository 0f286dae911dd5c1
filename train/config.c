#include "train/config.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

d2v_status d2v_config_defaults(d2v_config *config, d2v_error *err) {
	memset(config, 0, sizeof *config); // equal configurations have equal bytes
	return d2v_fields_defaults(d2v_config_fields(), config, err);
}

static d2v_status read_tree(d2v_config *config, const json_t *tree, const char *where, d2v_error *err) {
	json_t *copy = json_deep_copy(tree);
	if (!copy)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory for the configuration", where);
	d2v_status status = d2v_config_from_fairseq(copy, where, err);
	if (status == D2V_OK)
		status = d2v_fields_read(d2v_config_fields(), config, copy, "", where, err);
	json_decref(copy);
	return status;
}

d2v_status d2v_config_read_yaml(d2v_config *config, const char *text, size_t size, const char *where, d2v_error *err) {
	json_t *tree = NULL;
	D2V_TRY(d2v_yaml_parse(text, size, where, &tree, err));
	d2v_status status = read_tree(config, tree, where, err);
	json_decref(tree);
	return status;
}

d2v_status d2v_config_override(d2v_config *config, const char *assignment, d2v_error *err) {
	return d2v_fields_override(d2v_config_fields(), config, assignment, err);
}

// ---- resolving

static d2v_status check_count(const char *key, const d2v_field_reals *reals, int count, d2v_error *err) {
	if (reals->count == count)
		return D2V_OK;
	return d2v_fail(
		err, D2V_INVALID, "%s: expected %d value%s, found %d", key, count, count == 1 ? "" : "s", reals->count);
}

static d2v_status check_batches(const d2v_config *config, d2v_error *err) {
	const d2v_task_config *task = &config->task;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		d2v_task_part part = d2v_config_part(config, modality);
		if (d2v_model_config_has(&config->model, modality) && part.max_tokens == 0 && part.batch_size == 0)
			return d2v_fail(
				err, D2V_INVALID, "dataset.max_tokens and dataset.batch_size are both 0: one must bound a batch");
	}
	if (d2v_config_is_joint(config) && config->optimization.update_freq.count > 1)
		return d2v_fail(err, D2V_UNSUPPORTED, "optimization.update_freq: one value for all epochs in a joint run");
	if (task->max_sample_size && task->max_sample_size < task->min_sample_size)
		return d2v_fail(err, D2V_INVALID, "task.max_sample_size (%lld) is below task.min_sample_size (%lld)",
			(long long)task->max_sample_size, (long long)task->min_sample_size);
	for (int i = 0; i < config->optimization.update_freq.count; i++)
		if (floor(config->optimization.update_freq.value[i]) != config->optimization.update_freq.value[i])
			return d2v_fail(err, D2V_INVALID, "optimization.update_freq: %g is no whole number",
				config->optimization.update_freq.value[i]);
	return D2V_OK;
}

static d2v_status check_tri_stage(const d2v_config *config, d2v_error *err) {
	const d2v_field_reals *ratio = &config->lr_scheduler.phase_ratio;
	if (ratio->count == 1 && ratio->value[0] == 0)
		return D2V_OK;
	D2V_TRY(check_count("lr_scheduler.phase_ratio", ratio, 3, err));
	if (!(fabs(ratio->value[0] + ratio->value[1] + ratio->value[2] - 1) < 1e-9))
		return d2v_fail(err, D2V_INVALID, "lr_scheduler.phase_ratio: the three shares must sum to 1");
	if (config->optimization.max_update == 0)
		return d2v_fail(err, D2V_INVALID, "lr_scheduler.phase_ratio needs optimization.max_update");
	return D2V_OK;
}

static d2v_status check_schedule(const d2v_config *config, d2v_error *err) {
	const d2v_lr_config *lr = &config->lr_scheduler;
	const char *name = lr->kind == D2V_SCHEDULE_COSINE ? "cosine" : "polynomial_decay";
	bool needs_end =
		lr->kind == D2V_SCHEDULE_POLYNOMIAL || (lr->kind == D2V_SCHEDULE_COSINE && isnan(lr->lr_period_updates));
	if (needs_end && config->optimization.max_update == 0)
		return d2v_fail(err, D2V_INVALID, "lr_scheduler._name: %s needs optimization.max_update", name);
	if (needs_end && lr->warmup_updates >= config->optimization.max_update)
		return d2v_fail(err, D2V_INVALID,
			"lr_scheduler.warmup_updates (%lld) must be below optimization.max_update (%lld); for a shorter run "
			"make it smaller, too",
			(long long)lr->warmup_updates, (long long)config->optimization.max_update);
	if (lr->kind == D2V_SCHEDULE_COSINE && config->optimization.lr.value[0] < lr->min_lr)
		return d2v_fail(err, D2V_INVALID, "lr_scheduler.min_lr is above optimization.lr");
	return lr->kind == D2V_SCHEDULE_TRI_STAGE ? check_tri_stage(config, err) : D2V_OK;
}

// Hydra's "must be given".
static void forget_placeholder(char *data) {
	if (strcmp(data, "???") == 0)
		data[0] = 0;
}

static d2v_status resolve_task(d2v_config *config, d2v_error *err) {
	const d2v_model_config *model = &config->model;
	d2v_task_config *task = &config->task;
	if (!task->input_size || !d2v_model_config_has(model, D2V_IMAGE))
		task->input_size = model->image.input_size;
	if (!task->tokens_per_sample || !d2v_model_config_has(model, D2V_TEXT))
		task->tokens_per_sample = model->text.max_source_positions;
	if (task->input_size != model->image.input_size)
		return d2v_fail(err, D2V_INVALID,
			"task.input_size (%lld) is not model.modalities.image.input_size (%lld); leave it out or make them equal",
			(long long)task->input_size, (long long)model->image.input_size);
	if (task->tokens_per_sample > model->text.max_source_positions)
		return d2v_fail(err, D2V_INVALID,
			"task.tokens_per_sample (%lld) is above model.modalities.text.max_source_positions (%lld)",
			(long long)task->tokens_per_sample, (long long)model->text.max_source_positions);
	return D2V_OK;
}

// So that scaling changes no bit.
static d2v_status check_power_of_2(const char *key, double value, d2v_error *err) {
	int exponent;
	if (value == 0 || frexp(value, &exponent) == 0.5)
		return D2V_OK;
	return d2v_fail(
		err, D2V_INVALID, "%s: %g is no power of two; %g is the next below", key, value, ldexp(0.5, exponent));
}

static d2v_status check_loss_scale(const d2v_config *config, d2v_error *err) {
	const d2v_common_config *common = &config->common;
	D2V_TRY(check_power_of_2("common.fp16_init_scale", common->fp16_init_scale, err));
	D2V_TRY(check_power_of_2("common.threshold_loss_scale", common->threshold_loss_scale, err));
	if (common->fp16_init_scale <= common->min_loss_scale)
		return d2v_fail(err, D2V_INVALID, "common.fp16_init_scale (%g) is not above common.min_loss_scale (%g)",
			common->fp16_init_scale, common->min_loss_scale);
	return D2V_OK;
}

d2v_status d2v_config_resolve(d2v_config *config, d2v_error *err) {
	d2v_model_config *model = &config->model;
	d2v_lr_config *lr = &config->lr_scheduler;
	if (model->seed < 0)
		model->seed = config->common.seed;
	if (model->ema_anneal_end_step < 0)
		model->ema_anneal_end_step = config->optimization.max_update;
	d2v_modality_config *modalities[] = { &model->audio, &model->image, &model->text };
	for (int i = 0; i < 3; i++)
		if (modalities[i]->num_alibi_heads == 0)
			modalities[i]->num_alibi_heads = model->num_heads;
	if (lr->warmup_init_lr < 0)
		lr->warmup_init_lr = NAN;
	if (lr->lr_period_updates < 0)
		lr->lr_period_updates = NAN;
	forget_placeholder(config->task.data);
	forget_placeholder(config->task.audio.data);
	forget_placeholder(config->task.image.data);
	forget_placeholder(config->task.text.data);
	D2V_TRY(resolve_task(config, err));
	D2V_TRY(check_count("optimization.lr", &config->optimization.lr, 1, err));
	D2V_TRY(check_count("optimizer.adam_betas", &config->optimizer.adam_betas, 2, err));
	D2V_TRY(check_batches(config, err));
	D2V_TRY(check_loss_scale(config, err));
	D2V_TRY(check_schedule(config, err));
	return d2v_model_config_check(model, err);
}

// ---- as text

// What a field is for, and what it may be. context: room for it.
static const char *note_field(void *context, const char *path) {
	return d2v_fields_describe(d2v_config_fields(), path, context, D2V_FIELD_TEXT_MAX);
}

d2v_status d2v_config_print(const d2v_config *config, char **text, d2v_error *err) {
	json_t *tree = NULL;
	char note[D2V_FIELD_TEXT_MAX];
	*text = NULL;
	D2V_TRY(d2v_fields_tree(d2v_config_fields(), config, &tree, err));
	d2v_status status = d2v_yaml_text_noted(tree, note_field, note, text, err);
	json_decref(tree);
	return status;
}

static d2v_status deciding_tree(const d2v_config *config, json_t **tree, d2v_error *err) {
	D2V_TRY(d2v_fields_tree(d2v_config_fields(), config, tree, err));
	json_object_del(*tree, "checkpoint");
	// What has no influence on the numbers, or is about this machine.
	static const char *const left_out[][2] = { { "common", "log_interval" }, { "common", "tensorboard_logdir" },
		{ "task", "data" }, { "dataset", "num_workers" }, { "optimization", "stop_time_hours" }, { "d2v", "device" },
		{ "d2v", "threads" }, { "d2v", "probe_interval" }, { "d2v", "probe_data" }, { "d2v", "probe_samples" },
		{ "d2v", "probe_k" }, { "d2v", "probe_layer" }, { "d2v", "recompute" }, { "d2v", "cuda_graph" },
		{ "common", "min_loss_scale" } };
	static const char *const parts[] = { "audio", "image", "text" };
	for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++)
		json_object_del(json_object_get(*tree, left_out[i][0]), left_out[i][1]);
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		json_object_del(json_object_get(json_object_get(*tree, "task"), parts[i]), "data");
	return D2V_OK;
}

d2v_status d2v_config_stored(const d2v_config *config, char **text, d2v_error *err) {
	json_t *tree = NULL;
	*text = NULL;
	D2V_TRY(deciding_tree(config, &tree, err));
	d2v_status status = d2v_yaml_text(tree, text, err);
	json_decref(tree);
	return status;
}

static void note_difference(d2v_config_difference *difference, const char *path) {
	if (strncmp(path, "model.", 6) == 0) {
		if (!difference->model_key[0])
			snprintf(difference->model_key, sizeof difference->model_key, "%s", path);
		return;
	}
	size_t used = strlen(difference->other_keys);
	snprintf(difference->other_keys + used, sizeof difference->other_keys - used, "%s%s", used ? ", " : "", path);
}

static void compare_trees(json_t *now, json_t *then, const char *prefix, d2v_config_difference *difference) {
	const char *key;
	json_t *value;
	json_object_foreach(now, key, value) {
		char path[256];
		snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
		json_t *other = json_object_get(then, key);
		if (json_is_object(value) && json_is_object(other))
			compare_trees(value, other, path, difference);
		else if (!json_equal(value, other))
			note_difference(difference, path);
	}
}

d2v_status d2v_config_compare(const d2v_config *config, const char *stored, const char *where,
	d2v_config_difference *difference, d2v_error *err) {
	json_t *now = NULL, *then = NULL;
	d2v_config *earlier = NULL;
	*difference = (d2v_config_difference){ 0 };
	d2v_status status = d2v_alloc(&earlier, 1, sizeof *earlier, err);
	// Through the table, so that an older text without a newer key means that key's default.
	if (status == D2V_OK)
		status = d2v_config_defaults(earlier, err);
	if (status == D2V_OK)
		status = d2v_config_read_yaml(earlier, stored, strlen(stored), where, err);
	if (status == D2V_OK)
		(void)d2v_config_resolve(earlier, NULL); // defaults that stand for others; whether it fits is not asked here
	if (status == D2V_OK)
		status = deciding_tree(earlier, &then, err);
	if (status == D2V_OK)
		status = deciding_tree(config, &now, err);
	if (status == D2V_OK)
		compare_trees(now, then, "", difference);
	json_decref(now);
	json_decref(then);
	d2v_free(earlier);
	return status;
}

// ---- for others

d2v_optimizer_config d2v_config_optimizer(const d2v_config *config) {
	return (d2v_optimizer_config){
		.lr = config->optimization.lr.value[0],
		.beta1 = config->optimizer.adam_betas.value[0],
		.beta2 = config->optimizer.adam_betas.value[1],
		.adam_eps = config->optimizer.adam_eps,
		.weight_decay = config->optimizer.weight_decay,
		.clip_norm = config->optimization.clip_norm,
		.decay_all = config->own.decay_all,
	};
}

d2v_schedule_config d2v_config_schedule(const d2v_config *config) {
	const d2v_lr_config *lr = &config->lr_scheduler;
	d2v_schedule_config schedule = {
		.kind = (d2v_schedule_kind)lr->kind,
		.lr = config->optimization.lr.value[0],
		.min_lr = lr->min_lr,
		.warmup_init_lr = lr->warmup_init_lr,
		.warmup_updates = lr->warmup_updates,
		.max_update = config->optimization.max_update,
		.lr_period_updates = lr->lr_period_updates,
		.t_mult = lr->t_mult,
		.lr_shrink = lr->lr_shrink,
		.init_lr_scale = lr->init_lr_scale,
		.final_lr_scale = lr->final_lr_scale,
		.hold_steps = lr->hold_steps,
		.decay_steps = lr->decay_steps,
		.end_learning_rate = lr->end_learning_rate,
		.power = lr->power,
	};
	for (int i = 0; i < 3 && lr->phase_ratio.count == 3; i++)
		schedule.phase_ratio[i] = lr->phase_ratio.value[i];
	return schedule;
}

d2v_memory_options d2v_config_memory(const d2v_config *config) {
	return (d2v_memory_options){ .recompute = config->own.recompute, .clone_groups = config->own.clone_groups };
}

d2v_loss_scale_config d2v_config_loss_scale(const d2v_config *config) {
	const d2v_common_config *common = &config->common;
	int64_t window = common->fp16_scale_window;
	if (window == 0)
		window = (int64_t)((double)(1 << 14) / (double)config->world_size / config->optimization.update_freq.value[0]);
	return (d2v_loss_scale_config){
		.init = common->fp16_init_scale,
		.minimum = common->min_loss_scale,
		.threshold = common->threshold_loss_scale,
		.window = window > 0 ? (uint64_t)window : 1,
	};
}

int64_t d2v_config_batches_per_update(const d2v_config *config, uint64_t epoch) {
	const d2v_field_reals *frequency = &config->optimization.update_freq;
	uint64_t index = epoch > 0 ? epoch - 1 : 0, last = (uint64_t)frequency->count - 1;
	return (int64_t)frequency->value[index < last ? index : last] * config->world_size;
}

d2v_task_part d2v_config_part(const d2v_config *config, d2v_modality modality) {
	const d2v_task_config *task = &config->task;
	d2v_task_part part = { 0 };
	if (d2v_config_is_joint(config))
		part = modality == D2V_AUDIO ? task->audio : modality == D2V_IMAGE ? task->image : task->text;
	else
		memcpy(part.data, task->data, sizeof part.data);
	if (part.max_tokens == 0 && part.batch_size == 0) {
		part.max_tokens = config->dataset.max_tokens;
		part.batch_size = config->dataset.batch_size;
	}
	if (!part.train_subset[0])
		memcpy(part.train_subset, config->dataset.train_subset, sizeof part.train_subset);
	return part;
}

bool d2v_config_is_joint(const d2v_config *config) {
	int modalities = 0;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		modalities += d2v_model_config_has(&config->model, modality);
	return modalities > 1;
}
