// The gradient of a whole step against finite differences of its loss, parameter by parameter, on models that between
// them take every branch.
//
// The loss is f32 arithmetic summed in double, so its own noise is about FLOAT_NOISE of its value; a central difference
// with step h along a unit direction is good to noise/h plus a term of h^2. The step is chosen so that the loss is
// expected to move by MOVE of its value, but by no more than a share of the parameter's own size.
#include "tests/train/tiny_model.h"
#include "tests/train/tiny_variants.h"

#include "base/memory.h"
#include "base/random.h"
#include "train/context.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FLOAT_NOISE (16 * FLT_EPSILON)
#define MOVE 1e-3
#define SHARE 0.02     // of the parameter's norm that it is moved at most
#define CURVATURE 0.03 // of the derivative: what the h^2 term may make
#define UPDATE 3       // any: it keys the dropouts

typedef struct bench {
	d2v_device *device;
	d2v_model *model;
	tiny_batch batch;
	const d2v_params *params;
	float *gradient, *saved, *direction; // host
} bench;

static void check(d2v_status status, const d2v_error *err) {
	if (status != D2V_OK)
		fail_msg("%s", err->text);
}

static double loss_of(bench *b) {
	d2v_step_result result;
	d2v_error err = { 0 };
	d2v_model_zero_gradients(b->model);
	check(d2v_model_step(b->model, &b->batch.batch, UPDATE, &result, &err), &err);
	return result.loss;
}

static void put(bench *b, const d2v_param *param, double step) {
	float *moved;
	size_t bytes = (size_t)param->count * sizeof *moved;
	check(d2v_alloc(&moved, (size_t)param->count, sizeof *moved, NULL), &(d2v_error){ 0 });
	for (int64_t i = 0; i < param->count; i++)
		moved[i] = (float)((double)b->saved[i] + step * (double)b->direction[i]);
	d2v_device_upload(b->device, d2v_model_weights(b->model) + param->offset, moved, bytes);
	d2v_model_refresh(b->model);
	assert_int_equal(d2v_device_sync(b->device, NULL), D2V_OK);
	d2v_free(moved);
}

static double norm(const float *x, int64_t count) {
	double sum = 0;
	for (int64_t i = 0; i < count; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

// Half along the gradient, half at random; a unit vector. Returns gradient . direction.
static double choose_direction(bench *b, const d2v_param *param, const float *gradient, d2v_random *random) {
	double length = norm(gradient, param->count), along = 0, size;
	for (int64_t i = 0; i < param->count; i++) {
		double mine = length > 0 ? (double)gradient[i] / length : 0;
		b->direction[i] = (float)(mine + d2v_random_normal(random) / sqrt((double)param->count));
	}
	size = norm(b->direction, param->count);
	for (int64_t i = 0; i < param->count; i++) {
		b->direction[i] = (float)((double)b->direction[i] / size);
		along += (double)gradient[i] * (double)b->direction[i];
	}
	return along;
}

static void check_parameter(bench *b, const tiny_variant *v, int index, double loss) {
	const d2v_param *param = &b->params->list[index];
	const float *gradient = b->gradient + param->offset;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(7, D2V_RANDOM_SYNTHETIC, (uint64_t)index, 3));
	d2v_device_download(
		b->device, b->saved, d2v_model_weights(b->model) + param->offset, (size_t)param->count * sizeof *b->saved);
	double along = choose_direction(b, param, gradient, &random);
	double largest = SHARE * fmax(norm(b->saved, param->count), 0.1);
	double step = along != 0 ? fmin(MOVE * fabs(loss) / fabs(along), largest) : largest;
	put(b, param, step);
	double above = loss_of(b);
	put(b, param, -step);
	double below = loss_of(b);
	put(b, param, 0);
	double measured = (above - below) / (2 * step);
	if (strstr(param->name, "local_encoder."))
		measured *= v->extractor_factor;
	double tolerance = CURVATURE * fabs(along) + FLOAT_NOISE * fabs(loss) / step;
	if (!(fabs(measured - along) <= tolerance))
		fail_msg("%s: %s: gradient %.6g, finite difference %.6g, tolerance %.2g (step %.2g, loss %.6g)", v->name,
			param->name, along, measured, tolerance, step, loss);
}

static bool begins(const char *name, const char *with) {
	return strncmp(name, with, strlen(with)) == 0;
}

// In a joint model the other modalities have no part in the step.
static bool is_left_out(const tiny_variant *v, const char *name) {
	const char *own = v->modality == D2V_IMAGE  ? "modality_encoders.IMAGE."
					  : v->modality == D2V_TEXT ? "modality_encoders.TEXT."
												: "modality_encoders.AUDIO.";
	return (v->untouched && begins(name, v->untouched)) || (begins(name, "modality_encoders.") && !begins(name, own));
}

static void run_variant(void **state) {
	const tiny_variant *v = *state;
	d2v_model_config config;
	d2v_error err = { 0 };
	bench b = { .device = NULL };
	tiny_config(&config);
	// Else the targets would move with the student's features.
	config.audio.ema_local_encoder = config.text.ema_local_encoder = true;
	v->change(&config);
	check(d2v_device_open(&b.device, "cpu:1", &err), &err);
	check(d2v_model_new(&b.model, b.device, &config, &err), &err);
	b.params = d2v_model_params(b.model);
	tiny_weights(b.model, 0.15, 11);
	d2v_modality modality = v->modality ? v->modality : D2V_AUDIO;
	tiny_batch_make_of(&b.batch, &config, modality, 2, modality == D2V_AUDIO ? 111 : 14, v->padded, 13);
	check(d2v_alloc(&b.gradient, (size_t)b.params->size, sizeof *b.gradient, &err), &err);
	check(d2v_alloc(&b.saved, (size_t)b.params->size, sizeof *b.saved, &err), &err);
	check(d2v_alloc(&b.direction, (size_t)b.params->size, sizeof *b.direction, &err), &err);
	double loss = loss_of(&b);
	assert_true(loss > 0 && isfinite(loss));
	d2v_device_download(
		b.device, b.gradient, d2v_model_gradients(b.model), (size_t)b.params->size * sizeof *b.gradient);
	const bool *touched = d2v_model_touched(b.model);
	for (int i = 0; i < b.params->count; i++) {
		const d2v_param *param = &b.params->list[i];
		bool expected = !param->frozen && !is_left_out(v, param->name);
		if (touched[i] != expected)
			fail_msg("%s: %s: %s", v->name, param->name, touched[i] ? "has a gradient" : "has no gradient");
		if (!touched[i])
			assert_true(norm(b.gradient + param->offset, param->count) == 0);
		else
			check_parameter(&b, v, i, loss);
	}
	d2v_free(b.gradient);
	d2v_free(b.saved);
	d2v_free(b.direction);
	tiny_batch_release(&b.batch);
	d2v_model_free(b.model);
	d2v_device_close(b.device);
}

// ---- layer drop

// Layer drop at a rate that leaves out exactly one of three blocks.
static int find_dropped(double *layerdrop) {
	double draw[3];
	for (int layer = 0; layer < 3; layer++) {
		d2v_random random;
		d2v_random_start(
			&random, d2v_random_key_make(5, D2V_RANDOM_LAYER_DROP, UPDATE, (uint64_t)(D2V_BLOCKS_MAX + layer)));
		draw[layer] = d2v_random_unit(&random);
	}
	int lowest = draw[0] < draw[1] ? (draw[0] < draw[2] ? 0 : 2) : (draw[1] < draw[2] ? 1 : 2);
	*layerdrop = (draw[lowest] + fmin(draw[(lowest + 1) % 3], draw[(lowest + 2) % 3])) / 2;
	return lowest;
}

static void dropped_layers(d2v_model_config *config) {
	config->depth = 3;
	find_dropped(&config->layerdrop);
}

// What layer drop leaves out has no gradient, and the rest has the right one.
static void test_dropped_layers(void **state) {
	(void)state;
	static const char *const names[] = { "blocks.0.", "blocks.1.", "blocks.2." };
	double layerdrop;
	int which = find_dropped(&layerdrop);
	tiny_variant v = { "layer drop", dropped_layers, false, 1, names[which], 0 };
	void *pointer = &v;
	run_variant(&pointer);
}

#define TESTS_MAX 64

int main(void) {
	struct CMUnitTest tests[TESTS_MAX];
	size_t count = 0;
	for (; tiny_variants[count].name; count++) {
		D2V_ASSERT(count + 1 < TESTS_MAX);
		tests[count] = (struct CMUnitTest){
			.name = tiny_variants[count].name, .test_func = run_variant, .initial_state = &tiny_variants[count]
		};
	}
	tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_dropped_layers);
	return _cmocka_run_group_tests("gradients", tests, count, NULL, NULL);
}
