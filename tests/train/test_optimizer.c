// The optimizer and the teacher's move on a real model's parameters, against the formulas in double.
#include "tests/train/tiny_model.h"

#include "base/memory.h"
#include "train/model_internal.h"
#include "train/optimizer.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	const d2v_params *params;
} fixture;

static fixture set_up(const d2v_optimizer_config *config) {
	fixture f;
	d2v_model_config model;
	tiny_config(&model);
	assert_int_equal(d2v_device_open(&f.device, "cpu:1", NULL), D2V_OK);
	assert_int_equal(d2v_model_new(&f.model, f.device, &model, NULL), D2V_OK);
	tiny_weights(f.model, 0.1, 3);
	assert_int_equal(d2v_optimizer_new(&f.optimizer, f.model, config, NULL), D2V_OK);
	f.params = d2v_model_params(f.model);
	d2v_model_zero_gradients(f.model);
	return f;
}

static void tear_down(fixture *f) {
	d2v_optimizer_free(f->optimizer);
	d2v_model_free(f->model);
	d2v_device_close(f->device);
}

// On the CPU the device's arrays are plain memory; these tests use that.
static float *weights_of(const fixture *f, int i) {
	return d2v_model_weights(f->model) + f->params->list[i].offset;
}

// A gradient for parameter i, as a step would leave it.
static void give_gradient(const fixture *f, int i, float scale) {
	float *gradient = d2v_model_gradients(f->model) + f->params->list[i].offset;
	for (int64_t k = 0; k < f->params->list[i].count; k++)
		gradient[k] = scale * (float)((k * 7 + i) % 11 - 5);
	f->model->touched[i] = true;
}

static const d2v_optimizer_config adam = {
	.beta1 = 0.9, .beta2 = 0.98, .adam_eps = 1e-6, .weight_decay = 0.01, .decay_all = true
};

// Two updates; every third parameter has no gradient in the first, and is a step behind from then on.
static void test_adam_and_skipped_parameters(void **state) {
	(void)state;
	fixture f = set_up(&adam);
	double size = 4, rates[] = { 1e-3, 2e-3 };
	float *before;
	assert_int_equal(d2v_alloc(&before, (size_t)f.params->size, sizeof *before, NULL), D2V_OK);
	memcpy(before, d2v_model_weights(f.model), (size_t)f.params->size * sizeof *before);
	for (int update = 0; update < 2; update++) {
		d2v_optimizer_result result;
		d2v_model_zero_gradients(f.model);
		for (int i = 0; i < f.params->count; i++)
			if (update == 1 || i % 3 != 0)
				give_gradient(&f, i, update ? 0.5f : 0.25f);
		assert_int_equal(d2v_optimizer_update(f.optimizer, size, rates[update], &result, NULL), D2V_OK);
		assert_true(result.clip_coef == 1);
	}
	for (int i = 0; i < f.params->count; i++) {
		bool skipped = i % 3 == 0;
		assert_int_equal(d2v_optimizer_steps(f.optimizer)[i], skipped ? 1 : 2);
		for (int64_t k = 0; k < f.params->list[i].count; k++) {
			double p = (double)before[f.params->list[i].offset + k], m = 0, v = 0;
			for (int update = skipped ? 1 : 0, step = 1; update < 2; update++, step++) {
				double g = (update ? 0.5 : 0.25) * (double)((k * 7 + i) % 11 - 5) / size;
				m = 0.9 * m + 0.1 * g, v = 0.98 * v + 0.02 * g * g;
				p -= rates[update] * 0.01 * p;
				p -= rates[update] * sqrt(1 - pow(0.98, step)) / (1 - pow(0.9, step)) * m / (sqrt(v) + 1e-6);
			}
			// a few roundings of p, and the update's relative error
			double tolerance = 8 * (double)FLT_EPSILON * fabs(p) + 1e-5 * rates[1];
			if (!(fabs((double)weights_of(&f, i)[k] - p) <= tolerance))
				fail_msg("%s[%lld]: %.9g, expected %.9g", f.params->list[i].name, (long long)k,
					(double)weights_of(&f, i)[k], p);
		}
	}
	d2v_free(before);
	tear_down(&f);
}

// The gaps between parameters are zero and stay zero: joined ranges run over them.
static void test_gaps_stay_zero(void **state) {
	(void)state;
	fixture f = set_up(&adam);
	d2v_optimizer_result result;
	for (int i = 0; i < f.params->count; i++)
		give_gradient(&f, i, 1);
	assert_int_equal(d2v_optimizer_update(f.optimizer, 1, 1e-2, &result, NULL), D2V_OK);
	for (int i = 0; i < f.params->count; i++) {
		const d2v_param *param = &f.params->list[i];
		int64_t end = i + 1 < f.params->count ? f.params->list[i + 1].offset : f.params->size;
		for (int64_t k = param->offset + param->count; k < end; k++)
			assert_true(d2v_model_weights(f.model)[k] == 0 && d2v_optimizer_m(f.optimizer)[k] == 0);
	}
	tear_down(&f);
}

static void test_clipping(void **state) {
	(void)state;
	d2v_optimizer_config config = adam;
	config.clip_norm = 0.5;
	fixture f = set_up(&config);
	d2v_optimizer_result result;
	double squares = 0;
	give_gradient(&f, 2, 3);
	for (int64_t k = 0; k < f.params->size; k++)
		squares += pow((double)d2v_model_gradients(f.model)[k] / 8, 2);
	assert_int_equal(d2v_optimizer_update(f.optimizer, 8, 1e-3, &result, NULL), D2V_OK);
	assert_true(fabs(result.grad_norm - sqrt(squares)) <= 1e-6 * result.grad_norm);
	assert_true(fabs(result.clip_coef - 0.5 / (sqrt(squares) + 1e-6)) <= 1e-6);
	float g = d2v_model_gradients(f.model)[f.params->list[2].offset];
	float m = d2v_optimizer_m(f.optimizer)[f.params->list[2].offset];
	assert_true(fabs((double)m - 0.1 * (double)g / 8 * result.clip_coef) <= 1e-5 * fabs((double)m));
	tear_down(&f);
}

static void test_not_finite_changes_nothing(void **state) {
	(void)state;
	static const float bad[] = { NAN, INFINITY };
	for (int i = 0; i < 2; i++) {
		fixture f = set_up(&adam);
		d2v_optimizer_result result;
		float *before;
		size_t bytes = (size_t)f.params->size * sizeof *before;
		assert_int_equal(d2v_alloc(&before, bytes, 1, NULL), D2V_OK);
		memcpy(before, d2v_model_weights(f.model), bytes);
		give_gradient(&f, 1, 1);
		d2v_model_gradients(f.model)[f.params->list[1].offset] = bad[i];
		d2v_error err = { 0 };
		assert_int_equal(d2v_optimizer_update(f.optimizer, 1, 1e-3, &result, &err), D2V_DIVERGED);
		assert_memory_equal(before, d2v_model_weights(f.model), bytes);
		assert_int_equal(d2v_optimizer_steps(f.optimizer)[1], 0);
		d2v_free(before);
		tear_down(&f);
	}
}

// decay_all false: biases, gains and ALiBi scales are left alone by the decay.
static void test_exempt_from_decay(void **state) {
	(void)state;
	d2v_optimizer_config config = adam;
	config.decay_all = false;
	fixture f = set_up(&config);
	d2v_optimizer_result result;
	float before[512];
	for (int i = 0; i < f.params->count; i++) {
		before[i] = weights_of(&f, i)[0];
		f.model->touched[i] = true; // a gradient of zero: only the decay moves anything
	}
	assert_true(f.params->count < 512);
	assert_int_equal(d2v_optimizer_update(f.optimizer, 1, 0.1, &result, NULL), D2V_OK);
	for (int i = 0; i < f.params->count; i++) {
		bool exempt = f.params->list[i].rank == 1 || strstr(f.params->list[i].name, "alibi_scale");
		float expected = exempt ? before[i] : (float)((double)before[i] * (1 - 0.1 * 0.01));
		if (!(fabsf(weights_of(&f, i)[0] - expected) <= 2 * FLT_EPSILON * fabsf(expected)))
			fail_msg("%s: %.9g, expected %.9g", f.params->list[i].name, (double)weights_of(&f, i)[0], (double)expected);
	}
	tear_down(&f);
}

static void test_teacher_moves(void **state) {
	(void)state;
	fixture f = set_up(&adam);
	int64_t count = f.params->teacher_size;
	float *before;
	assert_int_equal(d2v_alloc(&before, (size_t)count, sizeof *before, NULL), D2V_OK);
	memcpy(before, d2v_model_teacher(f.model), (size_t)count * sizeof *before);
	d2v_model_move_teacher(f.model, 0); // never before the first update
	assert_memory_equal(before, d2v_model_teacher(f.model), (size_t)count * sizeof *before);
	double decay = d2v_model_move_teacher(f.model, 50);
	float keep = (float)(1 - (1 - decay)), rate = (float)(1 - decay);
	int members = 0;
	for (int i = 0; i < f.params->count; i++) {
		const d2v_param *param = &f.params->list[i];
		bool own = strstr(param->name, "decoder") || strstr(param->name, "local_encoder") ||
				   strstr(param->name, "project_features");
		assert_int_equal(param->teacher_offset < 0, own);
		if (own)
			continue;
		members++;
		for (int64_t k = 0; k < param->count; k++) {
			float expected = before[param->teacher_offset + k] * keep;
			expected += rate * weights_of(&f, i)[k];
			float found = d2v_model_teacher(f.model)[param->teacher_offset + k];
			if (!(fabsf(found - expected) <= FLT_EPSILON * fabsf(expected))) // the compiler may fuse the two here
				fail_msg("%s[%lld]: %.9g, expected %.9g", param->name, (long long)k, (double)found, (double)expected);
		}
	}
	assert_true(members > 20);
	d2v_free(before);
	tear_down(&f);
}

static void test_decay_of_one_is_no_move(void **state) {
	(void)state;
	fixture f = set_up(&adam);
	f.model->config.ema_end_decay = 1;
	float first = d2v_model_teacher(f.model)[0];
	assert_true(d2v_model_move_teacher(f.model, 1000) == 1);
	assert_true(d2v_model_teacher(f.model)[0] == first);
	tear_down(&f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adam_and_skipped_parameters),
		cmocka_unit_test(test_gaps_stay_zero),
		cmocka_unit_test(test_clipping),
		cmocka_unit_test(test_not_finite_changes_nothing),
		cmocka_unit_test(test_exempt_from_decay),
		cmocka_unit_test(test_teacher_moves),
		cmocka_unit_test(test_decay_of_one_is_no_move),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
