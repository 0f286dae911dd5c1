// The trainer takes a batch ahead of the one that it trains on: what becomes of that batch when the run ends, is
// stopped, goes on, or when the batch fails.
#include "base/memory.h"
#include "tests/base/scratch.h"
#include "tests/train/tiny_run.h"
#include "train/trainer.h"

#include <string.h>

// Synthetic batches; counts what is asked of it, and fails at one of them.
typedef struct watched {
	d2v_source source;
	d2v_source *inner;
	uint64_t fail_at; // UINT64_MAX: never
	uint64_t handed, given, seeks, most_out;
} watched;

static d2v_status next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	watched *self = (watched *)source;
	if (d2v_source_tell(self->inner).index == self->fail_at)
		return d2v_fail(err, D2V_CORRUPT, "batch %d is damaged", (int)self->fail_at);
	D2V_TRY(d2v_source_next(self->inner, batch, err));
	uint64_t out = ++self->handed - self->given;
	self->most_out = out > self->most_out ? out : self->most_out;
	return D2V_OK;
}
static void give(d2v_source *source, const d2v_batch *batch) {
	((watched *)source)->given++;
	d2v_source_give(((watched *)source)->inner, batch);
}
static d2v_source_position tell(const d2v_source *source) {
	return d2v_source_tell(((const watched *)source)->inner);
}
static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	((watched *)source)->seeks++;
	return d2v_source_seek(((watched *)source)->inner, position, err);
}
static d2v_source_stats statistics(d2v_source *source) {
	return d2v_source_statistics(((watched *)source)->inner);
}
static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	return d2v_source_epoch_steps(((const watched *)source)->inner, epoch);
}
static void close_source(d2v_source *source) {
	d2v_source_close(((watched *)source)->inner);
}
static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

typedef struct fixture {
	d2v_config config;
	d2v_device *device;
	watched source;
	d2v_trainer *trainer;
} fixture;

static int updates_before_stop;
static bool stop_asked(void) {
	return --updates_before_stop == 0;
}

// stop_after: updates until it is asked to stop; 0: never.
static void set_up(fixture *f, const char *folder, int updates, int batches, uint64_t fail_at, int stop_after) {
	d2v_error err = { 0 };
	*f = (fixture){ .source = { .source.methods = &methods, .fail_at = fail_at } };
	updates_before_stop = stop_after;
	assert_ok(d2v_config_defaults(&f->config, &err));
	f->config.model = tiny_model_config();
	f->config.optimization.max_update = updates;
	f->config.optimization.lr.value[0] = 1e-3;
	f->config.optimization.update_freq.value[0] = batches;
	f->config.lr_scheduler.kind = D2V_SCHEDULE_FIXED;
	f->config.dataset.batch_size = 2;
	f->config.own.collapse_interval = 2;
	strcpy(f->config.checkpoint.save_dir, folder);
	assert_ok(d2v_config_resolve(&f->config, &err));
	assert_ok(d2v_device_open(&f->device, "cpu:1", &err));
	assert_ok(tiny_source_open(&f->source.inner, &f->config.model, &err));
	assert_ok(d2v_trainer_new(&f->trainer, &f->config, f->device, &f->source.source,
		&(d2v_trainer_options){ .quiet = true, .stop_asked = stop_asked }, &err));
}

static void tear_down(fixture *f) {
	d2v_trainer_free(f->trainer);
	d2v_source_close(&f->source.source);
	d2v_device_close(f->device);
}

static void none_beyond_the_end(void **state) {
	d2v_error err = { 0 };
	fixture f;
	set_up(&f, scratch_path(state, "run"), 3, 2, UINT64_MAX, 0);
	assert_ok(d2v_trainer_run(f.trainer, &err));
	assert_int_equal(f.source.handed, 6);
	assert_int_equal(f.source.given, 6);
	assert_int_equal(f.source.most_out, 2);
	assert_int_equal(f.source.seeks, 0);
	assert_int_equal(d2v_trainer_state(f.trainer)->position.index, 6);
	tear_down(&f);
}

// Batch 4, counted from 0, is wanted by update 3 of two batches each; it is taken while update 2 runs.
static void a_failure_waits_for_its_turn(void **state) {
	d2v_error err = { 0 };
	fixture f;
	set_up(&f, scratch_path(state, "run"), 9, 2, 4, 0);
	assert_int_equal(d2v_trainer_run(f.trainer, &err), D2V_CORRUPT);
	assert_string_equal(err.text, "batch 4 is damaged");
	assert_int_equal(d2v_trainer_state(f.trainer)->updates, 2);
	assert_int_equal(d2v_trainer_state(f.trainer)->position.index, 4);
	assert_int_equal(f.source.handed, f.source.given);
	tear_down(&f);
	set_up(&f, scratch_path(state, "other"), 2, 2, 4, 0); // nobody wants it
	assert_ok(d2v_trainer_run(f.trainer, &err));
	tear_down(&f);
}

static float *weights_of(fixture *f, size_t *bytes) {
	float *weights;
	d2v_model *model = d2v_trainer_model(f->trainer);
	*bytes = (size_t)d2v_model_params(model)->size * sizeof *weights;
	assert_int_equal(d2v_alloc(&weights, *bytes, 1, NULL), D2V_OK);
	d2v_device_download(f->device, weights, d2v_model_weights(model), *bytes);
	return weights;
}

static void a_stop_loses_no_batch(void **state) {
	d2v_error err = { 0 };
	fixture f;
	size_t bytes;
	set_up(&f, scratch_path(state, "whole"), 5, 1, UINT64_MAX, 0);
	assert_ok(d2v_trainer_run(f.trainer, &err));
	uint64_t digest = d2v_trainer_state(f.trainer)->batch_digest;
	float *whole = weights_of(&f, &bytes);
	tear_down(&f);

	set_up(&f, scratch_path(state, "parts"), 5, 1, UINT64_MAX, 2);
	assert_int_equal(d2v_trainer_run(f.trainer, &err), D2V_INTERRUPTED);
	assert_int_equal(f.source.handed, 3);
	assert_int_equal(f.source.given, 3);
	assert_int_equal(d2v_source_tell(&f.source.source).index, 2); // stands where the run does
	assert_ok(d2v_trainer_run(f.trainer, &err));                  // and the same trainer goes on from there
	assert_int_equal(d2v_trainer_state(f.trainer)->batch_digest, digest);
	float *parts = weights_of(&f, &bytes);
	assert_memory_equal(parts, whole, bytes);
	d2v_free(parts);
	tear_down(&f);

	set_up(&f, scratch_path(state, "resumed"), 5, 1, UINT64_MAX, 2);
	assert_int_equal(d2v_trainer_run(f.trainer, &err), D2V_INTERRUPTED);
	tear_down(&f);
	set_up(&f, scratch_path(state, "resumed"), 5, 1, UINT64_MAX, 0);
	assert_ok(d2v_trainer_run(f.trainer, &err));
	assert_int_equal(d2v_trainer_state(f.trainer)->batch_digest, digest);
	parts = weights_of(&f, &bytes);
	assert_memory_equal(parts, whole, bytes);
	d2v_free(parts);
	d2v_free(whole);
	tear_down(&f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(none_beyond_the_end, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(a_failure_waits_for_its_turn, scratch_set_up, scratch_tear_down),
		cmocka_unit_test_setup_teardown(a_stop_loses_no_batch, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
