// Steps that need less memory give what those give that need more: with layers computed again the same bytes, with
// copies in groups the same numbers but for the rounding of sums. What they need is what was planned, and less.
#include "tests/train/tiny_model.h"
#include "tests/train/tiny_variants.h"

#include "base/memory.h"
#include "train/model_internal.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLES 5
#define UPDATE 3 // any: it keys the draws

static void check(d2v_status status, const d2v_error *err) {
	if (status != D2V_OK)
		fail_msg("%s", err->text);
}

static d2v_modality modality_of(const tiny_variant *v) {
	return v->modality ? v->modality : D2V_AUDIO;
}

#define LENGTH 111 // of speech
#define SIDE 12    // of pictures

// A batch as loaders make them: samples and pixels as whole numbers, noise to be drawn.
static void make_batch(tiny_batch *out, const d2v_model_config *config, const tiny_variant *v) {
	static int16_t audio[SAMPLES * LENGTH];
	static float mean[SAMPLES], rstd[SAMPLES];
	static uint8_t image[SAMPLES * SIDE * SIDE * 3];
	tiny_batch_make_of(out, config, modality_of(v), SAMPLES, modality_of(v) == D2V_AUDIO ? LENGTH : 14, v->padded, 13);
	d2v_batch *batch = &out->batch;
	batch->noise = NULL;
	if (batch->wave) {
		for (int i = 0; i < SAMPLES * LENGTH; i++)
			audio[i] = (int16_t)(3000 * batch->wave[i]);
		for (int b = 0; b < SAMPLES; b++)
			rstd[b] = 10;
		batch->audio = audio, batch->audio_mean = mean, batch->audio_rstd = rstd, batch->wave = NULL;
	}
	if (batch->pixels && config->image.in_chans == 3) {
		D2V_ASSERT(batch->height == SIDE);
		for (int i = 0; i < SAMPLES * SIDE * SIDE * 3; i++)
			image[i] = (uint8_t)(int)(128 + 60 * fmaxf(-2, fminf(2, batch->pixels[i])));
		batch->image = image, batch->pixels = NULL;
	}
}

// What a step left behind.
typedef struct outcome {
	d2v_step_result result;
	float *gradients, *predictions; // (params.size), (R, T, D)
	bool *touched;
	size_t bytes, gradient_count, prediction_count; // bytes: of the step's memory
} outcome;

static void release(outcome *out) {
	d2v_free(out->gradients);
	d2v_free(out->predictions);
	d2v_free(out->touched);
}

static size_t planned_bytes(d2v_model *model, const d2v_batch *batch) {
	size_t bytes = 0;
	d2v_error err = { 0 };
	d2v_step_shape shape = { .modality = batch->modality, .batch = batch->samples, .clones = batch->clones };
	shape.length = batch->length, shape.tokens = batch->tokens, shape.kept = batch->kept;
	check(d2v_model_step_memory(model, &shape, &bytes, &err), &err);
	return bytes;
}

// What was planned is what was taken, but for the list of masked positions, which is planned for all of them. Neither
// padding nor pixels given as floats are planned for.
static void check_planned(d2v_model *model, const d2v_batch *batch, size_t bytes) {
	if (batch->valid || batch->pixels)
		return;
	size_t positions = (size_t)batch->samples * (size_t)batch->clones * (size_t)batch->tokens;
	size_t spare = (positions - (size_t)batch->masked_count) * sizeof *batch->masked,
		   planned = planned_bytes(model, batch);
	if (bytes > planned || planned - bytes > 2 * (spare + D2V_ARENA_ALIGN))
		fail_msg("%zu bytes were planned, %zu taken, and %zu are to spare", planned, bytes, spare);
}

static void download(d2v_model *model, outcome *out) {
	const d2v_params *params = d2v_model_params(model);
	const d2v_step_view *view = d2v_model_view(model);
	out->gradient_count = (size_t)params->size;
	out->prediction_count = (size_t)(view->batch * view->clones * view->tokens * model->config.embed_dim);
	d2v_error err = { 0 };
	check(d2v_alloc(&out->gradients, out->gradient_count, sizeof *out->gradients, &err), &err);
	check(d2v_alloc(&out->predictions, out->prediction_count, sizeof *out->predictions, &err), &err);
	check(d2v_alloc(&out->touched, (size_t)params->count, sizeof *out->touched, &err), &err);
	d2v_device_download(
		model->device, out->gradients, d2v_model_gradients(model), out->gradient_count * sizeof *out->gradients);
	d2v_device_download(
		model->device, out->predictions, view->decoder_out, out->prediction_count * sizeof *out->predictions);
	memcpy(out->touched, d2v_model_touched(model), (size_t)params->count * sizeof *out->touched);
}

// Two batches of one update, so that the gradients are added up and the second batch has other draws.
static void run(const tiny_variant *v, d2v_memory_options options, outcome *out) {
	d2v_model_config config;
	d2v_device *device;
	d2v_model *model;
	d2v_error err = { 0 };
	tiny_batch batch;
	*out = (outcome){ .bytes = 0 };
	tiny_config(&config);
	v->change(&config);
	check(d2v_device_open(&device, "cpu:1", &err), &err);
	check(d2v_model_new(&model, device, &config, &err), &err);
	tiny_weights(model, 0.15, 11);
	d2v_model_set_memory(model, options);
	make_batch(&batch, &config, v);
	d2v_model_zero_gradients(model);
	for (int i = 0; i < 2; i++)
		check(d2v_model_step(model, &batch.batch, UPDATE, &out->result, &err), &err);
	download(model, out);
	out->bytes = model->block_size + 2 * model->places[model->place].size; // the second one is for a batch ahead
	check_planned(model, &batch.batch, out->bytes);
	tiny_batch_release(&batch);
	d2v_model_free(model);
	d2v_device_close(device);
}

static void test_recompute(void **state) {
	const tiny_variant *v = *state;
	outcome kept, again;
	run(v, (d2v_memory_options){ 0 }, &kept);
	run(v, (d2v_memory_options){ .recompute = true }, &again);
	assert_true(kept.result.loss > 0);
	assert_memory_equal(&kept.result, &again.result, sizeof kept.result);
	assert_memory_equal(kept.gradients, again.gradients, kept.gradient_count * sizeof *kept.gradients);
	assert_memory_equal(kept.predictions, again.predictions, kept.prediction_count * sizeof *kept.predictions);
	if (!(again.bytes < kept.bytes))
		fail_msg("%s: %zu bytes with recomputation, %zu without", v->name, again.bytes, kept.bytes);
	release(&kept);
	release(&again);
}

// ---- groups

static double largest(const float *x, int64_t count) {
	double most = 0;
	for (int64_t i = 0; i < count; i++)
		most = fmax(most, fabs((double)x[i]));
	return most;
}

static void compare(
	const tiny_variant *v, const char *name, const float *whole, const float *groups, int64_t count, double terms) {
	double tolerance = FLT_EPSILON * terms * largest(whole, count);
	for (int64_t i = 0; i < count; i++)
		if (!(fabs((double)whole[i] - (double)groups[i]) <= tolerance))
			fail_msg("%s: %s[%lld]: %.9g in groups, %.9g in one go, tolerance %.2g", v->name, name, (long long)i,
				(double)groups[i], (double)whole[i], tolerance);
}

static void compare_number(const tiny_variant *v, const char *name, double whole, double groups, double terms) {
	if (!(fabs(whole - groups) <= FLT_EPSILON * terms * fabs(whole)))
		fail_msg("%s: %s: %.17g in groups, %.17g in one go", v->name, name, groups, whole);
}

// Predictions are made of sums over the channels alone, whose order a product may choose by its number of rows;
// gradients of parameters are sums over all positions of all copies, too.
static void compare_outcomes(const tiny_variant *v, const outcome *whole, const outcome *groups) {
	d2v_model_config config;
	d2v_model *model;
	d2v_device *device;
	d2v_error err = { 0 };
	tiny_config(&config);
	v->change(&config);
	check(d2v_device_open(&device, "cpu:1", &err), &err);
	check(d2v_model_new(&model, device, &config, &err), &err);
	const d2v_params *params = d2v_model_params(model);
	double channels = 4 * (double)config.embed_dim;
	double positions = (double)whole->prediction_count / (double)config.embed_dim;
	compare(v, "predictions", whole->predictions, groups->predictions, (int64_t)whole->prediction_count, channels);
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		assert_int_equal(whole->touched[i], groups->touched[i]);
		compare(v, param->name, whole->gradients + param->offset, groups->gradients + param->offset, param->count,
			positions + channels);
	}
	const d2v_step_result *a = &whole->result, *b = &groups->result;
	compare_number(v, "regression loss", a->loss_regression, b->loss_regression, channels);
	compare_number(v, "cls loss", a->loss_cls, b->loss_cls, channels);
	compare_number(v, "loss", a->loss, b->loss, channels);
	compare_number(v, "spread of predictions", a->pred_var, b->pred_var, channels);
	compare_number(v, "spread of targets", a->target_var, b->target_var, 0); // the teacher runs once
	assert_int_equal(a->sample_size, b->sample_size);
	assert_true(a->flops == b->flops && a->masked_pct == b->masked_pct);
	d2v_model_free(model);
	d2v_device_close(device);
}

// Groups of two samples and of one, also with layers computed again; one group is the whole to the byte.
static void test_groups(void **state) {
	const tiny_variant *v = *state;
	outcome whole, one, groups, both, most;
	run(v, (d2v_memory_options){ 0 }, &whole);
	run(v, (d2v_memory_options){ .clone_groups = 1 }, &one);
	run(v, (d2v_memory_options){ .clone_groups = 3 }, &groups);
	run(v, (d2v_memory_options){ .clone_groups = 3, .recompute = true }, &both);
	run(v, (d2v_memory_options){ .clone_groups = D2V_CLONE_GROUPS_MAX }, &most);
	assert_memory_equal(whole.gradients, one.gradients, whole.gradient_count * sizeof *whole.gradients);
	assert_memory_equal(groups.gradients, both.gradients, groups.gradient_count * sizeof *groups.gradients);
	compare_outcomes(v, &whole, &groups);
	compare_outcomes(v, &whole, &most);
	// With two blocks and two copies the teacher, which has no groups, needs as much as a group.
	if (!(most.bytes <= groups.bytes && both.bytes < whole.bytes && groups.bytes < whole.bytes))
		fail_msg("%s: %zu bytes in one go, %zu in three groups, %zu in five, %zu in three with recomputation", v->name,
			whole.bytes, groups.bytes, most.bytes, both.bytes);
	release(&whole);
	release(&one);
	release(&groups);
	release(&both);
	release(&most);
}

#define TESTS_MAX 128

int main(void) {
	struct CMUnitTest tests[TESTS_MAX];
	size_t count = 0;
	for (tiny_variant *v = tiny_variants; v->name; v++) {
		D2V_ASSERT(count + 2 <= TESTS_MAX);
		tests[count++] = (struct CMUnitTest){ .name = v->name, .test_func = test_recompute, .initial_state = v };
		tests[count++] = (struct CMUnitTest){ .name = v->name, .test_func = test_groups, .initial_state = v };
	}
	return _cmocka_run_group_tests("memory", tests, count, NULL, NULL);
}
