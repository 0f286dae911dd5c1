#include "tests/golden/golden_fetch.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

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

d2v_status golden_fetch_named(const golden_state *state, const char *name, float **out) {
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

d2v_status golden_fetch_parameter(const golden_state *state, const char *group, const char *name, float **out) {
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
