#include "tests/golden/golden_case.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define JSON_MAX ((size_t)256 << 20)

static d2v_status load_json(const golden_case *golden, const char *name, json_t **root, d2v_error *err) {
	char *path;
	D2V_TRY(d2v_asprintf(&path, err, "%s/%s", golden->folder, name));
	d2v_status status = d2v_json_load(path, JSON_MAX, root, err);
	d2v_free(path);
	return status;
}

static double real_of(const json_t *object, const char *key, double otherwise) {
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : otherwise;
}

static int64_t whole_of(const json_t *object, const char *key, int64_t otherwise) {
	return (int64_t)real_of(object, key, (double)otherwise);
}

// 0: no such modality.
static d2v_modality modality_named(const char *name) {
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		if (name && strcasecmp(name, d2v_modality_name(modality)) == 0)
			return modality;
	return 0;
}

static d2v_status read_modality(golden_case *golden, const char *name, const json_t *own, d2v_error *err) {
	char prefix[64];
	d2v_modality modality = modality_named(name);
	if (!modality || !own)
		return d2v_fail(err, D2V_UNSUPPORTED, "%s: models of %s are not supported", golden->folder, name ? name : "it");
	snprintf(prefix, sizeof prefix, "model.modalities.%s", d2v_modality_name(modality));
	return d2v_fields_read(d2v_model_fields, &golden->model, own, prefix, golden->folder, err);
}

// What model.supported_modality calls the two or three in `joint`.
static int joint_set(const json_t *joint) {
	const char *name;
	json_t *own;
	int missing = D2V_AUDIO + D2V_IMAGE + D2V_TEXT;
	json_object_foreach((json_t *)(uintptr_t)joint, name, own) {
		missing -= (int)modality_named(name);
	}
	if (json_object_size(joint) != 2)
		return D2V_ALL_MODALITIES;
	return missing == D2V_TEXT ? D2V_AUDIO_IMAGE : missing == D2V_IMAGE ? D2V_AUDIO_TEXT : D2V_IMAGE_TEXT;
}

// One modality, or two or three in `modalities`.
static d2v_status read_model(golden_case *golden, d2v_error *err) {
	const json_t *joint = json_object_get(golden->config, "modalities");
	const char *modality = json_string_value(json_object_get(golden->config, "modality"));
	if (json_object_get(golden->config, "cases") || (!joint && !modality))
		return d2v_fail(err, D2V_UNSUPPORTED, "%s: fine-tuning is not supported yet", golden->folder);
	D2V_TRY(d2v_fields_defaults(d2v_model_fields, &golden->model, err));
	D2V_TRY(d2v_fields_read(
		d2v_model_fields, &golden->model, json_object_get(golden->config, "model"), "model", golden->folder, err));
	const char *name;
	json_t *own;
	json_object_foreach((json_t *)(uintptr_t)joint, name, own) {
		D2V_TRY(read_modality(golden, name, own, err));
	}
	if (!joint)
		D2V_TRY(read_modality(golden, modality, json_object_get(golden->config, "modality_config"), err));
	golden->model.supported_modality = joint ? joint_set(joint) : (int)modality_named(modality);
	golden->model.text.vocab_size = whole_of(json_object_get(golden->config, "derived"), "vocab_size", 4);
	return d2v_model_config_check(&golden->model, err);
}

d2v_modality golden_case_modality(const golden_case *golden, int64_t update) {
	const json_t *named = json_array_get(json_object_get(golden->config, "updates"), (size_t)update);
	return modality_named(json_string_value(named ? named : json_object_get(golden->config, "modality")));
}

static d2v_status read_optimizer(golden_case *golden, d2v_error *err) {
	const json_t *optimizer = json_object_get(golden->config, "optimizer");
	const json_t *optimization = json_object_get(golden->config, "optimization");
	const char *kind = json_string_value(json_object_get(optimizer, "kind"));
	if (!kind || (strcmp(kind, "adam") != 0 && strcmp(kind, "composite") != 0))
		return d2v_fail(
			err, D2V_UNSUPPORTED, "%s: the optimizer %s is not supported", golden->folder, kind ? kind : "");
	if (whole_of(optimization, "update_freq", 1) != 1 || whole_of(optimization, "data_parallel_workers", 1) != 1)
		return d2v_fail(
			err, D2V_UNSUPPORTED, "%s: only one batch of one worker per update is supported", golden->folder);
	const json_t *betas = json_object_get(optimizer, "adam_betas");
	golden->optimizer = (d2v_optimizer_config){
		.lr = real_of(optimizer, "lr", 0),
		.beta1 = json_number_value(json_array_get(betas, 0)),
		.beta2 = json_number_value(json_array_get(betas, 1)),
		.adam_eps = real_of(optimizer, "adam_eps", 1e-8),
		.weight_decay = real_of(
			optimizer, "weight_decay_effective_for_every_parameter", real_of(optimizer, "weight_decay_configured", 0)),
		.clip_norm = real_of(optimization, "clip_norm", 0),
		.decay_all = true,
	};
	return D2V_OK;
}

static d2v_status read_schedule(golden_case *golden, d2v_error *err) {
	const json_t *from = json_object_get(golden->config, "lr_scheduler");
	const char *name = json_string_value(json_object_get(from, "_name"));
	d2v_schedule_config *schedule = &golden->schedule;
	*schedule = (d2v_schedule_config){
		.lr = real_of(from, "lr", golden->optimizer.lr),
		.min_lr = real_of(from, "min_lr", 0),
		.warmup_init_lr = real_of(from, "warmup_init_lr", NAN),
		.warmup_updates = whole_of(from, "warmup_updates", whole_of(from, "warmup_steps", 0)),
		.max_update = whole_of(from, "max_update", whole_of(from, "total_num_update", 0)),
		.lr_period_updates = real_of(from, "lr_period_updates", NAN),
		.t_mult = real_of(from, "t_mult", 1),
		.lr_shrink = real_of(from, "lr_shrink", 0.1),
		.init_lr_scale = real_of(from, "init_lr_scale", 0.01),
		.final_lr_scale = real_of(from, "final_lr_scale", 0.01),
		.hold_steps = whole_of(from, "hold_steps", 0),
		.decay_steps = whole_of(from, "decay_steps", 0),
		.end_learning_rate = real_of(from, "end_learning_rate", 0),
		.power = real_of(from, "power", 1),
	};
	for (size_t i = 0; i < 3; i++)
		schedule->phase_ratio[i] = json_number_value(json_array_get(json_object_get(from, "phase_ratio"), i));
	static const char *const names[] = { "cosine", "tri_stage", "polynomial_decay", "fixed" };
	for (int kind = 0; kind < 4; kind++)
		if (name && strcmp(name, names[kind]) == 0) {
			schedule->kind = (d2v_schedule_kind)kind;
			return D2V_OK;
		}
	return d2v_fail(err, D2V_UNSUPPORTED, "%s: the schedule %s is not supported", golden->folder, name ? name : "");
}

d2v_status golden_case_open_model(golden_case *golden, const char *folder, d2v_error *err) {
	*golden = (golden_case){ .folder = folder };
	D2V_TRY(load_json(golden, "config.json", &golden->config, err));
	return read_model(golden, err);
}

d2v_status golden_case_open(golden_case *golden, const char *folder, d2v_error *err) {
	D2V_TRY(golden_case_open_model(golden, folder, err));
	D2V_TRY(read_optimizer(golden, err));
	D2V_TRY(read_schedule(golden, err));
	D2V_TRY(load_json(golden, "steps.json", &golden->steps, err));
	D2V_TRY(load_json(golden, "noise.json", &golden->noise, err));
	golden->step_count = whole_of(golden->config, "steps", 0);
	if (golden->step_count < 1 || (int64_t)json_array_size(golden->steps) != golden->step_count)
		return d2v_fail(err, D2V_INVALID, "%s: steps.json and config.json name different numbers of updates", folder);
	return D2V_OK;
}

void golden_case_release(golden_case *golden) {
	json_decref(golden->config);
	json_decref(golden->steps);
	json_decref(golden->noise);
}

d2v_status golden_case_tensors(
	const golden_case *golden, const char *kind, int64_t update, d2v_safetensors **file, d2v_error *err) {
	char *path;
	if (update < 0)
		D2V_TRY(d2v_asprintf(&path, err, "%s/%s.safetensors", golden->folder, kind));
	else
		D2V_TRY(d2v_asprintf(&path, err, "%s/%s_%lld.safetensors", golden->folder, kind, (long long)update));
	d2v_status status = d2v_safetensors_open(file, path, err);
	d2v_free(path);
	return status;
}

// ---- weights

// partial: cases of features lack the decoders.
static d2v_status load_weights(const d2v_safetensors *file, d2v_model *model, bool partial, d2v_error *err) {
	const d2v_params *params = d2v_model_params(model);
	if (d2v_safetensors_count(file) != params->count && !partial)
		return d2v_fail(
			err, D2V_INVALID, "the model has %d parameters, the case %d", params->count, d2v_safetensors_count(file));
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		const d2v_tensor_info *tensor = d2v_safetensors_find(file, param->name);
		if (!tensor && partial && strstr(param->name, ".decoder."))
			continue;
		if (!tensor)
			return d2v_fail(err, D2V_NOT_FOUND, "the case has no parameter %s", param->name);
		if (tensor->dtype != D2V_F32 || tensor->rank != param->rank ||
			memcmp(tensor->shape, param->shape, (size_t)param->rank * sizeof *param->shape) != 0)
			return d2v_fail(err, D2V_INVALID, "%s: its shape differs from the case's", param->name);
		size_t bytes = (size_t)param->count * sizeof(float);
		d2v_device_upload(d2v_model_device(model), d2v_model_weights(model) + param->offset, tensor->data, bytes);
		if (param->teacher_offset >= 0)
			d2v_device_upload(
				d2v_model_device(model), d2v_model_teacher(model) + param->teacher_offset, tensor->data, bytes);
	}
	d2v_model_refresh(model);
	return d2v_device_sync(d2v_model_device(model), err);
}

d2v_status golden_case_load(const golden_case *golden, d2v_model *model, d2v_error *err) {
	d2v_safetensors *file = NULL;
	D2V_TRY(golden_case_tensors(golden, "init", -1, &file, err));
	d2v_status status = load_weights(file, model, golden->steps == NULL, err);
	d2v_safetensors_close(file);
	return status;
}

// ---- batches

static const d2v_tensor_info *find(const golden_batch *batch, const char *name, d2v_dtype dtype) {
	const d2v_tensor_info *tensor = d2v_safetensors_find(batch->file, name);
	return tensor && tensor->dtype == dtype ? tensor : NULL;
}

static d2v_status narrow(int32_t **out, const d2v_tensor_info *from, d2v_error *err) {
	D2V_TRY(d2v_alloc(out, (size_t)from->count, sizeof **out, err));
	const int64_t *values = from->data;
	for (uint64_t i = 0; i < from->count; i++)
		(*out)[i] = (int32_t)values[i];
	return D2V_OK;
}

static d2v_status list_masked(golden_batch *out, d2v_error *err) {
	d2v_batch *batch = &out->batch;
	int64_t count = (int64_t)batch->samples * batch->clones * batch->tokens;
	D2V_TRY(d2v_alloc(&out->masked, (size_t)count, sizeof *out->masked, err));
	for (int64_t i = 0; i < count; i++)
		if (batch->mask[i])
			out->masked[batch->masked_count++] = (int32_t)i;
	batch->masked = out->masked;
	return D2V_OK;
}

// Valid samples or tokens of each row of a padding mask (B, L).
static d2v_status count_valid(golden_batch *out, const d2v_tensor_info *padding, d2v_error *err) {
	d2v_batch *batch = &out->batch;
	D2V_TRY(d2v_alloc(&out->valid, (size_t)batch->samples, sizeof *out->valid, err));
	const uint8_t *pad = padding->data;
	int64_t length = padding->shape[1];
	for (int64_t b = 0; b < batch->samples; b++) {
		out->valid[b] = (int32_t)length;
		for (int64_t i = 0; i < length; i++)
			out->valid[b] -= pad[b * length + i] != 0;
	}
	batch->valid = out->valid;
	return D2V_OK;
}

// What the local encoder reads, and of how many samples it is.
static d2v_status set_input(golden_batch *out, d2v_modality modality, d2v_error *err) {
	const d2v_tensor_info *source = find(out, "source", D2V_F32), *tokens = find(out, "tokens", D2V_I64);
	const d2v_tensor_info *padding = find(out, "padding_mask", D2V_U8);
	d2v_batch *batch = &out->batch;
	batch->modality = modality;
	if (modality == D2V_TEXT && tokens && tokens->rank == 2) {
		D2V_TRY(narrow(&out->text, tokens, err));
		batch->samples = (int32_t)tokens->shape[0], batch->tokens = (int32_t)tokens->shape[1];
		batch->text = out->text;
	} else if (modality == D2V_IMAGE && source && source->rank == 4) {
		batch->samples = (int32_t)source->shape[0];
		batch->height = (int32_t)source->shape[2], batch->width = (int32_t)source->shape[3];
		batch->pixels = source->data;
	} else if (modality == D2V_AUDIO && source && source->rank == 2) {
		batch->samples = (int32_t)source->shape[0], batch->length = (int32_t)source->shape[1];
		batch->wave = source->data;
	} else {
		return d2v_fail(err, D2V_INVALID, "no input of %s", d2v_modality_name(modality));
	}
	return padding ? count_valid(out, padding, err) : D2V_OK;
}

d2v_status golden_batch_open_input(
	golden_batch *out, const golden_case *golden, const char *kind, int64_t number, d2v_error *err) {
	*out = (golden_batch){ .file = NULL };
	D2V_TRY(golden_case_tensors(golden, kind, number, &out->file, err));
	return set_input(out, golden_case_modality(golden, number), err);
}

d2v_status golden_batch_open(golden_batch *out, const golden_case *golden, int64_t update, d2v_error *err) {
	D2V_TRY(golden_batch_open_input(out, golden, "batch", update, err));
	const d2v_tensor_info *mask = find(out, "mask", D2V_U8), *noise = find(out, "draw0_decoder_noise", D2V_F32);
	const d2v_tensor_info *keep = find(out, "ids_keep", D2V_I64), *restore = find(out, "ids_restore", D2V_I64);
	if (!mask || !keep || !restore || mask->rank != 2 || keep->rank != 2)
		return d2v_fail(err, D2V_INVALID, "%s: batch_%lld lacks a tensor", golden->folder, (long long)update);
	d2v_batch *batch = &out->batch;
	batch->clones = (int32_t)(mask->shape[0] / batch->samples);
	batch->tokens = (int32_t)mask->shape[1], batch->kept = (int32_t)keep->shape[1];
	batch->mask = mask->data, batch->noise = noise ? noise->data : NULL; // none is drawn where its spread is 0
	D2V_TRY(narrow(&out->keep, keep, err));
	D2V_TRY(narrow(&out->restore, restore, err));
	batch->keep = out->keep, batch->restore = out->restore;
	return list_masked(out, err);
}

void golden_batch_release(golden_batch *batch) {
	d2v_safetensors_close(batch->file);
	d2v_free(batch->text);
	d2v_free(batch->keep);
	d2v_free(batch->restore);
	d2v_free(batch->masked);
	d2v_free(batch->valid);
}
