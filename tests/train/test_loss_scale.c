// Scaled gradients: the rule against the original's, the same bytes with a scale and without, gradients that overflow for real
// (a scale that is too large for f32 even), and going on in between.
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "loaders/synthetic_source.h"
#include "tests/train/tiny_run.h"
#include "train/recipe.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above first
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the rule

// fairseq's DynamicLossScaler, as it counts: attempts, and the last one that overflowed.
typedef struct original {
	double scale;
	int64_t attempts, last_overflow, window;
} original;

static void original_attempt(original *o, bool overflow) {
	if (overflow) {
		o->last_overflow = o->attempts;
		o->scale /= 2;
	} else if ((o->attempts - o->last_overflow) % o->window == 0) {
		o->scale *= 2;
	}
	o->attempts++;
}

static void follows_the_original(void **state) {
	(void)state;
	for (int64_t window = 1; window <= 7; window++) {
		const d2v_loss_scale_config config = { .init = 128, .minimum = 0, .window = (uint64_t)window };
		original theirs = { .scale = 128, .last_overflow = -1, .window = window };
		d2v_loss_scale ours = { .scale = 128 };
		d2v_random random;
		d2v_random_start(&random, d2v_random_key_make((uint64_t)window, D2V_RANDOM_SYNTHETIC, 0, 0));
		uint64_t overflows = 0;
		for (int i = 0; i < 500; i++) {
			bool overflow = d2v_random_below(&random, (uint32_t)window + 1) == 0;
			original_attempt(&theirs, overflow);
			if (overflow)
				assert_int_equal(d2v_loss_scale_shrink(&ours, &config, NULL), D2V_OK);
			else
				d2v_loss_scale_grow(&ours, &config);
			overflows += overflow;
			if (!(ours.scale == theirs.scale))
				fail_msg("window %d, attempt %d: %g, the original has %g", (int)window, i, ours.scale, theirs.scale);
		}
		assert_int_equal(ours.skipped, overflows);
	}
}

static void stops_at_the_minimum_and_holds_at_the_threshold(void **state) {
	(void)state;
	d2v_error err = { 0 };
	const d2v_loss_scale_config low = { .init = 4, .minimum = 1, .window = 10 };
	d2v_loss_scale scale = { .scale = 4, .good = 3 };
	assert_int_equal(d2v_loss_scale_shrink(&scale, &low, &err), D2V_OK);
	assert_true(scale.scale == 2 && scale.good == 0 && scale.skipped == 1);
	scale.good = 5;
	assert_int_equal(d2v_loss_scale_shrink(&scale, &low, &err), D2V_DIVERGED);
	assert_true(scale.scale == 2 && scale.good == 5 && scale.skipped == 1);
	assert_non_null(strstr(err.text, "bf16"));
	assert_non_null(strstr(err.text, "common.min_loss_scale"));
	const d2v_loss_scale_config held = { .init = 4, .minimum = 1, .threshold = 2, .window = 10 };
	for (int i = 0; i < 5; i++)
		assert_int_equal(d2v_loss_scale_shrink(&scale, &held, &err), D2V_OK);
	assert_true(scale.scale == 2);
}

static void never_grows_beyond_floats(void **state) {
	(void)state;
	const d2v_loss_scale_config config = { .init = 1, .window = 1 };
	d2v_loss_scale scale = { .scale = 1 };
	for (int i = 0; i < 300; i++)
		d2v_loss_scale_grow(&scale, &config);
	assert_true(isfinite((float)scale.scale) && scale.scale >= 0x1p126);
}

// ---- the model

static void assert_same_floats(const float *a, const float *b, int64_t count, const char *what) {
	for (int64_t i = 0; i < count; i++)
		if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
			fail_msg("%s[%lld]: %a and %a", what, (long long)i, (double)a[i], (double)b[i]);
}

static double train_scaled(tiny_run *run, double scale) {
	double losses = 0;
	d2v_model_scale_gradients(run->model, scale);
	for (uint64_t n = 0; n < 6; n++) {
		const d2v_batch *batch;
		d2v_step_result result;
		d2v_optimizer_result step;
		d2v_model_move_teacher(run->model, n);
		d2v_model_zero_gradients(run->model);
		assert_int_equal(d2v_source_next(run->source, &batch, NULL), D2V_OK);
		assert_int_equal(d2v_model_step(run->model, batch, n, &result, NULL), D2V_OK);
		assert_int_equal(
			d2v_optimizer_update(run->optimizer, (double)result.sample_size * scale, 1e-3, &step, NULL), D2V_OK);
		losses += result.loss + step.grad_norm;
		d2v_source_give(run->source, batch);
	}
	return losses;
}

// Losses as they are told, weights, teacher and moments: to the bit, since the scale is a power of two.
static void a_scale_changes_no_bit(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	config.audio.num_extra_tokens = 1;
	config.cls_loss = 1;
	tiny_run plain, scaled;
	tiny_run_open(&plain, &config);
	tiny_run_open(&scaled, &config);
	double losses = train_scaled(&plain, 1);
	assert_true(losses == train_scaled(&scaled, 0x1p20));
	const d2v_params *params = d2v_model_params(plain.model);
	assert_same_floats(d2v_model_weights(plain.model), d2v_model_weights(scaled.model), params->size, "weights");
	assert_same_floats(d2v_model_teacher(plain.model), d2v_model_teacher(scaled.model), params->teacher_size, "teacher");
	assert_same_floats(d2v_optimizer_m(plain.optimizer), d2v_optimizer_m(scaled.optimizer), params->size, "m");
	assert_same_floats(d2v_optimizer_v(plain.optimizer), d2v_optimizer_v(scaled.optimizer), params->size, "v");
	bool differ = false; // the gradients themselves do
	for (int64_t i = 0; i < params->size; i++)
		differ = differ || d2v_model_gradients(plain.model)[i] != d2v_model_gradients(scaled.model)[i];
	assert_true(differ);
	tiny_run_close(&plain);
	tiny_run_close(&scaled);
}

// ---- the trainer

static char folder[256];

static int set_up(void **state) {
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%s/d2v-loss-scale-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
	(void)state;
	return d2v_file_remove_tree(folder, NULL) == D2V_OK ? 0 : -1;
}

typedef struct training {
	d2v_status status;
	d2v_error err;
	d2v_loop_state state;
} training;

// Trains in folder/name until `updates`, going on from what is there; more: NULL-terminated.
static training train(const char *name, int updates, const char *const *more) {
	char save_dir[512], max_update[64];
	static d2v_config config;
	d2v_device *device = NULL;
	d2v_source *source = NULL;
	d2v_trainer *trainer = NULL;
	training got = { .err = { 0 } };
	snprintf(save_dir, sizeof save_dir, "checkpoint.save_dir=%s/%s", folder, name);
	snprintf(max_update, sizeof max_update, "optimization.max_update=%d", updates);
	const char *all[32] = { save_dir, max_update, "lr_scheduler._name=fixed", "common.tensorboard_logdir=''",
		"common.log_interval=1", "d2v.collapse_interval=2", "distributed_training.distributed_world_size=1",
		"optimization.update_freq=2" };
	int count = 8;
	while (*more)
		all[count++] = *more++;
	assert_int_equal(d2v_device_open(&device, "cpu:1", &got.err), D2V_OK);
	got.status = d2v_recipe_load(&config, "audio-tiny", all, count, &got.err);
	if (got.status == D2V_OK) {
		config.model = tiny_model_config();
		got.status = d2v_config_resolve(&config, &got.err);
	}
	if (got.status == D2V_OK)
		got.status = tiny_source_open(&source, &config.model, &got.err);
	const d2v_trainer_options options = { .quiet = true };
	if (got.status == D2V_OK)
		got.status = d2v_trainer_new(&trainer, &config, device, source, &options, &got.err);
	if (got.status == D2V_OK)
		got.status = d2v_trainer_run(trainer, &got.err);
	if (trainer)
		got.state = *d2v_trainer_state(trainer);
	d2v_trainer_free(trainer);
	d2v_source_close(source);
	d2v_device_close(device);
	return got;
}

#define ALWAYS "d2v.loss_scaling=always"
#define HUGE_SCALE "common.fp16_init_scale=1.0633823966279327e+37" // 2^123
#define UPDATES 9

static void assert_same_file(const char *left, const char *right, bool same) {
	char path[2][512];
	void *bytes[2];
	size_t sizes[2];
	snprintf(path[0], sizeof path[0], "%s/%s/checkpoint_last.safetensors", folder, left);
	snprintf(path[1], sizeof path[1], "%s/%s/checkpoint_last.safetensors", folder, right);
	for (int i = 0; i < 2; i++)
		assert_int_equal(d2v_file_read(path[i], 1 << 24, &bytes[i], &sizes[i], NULL), D2V_OK);
	assert_true(sizes[0] > 1000);
	assert_int_equal(sizes[0] == sizes[1] && memcmp(bytes[0], bytes[1], sizes[0]) == 0, same);
	d2v_free(bytes[0]);
	d2v_free(bytes[1]);
}

// Gradients that do not fit even into f32: the scale falls until they do, the update then happens with later batches, and
// the number of updates has not moved meanwhile.
static void overflows_are_skipped(void **state) {
	(void)state;
	training got = train("huge", 1, (const char *const[]){ ALWAYS, HUGE_SCALE, NULL });
	if (got.status != D2V_OK)
		fail_msg("%s", got.err.text);
	uint64_t skipped = got.state.loss_scale.skipped;
	assert_int_equal(got.state.updates, 1);
	assert_in_range(skipped, 1, 60);
	assert_true(got.state.loss_scale.scale == ldexp(1, 123 - (int)skipped));
	assert_int_equal(got.state.loss_scale.good, 1);
	assert_int_equal(got.state.batches, 2 * (skipped + 1)); // update_freq
	got = train("plain", 1, (const char *const[]){ NULL });
	assert_int_equal(got.status, D2V_OK);
	assert_true(got.state.loss_scale.scale == 0);
	assert_int_equal(got.state.batches, 2);
}

// A run that is stopped after each of its updates, overflows among them, ends with the bytes of one that is not.
static void going_on_gives_the_same_bytes(void **state) {
	(void)state;
	const char *const more[] = { ALWAYS, HUGE_SCALE, "common.fp16_scale_window=1", NULL }; // grows, and overflows again
	const char *const window[] = { ALWAYS, HUGE_SCALE, "common.fp16_scale_window=3", NULL };
	training whole = train("whole", UPDATES, more), last = { .status = D2V_OK };
	if (whole.status != D2V_OK)
		fail_msg("%s", whole.err.text);
	assert_true(whole.state.loss_scale.skipped > UPDATES / 2);
	for (int updates = 1; updates <= UPDATES; updates++)
		if ((last = train("parts", updates, more)).status != D2V_OK)
			fail_msg("%s", last.err.text);
	// Only the last life's configuration is stored, and it is the whole one's.
	assert_same_file("whole", "parts", true);
	whole = train("whole3", UPDATES, window);
	for (int updates = 2; updates <= UPDATES + 1; updates += 2)
		last = train("parts3", updates < UPDATES ? updates : UPDATES, window);
	assert_int_equal(last.status, D2V_OK);
	assert_int_equal(last.state.loss_scale.good, whole.state.loss_scale.good);
	assert_same_file("whole3", "parts3", true);
	assert_same_file("whole", "whole3", false); // the comparison can fail
}

static void a_run_that_cannot_be_scaled_stops_with_a_remedy(void **state) {
	(void)state;
	training got = train("minimum", 3, (const char *const[]){ ALWAYS, HUGE_SCALE, "common.min_loss_scale=5e36", NULL });
	assert_int_equal(got.status, D2V_DIVERGED);
	assert_non_null(strstr(got.err.text, "update 1"));
	assert_non_null(strstr(got.err.text, "bf16"));
	assert_int_equal(got.state.updates, 0);
	got = train("no_power", 1, (const char *const[]){ ALWAYS, "common.fp16_init_scale=100", NULL });
	assert_int_equal(got.status, D2V_INVALID);
	assert_non_null(strstr(got.err.text, "power of two"));
}

// What was saved without a scale goes on with one, and the other way round.
static void scaling_may_begin_and_end_with_a_resume(void **state) {
	(void)state;
	training got = train("mixed", 2, (const char *const[]){ NULL });
	assert_int_equal(got.status, D2V_OK);
	got = train("mixed", 4, (const char *const[]){ ALWAYS, NULL });
	assert_int_equal(got.status, D2V_OK);
	assert_true(got.state.loss_scale.scale == 128 && got.state.loss_scale.good == 2);
	got = train("mixed", 5, (const char *const[]){ NULL });
	assert_int_equal(got.status, D2V_OK);
	assert_true(got.state.loss_scale.scale == 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_the_original),
		cmocka_unit_test(stops_at_the_minimum_and_holds_at_the_threshold),
		cmocka_unit_test(never_grows_beyond_floats),
		cmocka_unit_test(a_scale_changes_no_bit),
		cmocka_unit_test_setup_teardown(overflows_are_skipped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(going_on_gives_the_same_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_run_that_cannot_be_scaled_stops_with_a_remedy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scaling_may_begin_and_end_with_a_resume, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
