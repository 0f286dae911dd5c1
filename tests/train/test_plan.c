// What a run would cost: memory that is counted must be the memory that is taken, and a batch that is said to fit must.
#include "base/memory.h"
#include "train/plan.h"
#include "train/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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

// ---- cards

static d2v_plan plan_of_card(const char *recipe, d2v_plan_shape shape, size_t real_size, double memory) {
	d2v_device *card;
	assert_int_equal(d2v_device_outline(&card, real_size, (size_t)memory, NULL), D2V_OK);
	d2v_plan plan = plan_of(card, recipe, shape);
	d2v_device_close(card);
	return plan;
}

// An outline's plan is that of the device it is the outline of.
static void test_outline(void **state) {
	(void)state;
	d2v_device *device;
	d2v_plan_shape shape = { D2V_TEXT, 4, 128, 1 };
	assert_int_equal(d2v_device_open(&device, "cpu:1", NULL), D2V_OK);
	d2v_plan here = plan_of(device, "text-tiny", shape);
	d2v_plan card = plan_of_card("text-tiny", shape, d2v_device_real_size(device), here.device_bytes);
	assert_memory_equal(&here, &card, sizeof here);
	d2v_plan half = plan_of_card("text-tiny", shape, 2, here.device_bytes);
	assert_true(half.step_bytes < here.step_bytes && half.step_bytes > 0.5 * here.step_bytes);
	d2v_device_close(device);
}

// What attention's dropout adds to a step of text-base of 4 blocks, 8 copies and 266 kept tokens.
static int64_t dropout_bytes(size_t real_size, d2v_memory_options memory) {
	static const char *const set[] = { "model.attention_dropout=0", "model.attention_dropout=0.1" };
	d2v_step_shape shape = { D2V_TEXT, 4, 8, 0, 512, 266 };
	size_t bytes[2];
	d2v_device *card;
	d2v_config *config;
	d2v_error err = { 0 };
	assert_int_equal(d2v_device_outline(&card, real_size, 0, &err), D2V_OK);
	assert_int_equal(d2v_alloc_zero(&config, 1, sizeof *config, &err), D2V_OK);
	for (int i = 0; i < 2; i++) {
		d2v_model *model;
		if (d2v_recipe_load(config, "text-base", &set[i], 1, &err) != D2V_OK ||
			d2v_model_outline(&model, card, &config->model, &err) != D2V_OK)
			fail_msg("%s", err.text);
		d2v_model_set_memory(model, memory);
		assert_int_equal(d2v_model_step_memory(model, &shape, &bytes[i], &err), D2V_OK);
		d2v_model_free(model);
	}
	d2v_free(config);
	d2v_device_close(card);
	return (int64_t)bytes[1] - (int64_t)bytes[0];
}

// Two bits a score of each layer, in whole blocks; of one layer at a time where layers are computed again, of one group
// at a time where there are groups, which keep nothing for each other; nothing on a processor.
static void test_kept_draws(void **state) {
	(void)state;
	int64_t bytes = (266 + 15) / 16 * ((266 + 63) / 64) * (16 * 64 / 8), heads = 4 * 8 * 12; // of kernels/kept_draws.h
	int64_t layer = 2 * heads * bytes, group = layer / 2;
	assert_int_equal(dropout_bytes(4, (d2v_memory_options){ 0 }), 0);
	assert_int_equal(dropout_bytes(2, (d2v_memory_options){ 0 }), 12 * layer);
	assert_int_equal(dropout_bytes(2, (d2v_memory_options){ .recompute = true }), layer);
	assert_int_equal(dropout_bytes(2, (d2v_memory_options){ .clone_groups = 2 }), 12 * group);
}

// A card that holds exactly a step that needs so much.
static double card_for(const d2v_plan *plan, double step_bytes) {
	return (plan->weight_bytes + plan->optimizer_bytes + step_bytes + 1) / D2V_PLAN_MEMORY;
}

static void check_way(d2v_plan_shape shape, double memory, int way, int64_t groups) {
	d2v_plan plan = plan_of_card("image-base", shape, 2, memory);
	double room = memory * D2V_PLAN_MEMORY - plan.weight_bytes - plan.optimizer_bytes;
	assert_int_equal(plan.way, way);
	for (int i = 0; i < D2V_PLAN_WAYS; i++)
		assert_int_equal(plan.ways[i].fits, plan.ways[i].step_bytes <= room);
	if (groups)
		assert_int_equal(plan.ways[way].memory.clone_groups, groups);
	assert_int_equal(plan.fitting_batch == 0, plan.step_bytes <= room);
}

// As the card shrinks: nothing, groups while they are large, recomputation, both, and then there is no way.
static void test_cheapest_way(void **state) {
	(void)state;
	d2v_plan_shape many = { D2V_IMAGE, 256, 0, 1 }, few = { D2V_IMAGE, 16, 0, 1 };
	d2v_plan plenty = plan_of_card("image-base", many, 2, 1e12);
	const d2v_plan_way *ways = plenty.ways;
	assert_int_equal(plenty.way, D2V_PLAN_PLAIN);
	assert_true(plenty.step_bytes == ways[D2V_PLAN_PLAIN].step_bytes);
	assert_true(ways[D2V_PLAN_BOTH].step_bytes < ways[D2V_PLAN_RECOMPUTE].step_bytes);
	assert_true(ways[D2V_PLAN_BOTH].step_bytes < ways[D2V_PLAN_GROUPS].step_bytes);
	assert_true(ways[D2V_PLAN_RECOMPUTE].step_bytes < 0.5 * ways[D2V_PLAN_PLAIN].step_bytes);
	assert_true(plenty.recompute_share > 0.25 && plenty.recompute_share < 1.0 / 3);
	check_way(many, card_for(&plenty, ways[D2V_PLAN_PLAIN].step_bytes), D2V_PLAN_PLAIN, 0);
	check_way(many, card_for(&plenty, ways[D2V_PLAN_PLAIN].step_bytes) - 1e6, D2V_PLAN_GROUPS, 2);
	check_way(many, card_for(&plenty, ways[D2V_PLAN_GROUPS].step_bytes) - 1e6, D2V_PLAN_GROUPS, 3);

	plenty = plan_of_card("image-base", few, 2, 1e12); // groups of its copies would be small
	check_way(few, card_for(&plenty, ways[D2V_PLAN_PLAIN].step_bytes) - 1e6, D2V_PLAN_RECOMPUTE, 1);
	check_way(few, card_for(&plenty, ways[D2V_PLAN_RECOMPUTE].step_bytes) - 1e6, D2V_PLAN_BOTH, 2);
	check_way(few, card_for(&plenty, ways[D2V_PLAN_BOTH].step_bytes) - 1e6, D2V_PLAN_BOTH, 3);
	check_way(few, card_for(&plenty, 1e7), -1, 0);
}

// What is said names the options, or the batch.
static void test_text(void **state) {
	(void)state;
	d2v_config *config;
	d2v_plan plan = plan_of_card("image-base", (d2v_plan_shape){ D2V_IMAGE, 256, 0, 1 }, 2, 24.0 * (1 << 30));
	char *text;
	json_t *tree;
	assert_int_equal(d2v_alloc_zero(&config, 1, sizeof *config, NULL), D2V_OK);
	assert_int_equal(d2v_recipe_load(config, "image-base", NULL, 0, NULL), D2V_OK);
	plan.peak_flops = 0;
	assert_int_equal(d2v_plan_text(&plan, config, &text, NULL), D2V_OK);
	assert_non_null(strstr(text, "does not fit as it is, but does with d2v.clone_groups="));
	assert_null(strstr(text, "updates an hour"));
	d2v_free(text);
	assert_int_equal(d2v_plan_tree(&plan, &tree, NULL), D2V_OK);
	assert_true(
		json_is_true(json_object_get(tree, "fits")) && json_is_false(json_object_get(tree, "needed_recompute")));
	assert_int_equal(json_integer_value(json_object_get(tree, "needed_clone_groups")),
		plan.ways[D2V_PLAN_GROUPS].memory.clone_groups);
	json_decref(tree);
	plan.way = -1, plan.fitting_batch = 7;
	assert_int_equal(d2v_plan_text(&plan, config, &text, NULL), D2V_OK);
	assert_non_null(strstr(text, "batches of 7 do"));
	d2v_free(text);
	d2v_free(config);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outline),
		cmocka_unit_test(test_kept_draws),
		cmocka_unit_test(test_cheapest_way),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_a_batch_that_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
