#include "tests/golden/golden_run.h"

#include "tests/golden/golden_expected.h"

#include <math.h>

#define F16_SCALE 128 // of gradients, the original's first
#define F16_SCALE_MIN 0x1p-6

// In f16 with the scale lowered until the gradients fit.
static d2v_status step_and_update(
	golden_state *state, const d2v_batch *batch, double lr, d2v_step_result *result, d2v_optimizer_result *optimized) {
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
		status = golden_expected_tensors(state);
	if (status == D2V_OK)
		status = golden_expected_row(state, lr, decay);
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
	golden_expected_names(state);
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
