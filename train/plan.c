#include "train/plan.h"

#include "base/memory.h"
#include "base/progress.h"
#include "kernels/ops.h"

#include <math.h>

#define PEAK_SIDE 1536
#define PEAK_SIDE_GPU 8192
#define PEAK_SECONDS 0.1

static double time_products(d2v_device *device, const d2v_linear *op, d2v_status *status, d2v_error *err) {
	double best = INFINITY, begun = d2v_clock();
	for (int i = 0; (i < 3 || d2v_clock() - begun < PEAK_SECONDS) && *status == D2V_OK; i++) {
		double start = d2v_clock();
		d2v_linear_forward(device, op);
		*status = d2v_device_sync(device, err);
		double seconds = d2v_clock() - start;
		if (i > 0 && seconds < best) // the first one compiles its kernel
			best = seconds;
	}
	return best;
}

d2v_status d2v_plan_measure_peak(d2v_device *device, double *flops, d2v_error *err) {
	const int64_t side = d2v_device_threads(device) ? PEAK_SIDE : PEAK_SIDE_GPU;
	*flops = d2v_device_datasheet(device);
	if (*flops > 0)
		return D2V_OK;
	size_t matrix = (size_t)(side * side) * d2v_device_real_size(device);
	char *memory = NULL;
	D2V_TRY(d2v_device_alloc(device, &memory, 3 * matrix, err));
	d2v_device_zero(device, memory, 3 * matrix);
	d2v_linear op = { .rows = side, .in = side, .out = side };
	op.x = (d2v_real *)(void *)memory, op.w = (d2v_real *)(void *)(memory + matrix);
	op.y = (d2v_real *)(void *)(memory + 2 * matrix);
	d2v_status status = D2V_OK;
	double seconds = time_products(device, &op, &status, err);
	d2v_device_free(device, memory);
	if (status == D2V_OK)
		*flops = 2.0 * (double)side * (double)side * (double)side / seconds;
	return status;
}

// Tokens of a row, and those of them that the student sees (spec/model.md 5: how many are masked or kept is rounded
// down where it is drawn).
static d2v_step_shape step_shape(const d2v_config *config, const d2v_model *model, const d2v_plan_shape *shape) {
	const d2v_modality_config *modality = d2v_model_config_modality(&config->model, shape->modality);
	d2v_step_shape step = { .modality = shape->modality, .batch = shape->batch, .clones = config->model.clone_batch };
	step.length = shape->modality == D2V_AUDIO ? shape->length : 0;
	step.tokens = d2v_model_tokens(model, shape->modality, shape->length);
	double tokens = (double)step.tokens, share = 1 - modality->mask_prob;
	bool draws_kept = modality->inverse_mask || shape->modality == D2V_TEXT;
	step.kept = draws_kept ? (int64_t)(tokens * share) : step.tokens - (int64_t)(tokens * modality->mask_prob);
	step.kept = step.kept > 0 ? step.kept : 1;
	return step;
}

// The batch of each modality that needs the most memory; batch 0: there is none of it.
typedef struct largest_shapes {
	d2v_plan_shape of[D2V_MODALITY_END];
	double bytes[D2V_MODALITY_END];
} largest_shapes;

// Means over the batches, and the largest ones.
static d2v_status add_shapes(d2v_plan *plan, const d2v_config *config, d2v_model *model, const d2v_plan_data *data,
	largest_shapes *largest, d2v_error *err) {
	double batches = 0, samples = 0, flops = 0, again = 0, units[D2V_MODALITY_END] = { 0 };
	for (int i = 0; i < data->count; i++) {
		const d2v_plan_shape *shape = &data->shapes[i];
		d2v_step_shape step = step_shape(config, model, shape);
		double length = shape->modality == D2V_IMAGE ? 1 : (double)shape->length;
		size_t bytes;
		D2V_TRY(d2v_model_step_memory(model, &step, &bytes, err));
		if ((double)bytes > largest->bytes[shape->modality]) {
			largest->bytes[shape->modality] = (double)bytes;
			largest->of[shape->modality] = *shape;
		}
		plan->step_bytes = fmax(plan->step_bytes, (double)bytes);
		batches += shape->count;
		samples += shape->count * (double)shape->batch;
		units[shape->modality] += shape->count * (double)shape->batch * length;
		flops += shape->count * d2v_model_step_flops(&config->model, &step);
		again += shape->count * d2v_model_recompute_flops(&config->model, &step);
	}
	double each = plan->batches_update / batches;
	plan->samples_update = samples * each;
	plan->audio_seconds_update = units[D2V_AUDIO] * each / (double)config->task.sample_rate;
	plan->pictures_update = units[D2V_IMAGE] * each;
	plan->text_tokens_update = units[D2V_TEXT] * each;
	plan->flops_update = flops * each;
	plan->recompute_share = again / flops;
	return D2V_OK;
}

static void add_sizes(d2v_plan *plan, const d2v_device *device, const d2v_params *params) {
	plan->parameters = d2v_params_trainable(params);
	for (int i = 0; i < params->count; i++)
		if (params->list[i].teacher_offset >= 0)
			plan->teacher_parameters += params->list[i].count;
	double weights = 4.0 * (double)params->size, teacher = 4.0 * (double)params->teacher_size;
	plan->weight_bytes = 2 * weights + teacher;        // weights, gradients, teacher
	if (d2v_device_real_size(device) != sizeof(float)) // and copies in the working type
		plan->weight_bytes += (weights + teacher) * (double)d2v_device_real_size(device) / sizeof(float);
	plan->optimizer_bytes = 2 * weights;
	plan->checkpoint_bytes = 4.0 * (3.0 * (double)plan->parameters + (double)plan->teacher_parameters);
}

// ---- what fits

// Bytes of the largest step with these options.
static d2v_status measure(const d2v_config *config, d2v_model *model, const largest_shapes *largest,
	d2v_memory_options memory, double *most, d2v_error *err) {
	*most = 0;
	d2v_model_set_memory(model, memory);
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		if (largest->of[modality].batch == 0)
			continue;
		d2v_step_shape step = step_shape(config, model, &largest->of[modality]);
		size_t bytes;
		D2V_TRY(d2v_model_step_memory(model, &step, &bytes, err));
		*most = fmax(*most, (double)bytes);
	}
	return D2V_OK;
}

static int64_t groups_most(const largest_shapes *largest) {
	int64_t most = 1;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		most = largest->of[modality].batch > most ? largest->of[modality].batch : most;
	return most < D2V_CLONE_GROUPS_MAX ? most : D2V_CLONE_GROUPS_MAX;
}

// The fewest groups that fit, more than one.
static d2v_status find_groups(const d2v_config *config, d2v_model *model, const largest_shapes *largest, double room,
	d2v_plan_way *way, d2v_error *err) {
	int64_t most = groups_most(largest), fails = 1, fits = most > 2 ? most : 2;
	while (fits - fails > 1) {
		way->memory.clone_groups = fails + (fits - fails) / 2;
		D2V_TRY(measure(config, model, largest, way->memory, &way->step_bytes, err));
		*(way->step_bytes <= room ? &fits : &fails) = way->memory.clone_groups;
	}
	way->memory.clone_groups = fits;
	return measure(config, model, largest, way->memory, &way->step_bytes, err);
}

// Whether the products of every group are still large.
static bool are_groups_large(
	const d2v_config *config, const d2v_model *model, const largest_shapes *largest, int64_t groups) {
	bool large = true;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		if (largest->of[modality].batch == 0)
			continue;
		d2v_step_shape step = step_shape(config, model, &largest->of[modality]);
		large = large && step.batch / groups * step.clones * step.kept >= D2V_PLAN_GROUP_TOKENS;
	}
	return large;
}

// Groups cost next to nothing while they are large; recomputation costs work; small groups leave a device idle.
static int cheapest_way(const d2v_plan_way ways[D2V_PLAN_WAYS], bool large) {
	static const int order[2][D2V_PLAN_WAYS] = {
		{ D2V_PLAN_PLAIN, D2V_PLAN_RECOMPUTE, D2V_PLAN_BOTH, D2V_PLAN_GROUPS },
		{ D2V_PLAN_PLAIN, D2V_PLAN_GROUPS, D2V_PLAN_RECOMPUTE, D2V_PLAN_BOTH },
	};
	for (int i = 0; i < D2V_PLAN_WAYS; i++)
		if (ways[order[large][i]].fits)
			return order[large][i];
	return -1;
}

static d2v_status add_ways(d2v_plan *plan, const d2v_config *config, d2v_model *model, const largest_shapes *largest,
	double room, d2v_error *err) {
	for (int i = 0; i < D2V_PLAN_WAYS; i++) {
		d2v_plan_way *way = &plan->ways[i];
		way->memory.recompute = i == D2V_PLAN_RECOMPUTE || i == D2V_PLAN_BOTH;
		way->memory.clone_groups = 1;
		D2V_TRY(i == D2V_PLAN_GROUPS || i == D2V_PLAN_BOTH
					? find_groups(config, model, largest, room, way, err)
					: measure(config, model, largest, way->memory, &way->step_bytes, err));
		way->fits = way->step_bytes <= room;
	}
	plan->way = cheapest_way(
		plan->ways, are_groups_large(config, model, largest, plan->ways[D2V_PLAN_GROUPS].memory.clone_groups));
	d2v_model_set_memory(model, d2v_config_memory(config));
	return D2V_OK;
}

// How many samples of the largest batch would fit.
static d2v_status find_batch(d2v_plan *plan, const d2v_config *config, d2v_model *model, const largest_shapes *largest,
	double room, d2v_error *err) {
	const d2v_plan_shape *most = &largest->of[D2V_AUDIO];
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++)
		if (largest->bytes[modality] >= plan->step_bytes)
			most = &largest->of[modality];
	int64_t fits = 0, fails = most->batch;
	while (fails - fits > 1) {
		d2v_plan_shape shape = *most;
		shape.batch = fits + (fails - fits) / 2;
		d2v_step_shape step = step_shape(config, model, &shape);
		size_t bytes;
		D2V_TRY(d2v_model_step_memory(model, &step, &bytes, err));
		*((double)bytes <= room ? &fits : &fails) = shape.batch;
	}
	plan->fitting_batch = fits ? fits : -1;
	return D2V_OK;
}

// Whether the device holds all that, and if not, what would make it.
static d2v_status add_fit(d2v_plan *plan, const d2v_config *config, d2v_device *device, d2v_model *model,
	const largest_shapes *largest, d2v_error *err) {
	size_t left, all;
	d2v_device_memory(device, &left, &all);
	plan->device_bytes = (double)all;
	double room = all ? (double)all * D2V_PLAN_MEMORY - plan->weight_bytes - plan->optimizer_bytes : INFINITY;
	D2V_TRY(add_ways(plan, config, model, largest, room, err));
	return plan->step_bytes <= room ? D2V_OK : find_batch(plan, config, model, largest, room, err);
}

// ---- the whole

static void add_times(d2v_plan *plan, const d2v_config *config, const d2v_plan_data *data, double peak_flops) {
	double updates = (double)config->optimization.max_update;
	plan->peak_flops = peak_flops;
	plan->updates_epoch = data->updates_epoch;
	plan->epochs = data->updates_epoch > 0 ? updates / data->updates_epoch : 0;
	plan->audio_hours = updates * plan->audio_seconds_update / 3600;
	if (!(peak_flops > 0))
		return;
	double work = plan->flops_update * (config->own.recompute ? 1 + plan->recompute_share : 1);
	double seconds = work / (peak_flops * plan->efficiency);
	plan->updates_hour = 3600 / seconds;
	plan->hours = updates / plan->updates_hour;
	plan->loader_times_real = plan->audio_seconds_update / seconds;
	plan->loader_pictures_second = plan->pictures_update / seconds;
	plan->loader_tokens_second = plan->text_tokens_update / seconds;
	if (data->updates_epoch > 0)
		plan->loader_bytes_second = data->bytes_epoch / data->updates_epoch / seconds;
}

d2v_status d2v_plan_make(d2v_plan *plan, const d2v_config *config, d2v_device *device, const d2v_plan_data *data,
	double peak_flops, d2v_error *err) {
	d2v_model *model = NULL;
	*plan = (d2v_plan){ .assumed = data->assumed };
	plan->efficiency = d2v_device_datasheet(device) > 0 ? D2V_PLAN_MFU : D2V_PLAN_EFFICIENCY;
	plan->batches_update = (double)d2v_config_batches_per_update(config, 1);
	d2v_ops_set_dry(device, true); // nothing is written into the weights, so that a large model takes no memory
	d2v_status status = d2v_model_outline(&model, device, &config->model, err);
	d2v_ops_set_dry(device, false);
	D2V_TRY(status);
	d2v_model_set_memory(model, d2v_config_memory(config));
	largest_shapes largest = { 0 };
	status = add_shapes(plan, config, model, data, &largest, err);
	if (status == D2V_OK) {
		add_sizes(plan, device, d2v_model_params(model));
		add_times(plan, config, data, peak_flops);
		status = add_fit(plan, config, device, model, &largest, err);
	}
	d2v_model_free(model);
	return status;
}
