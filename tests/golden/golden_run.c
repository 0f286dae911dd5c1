#include "tests/golden/golden_run.h"

#include "base/memory.h"
#include "train/model_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define RELATIVE 1e-5       // outputs, losses, gradients
#define F16_SCALE 128       // of gradients, the original's first
#define F16_SCALE_MIN 0x1p-6
#define RELATIVE_STATE 1e-4 // parameters and teacher after updates, and what is computed with those

typedef struct golden_state {
	golden_case golden;
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	golden_report *report;
	double scale; // of gradients
	int64_t update;
	const d2v_batch *batch;
	const d2v_step_result *result;
	const d2v_optimizer_result *optimized;
	const json_t *noise; // of this update
	int64_t *fetched;    // elements of what was fetched last
	d2v_error *err;
} golden_state;

// ---- fetching
// ----------------------------------------------------------------------------------------------------------

static d2v_status fetch_reals(const golden_state *state, const d2v_real *from, int64_t count, float **out) {
	float *floats;
	D2V_TRY(d2v_alloc(out, (size_t)count, sizeof **out, state->err));
	*state->fetched = count;
	D2V_TRY(d2v_device_alloc(state->device, &floats, (size_t)count * sizeof *floats, state->err));
	d2v_device_to_float(state->device, floats, from, (size_t)count);
	d2v_device_download(state->device, *out, floats, (size_t)count * sizeof **out);
	d2v_device_free(state->device, floats);
	return d2v_device_sync(state->device, state->err);
}

static d2v_status fetch_floats(const golden_state *state, const float *from, int64_t count, float **out) {
	D2V_TRY(d2v_alloc(out, (size_t)count, sizeof **out, state->err));
	*state->fetched = count;
	d2v_device_download(state->device, *out, from, (size_t)count * sizeof **out);
	return d2v_device_sync(state->device, state->err);
}

// Rows of x (rows, width) at the masked positions; sample_rows: x has the rows of samples instead of those of copies.
static d2v_status pick_masked(const golden_state *state, float **x, bool sample_rows) {
	const d2v_batch *batch = state->batch;
	int64_t width = state->golden.model.embed_dim;
	float *picked;
	D2V_TRY(d2v_alloc(&picked, (size_t)(batch->masked_count * width), sizeof *picked, state->err));
	for (int64_t i = 0; i < batch->masked_count; i++) {
		int64_t row = batch->masked[i] / batch->tokens, t = batch->masked[i] % batch->tokens;
		int64_t from = (sample_rows ? row / batch->clones : row) * batch->tokens + t;
		memcpy(picked + i * width, *x + from * width, (size_t)width * sizeof *picked);
	}
	d2v_free(*x);
	*x = picked;
	*state->fetched = batch->masked_count * width;
	return D2V_OK;
}

// x (rows, E+T, D) without the extra tokens, in place.
static void strip_extra(float *x, int64_t rows, int64_t extra, int64_t tokens, int64_t width) {
	for (int64_t r = 0; r < rows; r++)
		memmove(
			x + r * tokens * width, x + (r * (extra + tokens) + extra) * width, (size_t)(tokens * width) * sizeof *x);
}

static d2v_status fetch_cls_target(const golden_state *state, float **out) {
	const d2v_batch *batch = state->batch;
	int64_t width = state->golden.model.embed_dim, rows = (int64_t)batch->samples * batch->clones;
	float *target;
	D2V_TRY(fetch_floats(
		state, d2v_model_view(state->model)->target, (int64_t)batch->samples * batch->tokens * width, &target));
	d2v_status status = d2v_alloc(out, (size_t)(rows * width), sizeof **out, state->err);
	for (int64_t r = 0; status == D2V_OK && r < rows; r++)
		for (int64_t c = 0; c < width; c++) {
			double sum = 0;
			for (int64_t t = 0; t < batch->tokens; t++)
				sum += (double)target[(r / batch->clones * batch->tokens + t) * width + c];
			(*out)[r * width + c] = (float)(sum / (double)batch->tokens);
		}
	d2v_free(target);
	*state->fetched = rows * width;
	return status;
}

static d2v_status fetch_cls_pred(const golden_state *state, float **out) {
	const d2v_step_view *view = d2v_model_view(state->model);
	int64_t width = state->golden.model.embed_dim, rows = view->batch * view->clones, tokens = view->extra + view->kept;
	D2V_TRY(fetch_reals(state, view->encoder_out, rows * tokens * width, out));
	for (int64_t r = 0; r < rows; r++)
		memmove(*out + r * width, *out + (r * tokens + view->extra - 1) * width, (size_t)width * sizeof **out);
	*state->fetched = rows * width;
	return D2V_OK;
}

// Fills *out with what the case calls by this name. D2V_NOT_FOUND: nothing here has that name.
static d2v_status fetch_named(const golden_state *state, const char *name, float **out) {
	const d2v_step_view *view = d2v_model_view(state->model);
	int64_t width = state->golden.model.embed_dim;
	int64_t rows = view->batch * view->clones, tokens = view->extra + view->kept, own = view->extra + view->tokens;
	int block;
	if (strcmp(name, "mid/local_features") == 0)
		return fetch_reals(state, view->local_features, view->batch * view->tokens * width, out);
	if (strcmp(name, "mid/encoder_in") == 0)
		return fetch_reals(state, view->encoder_in, rows * tokens * width, out);
	if (sscanf(name, "mid/block_%d", &block) == 1 && block >= 0 && block < 64 && view->block[block])
		return fetch_reals(state, view->block[block], rows * tokens * width, out);
	if (strcmp(name, "mid/encoder_alibi_bias_row0") == 0 && view->encoder_bias)
		return fetch_floats(state, view->encoder_bias, state->golden.model.num_heads * tokens * tokens, out);
	if (strcmp(name, "mid/decoder_out") == 0)
		return fetch_reals(state, view->decoder_out, rows * view->tokens * width, out);
	if (strcmp(name, "mid/teacher_in") == 0)
		return fetch_reals(state, view->teacher_in, view->batch * own * width, out);
	if (strcmp(name, "out/encoder_out") == 0)
		return fetch_reals(state, view->encoder_out, rows * tokens * width, out);
	if (strcmp(name, "out/target_full") == 0)
		return fetch_floats(state, view->target, view->batch * view->tokens * width, out);
	if (sscanf(name, "out/teacher_layer_%d", &block) == 1 && block >= 0 && block < 64 && view->teacher_target[block]) {
		D2V_TRY(fetch_reals(state, view->teacher_target[block], view->batch * own * width, out));
		strip_extra(*out, view->batch, view->extra, view->tokens, width);
		*state->fetched = view->batch * view->tokens * width;
		return D2V_OK;
	}
	if (strcmp(name, "out/pred") == 0) {
		D2V_TRY(fetch_reals(state, view->decoder_out, rows * view->tokens * width, out));
		return pick_masked(state, out, false);
	}
	if (strcmp(name, "out/target") == 0) {
		D2V_TRY(fetch_floats(state, view->target, view->batch * view->tokens * width, out));
		return pick_masked(state, out, true);
	}
	if (strcmp(name, "out/cls_pred") == 0)
		return fetch_cls_pred(state, out);
	if (strcmp(name, "out/cls_target") == 0)
		return fetch_cls_target(state, out);
	return D2V_NOT_FOUND;
}

static d2v_status fetch_parameter(const golden_state *state, const char *group, const char *name, float **out) {
	char full[D2V_PARAM_NAME * 2];
	const char *prefix = json_string_value(json_object_get(state->golden.config, "teacher_name_prefix_in_student"));
	bool teacher = strcmp(group, "ema") == 0;
	snprintf(full, sizeof full, "%s%s", teacher && prefix ? prefix : "", name);
	const d2v_param *param = d2v_params_find(d2v_model_params(state->model), full);
	if (!param || (teacher && param->teacher_offset < 0))
		return D2V_NOT_FOUND;
	if (teacher)
		return fetch_floats(state, d2v_model_teacher(state->model) + param->teacher_offset, param->count, out);
	if (strcmp(group, "param") == 0)
		return fetch_floats(state, d2v_model_weights(state->model) + param->offset, param->count, out);
	D2V_TRY(fetch_floats(state, d2v_model_gradients(state->model) + param->offset, param->count, out));
	for (int64_t i = 0; i < param->count; i++)
		(*out)[i] /= (float)((double)state->result->sample_size * state->scale);
	return D2V_OK;
}

// ---- comparing
// ---------------------------------------------------------------------------------------------------------

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
		is_state(group) ? RELATIVE_STATE : RELATIVE, is_state(group) ? NULL : state->noise, key_third ? third : 0,
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
							? fetch_parameter(state, group, tensor->name + length + 1, &ours)
							: fetch_named(state, tensor->name, &ours);
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

// The norms of steps.json. Those of qkv biases after updates include the key third: left out.
static d2v_status compare_norms(const golden_state *state, const json_t *norms, const char *group, const char *label) {
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)norms, name, value) {
		if (is_state(group) && ends_with(name, "attn.qkv.bias"))
			continue;
		float *ours = NULL;
		d2v_status status = fetch_parameter(state, group, name, &ours);
		if (status == D2V_NOT_FOUND) {
			golden_report_failure(state->report, label, name, state->update);
			continue;
		}
		if (status != D2V_OK)
			return status;
		double expected = json_number_value(value);
		golden_compare_number(state->report, label, name, state->update, norm_of(ours, *state->fetched), expected,
			RELATIVE_STATE * expected);
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

static d2v_status compare_row(const golden_state *state, double lr, double decay) {
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
static void compare_names(const golden_state *state) {
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

// ---- running
// -----------------------------------------------------------------------------------------------------------

static d2v_status compare_update(golden_state *state) {
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

// In f16 with the scale lowered until the gradients fit.
static d2v_status step_and_update(golden_state *state, const d2v_batch *batch, double lr, d2v_step_result *result,
	d2v_optimizer_result *optimized) {
	bool is_f16 = d2v_device_real_max(state->device) < 1e6;
	for (;; state->scale /= 2) {
		d2v_model_scale_gradients(state->model, state->scale);
		d2v_model_zero_gradients(state->model);
		D2V_TRY(d2v_model_step(state->model, batch, (uint64_t)state->update, result, state->err));
		d2v_status status = d2v_optimizer_update(
			state->optimizer, (double)result->sample_size * state->scale, lr, optimized, state->err);
		if (status != D2V_DIVERGED || !is_f16 || state->scale <= F16_SCALE_MIN)
			return status;
	}
}

static d2v_status run_update(golden_state *state) {
	golden_batch batch;
	d2v_status status = golden_batch_open(&batch, &state->golden, state->update, state->err);
	d2v_step_result result = { .loss = NAN };
	d2v_optimizer_result optimized = { .grad_norm = NAN };
	double lr = d2v_schedule_lr(&state->golden.schedule, (uint64_t)state->update), decay = NAN;
	if (status == D2V_OK)
		status = step_and_update(state, &batch.batch, lr, &result, &optimized);
	if (status == D2V_OK)
		decay = d2v_model_move_teacher(state->model, (uint64_t)state->update + 1);
	state->batch = &batch.batch, state->result = &result, state->optimized = &optimized;
	if (status == D2V_OK)
		status = compare_update(state);
	if (status == D2V_OK)
		status = compare_row(state, lr, decay);
	golden_batch_release(&batch);
	return status;
}

static d2v_status nudge(const golden_state *state, const char *name) {
	const d2v_param *param = d2v_params_find(d2v_model_params(state->model), name);
	if (!param)
		return d2v_fail(state->err, D2V_NOT_FOUND, "no parameter %s", name);
	float value = 0, *at = d2v_model_weights(state->model) + param->offset;
	d2v_device_download(state->device, &value, at, sizeof value);
	value *= 1.001f;
	d2v_device_upload(state->device, at, &value, sizeof value);
	d2v_model_refresh(state->model);
	return d2v_device_sync(state->device, state->err);
}

static d2v_status run_case(golden_state *state, const golden_options *options) {
	D2V_TRY(d2v_device_open(&state->device, golden_device(), state->err));
	D2V_TRY(d2v_model_new(&state->model, state->device, &state->golden.model, state->err));
	D2V_TRY(golden_case_load(&state->golden, state->model, state->err));
	state->scale = d2v_device_real_max(state->device) < 1e6 ? F16_SCALE : 1;
	D2V_TRY(d2v_optimizer_new(&state->optimizer, state->model, &state->golden.optimizer, state->err));
	compare_names(state);
	d2v_model_watch(state->model, true);
	d2v_model_set_memory(state->model, options->memory);
	if (options->nudge)
		D2V_TRY(nudge(state, options->nudge));
	int64_t updates = state->golden.step_count;
	if (options->updates && options->updates < updates)
		updates = options->updates;
	for (state->update = 0; state->update < updates; state->update++)
		D2V_TRY(run_update(state));
	return D2V_OK;
}

d2v_status golden_run(const char *folder, const golden_options *options, golden_report *report, d2v_error *err) {
	int64_t fetched = 0;
	golden_state state = { .report = report, .fetched = &fetched, .err = err };
	golden_report_init(report, golden_device());
	d2v_status status = golden_case_open(&state.golden, folder, err);
	if (status == D2V_OK)
		status = run_case(&state, options);
	d2v_optimizer_free(state.optimizer);
	d2v_model_free(state.model);
	d2v_device_close(state.device);
	golden_case_release(&state.golden);
	return status;
}
