// Batches keep their limits, every utterance comes once an epoch, equals mix, and the same arguments give the same
// plan.
#include "base/memory.h"
#include "base/random.h"
#include "loaders/speech_plan.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const d2v_speech_limits published = {
	.max_tokens = 1000000, .min_sample_size = 32000, .max_sample_size = 320000
};

// Lengths as LibriSpeech has them, roughly: 1 s to 35 s, many equal (multiples of 80 samples).
static d2v_index_row *make_rows(uint64_t count) {
	d2v_index_row *rows = calloc(count, sizeof *rows);
	d2v_random random;
	assert_non_null(rows);
	d2v_random_start(&random, d2v_random_key_make(5, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (uint64_t i = 0; i < count; i++)
		rows[i].units = 16000 + 80 * (uint64_t)d2v_random_below(&random, 6800);
	return rows;
}

static uint32_t clamped(const d2v_index_row *rows, uint32_t sample, const d2v_speech_limits *limits) {
	uint64_t units = rows[sample].units;
	return (uint32_t)(limits->max_sample_size && units > limits->max_sample_size ? limits->max_sample_size : units);
}

static void check_epoch(const d2v_speech_plan *plan, const d2v_index_row *rows, uint64_t count,
	const d2v_speech_limits *limits, uint64_t epoch) {
	uint8_t *seen = calloc(count, 1);
	uint64_t total = 0;
	for (uint64_t b = 0; b < plan->batches; b++) {
		uint64_t size = plan->starts[b + 1] - plan->starts[b], longest = 0, shortest = UINT64_MAX;
		const d2v_frames_spec *frames = limits->frames;
		for (uint64_t place = plan->starts[b]; place < plan->starts[b + 1]; place++) {
			uint32_t sample = d2v_speech_plan_sample(plan, epoch, place), length = clamped(rows, sample, limits);
			assert_true(sample < count && rows[sample].units >= limits->min_sample_size && !seen[sample]);
			seen[sample] = 1;
			longest = length > longest ? length : longest;
			shortest = length < shortest ? length : shortest;
		}
		total += size;
		assert_true(size >= 1 && size <= plan->largest_batch);
		assert_true(!limits->batch_size || size <= limits->batch_size);
		assert_true(!limits->max_tokens || size * longest <= limits->max_tokens);
		assert_true(d2v_speech_plan_target(plan, b) == shortest);
		uint32_t multiple = limits->required_batch_size_multiple;
		assert_true(multiple < 2 || size < multiple || size % multiple == 0);
		if (frames)
			assert_int_equal(d2v_frames_count(frames, (int64_t)longest), d2v_frames_count(frames, (int64_t)shortest));
		// Closed only because one more would not fit.
		if (b + 1 < plan->batches && multiple < 2)
			assert_true((limits->batch_size && size == limits->batch_size) ||
						(limits->max_tokens && (size + 1) * longest > limits->max_tokens) ||
						(frames && d2v_frames_count(frames, plan->lengths[plan->starts[b + 1]]) !=
									   d2v_frames_count(frames, (int64_t)longest)));
	}
	assert_true(total == plan->samples - plan->dropped);
	free(seen);
}

static void test_limits_and_coverage(void **state) {
	(void)state;
	enum { COUNT = 3000 };
	d2v_index_row *rows = make_rows(COUNT);
	const d2v_frames_spec frames = d2v_frames_published();
	d2v_speech_limits cases[8];
	for (int i = 0; i < 8; i++)
		cases[i] = published;
	cases[1].batch_size = 3;
	cases[2].max_tokens = 0, cases[2].batch_size = 7, cases[2].max_sample_size = 0;
	cases[3].required_batch_size_multiple = 4;
	cases[4].required_batch_size_multiple = 8, cases[4].max_tokens = 0, cases[4].batch_size = 16;
	cases[5].min_sample_size = 0, cases[5].max_tokens = 320000;
	cases[6].frames = &frames;
	cases[7].frames = &frames, cases[7].batch_size = 2;
	for (int i = 0; i < 8; i++) {
		d2v_speech_plan plan;
		assert_int_equal(d2v_speech_plan_make(&plan, rows, COUNT, &cases[i], 9, NULL), D2V_OK);
		uint64_t too_short = 0;
		for (int r = 0; r < COUNT; r++)
			too_short += rows[r].units < cases[i].min_sample_size;
		assert_true(plan.too_short == too_short && plan.samples == COUNT - too_short);
		assert_true(plan.dropped < (cases[i].required_batch_size_multiple ? cases[i].required_batch_size_multiple : 1));
		check_epoch(&plan, rows, COUNT, &cases[i], 1);
		check_epoch(&plan, rows, COUNT, &cases[i], 2);
		d2v_speech_plan_release(&plan);
	}
	free(rows);
}

static void test_equals_mix_and_others_stay(void **state) {
	(void)state;
	enum { COUNT = 3000 };
	d2v_index_row *rows = make_rows(COUNT);
	d2v_speech_plan plan, same, other;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, COUNT, &published, 9, NULL), D2V_OK);
	assert_int_equal(d2v_speech_plan_make(&same, rows, COUNT, &published, 9, NULL), D2V_OK);
	assert_int_equal(d2v_speech_plan_make(&other, rows, COUNT, &published, 10, NULL), D2V_OK);
	uint64_t moved = 0, differs = 0, long_ones = 0;
	for (uint64_t place = 0; place < plan.samples; place++) {
		uint32_t first = d2v_speech_plan_sample(&plan, 1, place), second = d2v_speech_plan_sample(&plan, 2, place);
		assert_true(clamped(rows, first, &published) == plan.lengths[place]);
		assert_true(clamped(rows, second, &published) == plan.lengths[place]);
		assert_true(d2v_speech_plan_sample(&same, 1, place) == first);
		long_ones += plan.lengths[place] == published.max_sample_size;
		moved += first != second;
		differs += d2v_speech_plan_sample(&other, 1, place) != first;
	}
	// Everything of 20 s and more is one group: nearly all of it moves.
	assert_true(long_ones > 1000 && moved > long_ones * 9 / 10 && differs > long_ones * 9 / 10);
	d2v_speech_plan_release(&plan);
	d2v_speech_plan_release(&same);
	d2v_speech_plan_release(&other);
	free(rows);
}

static void test_ties_are_uniform(void **state) {
	(void)state;
	enum { COUNT = 3, EPOCHS = 6000 };
	d2v_index_row rows[COUNT] = { { .units = 40000 }, { .units = 40000 }, { .units = 40000 } };
	d2v_speech_plan plan;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, COUNT, &published, 1, NULL), D2V_OK);
	int orders[9] = { 0 };
	for (uint64_t epoch = 1; epoch <= EPOCHS; epoch++)
		orders[d2v_speech_plan_sample(&plan, epoch, 0) * 3 + d2v_speech_plan_sample(&plan, epoch, 1)]++;
	double chi = 0;
	for (int i = 0; i < 9; i++) {
		if (i % 4 == 0) // the same twice
			assert_int_equal(orders[i], 0);
		else
			chi += (orders[i] - EPOCHS / 6.) * (orders[i] - EPOCHS / 6.) / (EPOCHS / 6.);
	}
	assert_true(chi < 5 + 5 * 3.17); // five degrees of freedom, five standard deviations of sqrt(10)
	d2v_speech_plan_release(&plan);
}

static void test_substitutes_are_long_enough(void **state) {
	(void)state;
	enum { COUNT = 500 };
	d2v_index_row *rows = make_rows(COUNT);
	d2v_speech_plan plan;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, COUNT, &published, 9, NULL), D2V_OK);
	int different = 0;
	for (uint64_t b = 0; b < plan.batches; b++) {
		uint32_t target = d2v_speech_plan_target(&plan, b), damaged = d2v_speech_plan_sample(&plan, 1, plan.starts[b]);
		uint32_t first = d2v_speech_plan_substitute(&plan, 1, damaged, target, 0);
		assert_true(rows[first].units >= target);
		assert_true(first == d2v_speech_plan_substitute(&plan, 1, damaged, target, 0));
		different += first != d2v_speech_plan_substitute(&plan, 1, damaged, target, 1);
	}
	assert_true(different > (int)plan.batches / 2);
	d2v_speech_plan_release(&plan);
	free(rows);
}

static void test_refusals(void **state) {
	(void)state;
	d2v_index_row rows[2] = { { .units = 40000 }, { .units = 50000 } };
	d2v_speech_plan plan;
	d2v_error err;
	d2v_speech_limits limits = published;
	limits.max_tokens = 0;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, 2, &limits, 1, &err), D2V_INVALID);
	limits.max_tokens = 49999;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, 2, &limits, 1, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "max_tokens"));
	limits = published, limits.min_sample_size = 60000;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, 2, &limits, 1, &err), D2V_INVALID);
	limits = published, limits.max_sample_size = 31999;
	assert_int_equal(d2v_speech_plan_make(&plan, rows, 2, &limits, 1, &err), D2V_INVALID);
	assert_int_equal(d2v_speech_plan_make(&plan, rows, 0, &published, 1, &err), D2V_INVALID);
	d2v_index_row empty[2] = { { .units = 0 }, { .units = UINT64_MAX } }; // what a hostile index may say
	limits = published, limits.min_sample_size = 0;
	assert_int_equal(d2v_speech_plan_make(&plan, empty, 2, &limits, 1, &err), D2V_OK);
	assert_true(plan.samples == 1);
	d2v_speech_plan_release(&plan);
}

static void test_failing_allocations(void **state) {
	(void)state;
	d2v_index_row *rows = make_rows(100);
	long live = d2v_memory_live();
	for (long n = 0;; n++) {
		d2v_speech_plan plan;
		d2v_memory_fail_after(n);
		d2v_status status = d2v_speech_plan_make(&plan, rows, 100, &published, 1, NULL);
		d2v_memory_fail_after(-1);
		if (status == D2V_OK) {
			d2v_speech_plan_release(&plan);
			assert_int_equal(d2v_memory_live(), live);
			break;
		}
		assert_int_equal(status, D2V_NO_MEMORY);
		assert_int_equal(d2v_memory_live(), live);
	}
	free(rows);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits_and_coverage),
		cmocka_unit_test(test_equals_mix_and_others_stay),
		cmocka_unit_test(test_ties_are_uniform),
		cmocka_unit_test(test_substitutes_are_long_enough),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
