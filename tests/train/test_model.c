// Whole steps: sizes, repeatability, memory, accumulation, evaluation, and what is refused.
#include "tests/train/tiny_model.h"

#include "base/memory.h"
#include "train/recipe.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
	d2v_model_config config;
	d2v_device *device;
	d2v_model *model;
	tiny_batch batch;
	size_t bytes; // of the gradients
} fixture;

static void set_up(fixture *f, double dropout) {
	tiny_config(&f->config);
	f->config.encoder_dropout = f->config.post_mlp_drop = f->config.attention_dropout = dropout;
	f->config.audio.prenet_dropout = f->config.audio.decoder.input_dropout = dropout;
	assert_int_equal(d2v_device_open(&f->device, "cpu:1", NULL), D2V_OK);
	assert_int_equal(d2v_model_new(&f->model, f->device, &f->config, NULL), D2V_OK);
	tiny_weights(f->model, 0.1, 3);
	tiny_batch_make(&f->batch, &f->config, 2, 150, false, 9);
	f->bytes = (size_t)d2v_model_params(f->model)->size * sizeof(float);
}

static void tear_down(fixture *f) {
	tiny_batch_release(&f->batch);
	d2v_model_free(f->model);
	d2v_device_close(f->device);
}

// A step from zeroed gradients, which are copied out (NULL: not wanted).
static d2v_step_result step(fixture *f, const d2v_batch *batch, uint64_t update, float *gradients) {
	d2v_step_result result;
	d2v_error err = { 0 };
	d2v_model_zero_gradients(f->model);
	if (d2v_model_step(f->model, batch, update, &result, &err) != D2V_OK)
		fail_msg("%s", err.text);
	if (gradients)
		d2v_device_download(f->device, gradients, d2v_model_gradients(f->model), f->bytes);
	return result;
}

static float *room(const fixture *f) {
	float *out;
	assert_int_equal(d2v_alloc(&out, f->bytes, 1, NULL), D2V_OK);
	return out;
}

// Counts that spec/model.md 10.3 and spec/recipes.md give.
static void test_published_sizes(void **state) {
	(void)state;
	static const struct {
		const char *recipe;
		int64_t trainable, frozen;
	} sizes[] = {
		{ "audio-base", 93783308, 0 },
		{ "audio-large", 315184144, 0 },
		{ "audio-small", 13076358, 0 },
		{ "image-base", 88233216, 150528 },
		{ "image-large", 309067776, 200704 },
		{ "image-huge14", 637075712, 327680 },
		{ "image-small", 11534976, 75264 },
		{ "text-base", 152961792, 0 },
		{ "text-large", 385379584, 0 },
		{ "text-small", 34720128, 0 },
		{ "joint-base", 164870924, 150528 },
	};
	d2v_device *device;
	assert_int_equal(d2v_device_open(&device, "cpu:1", NULL), D2V_OK);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		d2v_config config;
		d2v_model *model;
		d2v_error err = { 0 };
		if (d2v_recipe_load(&config, sizes[i].recipe, NULL, 0, &err) != D2V_OK ||
			d2v_model_outline(&model, device, &config.model, &err) != D2V_OK)
			fail_msg("%s", err.text);
		const d2v_params *params = d2v_model_params(model);
		int64_t all = 0;
		for (int p = 0; p < params->count; p++)
			all += params->list[p].count;
		if (d2v_params_trainable(params) != sizes[i].trainable || all != sizes[i].trainable + sizes[i].frozen)
			fail_msg("%s: %lld trainable parameters, %lld in all", sizes[i].recipe,
				(long long)d2v_params_trainable(params), (long long)all);
		d2v_model_free(model);
	}
	d2v_device_close(device);
}

// Work that spec/gpu.md 3 and spec/recipes.md give, in GFLOP a sample; theirs are rounded, and the last ones are
// "about".
static void test_published_work(void **state) {
	(void)state;
	static const struct {
		const char *recipe;
		d2v_step_shape shape; // of one sample
		double gflop, tolerance;
	} works[] = {
		{ "audio-base", { D2V_AUDIO, 1, 8, 198400, 619, 310 }, 143.5 * 12.4, .01 },
		{ "image-base", { D2V_IMAGE, 1, 16, 0, 196, 39 }, 413.1, .002 },
		{ "image-large", { D2V_IMAGE, 1, 16, 0, 196, 49 }, 1697, .002 },
		{ "image-huge14", { D2V_IMAGE, 1, 16, 0, 256, 64 }, 4457, .002 },
		{ "text-base", { D2V_TEXT, 1, 8, 0, 512, 266 }, 1954, .002 },
		{ "text-large", { D2V_TEXT, 1, 8, 0, 512, 256 }, 9.70 * 512, .002 },
		{ "audio-small", { D2V_AUDIO, 1, 4, 160000, 499, 250 }, 800. / 6, .05 },
		{ "image-small", { D2V_IMAGE, 1, 8, 0, 196, 39 }, 1060. / 32, .02 },
		{ "text-small", { D2V_TEXT, 1, 4, 0, 256, 133 }, 550. / 8, .02 },
	};
	for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
		d2v_config config;
		assert_int_equal(d2v_recipe_load(&config, works[i].recipe, NULL, 0, NULL), D2V_OK);
		double work = d2v_model_step_flops(&config.model, &works[i].shape) * 1e-9;
		if (!(fabs(work / works[i].gflop - 1) < works[i].tolerance))
			fail_msg("%s: %.2f GFLOP, published %.2f", works[i].recipe, work, works[i].gflop);
	}
}

static void test_same_step_same_bytes(void **state) {
	(void)state;
	fixture f;
	set_up(&f, 0.1);
	f.batch.batch.noise = NULL; // drawn
	float *first = room(&f), *second = room(&f), *other = room(&f);
	double loss = step(&f, &f.batch.batch, 4, first).loss;
	step(&f, &f.batch.batch, 5, other);
	assert_true(step(&f, &f.batch.batch, 4, second).loss == loss);
	assert_memory_equal(first, second, f.bytes);
	assert_true(memcmp(first, other, f.bytes) != 0); // another update draws other dropouts
	d2v_free(first);
	d2v_free(second);
	d2v_free(other);
	tear_down(&f);
}

// Two samples at once, or one after the other: the sums are the same.
static void test_gradients_accumulate(void **state) {
	(void)state;
	fixture f;
	set_up(&f, 0);
	float *whole = room(&f), *parts = room(&f);
	d2v_step_result result, total = step(&f, &f.batch.batch, 0, whole);
	d2v_model_zero_gradients(f.model);
	double loss = 0;
	int64_t size = 0;
	for (int s = 0; s < 2; s++) {
		d2v_batch one = f.batch.batch;
		int rows = one.clones, hidden = one.tokens - one.kept;
		int32_t masked[512];
		one.samples = 1, one.masked_count = 0, one.masked = masked;
		one.wave += s * one.length, one.mask += s * rows * one.tokens, one.restore += s * rows * one.tokens;
		one.keep += s * rows * one.kept, one.noise += (int64_t)s * rows * hidden * f.config.embed_dim;
		for (int32_t i = 0; i < rows * one.tokens; i++)
			if (one.mask[i])
				masked[one.masked_count++] = i;
		assert_int_equal(d2v_model_step(f.model, &one, 0, &result, NULL), D2V_OK);
		loss += result.loss;
		size += result.sample_size;
	}
	d2v_device_download(f.device, parts, d2v_model_gradients(f.model), f.bytes);
	assert_int_equal(size, total.sample_size);
	assert_true(fabs(loss - total.loss) <= 1e-6 * total.loss);
	const d2v_params *params = d2v_model_params(f.model);
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		double largest = 0, worst = 0;
		for (int64_t k = param->offset; k < param->offset + param->count; k++) {
			largest = fmax(largest, fabs((double)whole[k]));
			worst = fmax(worst, fabs((double)whole[k] - (double)parts[k]));
		}
		if (!(worst <= 1e-4 * largest))
			fail_msg("%s: differs by %g of %g", param->name, worst, largest);
	}
	d2v_free(whole);
	d2v_free(parts);
	tear_down(&f);
}

// An evaluation has no dropouts and leaves the gradients alone.
static void test_evaluation(void **state) {
	(void)state;
	fixture plain, dropped;
	set_up(&plain, 0);
	set_up(&dropped, 0.3);
	d2v_step_result a = step(&plain, &plain.batch.batch, 0, NULL), b, c;
	float *before = room(&dropped), *after = room(&dropped);
	b = step(&dropped, &dropped.batch.batch, 0, before);
	assert_int_equal(d2v_model_evaluate(dropped.model, &dropped.batch.batch, &c, NULL), D2V_OK);
	d2v_device_download(dropped.device, after, d2v_model_gradients(dropped.model), dropped.bytes);
	assert_memory_equal(before, after, dropped.bytes);
	assert_true(a.loss != b.loss);
	assert_true(fabs(a.loss - c.loss) <= 1e-9 * a.loss);
	d2v_free(before);
	d2v_free(after);
	tear_down(&plain);
	tear_down(&dropped);
}

// Larger, smaller and larger again: memory only grows, and results do not depend on what was there before.
static void test_shapes_change(void **state) {
	(void)state;
	fixture f;
	set_up(&f, 0.1);
	tiny_batch large;
	tiny_batch_make(&large, &f.config, 3, 420, true, 4);
	size_t small_size, large_size;
	const d2v_batch *a = &f.batch.batch, *b = &large.batch;
	assert_int_equal(
		d2v_model_step_memory(
			f.model, &(d2v_step_shape){ D2V_AUDIO, 2, a->clones, a->length, a->tokens, a->kept }, &small_size, NULL),
		0);
	assert_int_equal(
		d2v_model_step_memory(
			f.model, &(d2v_step_shape){ D2V_AUDIO, 3, b->clones, b->length, b->tokens, b->kept }, &large_size, NULL),
		0);
	assert_true(small_size > 0 && large_size > small_size);
	float *first = room(&f), *again = room(&f);
	step(&f, a, 1, first);
	double loss = step(&f, b, 1, NULL).loss;
	step(&f, a, 1, again);
	assert_memory_equal(first, again, f.bytes);
	assert_true(step(&f, b, 1, NULL).loss == loss);
	d2v_free(first);
	d2v_free(again);
	tiny_batch_release(&large);
	tear_down(&f);
}

static void test_refused_and_empty(void **state) {
	(void)state;
	fixture f;
	set_up(&f, 0);
	d2v_step_result result;
	d2v_batch batch = f.batch.batch;
	batch.modality = D2V_TEXT;
	assert_int_equal(d2v_model_step(f.model, &batch, 0, &result, NULL), D2V_INVALID);
	batch = f.batch.batch, batch.tokens++;
	assert_int_equal(d2v_model_step(f.model, &batch, 0, &result, NULL), D2V_INVALID);
	batch = f.batch.batch, batch.kept = 0;
	assert_int_equal(d2v_model_step(f.model, &batch, 0, &result, NULL), D2V_INVALID);
	batch = f.batch.batch, batch.mask = NULL;
	assert_int_equal(d2v_model_step(f.model, &batch, 0, &result, NULL), D2V_INVALID);
	batch = f.batch.batch, batch.samples = 0;
	assert_int_equal(d2v_model_step(f.model, &batch, 0, &result, NULL), D2V_OK);
	assert_true(result.sample_size == 0 && result.loss == 0);
	tear_down(&f);
}

// Allocation n fails, for every n: an error comes back, nothing leaks, and the next try succeeds.
static void test_memory_runs_out(void **state) {
	(void)state;
	long live = d2v_memory_live();
	d2v_status status = D2V_NO_MEMORY;
	for (long n = 0; status != D2V_OK; n++) {
		fixture f = { .device = NULL };
		d2v_step_result result;
		tiny_config(&f.config);
		tiny_batch_make(&f.batch, &f.config, 1, 60, true, 9);
		assert_true(n < 10000);
		d2v_memory_fail_after(n);
		status = d2v_device_open(&f.device, "cpu:1", NULL);
		if (status == D2V_OK)
			status = d2v_model_new(&f.model, f.device, &f.config, NULL);
		if (status == D2V_OK)
			status = d2v_model_init(f.model, NULL);
		if (status == D2V_OK)
			status = d2v_model_step(f.model, &f.batch.batch, 0, &result, NULL);
		d2v_memory_fail_after(-1);
		assert_true(status == D2V_OK || status == D2V_NO_MEMORY);
		tear_down(&f);
		assert_int_equal(d2v_memory_live(), live);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_sizes),
		cmocka_unit_test(test_published_work),
		cmocka_unit_test(test_same_step_same_bytes),
		cmocka_unit_test(test_gradients_accumulate),
		cmocka_unit_test(test_evaluation),
		cmocka_unit_test(test_shapes_change),
		cmocka_unit_test(test_refused_and_empty),
		cmocka_unit_test(test_memory_runs_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
