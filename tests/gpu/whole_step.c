#include "tests/gpu/whole_step.h"

#include "base/memory.h"
#include "base/progress.h"
#include "tests/train/synthetic_batches.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/recipe.h"

#include <stdlib.h>

#define WARM_UP 5 // updates that do not count: plans and graphs are made
#define COUNTED 10
#define MOST 100

// ---- updates

typedef struct run {
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	d2v_source *source;
	const d2v_batch *batch; // of the next update
	double flops;
} run;

// One update as the trainer makes it: the batch after it is taken and said while the step runs. The optimizer waits for
// its end.
static d2v_status update(run *r, uint64_t number, d2v_error *err) {
	const d2v_batch *next;
	d2v_step_result result;
	d2v_optimizer_result optimized;
	d2v_model_move_teacher(r->model, number);
	d2v_model_zero_gradients(r->model);
	D2V_TRY(d2v_model_step_begin(r->model, r->batch, number, err));
	d2v_status status = d2v_source_next(r->source, &next, err);
	if (status == D2V_OK)
		d2v_model_step_ahead(r->model, next, number + 1);
	D2V_TRY(d2v_model_step_end(r->model, &result, err));
	D2V_TRY(status);
	D2V_TRY(d2v_optimizer_update(r->optimizer, (double)result.sample_size, 1e-4, &optimized, err));
	r->flops = result.flops;
	d2v_source_give(r->source, r->batch);
	r->batch = next;
	return D2V_OK;
}

static int ascending(const void *a, const void *b) {
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

// seconds: (count), sorted on return.
static whole_step_times times_of(double *seconds, int count) {
	whole_step_times times = { 0 };
	for (int i = 0; i < count; i++)
		times.mean += seconds[i] / count;
	qsort(seconds, (size_t)count, sizeof *seconds, ascending);
	times.median = (seconds[(count - 1) / 2] + seconds[count / 2]) / 2;
	return times;
}

static d2v_status time_updates(run *r, int count, bool graphs, whole_step_times *times, d2v_error *err) {
	double seconds[MOST];
	D2V_ASSERT(count <= MOST);
	d2v_device_graph_allow(r->device, graphs);
	D2V_TRY(d2v_source_next(r->source, &r->batch, err));
	for (int i = 0; i < WARM_UP + count; i++) {
		double start = d2v_clock();
		D2V_TRY(update(r, (uint64_t)i, err));
		if (i >= WARM_UP)
			seconds[i - WARM_UP] = d2v_clock() - start;
	}
	d2v_source_give(r->source, r->batch);
	*times = times_of(seconds, count);
	return D2V_OK;
}

// ---- memory

// Bytes that a run of this step is said to take (train/plan.h).
static d2v_status planned(d2v_device *device, const d2v_config *config, const whole_step *step, double peak_flops,
	double *bytes, d2v_error *err) {
	d2v_modality modality = (d2v_modality)config->model.supported_modality;
	d2v_plan_shape shape = { modality, step->samples, modality == D2V_TEXT ? step->tokens : step->length, 1 };
	d2v_plan_data data = { .shapes = &shape, .count = 1 };
	d2v_plan plan;
	D2V_TRY(d2v_plan_make(&plan, config, device, &data, peak_flops, err));
	*bytes = plan.weight_bytes + plan.optimizer_bytes + plan.step_bytes;
	return D2V_OK;
}

static double taken(d2v_device *device) {
	size_t left, all;
	d2v_device_memory(device, &left, &all);
	return (double)(all - left);
}

// ---- all

static d2v_status load(d2v_config *config, const whole_step *step, d2v_error *err) {
	D2V_TRY(d2v_recipe_load(config, step->recipe, NULL, 0, err));
	config->own.recompute = step->memory.recompute, config->own.clone_groups = step->memory.clone_groups;
	if (!step->layer_drop)
		config->model.layerdrop = config->model.audio.prenet_layerdrop = 0;
	return D2V_OK;
}

static d2v_status open_run(run *r, const d2v_config *config, const whole_step *step, d2v_error *err) {
	static const d2v_optimizer_config adam = {
		.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.98, .adam_eps = 1e-6, .weight_decay = 0.01, .decay_all = true
	};
	D2V_TRY(d2v_model_new(&r->model, r->device, &config->model, err));
	d2v_model_set_memory(r->model, step->memory);
	D2V_TRY(d2v_model_init(r->model, err));
	D2V_TRY(d2v_optimizer_new(&r->optimizer, r->model, &adam, err));
	const synthetic_shape shape = { step->samples, step->length, step->tokens };
	return synthetic_batches_open(&r->source, config, shape, r->device, err);
}

static void close_run(run *r) {
	d2v_source_close(r->source);
	d2v_optimizer_free(r->optimizer);
	d2v_model_free(r->model);
}

static d2v_status measure(run *r, const d2v_config *config, const whole_step *step, double peak_flops,
	whole_step_result *result, d2v_error *err) {
	int count = step->updates ? step->updates : COUNTED;
	double before = taken(r->device);
	D2V_TRY(planned(r->device, config, step, peak_flops, &result->planned, err));
	D2V_TRY(open_run(r, config, step, err));
	D2V_TRY(time_updates(r, count, false, &result->plain, err));
	D2V_TRY(time_updates(r, count, true, &result->as_graph, err));
	result->flops = r->flops;
	result->taken = taken(r->device) - before;
	result->graphs = d2v_device_graphs(r->device);
	return D2V_OK;
}

d2v_status whole_step_measure(
	d2v_device *device, const whole_step *step, double peak_flops, whole_step_result *result, d2v_error *err) {
	d2v_config *config;
	run r = { .device = device };
	D2V_TRY(d2v_alloc_zero(&config, 1, sizeof *config, err));
	d2v_status status = load(config, step, err);
	if (status == D2V_OK)
		status = measure(&r, config, step, peak_flops, result, err);
	close_run(&r);
	d2v_free(config);
	return status;
}
