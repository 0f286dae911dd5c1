#include "train/model.h"

#include "base/memory.h"
#include "train/alibi.h"
#include "train/model_internal.h"

// ---- parameters

static d2v_status add_final_norm(d2v_model *model, d2v_error *err) {
	const d2v_model_config *config = &model->config;
	model->norm_gain = model->norm_bias = -1;
	if (!config->layer_norm_first || !config->norm_affine)
		return D2V_OK;
	bool in_teacher = !config->ema_encoder_only;
	int64_t width = config->embed_dim;
	D2V_TRY(
		d2v_params_add(&model->params, "norm.weight", 1, &width, D2V_INIT_ONE, 0, in_teacher, &model->norm_gain, err));
	return d2v_params_add(&model->params, "norm.bias", 1, &width, D2V_INIT_ZERO, 0, in_teacher, &model->norm_bias, err);
}

// In the original's order.
static d2v_status add_parameters(d2v_model *model, d2v_error *err) {
	static const d2v_modality order[] = { D2V_TEXT, D2V_AUDIO, D2V_IMAGE };
	const d2v_model_config *config = &model->config;
	d2v_params *params = &model->params;
	for (int i = 0; i < 3; i++)
		if (d2v_model_config_has(config, order[i]))
			D2V_TRY(d2v_encoder_add(&model->encoders[model->encoder_count++], params, config, order[i], err));
	model->trunk.layerdrop = config->layerdrop;
	model->trunk.first_layer = D2V_BLOCKS_MAX;
	D2V_TRY(d2v_blocks_add(&model->trunk, params, "blocks.", config, config->depth, config->start_drop_path_rate,
		config->end_drop_path_rate, true, err));
	return add_final_norm(model, err);
}

const d2v_encoder *d2v_model_encoder(const d2v_model *model, d2v_modality modality) {
	for (int i = 0; i < model->encoder_count; i++)
		if (model->encoders[i].modality == modality)
			return &model->encoders[i];
	return NULL;
}

// ---- life

static d2v_status take_memory(d2v_model *model, d2v_error *err) {
	d2v_device *device = model->device;
	size_t size = (size_t)model->params.size, teacher_size = (size_t)model->params.teacher_size;
	size_t real = d2v_device_real_size(device);
	D2V_TRY(d2v_device_alloc(device, &model->weights, size * sizeof(float), err));
	D2V_TRY(d2v_device_alloc(device, &model->gradients, size * sizeof(float), err));
	D2V_TRY(d2v_device_alloc(device, &model->teacher, teacher_size * sizeof(float), err));
	D2V_TRY(d2v_device_alloc(device, &model->slopes, (size_t)model->config.num_heads * sizeof(float), err));
	D2V_TRY(d2v_alloc_zero(&model->touched, (size_t)model->params.count, sizeof *model->touched, err));
	D2V_TRY(d2v_alloc_zero(&model->ahead.touched, (size_t)model->params.count, sizeof *model->ahead.touched, err));
	D2V_TRY(d2v_alloc(&model->teacher_ranges, (size_t)model->params.count, sizeof *model->teacher_ranges, err));
	D2V_TRY(d2v_alloc(&model->student_ranges, (size_t)model->params.count, sizeof *model->student_ranges, err));
	if (real != sizeof(float)) {
		D2V_TRY(d2v_device_alloc(device, &model->working, size * real, err));
		D2V_TRY(d2v_device_alloc(device, &model->teacher_working, teacher_size * real, err));
	}
	return D2V_OK;
}

static d2v_status upload_slopes(d2v_model *model, d2v_error *err) {
	float *slopes;
	size_t heads = (size_t)model->config.num_heads;
	D2V_TRY(d2v_alloc(&slopes, heads, sizeof *slopes, err));
	d2v_alibi_slopes((int64_t)heads, slopes);
	d2v_device_upload(model->device, model->slopes, slopes, heads * sizeof *slopes);
	d2v_free(slopes);
	return d2v_device_sync(model->device, err);
}

d2v_status d2v_model_outline(d2v_model **out, d2v_device *device, const d2v_model_config *config, d2v_error *err) {
	*out = NULL;
	D2V_TRY(d2v_model_config_check(config, err));
	d2v_model *model;
	D2V_TRY(d2v_alloc_zero(&model, 1, sizeof *model, err));
	model->device = device;
	model->config = *config;
	model->gradient_scale = 1;
	d2v_params_init(&model->params);
	d2v_tape_init(&model->tape);
	d2v_status status = add_parameters(model, err);
	if (status == D2V_OK)
		status = take_memory(model, err);
	if (status == D2V_OK)
		status = upload_slopes(model, err);
	if (status != D2V_OK) {
		d2v_model_free(model);
		return status;
	}
	*out = model;
	return D2V_OK;
}

d2v_status d2v_model_new(d2v_model **out, d2v_device *device, const d2v_model_config *config, d2v_error *err) {
	D2V_TRY(d2v_model_outline(out, device, config, err));
	d2v_model *model = *out;
	size_t bytes = (size_t)model->params.size * sizeof(float);
	d2v_device_zero(device, model->weights, bytes);
	d2v_device_zero(device, model->gradients, bytes);
	d2v_device_zero(device, model->teacher, (size_t)model->params.teacher_size * sizeof(float));
	return D2V_OK;
}

void d2v_model_free(d2v_model *model) {
	if (!model)
		return;
	d2v_device_free(model->device, model->weights);
	d2v_device_free(model->device, model->gradients);
	d2v_device_free(model->device, model->teacher);
	d2v_device_free(model->device, model->working);
	d2v_device_free(model->device, model->teacher_working);
	d2v_device_free(model->device, model->slopes);
	d2v_device_free(model->device, model->block);
	d2v_free(model->touched);
	d2v_free(model->teacher_ranges);
	d2v_free(model->student_ranges);
	d2v_free(model->ahead.touched);
	for (int i = 0; i < 2; i++)
		d2v_batch_place_release(&model->places[i], model->device);
	d2v_tape_release(&model->tape);
	d2v_params_release(&model->params);
	d2v_free(model);
}

const d2v_model_config *d2v_model_configuration(const d2v_model *model) {
	return &model->config;
}
const d2v_params *d2v_model_params(const d2v_model *model) {
	return &model->params;
}
d2v_device *d2v_model_device(const d2v_model *model) {
	return model->device;
}
float *d2v_model_weights(d2v_model *model) {
	return model->weights;
}
float *d2v_model_gradients(d2v_model *model) {
	return model->gradients;
}
float *d2v_model_teacher(d2v_model *model) {
	return model->teacher;
}
d2v_real *d2v_model_working(d2v_model *model) {
	return model->working;
}
const bool *d2v_model_touched(const d2v_model *model) {
	return model->touched;
}
const d2v_step_view *d2v_model_view(const d2v_model *model) {
	return &model->view;
}
void d2v_model_set_profile(d2v_model *model, d2v_profile *profile) {
	model->profile = profile;
	model->ahead.kept = false;
}
void d2v_model_set_memory(d2v_model *model, d2v_memory_options options) {
	model->memory = options;
	model->ahead.kept = false;
}
void d2v_model_scale_gradients(d2v_model *model, double scale) {
	model->ahead.kept &= scale == model->gradient_scale;
	model->gradient_scale = scale;
}
void d2v_model_watch(d2v_model *model, bool on) {
	model->watch = on;
	model->ahead.kept = false;
}

// ---- values

static void copy_to_teacher(d2v_model *model, const d2v_param *param) {
	if (param->teacher_offset >= 0)
		d2v_device_copy(model->device, model->teacher + param->teacher_offset, model->weights + param->offset,
			(size_t)param->count * sizeof(float));
}

d2v_status d2v_model_init(d2v_model *model, d2v_error *err) {
	const d2v_params *params = &model->params;
	float *values;
	D2V_TRY(d2v_alloc_zero(&values, (size_t)params->size, sizeof *values, err));
	for (int i = 0; i < params->count; i++)
		d2v_params_draw(params, i, (uint64_t)model->config.seed, values + params->list[i].offset);
	d2v_device_upload(model->device, model->weights, values, (size_t)params->size * sizeof *values);
	d2v_status status = d2v_device_sync(model->device, err);
	d2v_free(values);
	for (int i = 0; i < params->count; i++)
		copy_to_teacher(model, &params->list[i]);
	d2v_model_refresh(model);
	return status;
}

void d2v_model_refresh(d2v_model *model) {
	if (model->working)
		d2v_device_to_real(model->device, model->working, model->weights, (size_t)model->params.size);
	if (model->teacher_working)
		d2v_device_to_real(model->device, model->teacher_working, model->teacher, (size_t)model->params.teacher_size);
}

void d2v_model_zero_gradients(d2v_model *model) {
	d2v_device_zero(model->device, model->gradients, (size_t)model->params.size * sizeof(float));
	for (int i = 0; i < model->params.count; i++)
		model->touched[i] = false;
	model->parts = 0;
}
