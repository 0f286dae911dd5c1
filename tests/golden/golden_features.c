#include "tests/golden/golden_features.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RELATIVE 1e-5

typedef struct pass {
	golden_case golden;
	d2v_device *device;
	d2v_model *model;
	golden_report *report;
	int64_t number;
	d2v_features features;
	d2v_error *err;
} pass;

bool golden_is_features(const char *folder) {
	char path[4096];
	int length = snprintf(path, sizeof path, "%s/input_0.safetensors", folder);
	return length > 0 && (size_t)length < sizeof path && access(path, R_OK) == 0;
}

// x (B, E+T, D) from the device, from token `skip` of each row on.
static d2v_status fetch(const pass *p, const d2v_real *x, int64_t skip, float **out, int64_t *count) {
	const d2v_features *features = &p->features;
	int64_t rows = features->batch, tokens = features->extra + features->tokens, width = features->width;
	float *floats = NULL;
	*count = rows * (tokens - skip) * width;
	D2V_TRY(d2v_alloc(out, (size_t)(rows * tokens * width), sizeof **out, p->err));
	D2V_TRY(d2v_device_alloc(p->device, &floats, (size_t)(rows * tokens * width) * sizeof *floats, p->err));
	d2v_device_to_float(p->device, floats, x, (size_t)(rows * tokens * width));
	d2v_device_download(p->device, *out, floats, (size_t)(rows * tokens * width) * sizeof **out);
	d2v_device_free(p->device, floats);
	for (int64_t r = 0; r < rows; r++)
		memmove(*out + r * (tokens - skip) * width, *out + (r * tokens + skip) * width,
			(size_t)((tokens - skip) * width) * sizeof **out);
	return d2v_device_sync(p->device, p->err);
}

static d2v_status compare_reals(const pass *p, const d2v_tensor_info *tensor, const d2v_real *x, int64_t skip) {
	float *ours = NULL;
	int64_t count = 0;
	d2v_status status = x && tensor->dtype == D2V_F32 ? fetch(p, x, skip, &ours, &count) : D2V_OK;
	if (status == D2V_OK && count != (int64_t)tensor->count)
		golden_report_failure(p->report, "features", tensor->name, p->number);
	else if (status == D2V_OK)
		golden_compare(p->report, "features", tensor->name, p->number, ours, tensor->data, count, RELATIVE, NULL, 0, 0);
	d2v_free(ours);
	return status;
}

static void compare_padding(const pass *p, const d2v_tensor_info *tensor, int64_t skip) {
	const d2v_features *features = &p->features;
	int64_t own = features->extra + features->tokens, theirs = own - skip, wrong = 0;
	if (!features->padding || tensor->count != (uint64_t)(features->batch * theirs)) {
		golden_report_failure(p->report, "padding", tensor->name, p->number);
		return;
	}
	for (int64_t i = 0; i < features->batch * theirs; i++)
		wrong += features->padding[i / theirs * own + skip + i % theirs] != ((const uint8_t *)tensor->data)[i];
	golden_compare_number(p->report, "padding", tensor->name, p->number, (double)wrong, 0, 0);
}

static d2v_status compare(const pass *p, const d2v_tensor_info *tensor) {
	int block;
	if (strcmp(tensor->name, "stripped/x") == 0)
		return compare_reals(p, tensor, p->features.x, p->features.extra);
	if (strcmp(tensor->name, "full/x") == 0)
		return compare_reals(p, tensor, p->features.x, 0);
	if (sscanf(tensor->name, "layer_results/%d", &block) == 1 && block >= 0 && block < 64)
		return compare_reals(p, tensor, p->features.layer[block], 0);
	if (strcmp(tensor->name, "stripped/padding_mask") == 0)
		compare_padding(p, tensor, p->features.extra);
	else if (strcmp(tensor->name, "full/padding_mask") == 0)
		compare_padding(p, tensor, 0);
	else
		golden_report_failure(p->report, "features", tensor->name, p->number);
	return D2V_OK;
}

static d2v_status run_input(pass *p) {
	golden_batch batch;
	d2v_safetensors *expected = NULL;
	bool teacher = p->number % 2; // a copy of the student: every other input goes through it
	d2v_status status = golden_batch_open_input(&batch, &p->golden, "input", p->number, p->err);
	if (status == D2V_OK)
		status = d2v_model_features(p->model, &batch.batch, teacher, &p->features, p->err);
	if (status == D2V_OK)
		status = golden_case_tensors(&p->golden, "expect", p->number, &expected, p->err);
	for (int i = 0; status == D2V_OK && i < d2v_safetensors_count(expected); i++)
		status = compare(p, d2v_safetensors_at(expected, i));
	bool wanted = status == D2V_OK && d2v_safetensors_find(expected, "full/padding_mask");
	if (status == D2V_OK && !wanted && p->features.padding)
		golden_report_failure(p->report, "padding", "a mask where there is none", p->number);
	d2v_safetensors_close(expected);
	golden_batch_release(&batch);
	return status;
}

static d2v_status run(pass *p) {
	D2V_TRY(d2v_device_open(&p->device, golden_device(), p->err));
	D2V_TRY(d2v_model_new(&p->model, p->device, &p->golden.model, p->err));
	D2V_TRY(golden_case_load(&p->golden, p->model, p->err));
	int64_t count = (int64_t)json_array_size(json_object_get(p->golden.config, "inputs"));
	for (p->number = 0; p->number < count; p->number++)
		D2V_TRY(run_input(p));
	return D2V_OK;
}

d2v_status golden_features(const char *folder, golden_report *report, d2v_error *err) {
	pass p = { .report = report, .err = err };
	golden_report_init(report, golden_device());
	d2v_status status = golden_case_open_model(&p.golden, folder, err);
	if (status == D2V_OK)
		status = run(&p);
	d2v_model_free(p.model);
	d2v_device_close(p.device);
	golden_case_release(&p.golden);
	return status;
}
