// The collapse watch: its two numbers on data where they are known, its verdicts, its sentences, its state in JSON.
#include "base/memory.h"
#include "base/random.h"
#include "tests/train/tiny_run.h"
#include "train/collapse.h"

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

#define ROWS 200
#define WIDTH 32

// `directions` of equal strength, the others empty; every channel has a mean of its own.
static d2v_spread measure(int directions, double scale) {
	float *rows;
	d2v_spread spread;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_SYNTHETIC, 0, 0));
	assert_int_equal(d2v_alloc(&rows, ROWS * WIDTH, sizeof *rows, NULL), D2V_OK);
	for (int i = 0; i < ROWS; i++)
		for (int d = 0; d < WIDTH; d++)
			rows[i * WIDTH + d] = (float)(10 * d + (d < directions ? scale * d2v_random_normal(&random) : 0));
	assert_int_equal(d2v_spread_measure(rows, ROWS, WIDTH, &spread, NULL), D2V_OK);
	d2v_free(rows);
	return spread;
}

static void rank_counts_directions(void **state) {
	(void)state;
	// Expected rank of k directions from n samples: about k / (1 + k/n).
	for (int k = 1; k <= WIDTH; k *= 2) {
		d2v_spread spread = measure(k, 2);
		double expected = k / (1 + (double)k / ROWS);
		if (!(fabs(spread.rank - expected) < .05 * expected + .01))
			fail_msg("%d directions: rank %g, expected %g", k, spread.rank, expected);
		if (!(fabs(spread.spread - 2.0 * k / WIDTH) < .1 * 2.0 * k / WIDTH + .01))
			fail_msg("%d directions: spread %g", k, spread.spread);
	}
	d2v_spread same = measure(0, 0);
	assert_true(same.spread == 0 && same.rank == 0);
}

static void judge(d2v_collapse *collapse, double features, double targets, double predictions, double rank,
	char text[D2V_COLLAPSE_TEXT]) {
	const d2v_collapse_limits limits = { .min_target_var = .1, .min_pred_var = .01 };
	const d2v_spread now[D2V_WATCHED_COUNT] = { { features, 20 }, { targets, rank }, { predictions, 20 } };
	d2v_collapse_judge(collapse, now, 192, &limits, text);
}

static void a_healthy_run_is_left_in_peace(void **state) {
	(void)state;
	d2v_collapse collapse = { 0 };
	char text[D2V_COLLAPSE_TEXT];
	for (int i = 0; i < 50; i++) {
		judge(&collapse, 1, .5, i < 20 ? .001 * i : .3, 8, text); // predictions begin near 0
		assert_string_equal(text, "");
	}
}

static void a_collapse_is_said_once_and_again_after_recovery(void **state) {
	(void)state;
	d2v_collapse collapse = { 0 };
	char text[D2V_COLLAPSE_TEXT];
	int said[3] = { 0 };
	for (int i = 0; i < 90; i++) {
		judge(&collapse, 1, i % 60 < 30 ? .5 : .01, .2, 8, text);
		said[i / 30] += text[0] != 0;
		if (text[0]) {
			assert_non_null(strstr(text, "targets are collapsing: spread "));
			assert_non_null(strstr(text, "fell below 0.1, effective rank 8.0 of 192"));
			assert_non_null(strstr(text, "optimization.lr"));
		}
	}
	assert_int_equal(said[0], 0);
	assert_int_equal(said[1], 1);
	assert_int_equal(said[2], 0);
	for (int i = 0; i < 30; i++)
		judge(&collapse, 1, .01, .2, 8, text), said[2] += text[0] != 0;
	assert_int_equal(said[2], 1);
}

static void predictions_rank_features_and_nan_are_seen(void **state) {
	(void)state;
	char text[D2V_COLLAPSE_TEXT], all[4 * D2V_COLLAPSE_TEXT] = "";
	const double cases[4][4] = { { 1, .5, .001, 8 }, { 1, .5, .2, 1.01 }, { 1e-3, .5, .2, 8 },
		{ 1, (double)NAN, .2, 8 } };
	const char *const expected[4] = { "predictions are", "targets are collapsing: effective rank 1.",
		"local features are", "targets are" };
	for (int c = 0; c < 4; c++) {
		d2v_collapse collapse = { 0 };
		all[0] = 0;
		for (int i = 0; i < 10; i++)
			judge(&collapse, 1, .5, .2, 8, text);
		for (int i = 0; i < 60; i++) {
			judge(&collapse, cases[c][0], cases[c][1], cases[c][2], cases[c][3], text);
			if (text[0])
				snprintf(all, sizeof all, "%s", text);
		}
		if (!strstr(all, expected[c]))
			fail_msg("'%s' lacks '%s'", all, expected[c]);
	}
}

static void the_state_survives_json_to_the_bit(void **state) {
	(void)state;
	d2v_collapse collapse = { 0 }, again;
	char text[D2V_COLLAPSE_TEXT];
	json_t *tree;
	d2v_error err = { 0 };
	for (int i = 0; i < 7; i++)
		judge(&collapse, 1. / 3 + i, i == 6 ? (double)NAN : .1 * i, 1e-300, 7.7, text);
	assert_int_equal(d2v_collapse_tree(&collapse, &tree, &err), D2V_OK);
	assert_int_equal(d2v_collapse_read(&again, tree, "test", &err), D2V_OK);
	json_t *tree_again;
	assert_int_equal(d2v_collapse_tree(&again, &tree_again, &err), D2V_OK);
	assert_true(json_equal(tree, tree_again));
	assert_int_equal(again.looks, 7);
	assert_memory_equal(&again.watched[1].average, &collapse.watched[1].average, sizeof(d2v_spread));
	json_decref(tree_again);
	json_object_del(tree, "targets");
	assert_int_equal(d2v_collapse_read(&again, tree, "test", &err), D2V_INVALID);
	json_decref(tree);
}

static void a_look_at_a_step_gives_numbers(void **state) {
	(void)state;
	d2v_model_config config = tiny_model_config();
	tiny_run run;
	d2v_error err = { 0 };
	d2v_collapse collapse = { 0 };
	const d2v_collapse_limits limits = { 0 };
	char text[D2V_COLLAPSE_TEXT];
	const d2v_batch *batch;
	d2v_step_result result;
	tiny_run_open(&run, &config);
	assert_int_equal(d2v_source_next(run.source, &batch, &err), D2V_OK);
	assert_int_equal(d2v_model_step(run.model, batch, 0, &result, &err), D2V_OK);
	assert_int_equal(d2v_collapse_look(&collapse, run.model, batch, &limits, text, &err), D2V_OK);
	for (int i = 0; i < D2V_WATCHED_COUNT; i++) {
		const d2v_spread *seen = &collapse.watched[i].average;
		if (!(seen->spread > 0 && seen->rank > 1 && seen->rank <= (double)config.embed_dim))
			fail_msg("%s: spread %g, rank %g", d2v_watched_name((d2v_watched)i), seen->spread, seen->rank);
	}
	d2v_source_give(run.source, batch);
	tiny_run_close(&run);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rank_counts_directions),
		cmocka_unit_test(a_healthy_run_is_left_in_peace),
		cmocka_unit_test(a_collapse_is_said_once_and_again_after_recovery),
		cmocka_unit_test(predictions_rank_features_and_nan_are_seen),
		cmocka_unit_test(the_state_survives_json_to_the_bit),
		cmocka_unit_test(a_look_at_a_step_gives_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
