#include "eval/knn.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 16 // test samples worked on together

typedef struct neighbour {
	float alike;
	int64_t at; // training sample
} neighbour;

typedef struct bench { // one thread's memory
	float *block;      // (width, SIDE) test samples, transposed
	neighbour *near;   // (SIDE, k) heaps, the least alike on top
	double *votes;     // (classes)
} bench;

// 1 / length, or 0 for a vector without length.
static float inverse_length(const float *row, int64_t width) {
	double sum = 0;
	for (int64_t d = 0; d < width; d++)
		sum += (double)row[d] * (double)row[d];
	return sum > 0 ? (float)(1 / sqrt(sum)) : 0;
}

static bool less_alike(neighbour a, neighbour b) {
	return a.alike != b.alike ? a.alike < b.alike : a.at > b.at;
}

static void sift_down(neighbour *heap, int64_t count) {
	for (int64_t i = 0, child; (child = 2 * i + 1) < count; i = child) {
		if (child + 1 < count && less_alike(heap[child + 1], heap[child]))
			child++;
		if (!less_alike(heap[child], heap[i]))
			return;
		neighbour swap = heap[i];
		heap[i] = heap[child];
		heap[child] = swap;
	}
}

static void sift_up(neighbour *heap, int64_t i) {
	for (int64_t parent; i > 0 && less_alike(heap[i], heap[parent = (i - 1) / 2]); i = parent) {
		neighbour swap = heap[i];
		heap[i] = heap[parent];
		heap[parent] = swap;
	}
}

// The `have` best so far become those of one more sample.
static void offer(neighbour *heap, int64_t k, int64_t have, neighbour one) {
	if (have < k) {
		heap[have] = one;
		sift_up(heap, have);
	} else if (less_alike(heap[0], one)) {
		heap[0] = one;
		sift_down(heap, k);
	}
}

static void transpose_block(const d2v_labelled *test, int64_t first, int64_t count, float *block) {
	memset(block, 0, (size_t)test->width * SIDE * sizeof *block);
	for (int64_t s = 0; s < count; s++) {
		const float *row = test->rows + (first + s) * test->width;
		float scale = inverse_length(row, test->width);
		for (int64_t d = 0; d < test->width; d++)
			block[d * SIDE + s] = row[d] * scale;
	}
}

static void find_neighbours(const d2v_labelled *train, const float *inverse, int64_t k, bench *own) {
	for (int64_t t = 0; t < train->count; t++) {
		const float *row = train->rows + t * train->width;
		float alike[SIDE] = { 0 };
		for (int64_t d = 0; d < train->width; d++)
			for (int s = 0; s < SIDE; s++)
				alike[s] += row[d] * own->block[d * SIDE + s];
		for (int s = 0; s < SIDE; s++)
			offer(own->near + s * k, k, t < k ? t : k, (neighbour){ alike[s] * inverse[t], t });
	}
}

static int by_rank(const void *a, const void *b) {
	return less_alike(*(const neighbour *)a, *(const neighbour *)b) ? 1 : -1;
}

static int32_t vote(const d2v_labelled *train, neighbour *near, int64_t k, double temperature, double *votes) {
	int32_t winner = 0;
	qsort(near, (size_t)k, sizeof *near, by_rank); // votes are summed in one order
	memset(votes, 0, (size_t)train->classes * sizeof *votes);
	for (int64_t i = 0; i < k; i++) // relative to the nearest, so that nothing overflows
		votes[train->labels[near[i].at]] += exp(((double)near[i].alike - (double)near[0].alike) / temperature);
	for (int32_t c = 1; c < train->classes; c++)
		if (votes[c] > votes[winner])
			winner = c;
	return winner;
}

static d2v_status bench_new(bench *own, const d2v_labelled *train, int64_t k, d2v_error *err) {
	D2V_TRY(d2v_alloc(&own->block, (size_t)train->width * SIDE, sizeof *own->block, err));
	D2V_TRY(d2v_alloc(&own->near, (size_t)k * SIDE, sizeof *own->near, err));
	return d2v_alloc(&own->votes, (size_t)train->classes, sizeof *own->votes, err);
}

static void bench_free(bench *own) {
	d2v_free(own->block);
	d2v_free(own->near);
	d2v_free(own->votes);
}

// All blocks of the test set, shared out among threads; a block's answer depends on nobody else's.
static d2v_status classify_blocks(const d2v_labelled *train, const float *inverse, const d2v_labelled *test, int64_t k,
	double temperature, int32_t *predicted, d2v_error *err) {
	d2v_status status = D2V_OK;
	int64_t blocks = (test->count + SIDE - 1) / SIDE;
#pragma omp parallel
	{
		bench own = { 0 };
		d2v_error failure;
		d2v_status mine = bench_new(&own, train, k, &failure);
#pragma omp for schedule(dynamic)
		for (int64_t b = 0; b < blocks; b++) {
			if (mine != D2V_OK)
				continue;
			int64_t first = b * SIDE, count = test->count - first < SIDE ? test->count - first : SIDE;
			transpose_block(test, first, count, own.block);
			find_neighbours(train, inverse, k, &own);
			for (int64_t s = 0; s < count; s++)
				predicted[first + s] = vote(train, own.near + s * k, k, temperature, own.votes);
		}
		if (mine != D2V_OK) {
#pragma omp critical(d2v_knn_failure)
			{
				status = mine;
				if (err)
					*err = failure;
			}
		}
		bench_free(&own);
	}
	return status;
}

d2v_status d2v_knn_classify(const d2v_labelled *train, const d2v_labelled *test, const d2v_knn_options *options,
	int32_t *predicted, d2v_error *err) {
	D2V_TRY(d2v_labelled_check(train, test, err));
	int64_t k = options->k ? options->k : 20;
	double temperature = options->temperature > 0 ? options->temperature : 0.07;
	if (k < 1 || k > D2V_KNN_K_MAX)
		return d2v_fail(err, D2V_INVALID, "%lld neighbours; 1 to %d are possible", (long long)k, D2V_KNN_K_MAX);
	k = k < train->count ? k : train->count;
	float *inverse;
	D2V_TRY(d2v_alloc(&inverse, (size_t)train->count, sizeof *inverse, err));
	for (int64_t t = 0; t < train->count; t++)
		inverse[t] = inverse_length(train->rows + t * train->width, train->width);
	d2v_status status = classify_blocks(train, inverse, test, k, temperature, predicted, err);
	d2v_free(inverse);
	return status;
}
