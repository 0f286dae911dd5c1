// Whole steps through attention's dropout leave the same bytes whether its draws are kept for the way back
// (d2v_attention.kept) or drawn again: as they are, computed again, and with copies in groups. D2V_TEST_DEVICE chooses
// the device. A GPU keeps them of heads that its tensor cores take, in 16 bits: so the models have one of 64 channels.
// A processor has nothing to keep, but the same is true of it.
#include "base/hash.h"
#include "base/memory.h"
#include "kernels/backend.h"
#include "tests/base/scratch.h"
#include "tests/train/tiny_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES 2
#define TOKENS 72         // half of which a student sees
#define SAMPLES_A_TOKEN 8 // of speech
#define UPDATE 3          // any: it keys the draws

static d2v_error err;

typedef struct outcome {
	uint64_t gradients; // their digest
	double loss;
	size_t bytes; // planned for the step
} outcome;

static void configure(d2v_model_config *config) {
	tiny_config(config);
	config->embed_dim = config->image.embed_dim = 64, config->num_heads = 1;
	config->attention_dropout = 0.2;
	config->text.max_source_positions = TOKENS;
}

static d2v_device *open_device(bool keeps) {
	static d2v_backend forgetful;
	const char *name = getenv("D2V_TEST_DEVICE");
	d2v_device *device;
	assert_ok(d2v_device_open(&device, name ? name : "cpu:1", &err));
	if (!keeps) {
		forgetful = *device->backend;
		forgetful.attention_kept_bytes = NULL;
		device->backend = &forgetful;
	}
	return device;
}

// Whether there are draws to be kept in these models' steps.
static bool has_draws(void) {
	d2v_device *device = open_device(true);
	const d2v_attention op = { .rows = 1, .tokens = TOKENS, .heads = 1, .width = 64, .drop = { .p = .2f } };
	bool has = d2v_attention_kept_bytes(device, &op) > 0;
	assert_int_equal(has, device->threads == 0 && device->real_size == 2);
	d2v_device_close(device);
	return has;
}

static size_t planned(d2v_model *model, const d2v_batch *batch) {
	size_t bytes;
	d2v_step_shape shape = { .modality = batch->modality, .batch = batch->samples, .clones = batch->clones };
	shape.length = batch->length, shape.tokens = batch->tokens, shape.kept = batch->kept;
	assert_ok(d2v_model_step_memory(model, &shape, &bytes, &err));
	return bytes;
}

static uint64_t digest_of_gradients(d2v_model *model) {
	size_t bytes = (size_t)d2v_model_params(model)->size * sizeof(float);
	float *gradients;
	assert_ok(d2v_alloc(&gradients, bytes, 1, &err));
	d2v_device_download(d2v_model_device(model), gradients, d2v_model_gradients(model), bytes);
	uint64_t digest = d2v_hash64(gradients, bytes);
	d2v_free(gradients);
	return digest;
}

// Two batches of one update, so that the second one has other draws where the first one's were.
static outcome run(d2v_modality modality, d2v_memory_options options, bool keeps) {
	d2v_model_config config;
	d2v_model *model;
	d2v_step_result result;
	tiny_batch batch;
	outcome out;
	configure(&config);
	config.supported_modality = modality;
	d2v_device *device = open_device(keeps);
	assert_ok(d2v_model_new(&model, device, &config, &err));
	tiny_weights(model, 0.15, 11);
	d2v_model_set_memory(model, options);
	int length = modality == D2V_AUDIO ? TOKENS * SAMPLES_A_TOKEN : TOKENS;
	tiny_batch_make_of(&batch, &config, modality, SAMPLES, length, true, 13);
	d2v_model_zero_gradients(model);
	for (int i = 0; i < 2; i++)
		assert_ok(d2v_model_step(model, &batch.batch, UPDATE, &result, &err));
	out = (outcome){ digest_of_gradients(model), result.loss, planned(model, &batch.batch) };
	assert_ok(d2v_device_sync(device, &err));
	tiny_batch_release(&batch);
	d2v_model_free(model);
	d2v_device_close(device);
	return out;
}

// some: what is kept takes memory.
static void compare(outcome kept, outcome drawn_again, bool some) {
	assert_true(isfinite(kept.loss) && kept.loss > 0);
	assert_int_equal(kept.gradients, drawn_again.gradients);
	assert_memory_equal(&kept.loss, &drawn_again.loss, sizeof kept.loss);
	assert_int_equal(kept.bytes > drawn_again.bytes, some);
}

static void same_bytes_of_text(void **state) {
	(void)state;
	const d2v_memory_options plain = { 0 }, recompute = { .recompute = true };
	outcome kept = run(D2V_TEXT, plain, true);
	compare(kept, run(D2V_TEXT, plain, false), has_draws());
	assert_int_equal(run(D2V_TEXT, recompute, true).gradients, kept.gradients);
}

static void same_bytes_of_speech_in_groups(void **state) {
	(void)state;
	const d2v_memory_options plain = { 0 }, groups = { .clone_groups = 2 };
	const d2v_memory_options both = { .recompute = true, .clone_groups = 2 };
	outcome kept = run(D2V_AUDIO, groups, true);
	compare(kept, run(D2V_AUDIO, groups, false), has_draws());
	assert_int_equal(run(D2V_AUDIO, both, true).gradients, kept.gradients);
	// Groups have the draws of the whole: what they predict is the same but for roundings to 16 bits.
	double whole = run(D2V_AUDIO, plain, true).loss;
	assert_true(fabs(kept.loss - whole) <= 0x1p-8 * whole);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bytes_of_text),
		cmocka_unit_test(same_bytes_of_speech_in_groups),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
