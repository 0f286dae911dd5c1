// What is particular to pictures, text and joint models: what copies and teacher share, what is refused, features.
#include "tests/train/tiny_model.h"

#include "base/memory.h"
#include "train/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
	d2v_device *device;
	d2v_model_config config;
	d2v_model *model;
	tiny_batch batch;
} fixture;

static void set_up(fixture *f, d2v_modality modality, int length, bool padded) {
	d2v_error err = { 0 };
	if (d2v_device_open(&f->device, "cpu:2", &err) != D2V_OK ||
		d2v_model_new(&f->model, f->device, &f->config, &err) != D2V_OK)
		fail_msg("%s", err.text);
	tiny_weights(f->model, 0.1, 3);
	tiny_batch_make_of(&f->batch, &f->config, modality, 2, length, padded, 9);
}

static void tear_down(fixture *f) {
	tiny_batch_release(&f->batch);
	d2v_model_free(f->model);
	d2v_device_close(f->device);
}

static d2v_step_result step(fixture *f, uint64_t update) {
	d2v_step_result result;
	d2v_error err = { 0 };
	d2v_model_zero_gradients(f->model);
	if (d2v_model_step(f->model, &f->batch.batch, update, &result, &err) != D2V_OK)
		fail_msg("%s", err.text);
	return result;
}

static float *fetch(const fixture *f, const d2v_real *from, int64_t count) {
	float *on_device, *out;
	size_t bytes = (size_t)count * sizeof *out;
	assert_int_equal(d2v_alloc(&out, (size_t)count, sizeof *out, NULL), D2V_OK);
	assert_int_equal(d2v_device_alloc(f->device, &on_device, bytes, NULL), D2V_OK);
	d2v_device_to_float(f->device, on_device, from, (size_t)count);
	d2v_device_download(f->device, out, on_device, bytes);
	d2v_device_free(f->device, on_device);
	return out;
}

static int64_t zeros(const float *x, int64_t count) {
	int64_t found = 0;
	for (int64_t i = 0; i < count; i++)
		found += x[i] == 0;
	return found;
}

// The dropout of the embeddings is drawn once: all copies of a sample and the teacher see the same.
static void test_text_dropout_is_shared(void **state) {
	(void)state;
	fixture f;
	tiny_config(&f.config);
	f.config.supported_modality = D2V_TEXT;
	f.config.ema_encoder_only = true;
	f.config.text.dropout = 0.5;
	set_up(&f, D2V_TEXT, 20, false);
	d2v_model_watch(f.model, true);
	step(&f, 1);
	const d2v_step_view *view = d2v_model_view(f.model);
	int64_t width = f.config.embed_dim, count = view->batch * view->tokens * width;
	float *local = fetch(&f, view->local_features, count), *teacher = fetch(&f, view->teacher_in, count);
	float *student = fetch(&f, view->encoder_in, view->batch * view->clones * view->kept * width);
	assert_memory_equal(local, teacher, (size_t)count * sizeof *local);
	assert_true(zeros(local, count) > count * 4 / 10 && zeros(local, count) < count * 6 / 10);
	for (int64_t i = 0; i < view->batch * view->clones * view->kept; i++) {
		int64_t sample = i / view->kept / view->clones, position = f.batch.batch.keep[i];
		assert_memory_equal(
			student + i * width, local + (sample * view->tokens + position) * width, (size_t)width * sizeof *local);
	}
	d2v_free(local);
	d2v_free(teacher);
	d2v_free(student);
	tear_down(&f);
}

// The decoder's input dropout is in place, so the extra token's prediction has it too. meant_for: cls_loss_rows.
static void check_cls(int64_t meant_for) {
	fixture f;
	tiny_config(&f.config);
	f.config.supported_modality = D2V_TEXT;
	f.config.cls_loss = 0.1, f.config.cls_loss_rows = meant_for, f.config.text.num_extra_tokens = 2;
	f.config.text.decoder.input_dropout = 0.5;
	set_up(&f, D2V_TEXT, 20, false);
	d2v_step_result result = step(&f, 1);
	const d2v_step_view *view = d2v_model_view(f.model);
	int64_t width = f.config.embed_dim, rows = view->batch * view->clones, tokens = view->extra + view->kept;
	float *x = fetch(&f, view->encoder_out, rows * tokens * width), *target;
	size_t bytes = (size_t)(view->batch * view->tokens * width) * sizeof *target;
	assert_int_equal(d2v_alloc(&target, bytes, 1, NULL), D2V_OK);
	d2v_device_download(f.device, target, view->target, bytes);
	double loss = 0;
	int64_t dropped = 0;
	for (int64_t r = 0; r < rows; r++) {
		const float *prediction = x + (r * tokens + view->extra - 1) * width;
		dropped += zeros(prediction, width);
		for (int64_t c = 0; c < width; c++) {
			double mean = 0;
			for (int64_t t = 0; t < view->tokens; t++)
				mean += (double)target[(r / view->clones * view->tokens + t) * width + c] / (double)view->tokens;
			loss += pow((double)prediction[c] - mean, 2) / sqrt((double)width);
		}
	}
	loss *= f.config.cls_loss * (double)result.sample_size;
	loss *= meant_for ? (double)meant_for / (double)rows : 1; // the sum over rows becomes their mean, times that many
	assert_true(dropped > rows * width / 4 && dropped < rows * width * 3 / 4);
	if (!(fabs(loss - result.loss_cls) <= 1e-5 * loss))
		fail_msg("cls loss %.9g, by hand %.9g", result.loss_cls, loss);
	d2v_free(x);
	d2v_free(target);
	tear_down(&f);
}

static void test_cls_sees_dropout(void **state) {
	(void)state;
	check_cls(0);
}

static void test_cls_keeps_its_weight(void **state) {
	(void)state;
	check_cls(256);
}

// What the others own neither moves nor counts in the update of one modality, except that the teacher follows.
static void test_absent_modalities_stand_still(void **state) {
	(void)state;
	fixture f;
	d2v_optimizer *optimizer;
	d2v_optimizer_result optimized;
	tiny_config(&f.config);
	f.config.supported_modality = D2V_ALL_MODALITIES;
	set_up(&f, D2V_IMAGE, 0, false);
	const d2v_optimizer_config adam = {
		.lr = .1, .beta1 = .9, .beta2 = .95, .adam_eps = 1e-8, .weight_decay = .1, .decay_all = true
	};
	assert_int_equal(d2v_optimizer_new(&optimizer, f.model, &adam, NULL), D2V_OK);
	const d2v_params *params = d2v_model_params(f.model);
	size_t bytes = (size_t)params->size * sizeof(float);
	float *before, *after;
	assert_int_equal(d2v_alloc(&before, bytes, 1, NULL), D2V_OK);
	assert_int_equal(d2v_alloc(&after, bytes, 1, NULL), D2V_OK);
	d2v_device_download(f.device, before, d2v_model_weights(f.model), bytes);
	d2v_step_result result = step(&f, 0);
	assert_int_equal(result.modality, D2V_IMAGE);
	assert_int_equal(d2v_optimizer_update(optimizer, (double)result.sample_size, .1, &optimized, NULL), D2V_OK);
	d2v_device_download(f.device, after, d2v_model_weights(f.model), bytes);
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		bool own = strstr(param->name, ".IMAGE.") || strncmp(param->name, "blocks.", 7) == 0;
		bool same = memcmp(before + param->offset, after + param->offset, (size_t)param->count * sizeof *before) == 0;
		if (same != (!own || param->frozen) || d2v_optimizer_steps(optimizer)[i] != (own && !param->frozen))
			fail_msg("%s: %s, %lld steps", param->name, same ? "stood still" : "moved",
				(long long)d2v_optimizer_steps(optimizer)[i]);
	}
	d2v_free(before);
	d2v_free(after);
	d2v_optimizer_free(optimizer);
	tear_down(&f);
}

// Features of the teacher's weights are what the targets are made of, to the byte.
static void test_features_are_the_teachers(void **state) {
	(void)state;
	static const d2v_modality modalities[] = { D2V_AUDIO, D2V_IMAGE, D2V_TEXT };
	for (int m = 0; m < 3; m++) {
		fixture f;
		d2v_features features;
		d2v_step_result result;
		tiny_config(&f.config);
		f.config.supported_modality = D2V_ALL_MODALITIES;
		f.config.audio.num_extra_tokens = f.config.text.num_extra_tokens = m;
		set_up(&f, modalities[m], modalities[m] == D2V_AUDIO ? 150 : 17, modalities[m] != D2V_IMAGE);
		d2v_model_move_teacher(f.model, 50); // away from a copy
		d2v_model_watch(f.model, true);
		assert_int_equal(d2v_model_evaluate(f.model, &f.batch.batch, &result, NULL), D2V_OK);
		d2v_step_view view = *d2v_model_view(f.model);
		int64_t count = view.batch * (view.extra + view.tokens) * f.config.embed_dim;
		float *expected = fetch(&f, view.teacher_target[1], count);
		assert_int_equal(d2v_model_features(f.model, &f.batch.batch, true, &features, NULL), D2V_OK);
		assert_true(features.tokens == view.tokens && features.extra == view.extra && features.batch == view.batch);
		assert_true(!features.layer[2] && (features.padding != NULL) == (modalities[m] != D2V_IMAGE));
		float *found = fetch(&f, features.layer[1], count);
		assert_memory_equal(found, expected, (size_t)count * sizeof *found);
		assert_int_equal(d2v_model_features(f.model, &f.batch.batch, false, &features, NULL), D2V_OK);
		float *student = fetch(&f, features.layer[1], count);
		assert_true(memcmp(student, expected, (size_t)count * sizeof *student) != 0);
		d2v_free(expected);
		d2v_free(found);
		d2v_free(student);
		tear_down(&f);
	}
}

static void refuse(const fixture *f, const d2v_batch *batch, const char *says) {
	d2v_step_result result;
	d2v_features features;
	d2v_error err = { 0 };
	assert_int_equal(d2v_model_step(f->model, batch, 0, &result, &err), D2V_INVALID);
	if (!strstr(err.text, says))
		fail_msg("'%s' does not say '%s'", err.text, says);
	assert_int_equal(d2v_model_features(f->model, batch, false, &features, &err), D2V_INVALID);
}

static void test_refused(void **state) {
	(void)state;
	fixture f;
	tiny_config(&f.config);
	f.config.supported_modality = D2V_IMAGE_TEXT;
	set_up(&f, D2V_TEXT, 20, false);
	d2v_batch batch = f.batch.batch;
	batch.modality = D2V_AUDIO;
	refuse(&f, &batch, "batch of audio");
	int32_t outside[40] = { [7] = 23 };
	batch = f.batch.batch, batch.text = outside;
	refuse(&f, &batch, "vocab_size");
	outside[7] = -1;
	refuse(&f, &batch, "token -1");
	batch.text = NULL;
	refuse(&f, &batch, "without tokens");
	batch = f.batch.batch, batch.modality = D2V_IMAGE;
	refuse(&f, &batch, "input_size");
	tear_down(&f);
	f.config.text.max_source_positions = 19;
	set_up(&f, D2V_TEXT, 20, false);
	refuse(&f, &f.batch.batch, "max_source_positions");
	tear_down(&f);
}

// <pad> has a vector of zeros that stays: no gradient, and decay has nothing to take from.
static void test_padding_row(void **state) {
	(void)state;
	fixture f;
	tiny_config(&f.config);
	f.config.supported_modality = D2V_TEXT;
	set_up(&f, D2V_TEXT, 20, true);
	assert_int_equal(d2v_model_init(f.model, NULL), D2V_OK);
	step(&f, 0);
	static const char *const names[] = { "embed_tokens", "embed_positions" };
	for (int i = 0; i < 2; i++) {
		char name[128];
		snprintf(name, sizeof name, "modality_encoders.TEXT.local_encoder.%s.weight", names[i]);
		const d2v_param *param = d2v_params_find(d2v_model_params(f.model), name);
		float row[2][24], gradient[2][24];
		assert_non_null(param);
		d2v_device_download(f.device, row, d2v_model_weights(f.model) + param->offset + 24, sizeof row);
		d2v_device_download(f.device, gradient, d2v_model_gradients(f.model) + param->offset + 24, sizeof gradient);
		assert_int_equal(zeros(row[0], 24), 24);
		assert_int_equal(zeros(gradient[0], 24), 24);
		assert_int_equal(zeros(row[1], 24), 0);
	}
	tear_down(&f);
}

static double spread_of(fixture *f, const d2v_param *param) {
	float values[24 * 24 * 8];
	double square = 0;
	assert_true(param->count <= (int64_t)(sizeof values / sizeof *values));
	d2v_device_download(f->device, values, d2v_model_weights(f->model) + param->offset, (size_t)param->count * 4);
	for (int64_t i = 0; i < param->count; i++)
		square += (double)values[i] * (double)values[i];
	return sqrt(square / (double)param->count);
}

// BERT's rule, or with mae_init Xavier's; embeddings then are what PyTorch and fairseq make of them.
static void test_initial_spread(void **state) {
	(void)state;
	static const struct {
		const char *name;
		double embedding; // with mae_init; 0: a linear layer
	} weights[] = { { "blocks.0.attn.qkv.weight", 0 }, { "blocks.1.mlp.fc2.weight", 0 },
		{ "modality_encoders.TEXT.decoder.proj.0.weight", 0 },
		{ "modality_encoders.TEXT.local_encoder.embed_tokens.weight", 1 },
		{ "modality_encoders.TEXT.local_encoder.embed_positions.weight", 0.2041 } }; // 1 / sqrt(24)
	for (int mae = 0; mae < 2; mae++) {
		fixture f;
		tiny_config(&f.config);
		f.config.supported_modality = D2V_TEXT, f.config.mae_init = mae;
		f.config.text.decoder.projection_layers = 2;
		set_up(&f, D2V_TEXT, 20, true);
		assert_int_equal(d2v_model_init(f.model, NULL), D2V_OK);
		for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
			const d2v_param *param = d2v_params_find(d2v_model_params(f.model), weights[i].name);
			assert_non_null(param);
			double xavier = sqrt(2 / (double)(param->shape[0] + param->shape[1])), embedding = weights[i].embedding;
			double wanted = !mae ? 0.02 : embedding > 0 ? embedding : xavier, found = spread_of(&f, param);
			if (!(fabs(found - wanted) < 0.15 * wanted)) // five standard errors of the smallest
				fail_msg("%s: a spread of %g instead of %g", weights[i].name, found, wanted);
		}
		tear_down(&f);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_dropout_is_shared),
		cmocka_unit_test(test_cls_sees_dropout),
		cmocka_unit_test(test_cls_keeps_its_weight),
		cmocka_unit_test(test_absent_modalities_stand_still),
		cmocka_unit_test(test_features_are_the_teachers),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_padding_row),
		cmocka_unit_test(test_initial_spread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
