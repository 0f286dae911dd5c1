#include "train/optimizer.h"

#include "base/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct d2v_optimizer {
	d2v_model *model;
	d2v_optimizer_config config;
	float *m, *v;      // device
	double *squares;   // device, 1
	int64_t *steps;    // (params.count)
	d2v_range *ranges; // (params.count) room
	bool *done;        // (params.count) room
};

d2v_status d2v_optimizer_new(
	d2v_optimizer **out, d2v_model *model, const d2v_optimizer_config *config, d2v_error *err) {
	*out = NULL;
	d2v_optimizer *optimizer;
	D2V_TRY(d2v_alloc_zero(&optimizer, 1, sizeof *optimizer, err));
	optimizer->model = model;
	optimizer->config = *config;
	d2v_device *device = d2v_model_device(model);
	const d2v_params *params = d2v_model_params(model);
	size_t bytes = (size_t)params->size * sizeof(float), count = (size_t)params->count;
	d2v_status status = d2v_device_alloc(device, &optimizer->m, bytes, err);
	if (status == D2V_OK)
		status = d2v_device_alloc(device, &optimizer->v, bytes, err);
	if (status == D2V_OK)
		status = d2v_device_alloc(device, &optimizer->squares, sizeof *optimizer->squares, err);
	if (status == D2V_OK)
		status = d2v_alloc_zero(&optimizer->steps, count, sizeof *optimizer->steps, err);
	if (status == D2V_OK)
		status = d2v_alloc_zero(&optimizer->ranges, count, sizeof *optimizer->ranges, err);
	if (status == D2V_OK)
		status = d2v_alloc_zero(&optimizer->done, count, sizeof *optimizer->done, err);
	if (status != D2V_OK) {
		d2v_optimizer_free(optimizer);
		return status;
	}
	d2v_device_zero(device, optimizer->m, bytes);
	d2v_device_zero(device, optimizer->v, bytes);
	*out = optimizer;
	return D2V_OK;
}

void d2v_optimizer_free(d2v_optimizer *optimizer) {
	if (!optimizer)
		return;
	d2v_device *device = d2v_model_device(optimizer->model);
	d2v_device_free(device, optimizer->m);
	d2v_device_free(device, optimizer->v);
	d2v_device_free(device, optimizer->squares);
	d2v_free(optimizer->steps);
	d2v_free(optimizer->ranges);
	d2v_free(optimizer->done);
	d2v_free(optimizer);
}

float *d2v_optimizer_m(d2v_optimizer *optimizer) {
	return optimizer->m;
}
float *d2v_optimizer_v(d2v_optimizer *optimizer) {
	return optimizer->v;
}
int64_t *d2v_optimizer_steps(d2v_optimizer *optimizer) {
	return optimizer->steps;
}

// What the original's tags meant to leave undecayed, and did not.
static bool is_exempt(const d2v_optimizer_config *config, const d2v_param *param) {
	if (config->decay_all)
		return false;
	size_t length = strlen(param->name);
	bool is_bias = length >= 5 && strcmp(param->name + length - 5, ".bias") == 0;
	return param->rank == 1 || is_bias || strstr(param->name, "alibi_scale") != NULL;
}

static bool takes_part(const d2v_optimizer *optimizer, int index) {
	const d2v_param *param = &d2v_model_params(optimizer->model)->list[index];
	return d2v_model_touched(optimizer->model)[index] && !param->frozen;
}

// Ranges of all parameters that are updated in the same way as `first`, neighbours joined: gaps hold zeros and stay
// zero.
static int64_t ranges_like(d2v_optimizer *optimizer, int first) {
	const d2v_params *params = d2v_model_params(optimizer->model);
	bool exempt = is_exempt(&optimizer->config, &params->list[first]);
	int64_t count = 0;
	bool neighbour = false; // the parameter before this one is in the last range
	for (int i = first; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		bool alike = !optimizer->done[i] && takes_part(optimizer, i) &&
					 optimizer->steps[i] == optimizer->steps[first] && is_exempt(&optimizer->config, param) == exempt;
		if (alike && neighbour)
			optimizer->ranges[count - 1].count = param->offset + param->count - optimizer->ranges[count - 1].offset;
		else if (alike)
			optimizer->ranges[count++] = (d2v_range){ .offset = param->offset, .count = param->count };
		neighbour = alike;
		optimizer->done[i] |= alike;
	}
	return count;
}

static void update_like(d2v_optimizer *optimizer, int first, double lr, double grad_scale) {
	const d2v_optimizer_config *config = &optimizer->config;
	const d2v_params *params = d2v_model_params(optimizer->model);
	d2v_adam op = { .param = d2v_model_weights(optimizer->model), .grad = d2v_model_gradients(optimizer->model) };
	op.m = optimizer->m, op.v = optimizer->v, op.working = d2v_model_working(optimizer->model);
	op.range_count = ranges_like(optimizer, first), op.ranges = optimizer->ranges;
	op.lr = lr, op.beta1 = config->beta1, op.beta2 = config->beta2, op.eps = config->adam_eps;
	op.weight_decay = is_exempt(config, &params->list[first]) ? 0 : config->weight_decay;
	op.grad_scale = grad_scale;
	op.step = optimizer->steps[first] + 1;
	d2v_adam_update(d2v_model_device(optimizer->model), &op);
}

static d2v_status gradient_norm(d2v_optimizer *optimizer, double divisor, double *norm, d2v_error *err) {
	d2v_device *device = d2v_model_device(optimizer->model);
	double squares = 0;
	d2v_sum_squares(
		device, optimizer->squares, d2v_model_gradients(optimizer->model), d2v_model_params(optimizer->model)->size);
	d2v_device_download(device, &squares, optimizer->squares, sizeof squares);
	D2V_TRY(d2v_device_sync(device, err));
	*norm = sqrt(squares) / divisor;
	if (!(*norm <= DBL_MAX))
		return d2v_fail(err, D2V_DIVERGED,
			"the gradient's norm is %g: nothing was updated; lower the learning rate or set "
			"optimization.clip_norm, and go on from an earlier checkpoint",
			*norm);
	return D2V_OK;
}

d2v_status d2v_optimizer_update(
	d2v_optimizer *optimizer, double divisor, double lr, d2v_optimizer_result *result, d2v_error *err) {
	const d2v_params *params = d2v_model_params(optimizer->model);
	divisor = divisor > 0 ? divisor : 1;
	*result = (d2v_optimizer_result){ .clip_coef = 1 };
	D2V_TRY(gradient_norm(optimizer, divisor, &result->grad_norm, err));
	if (optimizer->config.clip_norm > 0)
		result->clip_coef = fmin(1, optimizer->config.clip_norm / (result->grad_norm + 1e-6));
	memset(optimizer->done, 0, (size_t)params->count * sizeof *optimizer->done);
	for (int i = 0; i < params->count; i++)
		if (!optimizer->done[i] && takes_part(optimizer, i))
			update_like(optimizer, i, lr, result->clip_coef / divisor);
	for (int i = 0; i < params->count; i++)
		optimizer->steps[i] += optimizer->done[i];
	return d2v_device_sync(d2v_model_device(optimizer->model), err);
}
