// Nearest neighbours and the ridge probe: against plain loops, on features with and without anything to find, and for
// any number of threads.
#include "base/memory.h"
#include "base/random.h"
#include "eval/accuracy.h"
#include "eval/held_out.h"
#include "eval/knn.h"
#include "eval/ridge.h"
#include "tests/base/scratch.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 37
#define CLASSES 7
#define TRAIN 611
#define TEST 203

typedef struct world {
	float train_rows[TRAIN * WIDTH], test_rows[TEST * WIDTH];
	int32_t train_labels[TRAIN], test_labels[TEST];
	d2v_labelled train, test;
} world;

static void fill(float *rows, int32_t *labels, int64_t count, double apart, uint64_t seed) {
	d2v_random centres, random;
	float centre[CLASSES * WIDTH];
	d2v_random_start(&centres, d2v_random_key_make(5, D2V_RANDOM_SYNTHETIC, 0, 0));
	for (int i = 0; i < CLASSES * WIDTH; i++)
		centre[i] = (float)(apart * d2v_random_normal(&centres));
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, 1, 0));
	for (int64_t i = 0; i < count; i++) {
		labels[i] = (int32_t)d2v_random_below(&random, CLASSES);
		for (int64_t d = 0; d < WIDTH; d++)
			rows[i * WIDTH + d] = centre[labels[i] * WIDTH + d] + (float)d2v_random_normal(&random);
	}
}

static world *make(double apart) {
	static world w;
	fill(w.train_rows, w.train_labels, TRAIN, apart, 1);
	fill(w.test_rows, w.test_labels, TEST, apart, 2);
	w.train = (d2v_labelled){ w.train_rows, w.train_labels, TRAIN, WIDTH, CLASSES };
	w.test = (d2v_labelled){ w.test_rows, w.test_labels, TEST, WIDTH, CLASSES };
	return &w;
}

// ---- nearest neighbours, the plain way

static double cosine(const float *a, const float *b) {
	double ab = 0, aa = 0, bb = 0;
	for (int d = 0; d < WIDTH; d++) {
		ab += (double)a[d] * (double)b[d];
		aa += (double)a[d] * (double)a[d];
		bb += (double)b[d] * (double)b[d];
	}
	return ab / sqrt(aa * bb);
}

static int32_t plain_knn(const world *w, int64_t sample, int k, double temperature) {
	static double alike[TRAIN];
	double votes[CLASSES] = { 0 };
	for (int i = 0; i < TRAIN; i++)
		alike[i] = cosine(w->test_rows + sample * WIDTH, w->train_rows + i * WIDTH);
	for (int n = 0; n < k; n++) {
		int best = 0;
		for (int i = 1; i < TRAIN; i++)
			if (alike[i] > alike[best])
				best = i;
		votes[w->train_labels[best]] += exp(alike[best] / temperature);
		alike[best] = -2;
	}
	int32_t winner = 0;
	for (int32_t c = 1; c < CLASSES; c++)
		if (votes[c] > votes[winner])
			winner = c;
	return winner;
}

static void test_knn_against_plain_loops(void **state) {
	(void)state;
	world *w = make(.5);
	static const int ks[] = { 1, 5, 20 };
	for (int j = 0; j < 3; j++) {
		d2v_error err;
		int32_t predicted[TEST];
		d2v_knn_options options = { .k = ks[j], .temperature = .1 };
		assert_ok(d2v_knn_classify(&w->train, &w->test, &options, predicted, &err));
		for (int64_t i = 0; i < TEST; i++)
			assert_int_equal(predicted[i], plain_knn(w, i, ks[j], .1));
	}
}

static void test_knn_ties(void **state) {
	(void)state;
	const float train_rows[] = { 1, 0, 2, 0, 0, 1, 0, 0 }, test_rows[] = { 3, 0, 0, 0 };
	const int32_t train_labels[] = { 2, 1, 0, 0 }, test_labels[] = { 0, 0 };
	d2v_labelled train = { train_rows, train_labels, 4, 2, 3 }, test = { test_rows, test_labels, 2, 2, 3 };
	d2v_error err;
	int32_t predicted[2];
	d2v_knn_options one = { .k = 1 }, two = { .k = 2 };
	assert_ok(d2v_knn_classify(&train, &test, &one, predicted, &err));
	assert_int_equal(predicted[0], 2); // the first of two that point the same way
	assert_int_equal(predicted[1], 2); // nothing is alike to zeros
	assert_ok(d2v_knn_classify(&train, &test, &two, predicted, &err));
	assert_int_equal(predicted[0], 1); // equal votes
}

// ---- the ridge probe

// With one lambda, against the normal equations solved by Gauss elimination.
static int32_t plain_ridge_class(const world *w, double lambda, int64_t sample) {
	static double solved[WIDTH][CLASSES], mean[WIDTH], deviation[WIDTH], prior[CLASSES];
	static double lambda_solved = -1;
	if (lambda != lambda_solved) {
		static double a[WIDTH][WIDTH + CLASSES];
		memset(a, 0, sizeof a), memset(mean, 0, sizeof mean), memset(deviation, 0, sizeof deviation);
		memset(prior, 0, sizeof prior);
		for (int i = 0; i < TRAIN; i++)
			prior[w->train_labels[i]] += 1.0 / TRAIN;
		for (int d = 0; d < WIDTH; d++) {
			for (int i = 0; i < TRAIN; i++)
				mean[d] += w->train_rows[i * WIDTH + d] / (double)TRAIN;
			for (int i = 0; i < TRAIN; i++)
				deviation[d] += pow(w->train_rows[i * WIDTH + d] - mean[d], 2) / TRAIN;
			deviation[d] = sqrt(deviation[d]);
		}
		for (int i = 0; i < TRAIN; i++)
			for (int d = 0; d < WIDTH; d++) {
				double x = (w->train_rows[i * WIDTH + d] - mean[d]) / deviation[d];
				for (int e = 0; e < WIDTH; e++)
					a[d][e] += x * (w->train_rows[i * WIDTH + e] - mean[e]) / deviation[e];
				for (int c = 0; c < CLASSES; c++)
					a[d][WIDTH + c] += x * ((w->train_labels[i] == c) - prior[c]);
			}
		for (int d = 0; d < WIDTH; d++)
			a[d][d] += lambda * TRAIN;
		for (int p = 0; p < WIDTH; p++)
			for (int d = 0; d < WIDTH; d++) {
				double factor = d == p ? 0 : a[d][p] / a[p][p];
				for (int e = p; e < WIDTH + CLASSES; e++)
					a[d][e] -= factor * a[p][e];
			}
		for (int d = 0; d < WIDTH; d++)
			for (int c = 0; c < CLASSES; c++)
				solved[d][c] = a[d][WIDTH + c] / a[d][d];
		lambda_solved = lambda;
	}
	double y[CLASSES];
	int32_t best = 0;
	for (int32_t c = 0; c < CLASSES; c++) {
		y[c] = prior[c];
		for (int d = 0; d < WIDTH; d++)
			y[c] += (w->test_rows[sample * WIDTH + d] - mean[d]) / deviation[d] * solved[d][c];
		best = y[c] > y[best] ? c : best;
	}
	return best;
}

static void test_ridge_against_elimination(void **state) {
	(void)state;
	world *w = make(.3);
	static const double lambdas[] = { 1e-3, 1 };
	for (int j = 0; j < 2; j++) {
		d2v_error err;
		int32_t predicted[TEST];
		d2v_ridge_options options = { .lambda = lambdas[j] };
		assert_ok(d2v_ridge_classify(&w->train, &w->test, &options, predicted, NULL, &err));
		for (int64_t i = 0; i < TEST; i++)
			assert_int_equal(predicted[i], plain_ridge_class(w, lambdas[j], i));
	}
}

static void test_what_there_is_to_find(void **state) {
	(void)state;
	d2v_error err;
	int32_t predicted[TEST];
	d2v_knn_options knn = { 0 };
	d2v_ridge_options ridge = { .seed = 1 };
	double lambda;
	world *w = make(2);
	assert_ok(d2v_knn_classify(&w->train, &w->test, &knn, predicted, &err));
	assert_true(d2v_accuracy_of(predicted, w->test_labels, TEST).share > .99);
	assert_ok(d2v_ridge_classify(&w->train, &w->test, &ridge, predicted, &lambda, &err));
	assert_true(d2v_accuracy_of(predicted, w->test_labels, TEST).share > .99);
	assert_true(lambda > 0);
	w = make(0); // nothing: chance lies within the interval
	assert_ok(d2v_ridge_classify(&w->train, &w->test, &ridge, predicted, &lambda, &err));
	d2v_accuracy accuracy = d2v_accuracy_of(predicted, w->test_labels, TEST);
	assert_true(accuracy.low < 1.0 / CLASSES && accuracy.high > 1.0 / CLASSES);
}

static void test_channels_that_never_vary(void **state) {
	(void)state;
	world *w = make(2);
	for (int i = 0; i < TRAIN; i++)
		w->train_rows[i * WIDTH + 3] = 4;
	d2v_error err;
	int32_t predicted[TEST];
	d2v_ridge_options ridge = { .seed = 1 };
	assert_ok(d2v_ridge_classify(&w->train, &w->test, &ridge, predicted, NULL, &err));
	assert_true(d2v_accuracy_of(predicted, w->test_labels, TEST).share > .99);
	w->train_rows[5] = NAN;
	assert_int_equal(d2v_ridge_classify(&w->train, &w->test, &ridge, predicted, NULL, &err), D2V_INVALID);
}

static void test_any_number_of_threads(void **state) {
	(void)state;
	world *w = make(.2);
	int32_t first[2][TEST];
	for (int threads = 1; threads <= 3; threads++) {
		d2v_error err;
		int32_t now[2][TEST];
		d2v_knn_options knn = { 0 };
		d2v_ridge_options ridge = { .seed = 1 };
		omp_set_num_threads(threads);
		assert_ok(d2v_knn_classify(&w->train, &w->test, &knn, now[0], &err));
		assert_ok(d2v_ridge_classify(&w->train, &w->test, &ridge, now[1], NULL, &err));
		if (threads == 1)
			memcpy(first, now, sizeof now);
		assert_memory_equal(first, now, sizeof now);
	}
}

static void test_what_is_refused(void **state) {
	(void)state;
	world *w = make(1);
	d2v_error err;
	int32_t predicted[TEST];
	d2v_knn_options knn = { 0 };
	d2v_labelled none = w->train, other = w->test;
	none.count = 0;
	assert_int_equal(d2v_knn_classify(&none, &w->test, &knn, predicted, &err), D2V_INVALID);
	other.classes = CLASSES - 1;
	assert_int_equal(d2v_knn_classify(&w->train, &other, &knn, predicted, &err), D2V_INVALID);
	knn.k = -1;
	assert_int_equal(d2v_knn_classify(&w->train, &w->test, &knn, predicted, &err), D2V_INVALID);
	w->test_labels[7] = CLASSES;
	knn.k = 3;
	assert_int_equal(d2v_knn_classify(&w->train, &w->test, &knn, predicted, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "sample 7"));
}

static void test_memory_runs_out(void **state) {
	(void)state;
	world *w = make(1);
	int32_t predicted[TEST];
	omp_set_num_threads(1);
	for (int which = 0; which < 2; which++)
		for (long n = 0;; n++) {
			d2v_error err;
			d2v_knn_options knn = { 0 };
			d2v_ridge_options ridge = { .seed = 1 };
			long live = d2v_memory_live();
			d2v_memory_fail_after(n);
			d2v_status status = which ? d2v_knn_classify(&w->train, &w->test, &knn, predicted, &err)
									  : d2v_ridge_classify(&w->train, &w->test, &ridge, predicted, NULL, &err);
			d2v_memory_fail_after(-1);
			assert_int_equal(d2v_memory_live(), live);
			if (status == D2V_OK)
				break;
			assert_int_equal(status, D2V_NO_MEMORY);
		}
}

static void test_held_out(void **state) {
	(void)state;
	int64_t held = 0, same = 0;
	for (int64_t i = 0; i < 1000; i++) {
		held += d2v_held_out(1, 1000, .2, i);
		same += d2v_held_out(1, 1000, .2, i) && d2v_held_out(2, 1000, .2, i);
	}
	assert_int_equal(held, 200);
	assert_in_range(same, 15, 70); // another seed holds back others: 40 are common by chance
	assert_int_equal(d2v_held_out_count(2, .01), 1);
	assert_int_equal(d2v_held_out_count(2, 1), 1);
	assert_int_equal(d2v_held_out_count(1, .5), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_knn_against_plain_loops),
		cmocka_unit_test(test_knn_ties),
		cmocka_unit_test(test_ridge_against_elimination),
		cmocka_unit_test(test_what_there_is_to_find),
		cmocka_unit_test(test_channels_that_never_vary),
		cmocka_unit_test(test_any_number_of_threads),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_memory_runs_out),
		cmocka_unit_test(test_held_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
