// What a run would cost: memory that is counted must be the memory that is taken, and a batch that is said to fit must.
#include "base/memory.h"
#include "train/plan.h"
#include "train/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static d2v_plan plan_of(d2v_device *device, const char *recipe, d2v_plan_shape shape) {
	d2v_config *config;
	d2v_plan plan;
	d2v_error err = { 0 };
	d2v_plan_data data = { .shapes = &shape, .count = 1, .assumed = true };
	assert_int_equal(d2v_alloc_zero(&config, 1, sizeof *config, &err), D2V_OK);
	if (d2v_recipe_load(config, recipe, NULL, 0, &err) != D2V_OK ||
		d2v_plan_make(&plan, config, device, &data, 1e12, &err) != D2V_OK)
		fail_msg("%s: %s", recipe, err.text);
	d2v_free(config);
	return plan;
}

// Parameter counts of spec/model.md; an update's work is counted in tests of flops.
static void test_counts(void **state) {
	(void)state;
	d2v_device *device;
	assert_int_equal(d2v_device_open(&device, "cpu:1", NULL), D2V_OK);
	d2v_plan plan = plan_of(device, "audio-base", (d2v_plan_shape){ D2V_AUDIO, 2, 160000, 1 });
	assert_int_equal(plan.parameters, 93783308);
	assert_true(plan.weight_bytes > 3 * 4.0 * (double)plan.teacher_parameters && plan.step_bytes > 0);
	assert_true(plan.device_bytes > 0 && plan.fitting_batch == 0);
	assert_true(plan.samples_update > 0 && plan.updates_hour > 0);
	d2v_device_close(device);
}

static void test_a_batch_that_fits(void **state) {
	(void)state;
	d2v_device *device;
	assert_int_equal(d2v_device_open(&device, "cpu:1", NULL), D2V_OK);
	d2v_plan_shape shape = { D2V_IMAGE, 2000000, 0, 1 };
	d2v_plan large = plan_of(device, "image-tiny", shape);
	double room = large.device_bytes * D2V_PLAN_MEMORY - large.weight_bytes - large.optimizer_bytes;
	assert_true(large.fitting_batch > 0 && large.fitting_batch < shape.batch);
	shape.batch = large.fitting_batch;
	d2v_plan fits = plan_of(device, "image-tiny", shape);
	assert_int_equal(fits.fitting_batch, 0);
	assert_true(fits.step_bytes <= room);
	shape.batch++;
	assert_true(plan_of(device, "image-tiny", shape).step_bytes > room);
	d2v_device_close(device);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_a_batch_that_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
