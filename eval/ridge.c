#include "eval/ridge.h"

#include "base/memory.h"
#include "eval/held_out.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define CHUNK 256 // rows standardised at a time
#define HELD_SHARE 0.2
static const double grid[] = { 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100 };
#define GRID (int)(sizeof grid / sizeof grid[0])

typedef struct scaling {
	double *mean, *inverse; // (width) of the training set; inverse 0: never varies
	double *prior;          // (classes) shares
} scaling;

// X'X and X'Y of some of the training set.
typedef struct products {
	double *xx; // (width, width), the upper triangle
	double *xy; // (width, classes)
	double *x;  // (width) sums
	int64_t count;
} products;

typedef struct ridge {
	const d2v_labelled *train;
	scaling scaling;
	products fit, held;
	double *chunk;   // (CHUNK, width)
	int32_t *labels; // (CHUNK)
	double *factor;  // (width, width)
	double *weights; // (width, classes)
} ridge;

static d2v_status products_new(products *sums, const d2v_labelled *train, d2v_error *err) {
	size_t width = (size_t)train->width;
	D2V_TRY(d2v_alloc_zero(&sums->xx, width * width, sizeof *sums->xx, err));
	D2V_TRY(d2v_alloc_zero(&sums->xy, width * (size_t)train->classes, sizeof *sums->xy, err));
	return d2v_alloc_zero(&sums->x, width, sizeof *sums->x, err);
}

static void products_free(products *sums) {
	d2v_free(sums->xx);
	d2v_free(sums->xy);
	d2v_free(sums->x);
}

static d2v_status ridge_new(ridge *self, const d2v_labelled *train, d2v_error *err) {
	size_t width = (size_t)train->width, classes = (size_t)train->classes;
	self->train = train;
	D2V_TRY(d2v_alloc_zero(&self->scaling.mean, width, sizeof(double), err));
	D2V_TRY(d2v_alloc_zero(&self->scaling.inverse, width, sizeof(double), err));
	D2V_TRY(d2v_alloc_zero(&self->scaling.prior, classes, sizeof(double), err));
	D2V_TRY(products_new(&self->fit, train, err));
	D2V_TRY(products_new(&self->held, train, err));
	D2V_TRY(d2v_alloc(&self->chunk, width * CHUNK, sizeof(double), err));
	D2V_TRY(d2v_alloc(&self->labels, CHUNK, sizeof *self->labels, err));
	D2V_TRY(d2v_alloc(&self->factor, width * width, sizeof(double), err));
	return d2v_alloc(&self->weights, width * classes, sizeof(double), err);
}

static void ridge_free(ridge *self) {
	d2v_free(self->scaling.mean);
	d2v_free(self->scaling.inverse);
	d2v_free(self->scaling.prior);
	products_free(&self->fit);
	products_free(&self->held);
	d2v_free(self->chunk);
	d2v_free(self->labels);
	d2v_free(self->factor);
	d2v_free(self->weights);
}

static d2v_status measure_scaling(ridge *self, d2v_error *err) {
	const d2v_labelled *train = self->train;
	scaling *scale = &self->scaling;
	for (int64_t i = 0; i < train->count; i++) {
		scale->prior[train->labels[i]] += 1 / (double)train->count;
		for (int64_t d = 0; d < train->width; d++)
			scale->mean[d] += (double)train->rows[i * train->width + d];
	}
	for (int64_t d = 0; d < train->width; d++)
		scale->mean[d] /= (double)train->count;
	for (int64_t i = 0; i < train->count; i++)
		for (int64_t d = 0; d < train->width; d++) {
			double off = (double)train->rows[i * train->width + d] - scale->mean[d];
			scale->inverse[d] += off * off;
		}
	for (int64_t d = 0; d < train->width; d++) {
		double variance = scale->inverse[d] / (double)train->count;
		if (!(variance <= DBL_MAX))
			return d2v_fail(err, D2V_INVALID, "feature channel %lld holds numbers that are not finite", (long long)d);
		scale->inverse[d] = variance > 1e-12 ? 1 / sqrt(variance) : 0;
	}
	return D2V_OK;
}

static void standardise(const scaling *scale, const float *row, int64_t width, double *out) {
	for (int64_t d = 0; d < width; d++)
		out[d] = ((double)row[d] - scale->mean[d]) * scale->inverse[d];
}

// Each column of X'X and X'Y belongs to one thread.
static void add_chunk(const ridge *self, int64_t rows, products *sums) {
	int64_t width = self->train->width, classes = self->train->classes;
#pragma omp parallel for schedule(dynamic, 8)
	for (int64_t i = 0; i < width; i++)
		for (int64_t r = 0; r < rows; r++) {
			const double *row = self->chunk + r * width;
			double x = row[i], *to = sums->xx + i * width;
			for (int64_t j = i; j < width; j++)
				to[j] += x * row[j];
			sums->xy[i * classes + self->labels[r]] += x;
			sums->x[i] += x;
		}
	sums->count += rows;
}

// Of those training samples that are held back, or of the others.
static void add_products(ridge *self, uint64_t seed, bool held, products *sums) {
	const d2v_labelled *train = self->train;
	int64_t rows = 0;
	for (int64_t i = 0; i < train->count; i++) {
		if (d2v_held_out(seed, train->count, HELD_SHARE, i) != held)
			continue;
		standardise(&self->scaling, train->rows + i * train->width, train->width, self->chunk + rows * train->width);
		self->labels[rows++] = train->labels[i];
		if (rows == CHUNK) {
			add_chunk(self, rows, sums);
			rows = 0;
		}
	}
	add_chunk(self, rows, sums);
	for (int64_t i = 0; i < train->width; i++) // Y is centred
		for (int32_t c = 0; c < train->classes; c++)
			sums->xy[i * train->classes + c] -= sums->x[i] * self->scaling.prior[c];
}

static void add_held(ridge *self) {
	size_t width = (size_t)self->train->width;
	for (size_t i = 0; i < width * width; i++)
		self->fit.xx[i] += self->held.xx[i];
	for (size_t i = 0; i < width * (size_t)self->train->classes; i++)
		self->fit.xy[i] += self->held.xy[i];
	self->fit.count += self->held.count;
}

// Lower triangle of the factor of X'X + lambda n I.
static d2v_status factorise(ridge *self, double lambda, d2v_error *err) {
	int64_t width = self->train->width;
	for (int64_t j = 0; j < width; j++) {
		double *own = self->factor + j * width;
		for (int64_t i = j; i < width; i++)
			self->factor[i * width + j] = self->fit.xx[j * width + i];
		own[j] += lambda * (double)self->fit.count;
		for (int64_t k = 0; k < j; k++)
			own[j] -= own[k] * own[k];
		if (!(own[j] > 0))
			return d2v_fail(err, D2V_INVALID, "the probe's equations have no solution with lambda %g", lambda);
		own[j] = sqrt(own[j]);
#pragma omp parallel for schedule(static) if (width - j > 128)
		for (int64_t i = j + 1; i < width; i++) {
			double *row = self->factor + i * width;
			for (int64_t k = 0; k < j; k++)
				row[j] -= row[k] * own[k];
			row[j] /= own[j];
		}
	}
	return D2V_OK;
}

static d2v_status solve(ridge *self, double lambda, d2v_error *err) {
	int64_t width = self->train->width, classes = self->train->classes;
	double *w = self->weights;
	D2V_TRY(factorise(self, lambda, err));
	memcpy(w, self->fit.xy, (size_t)(width * classes) * sizeof *w);
	for (int64_t i = 0; i < width; i++) {
		for (int64_t k = 0; k < i; k++)
			for (int64_t c = 0; c < classes; c++)
				w[i * classes + c] -= self->factor[i * width + k] * w[k * classes + c];
		for (int64_t c = 0; c < classes; c++)
			w[i * classes + c] /= self->factor[i * width + i];
	}
	for (int64_t i = width - 1; i >= 0; i--) {
		for (int64_t k = i + 1; k < width; k++)
			for (int64_t c = 0; c < classes; c++)
				w[i * classes + c] -= self->factor[k * width + i] * w[k * classes + c];
		for (int64_t c = 0; c < classes; c++)
			w[i * classes + c] /= self->factor[i * width + i];
	}
	return D2V_OK;
}

// `values` is scratch for (width + classes) numbers.
static int32_t predict(const ridge *self, const float *features, double *values) {
	int64_t width = self->train->width;
	int32_t classes = self->train->classes, best = 0;
	double *x = values, *y = values + width;
	standardise(&self->scaling, features, width, x);
	memcpy(y, self->scaling.prior, (size_t)classes * sizeof *y);
	for (int64_t d = 0; d < width; d++)
		for (int32_t c = 0; c < classes; c++)
			y[c] += x[d] * self->weights[d * classes + c];
	for (int32_t c = 1; c < classes; c++)
		if (y[c] > y[best])
			best = c;
	return best;
}

static d2v_status count_right_held(const ridge *self, uint64_t seed, int64_t *right, d2v_error *err) {
	const d2v_labelled *train = self->train;
	double *values;
	D2V_TRY(d2v_alloc(&values, (size_t)train->width + (size_t)train->classes, sizeof *values, err));
	*right = 0;
	for (int64_t i = 0; i < train->count; i++)
		if (d2v_held_out(seed, train->count, HELD_SHARE, i))
			*right += predict(self, train->rows + i * train->width, values) == train->labels[i];
	d2v_free(values);
	return D2V_OK;
}

static d2v_status choose_lambda(ridge *self, uint64_t seed, double *lambda, d2v_error *err) {
	int64_t most = -1;
	for (int g = 0; g < GRID; g++) {
		int64_t right;
		D2V_TRY(solve(self, grid[g], err));
		D2V_TRY(count_right_held(self, seed, &right, err));
		if (right >= most) {
			most = right;
			*lambda = grid[g];
		}
	}
	return D2V_OK;
}

static d2v_status predict_all(const ridge *self, const d2v_labelled *test, int32_t *predicted, d2v_error *err) {
	double *values;
	D2V_TRY(d2v_alloc(&values, (size_t)test->width + (size_t)test->classes, sizeof *values, err));
	for (int64_t i = 0; i < test->count; i++)
		predicted[i] = predict(self, test->rows + i * test->width, values);
	d2v_free(values);
	return D2V_OK;
}

d2v_status d2v_ridge_classify(const d2v_labelled *train, const d2v_labelled *test, const d2v_ridge_options *options,
	int32_t *predicted, double *lambda, d2v_error *err) {
	ridge self = { 0 };
	double used = options->lambda;
	D2V_TRY(d2v_labelled_check(train, test, err));
	d2v_status status = ridge_new(&self, train, err);
	if (status == D2V_OK)
		status = measure_scaling(&self, err);
	if (status == D2V_OK) {
		add_products(&self, options->seed, false, &self.fit);
		add_products(&self, options->seed, true, &self.held);
		if (!(used > 0))
			status = choose_lambda(&self, options->seed, &used, err);
	}
	if (status == D2V_OK) {
		add_held(&self);
		status = solve(&self, used, err);
	}
	if (status == D2V_OK)
		status = predict_all(&self, test, predicted, err);
	if (lambda)
		*lambda = used;
	ridge_free(&self);
	return status;
}
