#include "train/plan.h"

#include "base/memory.h"
#include "base/progress.h"
#include "kernels/ops.h"

#include <math.h>
#include <stdio.h>

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

// Means over the batches, and the memory of the largest one, whose shape is given back.
static d2v_status add_shapes(d2v_plan *plan, const d2v_config *config, d2v_model *model, const d2v_plan_data *data,
	d2v_plan_shape *largest, d2v_error *err) {
	double batches = 0, samples = 0, flops = 0, units[D2V_MODALITY_END] = { 0 };
	for (int i = 0; i < data->count; i++) {
		const d2v_plan_shape *shape = &data->shapes[i];
		d2v_step_shape step = step_shape(config, model, shape);
		double length = shape->modality == D2V_IMAGE ? 1 : (double)shape->length;
		size_t bytes;
		D2V_TRY(d2v_model_step_memory(model, &step, &bytes, err));
		if ((double)bytes > plan->step_bytes) {
			plan->step_bytes = (double)bytes;
			*largest = *shape;
		}
		batches += shape->count;
		samples += shape->count * (double)shape->batch;
		units[shape->modality] += shape->count * (double)shape->batch * length;
		flops += shape->count * d2v_model_step_flops(&config->model, &step);
	}
	double each = plan->batches_update / batches;
	plan->samples_update = samples * each;
	plan->audio_seconds_update = units[D2V_AUDIO] * each / (double)config->task.sample_rate;
	plan->pictures_update = units[D2V_IMAGE] * each;
	plan->text_tokens_update = units[D2V_TEXT] * each;
	plan->flops_update = flops * each;
	return D2V_OK;
}

static void add_sizes(d2v_plan *plan, const d2v_device *device, const d2v_params *params) {
	plan->parameters = d2v_params_trainable(params);
	for (int i = 0; i < params->count; i++)
		if (params->list[i].teacher_offset >= 0)
			plan->teacher_parameters += params->list[i].count;
	double weights = 4.0 * (double)params->size, teacher = 4.0 * (double)params->teacher_size;
	plan->weight_bytes = 2 * weights + teacher; // weights, gradients, teacher
	if (d2v_device_real_size(device) != sizeof(float)) // and copies in the working type
		plan->weight_bytes += (weights + teacher) * (double)d2v_device_real_size(device) / sizeof(float);
	plan->optimizer_bytes = 2 * weights;
	plan->checkpoint_bytes = 4.0 * (3.0 * (double)plan->parameters + (double)plan->teacher_parameters);
}

// Whether the device holds all that, and if not, how many samples of the largest batch it would.
static d2v_status add_fit(d2v_plan *plan, const d2v_config *config, d2v_device *device, d2v_model *model,
	const d2v_plan_shape *largest, d2v_error *err) {
	size_t left, all;
	d2v_device_memory(device, &left, &all);
	plan->device_bytes = (double)all;
	double room = (double)all * D2V_PLAN_MEMORY - plan->weight_bytes - plan->optimizer_bytes;
	if (all == 0 || plan->step_bytes <= room)
		return D2V_OK;
	int64_t fits = 0, not = largest->batch;
	while (not - fits > 1) {
		d2v_plan_shape shape = *largest;
		shape.batch = fits + (not - fits) / 2;
		d2v_step_shape step = step_shape(config, model, &shape);
		size_t bytes;
		D2V_TRY(d2v_model_step_memory(model, &step, &bytes, err));
		*((double)bytes <= room ? &fits : &not) = shape.batch;
	}
	plan->fitting_batch = fits ? fits : -1;
	return D2V_OK;
}

static void add_times(d2v_plan *plan, const d2v_config *config, const d2v_plan_data *data, double peak_flops) {
	double updates = (double)config->optimization.max_update;
	plan->peak_flops = peak_flops;
	plan->updates_epoch = data->updates_epoch;
	plan->epochs = data->updates_epoch > 0 ? updates / data->updates_epoch : 0;
	plan->audio_hours = updates * plan->audio_seconds_update / 3600;
	double seconds = plan->flops_update / (peak_flops * plan->efficiency);
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
	d2v_plan_shape largest = { 0 };
	status = add_shapes(plan, config, model, data, &largest, err);
	if (status == D2V_OK) {
		add_sizes(plan, device, d2v_model_params(model));
		add_times(plan, config, data, peak_flops);
		status = add_fit(plan, config, device, model, &largest, err);
	}
	d2v_model_free(model);
	return status;
}

// ---- saying it

d2v_status d2v_plan_tree(const d2v_plan *plan, json_t **tree, d2v_error *err) {
	const struct {
		const char *key;
		double value;
	} rows[] = {
		{ "parameters", (double)plan->parameters },
		{ "teacher_parameters", (double)plan->teacher_parameters },
		{ "batches_per_update", plan->batches_update },
		{ "samples_per_update", plan->samples_update },
		{ "audio_seconds_per_update", plan->audio_seconds_update },
		{ "pictures_per_update", plan->pictures_update },
		{ "text_tokens_per_update", plan->text_tokens_update },
		{ "flops_per_update", plan->flops_update },
		{ "weight_bytes", plan->weight_bytes },
		{ "optimizer_bytes", plan->optimizer_bytes },
		{ "step_bytes", plan->step_bytes },
		{ "device_bytes", plan->device_bytes },
		{ "fitting_batch", (double)plan->fitting_batch },
		{ "checkpoint_bytes", plan->checkpoint_bytes },
		{ "updates_per_epoch", plan->updates_epoch },
		{ "epochs", plan->epochs },
		{ "audio_hours", plan->audio_hours },
		{ "peak_flops", plan->peak_flops },
		{ "assumed_efficiency", plan->efficiency },
		{ "updates_per_hour", plan->updates_hour },
		{ "expected_hours", plan->hours },
		{ "loader_times_real_time", plan->loader_times_real },
		{ "loader_pictures_per_second", plan->loader_pictures_second },
		{ "loader_tokens_per_second", plan->loader_tokens_second },
		{ "loader_bytes_per_second", plan->loader_bytes_second },
	};
	*tree = json_object();
	d2v_status status = *tree ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "out of memory for the plan");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == D2V_OK; i++) {
		bool whole = floor(rows[i].value) == rows[i].value && fabs(rows[i].value) < 9e15;
		status = d2v_json_set(
			*tree, rows[i].key, whole ? json_integer((json_int_t)rows[i].value) : json_real(rows[i].value), err);
	}
	if (status == D2V_OK)
		status = d2v_json_set(*tree, "assumed_batches", json_boolean(plan->assumed), err);
	if (status != D2V_OK) {
		json_decref(*tree);
		*tree = NULL;
	}
	return status;
}

#define PHRASE 256

static int add_phrase(char text[PHRASE], int used, const char *format, double value) {
	used += snprintf(text + used, (size_t)(PHRASE - used), "%s", used ? ", " : "");
	return used + snprintf(text + used, (size_t)(PHRASE - used), format, value);
}

// "12.4 s of speech, 32 pictures, 4096 tokens of text": of what the run reads.
static const char *name_update(const d2v_plan *plan, char text[PHRASE]) {
	int used = 0;
	text[0] = 0;
	if (plan->audio_seconds_update > 0)
		used = add_phrase(text, used, "%.1f s of speech", plan->audio_seconds_update);
	if (plan->pictures_update > 0)
		used = add_phrase(text, used, "%.1f pictures", plan->pictures_update);
	if (plan->text_tokens_update > 0)
		add_phrase(text, used, "%.0f tokens of text", plan->text_tokens_update);
	return text;
}

static const char *name_run(const d2v_plan *plan, double updates, char text[PHRASE]) {
	int used = 0;
	text[0] = 0;
	if (plan->audio_hours > 0)
		used = add_phrase(text, used, "%.0f h of speech", plan->audio_hours);
	if (plan->pictures_update > 0)
		used = add_phrase(text, used, "%.3g M pictures", updates * plan->pictures_update * 1e-6);
	if (plan->text_tokens_update > 0)
		add_phrase(text, used, "%.3g M tokens of text", updates * plan->text_tokens_update * 1e-6);
	return text;
}

static const char *name_demand(const d2v_plan *plan, char text[PHRASE]) {
	char bytes[D2V_PROGRESS_TEXT];
	int used = 0;
	text[0] = 0;
	if (plan->loader_times_real > 0)
		used = add_phrase(text, used, "%.0fx real time", plan->loader_times_real);
	if (plan->loader_pictures_second > 0)
		used = add_phrase(text, used, "%.1f pictures/s", plan->loader_pictures_second);
	if (plan->loader_tokens_second > 0)
		used = add_phrase(text, used, "%.0f tokens/s", plan->loader_tokens_second);
	if (plan->loader_bytes_second > 0)
		snprintf(text + used, (size_t)(PHRASE - used), ", %s/s", d2v_progress_bytes(plan->loader_bytes_second, bytes));
	return text;
}

static const char *name_share(const d2v_plan *plan, char text[PHRASE]) {
	char all[D2V_PROGRESS_TEXT];
	double share = (plan->weight_bytes + plan->optimizer_bytes + plan->step_bytes) / plan->device_bytes;
	text[0] = 0;
	if (plan->device_bytes > 0)
		snprintf(text, PHRASE, ", %.0f %% of the device's %s", 100 * share, d2v_progress_bytes(plan->device_bytes, all));
	return text;
}

static const char *name_remedy(const d2v_plan *plan, char text[PHRASE]) {
	text[0] = 0;
	if (plan->fitting_batch > 0)
		snprintf(text, PHRASE,
			"              does not fit: batches of %lld do; set dataset.batch_size or dataset.max_tokens to that, and\n"
			"              optimization.update_freq or more workers to keep the update what it is\n",
			(long long)plan->fitting_batch);
	else if (plan->fitting_batch < 0)
		snprintf(text, PHRASE, "              does not fit, not even a batch of one; take a smaller model or shorter samples\n");
	return text;
}

d2v_status d2v_plan_text(const d2v_plan *plan, const d2v_config *config, char **text, d2v_error *err) {
	char parameters[D2V_PROGRESS_TEXT], teacher[D2V_PROGRESS_TEXT], weights[D2V_PROGRESS_TEXT];
	char optimizer[D2V_PROGRESS_TEXT], step[D2V_PROGRESS_TEXT], total[D2V_PROGRESS_TEXT], disk[D2V_PROGRESS_TEXT];
	char duration[D2V_PROGRESS_TEXT], update[PHRASE], run[PHRASE], loader[PHRASE], epochs[PHRASE];
	char share[PHRASE], remedy[PHRASE];
	double updates = (double)config->optimization.max_update;
	if (plan->updates_epoch > 0)
		snprintf(epochs, PHRASE, "%.1f updates an epoch, %.1f epochs", plan->updates_epoch, plan->epochs);
	else
		snprintf(epochs, PHRASE, "give task.data to count the updates of an epoch");
	return d2v_asprintf(text, err,
		"parameters    %s trainable, %s in the teacher\n"
		"an update     %.0f batches, %.1f samples, %s%s, %.3f TFLOP\n"
		"memory        %s%s: weights, gradients, teacher %s; Adam %s; activations of the largest batch %s\n%s"
		"run           %.0f updates, %s; %s\n"
		"speed         %.0f GFLOP/s in matrix products, %.0f %% of it assumed: %.0f updates an hour\n"
		"time          %s\n"
		"loader        must deliver %s\n"
		"disk          %s a checkpoint\n",
		d2v_progress_count((uint64_t)plan->parameters, parameters),
		d2v_progress_count((uint64_t)plan->teacher_parameters, teacher), plan->batches_update, plan->samples_update,
		name_update(plan, update), plan->assumed ? " (assumed: no data set was given)" : "", plan->flops_update * 1e-12,
		d2v_progress_bytes(plan->weight_bytes + plan->optimizer_bytes + plan->step_bytes, total), name_share(plan, share),
		d2v_progress_bytes(plan->weight_bytes, weights), d2v_progress_bytes(plan->optimizer_bytes, optimizer),
		d2v_progress_bytes(plan->step_bytes, step), name_remedy(plan, remedy), updates, name_run(plan, updates, run), epochs,
		plan->peak_flops * 1e-9, 100 * plan->efficiency, plan->updates_hour,
		d2v_progress_duration(plan->hours * 3600, duration), name_demand(plan, loader),
		d2v_progress_bytes(plan->checkpoint_bytes, disk));
}
