#include "tests/golden/golden_expected.h"

#include "base/memory.h"
#include "tests/golden/golden_fetch.h"
#include "train/model_internal.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define RELATIVE 1e-5       // outputs, losses, gradients
#define RELATIVE_STATE 1e-4 // parameters and teacher after updates, and what is computed with those

static bool ends_with(const char *text, const char *end) {
	size_t length = strlen(text), tail = strlen(end);
	return length >= tail && strcmp(text + length - tail, end) == 0;
}

static bool is_state(const char *group) {
	return strcmp(group, "param") == 0 || strcmp(group, "ema") == 0;
}

static void compare_tensor(
	const golden_state *state, const char *group, const d2v_tensor_info *tensor, const float *ours) {
	// The key third of a qkv bias has no gradient but rounding noise, which Adam blows up.
	bool key_third = is_state(group) && ends_with(tensor->name, "attn.qkv.bias");
	int64_t third = (int64_t)tensor->count / 3;
	golden_compare(state->report, group, tensor->name, state->update, ours, tensor->data, (int64_t)tensor->count,
		is_state(group) ? RELATIVE_STATE : RELATIVE, key_third ? NULL : state->noise, key_third ? third : 0,
		key_third ? 2 * third : 0);
}

static bool scalar_named(const golden_state *state, const char *name, float *value) {
	const d2v_step_result *result = state->result;
	char regression[64];
	size_t at = (size_t)snprintf(regression, sizeof regression, "loss/");
	for (const char *modality = d2v_modality_name(result->modality); *modality; modality++)
		regression[at++] = (char)toupper((unsigned char)*modality);
	snprintf(regression + at, sizeof regression - at, "_regression");
	const struct {
		const char *name;
		double value;
	} table[] = {
		{ regression, result->loss_regression },
		{ "loss/cls", result->loss_cls },
		{ "loss/total", result->loss },
		{ "stat/target_var", result->target_var },
		{ "stat/pred_var", result->pred_var },
		{ "stat/grad_norm", state->optimized->grad_norm },
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].name, name) == 0) {
			*value = (float)table[i].value;
			return true;
		}
	return false;
}

// Which keys of the student's attention are padding: bytes, compared exactly.
static bool compare_padding(const golden_state *state, const d2v_tensor_info *tensor) {
	const d2v_padding *padding = &state->model->places[state->model->place].padding;
	bool teacher = strcmp(tensor->name, "mid/teacher_padding") == 0;
	if (!teacher && strcmp(tensor->name, "mid/encoder_padding") != 0)
		return false;
	const uint8_t *ours = teacher ? padding->teacher : padding->student, *theirs = tensor->data;
	int64_t wrong = 0;
	for (uint64_t i = 0; i < tensor->count; i++)
		wrong += (ours ? ours[i] : 0) != theirs[i];
	golden_compare_number(state->report, "mid", tensor->name, state->update, (double)wrong, 0, 0);
	return true;
}

// What a step in groups has no view of.
static bool is_of_encoder(const char *name) {
	static const char *const names[] = { "mid/encoder_in", "mid/encoder_alibi_bias_row0", "mid/block_",
		"out/encoder_out", "out/cls_pred" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static d2v_status compare_expected(const golden_state *state, const d2v_tensor_info *tensor) {
	char group[32];
	size_t length = strcspn(tensor->name, "/");
	snprintf(group, sizeof group, "%.*s", (int)length, tensor->name);
	float scalar, *ours = NULL;
	if (strcmp(tensor->name, "loss/sample_size") == 0) {
		golden_compare_number(state->report, group, tensor->name, state->update, (double)state->result->sample_size,
			(double)*(const int64_t *)tensor->data, 0);
		return D2V_OK;
	}
	if (compare_padding(state, tensor) || (!d2v_model_view(state->model)->encoder_out && is_of_encoder(tensor->name)))
		return D2V_OK;
	if (scalar_named(state, tensor->name, &scalar) && tensor->count == 1 && tensor->dtype == D2V_F32) {
		compare_tensor(state, group, tensor, &scalar);
		return D2V_OK;
	}
	bool parameter = is_state(group) || strcmp(group, "grad") == 0;
	d2v_status status = parameter && tensor->name[length]
							? golden_fetch_parameter(state, group, tensor->name + length + 1, &ours)
							: golden_fetch_named(state, tensor->name, &ours);
	if (status == D2V_NOT_FOUND || tensor->dtype != D2V_F32 || *state->fetched != (int64_t)tensor->count) {
		golden_report_failure(state->report, group, tensor->name, state->update);
		status = D2V_OK;
	} else if (status == D2V_OK) {
		compare_tensor(state, group, tensor, ours);
	}
	d2v_free(ours);
	return status;
}

static double norm_of(const float *values, int64_t count) {
	double sum = 0;
	for (int64_t i = 0; i < count; i++)
		sum += (double)values[i] * (double)values[i];
	return sqrt(sum);
}

// What f32 may change in the norm of a gradient of `count` elements: as much as its noise in all of them, and what
// terms the size of the whole gradient leave when they cancel in one that is far smaller.
static double gradient_noise(const golden_state *state, const char *name, int64_t count) {
	char tensor[D2V_PARAM_NAME + 8];
	snprintf(tensor, sizeof tensor, "grad/%s", name);
	double noise = json_number_value(json_array_get(json_object_get(state->noise, tensor), 0));
	return fmax(10 * noise * sqrt((double)count), FLT_EPSILON * state->optimized->grad_norm);
}

// The norms of steps.json. Those of qkv biases after updates include the key third: left out.
static d2v_status compare_norms(const golden_state *state, const json_t *norms, const char *group, const char *label) {
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)norms, name, value) {
		if (is_state(group) && ends_with(name, "attn.qkv.bias"))
			continue;
		float *ours = NULL;
		d2v_status status = golden_fetch_parameter(state, group, name, &ours);
		if (status == D2V_NOT_FOUND) {
			golden_report_failure(state->report, label, name, state->update);
			continue;
		}
		if (status != D2V_OK)
			return status;
		double expected = json_number_value(value);
		golden_compare_number(state->report, label, name, state->update, norm_of(ours, *state->fetched), expected,
			fmax(RELATIVE_STATE * expected, is_state(group) ? 0 : gradient_noise(state, name, *state->fetched)));
		d2v_free(ours);
	}
	return D2V_OK;
}

static double step_number(const json_t *row, const char *key) {
	const json_t *value = json_object_get(row, key);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

// How often Adam has moved parameters: the shared blocks and each modality's own, whose counters stand still in the
// updates of the others.
static void compare_adam_steps(const golden_state *state, const json_t *counts) {
	const d2v_params *params = d2v_model_params(state->model);
	const int64_t *steps = d2v_optimizer_steps(state->optimizer);
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)counts, name, value) {
		char prefix[64] = "blocks.";
		if (strcmp(name, "shared_blocks") != 0)
			snprintf(prefix, sizeof prefix, "modality_encoders.%s.", name);
		for (int i = 0; i < params->count; i++)
			if (!params->list[i].frozen && strncmp(params->list[i].name, prefix, strlen(prefix)) == 0)
				golden_compare_number(state->report, "adam steps", params->list[i].name, state->update,
					(double)steps[i], json_number_value(value), 0);
	}
}

#define CLOSE 1e-9 // of what both compute in double

d2v_status golden_expected_row(const golden_state *state, double lr, double decay) {
	const json_t *row = json_array_get(state->golden.steps, (size_t)state->update);
	golden_report *report = state->report;
	double expected = step_number(row, "lr");
	golden_compare_number(report, "steps", "lr", state->update, lr, expected, CLOSE * expected);
	expected = step_number(row, "ema_decay");
	golden_compare_number(report, "steps", "ema_decay", state->update, decay, expected, CLOSE);
	expected = step_number(row, "masked_pct");
	golden_compare_number(report, "steps", "masked_pct", state->update, state->result->masked_pct, expected, CLOSE);
	double noise = json_number_value(json_array_get(json_object_get(state->noise, "stat/grad_norm"), 0));
	expected = step_number(row, "grad_norm");
	golden_compare_number(report, "steps", "grad_norm", state->update, state->optimized->grad_norm, expected,
		fmax(RELATIVE * expected, 10 * noise));
	double share = fmax(RELATIVE, 10 * noise / expected);
	expected = step_number(row, "clip_coef");
	golden_compare_number(
		report, "steps", "clip_coef", state->update, state->optimized->clip_coef, expected, share * expected);
	compare_adam_steps(state, json_object_get(row, "adam_step_count"));
	D2V_TRY(compare_norms(state, json_object_get(row, "grad_norms"), "grad", "grad norms"));
	D2V_TRY(compare_norms(state, json_object_get(row, "param_norms"), "param", "param norms"));
	return compare_norms(state, json_object_get(row, "ema_norms"), "ema", "ema norms");
}

// The lists of config.json name the same parameters in the same order.
void golden_expected_names(const golden_state *state) {
	const d2v_params *params = d2v_model_params(state->model);
	const json_t *trainable = json_object_get(state->golden.config, "trainable_parameters");
	const json_t *teacher = json_object_get(state->golden.config, "teacher_parameters");
	const char *prefix = json_string_value(json_object_get(state->golden.config, "teacher_name_prefix_in_student"));
	size_t at = 0, in_teacher = 0, prefix_length = prefix ? strlen(prefix) : 0;
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		const char *expected = param->frozen ? NULL : json_string_value(json_array_get(trainable, at++));
		if (!param->frozen && (!expected || strcmp(expected, param->name) != 0))
			golden_report_failure(state->report, "names", param->name, 0);
		if (param->teacher_offset < 0)
			continue;
		expected = json_string_value(json_array_get(teacher, in_teacher++));
		if (!expected || strcmp(expected, param->name + prefix_length) != 0)
			golden_report_failure(state->report, "names", param->name, 0);
	}
	golden_compare_number(state->report, "names", "trainable", 0, (double)at, (double)json_array_size(trainable), 0);
	golden_compare_number(
		state->report, "names", "teacher", 0, (double)in_teacher, (double)json_array_size(teacher), 0);
}

d2v_status golden_expected_tensors(golden_state *state) {
	char key[32];
	snprintf(key, sizeof key, "expect_%lld", (long long)state->update);
	state->noise = json_object_get(state->golden.noise, key);
	d2v_safetensors *expected = NULL;
	D2V_TRY(golden_case_tensors(&state->golden, "expect", state->update, &expected, state->err));
	d2v_status status = D2V_OK;
	for (int i = 0; status == D2V_OK && i < d2v_safetensors_count(expected); i++)
		status = compare_expected(state, d2v_safetensors_at(expected, i));
	d2v_safetensors_close(expected);
	return status;
}
