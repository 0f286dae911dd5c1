// What fairseq's YAMLs write in another shape than the table of fields has it.
#include "train/config.h"

#include <string.h>

static bool is_one_of(const char *key, const char *const *keys) {
	for (; *keys; keys++)
		if (strcmp(key, *keys) == 0)
			return true;
	return false;
}

// "lr_scheduler: cosine" chooses by name what "lr_scheduler: {_name: cosine}" does.
static d2v_status name_to_mapping(json_t *tree, const char *section, d2v_error *err) {
	json_t *value = json_object_get(tree, section);
	if (!json_is_string(value))
		return D2V_OK;
	json_t *mapping = json_object();
	d2v_status status = d2v_json_set(mapping, "_name", json_incref(value), err);
	if (status == D2V_OK)
		return d2v_json_set(tree, section, mapping, err);
	json_decref(mapping);
	return status;
}

static d2v_status copy_section(json_t *tree, const char *section, json_t *from, const char *where, d2v_error *err) {
	if (!from)
		return D2V_OK;
	if (!json_is_string(from) && !json_is_object(from)) // inside a group too, a bare name is allowed
		return d2v_fail(err, D2V_INVALID, "%s: optimizer.groups: %s is no mapping", where, section);
	return d2v_json_set(tree, section, json_incref(from), err);
}

// Groups that say the same are one.
static bool groups_are_equal(json_t *groups) {
	const char *key;
	json_t *value;
	if (!json_is_object(groups) || json_object_size(groups) == 0)
		return false;
	json_t *first = json_object_iter_value(json_object_iter(groups));
	json_object_foreach(groups, key, value)
		if (!json_equal(first, value))
			return false;
	return true;
}

static d2v_status check_group(json_t *group, const char *where, d2v_error *err) {
	static const char *const known[] = { "lr", "lr_float", "optimizer", "lr_scheduler", NULL };
	const char *key;
	json_t *value;
	if (!json_is_object(group))
		return d2v_fail(err, D2V_INVALID, "%s: optimizer.groups: the group is no mapping", where);
	json_object_foreach(group, key, value)
		if (!is_one_of(key, known))
			return d2v_fail(err, D2V_INVALID,
				"%s: optimizer.groups: unknown key %s; lr, lr_float, optimizer and lr_scheduler are known", where, key);
	return D2V_OK;
}

// The group's rate becomes the run's.
static d2v_status lift_rate(json_t *tree, json_t *group, const char *where, d2v_error *err) {
	json_t *lr = json_object_get(group, "lr_float");
	if (!lr || json_is_null(lr))
		lr = json_object_get(group, "lr");
	if (!lr)
		return D2V_OK;
	if (!json_object_get(tree, "optimization"))
		D2V_TRY(d2v_json_set(tree, "optimization", json_object(), err));
	json_t *optimization = json_object_get(tree, "optimization");
	if (!json_is_object(optimization))
		return d2v_fail(err, D2V_INVALID, "%s: optimization: expected a mapping", where);
	return d2v_json_set(optimization, "lr", json_incref(lr), err);
}

static d2v_status lift_group(json_t *tree, json_t *group, const char *where, d2v_error *err) {
	D2V_TRY(check_group(group, where, err));
	D2V_TRY(lift_rate(tree, group, where, err));
	D2V_TRY(copy_section(tree, "lr_scheduler", json_object_get(group, "lr_scheduler"), where, err));
	return copy_section(tree, "optimizer", json_object_get(group, "optimizer"), where, err);
}

// optimizer: {_name: composite, groups: {default: {lr_float, optimizer, lr_scheduler}}}
static d2v_status flatten_group(json_t *tree, const char *where, d2v_error *err) {
	json_t *groups = json_object_get(json_object_get(tree, "optimizer"), "groups");
	if (!groups)
		return D2V_OK;
	if (!groups_are_equal(groups))
		return d2v_fail(err, D2V_UNSUPPORTED,
			"%s: optimizer.groups: one group, or several with the same settings, are supported", where);
	// Kept while the section that holds it is replaced.
	json_t *group = json_incref(json_object_iter_value(json_object_iter(groups)));
	d2v_status status = lift_group(tree, group, where, err);
	json_decref(group);
	return status;
}

// With a composite optimizer whose group has no schedule of its own there is nothing that pass_through could pass.
static d2v_status check_pass_through(json_t *tree, const char *where, d2v_error *err) {
	const char *name = json_string_value(json_object_get(json_object_get(tree, "lr_scheduler"), "_name"));
	if (name && strcmp(name, "pass_through") == 0)
		return d2v_fail(err, D2V_INVALID,
			"%s: lr_scheduler._name: pass_through needs an lr_scheduler in the optimizer's group", where);
	return D2V_OK;
}

// "No limit" is null there and 0 here.
static void drop_null(json_t *tree, const char *section, const char *key) {
	json_t *mapping = json_object_get(tree, section);
	if (json_is_null(json_object_get(mapping, key)))
		json_object_del(mapping, key);
}

// A joint run's task has one task per modality below it: what belongs to a data set stays there, the rest is ours to
// share.
static d2v_status lift_task(json_t *task, const char *modality, const char *where, d2v_error *err) {
	static const char *const own[] = { "data", "train_subset", "share", "max_tokens", "batch_size", NULL };
	json_t *part = json_object_get(task, modality), *value;
	const char *key;
	void *next;
	if (!part)
		return D2V_OK;
	if (!json_is_object(part))
		return d2v_fail(err, D2V_INVALID, "%s: task.%s: expected a mapping", where, modality);
	json_object_foreach_safe(part, next, key, value) {
		if (is_one_of(key, own))
			continue;
		if (strcmp(key, "_name") != 0)
			D2V_TRY(d2v_json_set(task, key, json_incref(value), err));
		json_object_del(part, key);
	}
	return D2V_OK;
}

static bool names_task(const json_t *tree, const char *name) {
	const char *found = json_string_value(json_object_get(json_object_get(tree, "task"), "_name"));
	return found && strcmp(found, name) == 0;
}

// There the modalities come from the task.
static d2v_status name_all_modalities(json_t *tree, d2v_error *err) {
	json_t *model = json_object_get(tree, "model");
	if (!names_task(tree, "multimodal_pretraining") || !json_is_object(model) ||
		json_object_get(model, "supported_modality"))
		return D2V_OK;
	return d2v_json_set(model, "supported_modality", json_null(), err);
}

// An interpolation there: the table of positions has as many rows as the task has tokens.
static d2v_status interpolate_positions(json_t *tree, d2v_error *err) {
	json_t *tokens = json_object_get(json_object_get(tree, "task"), "tokens_per_sample");
	json_t *modalities = json_object_get(json_object_get(tree, "model"), "modalities");
	json_t *text = json_object_get(modalities, "text");
	if (!json_is_integer(tokens) || !json_is_object(text) || json_object_get(text, "max_source_positions"))
		return D2V_OK;
	return d2v_json_set(text, "max_source_positions", json_incref(tokens), err);
}

d2v_status d2v_config_from_fairseq(json_t *tree, const char *where, d2v_error *err) {
	if (!json_is_object(tree))
		return d2v_fail(err, D2V_INVALID, "%s: expected a mapping of sections", where);
	json_object_del(tree, "hydra"); // settings of the program that started fairseq
	json_object_del(tree, "defaults");
	drop_null(tree, "dataset", "max_tokens");
	drop_null(tree, "dataset", "batch_size");
	json_t *task = json_object_get(tree, "task");
	if (json_is_object(task)) {
		D2V_TRY(lift_task(task, "audio", where, err));
		D2V_TRY(lift_task(task, "image", where, err));
		D2V_TRY(lift_task(task, "text", where, err));
	}
	D2V_TRY(name_all_modalities(tree, err));
	D2V_TRY(interpolate_positions(tree, err));
	drop_null(tree, "task", "min_sample_size");
	drop_null(tree, "task", "max_sample_size");
	drop_null(tree, "common", "tensorboard_logdir");
	drop_null(tree, "common", "fp16_scale_window");
	drop_null(tree, "common", "threshold_loss_scale");
	D2V_TRY(flatten_group(tree, where, err));
	static const char *const by_name[] = { "optimizer", "lr_scheduler", "criterion", "task", "model" };
	for (size_t i = 0; i < sizeof by_name / sizeof by_name[0]; i++)
		D2V_TRY(name_to_mapping(tree, by_name[i], err));
	return check_pass_through(tree, where, err);
}
