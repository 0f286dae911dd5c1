#include "kernels/cpu/cpu.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"

#include <omp.h>
#include <string.h>

#define MAX_QUERIES 256 // query rows whose scores are held at a time

// What one thread needs for one (row, head).
typedef struct workspace {
	float *scores;    // (queries, pitch)
	float *d_scores;  // (queries, pitch), backward
	float *positions; // (N) as floats; the extra tokens' are not looked at
	float *factors;   // dropout's, of one query
	int64_t pitch;    // floats of a row of scores
	int64_t queries;  // rows of scores
	int64_t floats;   // all of it
} workspace;

static workspace plan(const d2v_attention *op, bool backward) {
	int64_t n = op->tokens, blocks = d2v_cpu_pieces(n, MAX_QUERIES);
	workspace w = { .pitch = (n + 15) / 16 * 16, .queries = d2v_cpu_pieces(n, blocks) };
	w.floats = d2v_cpu_round(w.queries * w.pitch) * (backward ? 2 : 1) + d2v_cpu_round(n) +
			   d2v_cpu_round(d2v_cpu_dropout_room(n));
	return w;
}

static workspace place(workspace w, float *scratch, int64_t tokens, bool backward) {
	int64_t block = d2v_cpu_round(w.queries * w.pitch);
	w.scores = scratch + w.floats * omp_get_thread_num();
	w.d_scores = w.scores + (backward ? block : 0);
	w.positions = w.d_scores + block;
	w.factors = w.positions + d2v_cpu_round(tokens);
	return w;
}

static void fill_positions(const d2v_attention *op, int64_t row, float *positions) {
	int64_t frames = op->tokens - op->extra;
	for (int64_t j = 0; j < op->extra; j++)
		positions[j] = 0;
	for (int64_t j = 0; j < frames; j++)
		positions[op->extra + j] = op->positions ? (float)op->positions[row * frames + j] : (float)j;
}

static float head_scale(const d2v_attention *op, int64_t head) {
	return op->scale ? fmaxf(op->scale[head], 0.0f) : 1.0f;
}

// score += scale * (slope * -|distance|), for the keys that are no extra tokens.
static void add_distance(
	float *score, const float *positions, int64_t query, int64_t extra, int64_t n, float slope, float scale) {
	if (query < extra)
		return;
	float here = positions[query];
#pragma omp simd
	for (int64_t j = extra; j < n; j++)
		score[j] += scale * (slope * -fabsf(here - positions[j]));
}

static void hide_padding(float *score, const uint8_t *padding, int64_t n) {
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		score[j] = padding[j] ? -INFINITY : score[j];
}

static const float *part_of(const d2v_attention *op, const float *qkv, int64_t row, int64_t part, int64_t head) {
	return qkv + row * op->tokens * 3 * op->width + part * op->width + head * (op->width / op->heads);
}

// scores of `count` queries from `first`, bias and padding included.
static bool make_scores(
	const d2v_attention *op, const workspace *w, int64_t row, int64_t head, int64_t first, int64_t count) {
	const float *qkv = d2v_cpu_in(op->qkv);
	int64_t n = op->tokens, size = op->width / op->heads, pitch = 3 * op->width;
	bool ok = d2v_cpu_gemm(&(d2v_gemm){ .m = count,
		.n = n,
		.k = size,
		.a = part_of(op, qkv, row, 0, head) + first * pitch,
		.lda = pitch,
		.b = part_of(op, qkv, row, 1, head),
		.ldb = pitch,
		.trans_b = true,
		.c = w->scores,
		.ldc = w->pitch,
		.alpha = 1.0f / sqrtf((float)size) });
	float scale = op->slope ? head_scale(op, head) : 0;
	for (int64_t i = 0; i < count; i++) {
		float *score = w->scores + i * w->pitch;
		if (op->slope)
			add_distance(score, w->positions, first + i, op->extra, n, op->slope[head], scale);
		if (op->key_padding)
			hide_padding(score, op->key_padding + row * n, n);
	}
	return ok;
}

// Scores become probabilities; returns the log of the sum of exponentials. A row of -inf becomes zeros.
static float softmax(float *score, int64_t n) {
	float top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
	for (int64_t j = 0; j < n; j++)
		top = score[j] > top ? score[j] : top;
	float shift = top == -INFINITY ? 0.0f : top;
#pragma omp simd reduction(+ : sum)
	for (int64_t j = 0; j < n; j++) {
		score[j] = d2v_expf(score[j] - shift);
		sum += score[j];
	}
	float factor = sum == 0.0f ? 0.0f : 1.0f / sum;
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		score[j] *= factor;
	return shift + logf(sum);
}

static void multiply(float *x, const float *factors, int64_t n) {
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		x[j] *= factors[j];
}

static const float *query_factors(
	const d2v_attention *op, const workspace *w, int64_t row, int64_t head, int64_t query) {
	int64_t element = ((row * op->heads + head) * op->tokens + query) * d2v_attention_draws(op->tokens);
	return d2v_cpu_dropout_factors(w->factors, &op->drop, element, op->tokens);
}

static bool forward_head(const d2v_attention *op, const workspace *w, int64_t row, int64_t head) {
	int64_t n = op->tokens, size = op->width / op->heads;
	float *lse = op->lse + (row * op->heads + head) * n;
	bool ok = true;
	for (int64_t first = 0; first < n; first += w->queries) {
		int64_t count = d2v_cpu_min(w->queries, n - first);
		ok = make_scores(op, w, row, head, first, count) && ok;
		for (int64_t i = 0; i < count; i++) {
			float *score = w->scores + i * w->pitch;
			lse[first + i] = softmax(score, n);
			if (d2v_cpu_dropout_on(&op->drop))
				multiply(score, query_factors(op, w, row, head, first + i), n);
		}
		ok = d2v_cpu_gemm(&(d2v_gemm){ .m = count,
				 .n = size,
				 .k = n,
				 .a = w->scores,
				 .lda = w->pitch,
				 .b = part_of(op, d2v_cpu_in(op->qkv), row, 2, head),
				 .ldb = 3 * op->width,
				 .c = d2v_cpu_out(op->out) + (row * n + first) * op->width + head * size,
				 .ldc = op->width }) &&
			 ok;
	}
	return ok;
}

void d2v_cpu_attention_forward(d2v_device *dev, const d2v_attention *op) {
	if (op->rows * op->tokens * op->width == 0)
		return;
	workspace w = plan(op, false);
	float *scratch = d2v_cpu_scratch(dev, w.floats * dev->threads);
	if (!scratch)
		return;
	bool ok = true;
#pragma omp parallel for schedule(dynamic) reduction(&& : ok)
	for (int64_t task = 0; task < op->rows * op->heads; task++) {
		workspace mine = place(w, scratch, op->tokens, false);
		fill_positions(op, task / op->heads, mine.positions);
		ok = forward_head(op, &mine, task / op->heads, task % op->heads) && ok;
	}
	if (!ok)
		d2v_cpu_gemm_failed(dev);
}

// One query: scores become dropped probabilities, d_scores (the gradient of those) the gradient of the scores.
// `delta` is sum_j P_j factor_j dP_j, which equals the inner product of the output and its gradient.
static void softmax_backward(float *score, float *d_score, float lse, float delta, const float *factors, int64_t n) {
	float shift = lse == -INFINITY ? INFINITY : lse; // no key at all: probabilities were zero
	if (factors) {
#pragma omp simd
		for (int64_t j = 0; j < n; j++) {
			float p = d2v_expf(score[j] - shift);
			d_score[j] = p * (d_score[j] * factors[j] - delta);
			score[j] = p * factors[j];
		}
	} else {
#pragma omp simd
		for (int64_t j = 0; j < n; j++) {
			float p = d2v_expf(score[j] - shift);
			d_score[j] = p * (d_score[j] - delta);
			score[j] = p;
		}
	}
}

static float inner_product(const float *a, const float *b, int64_t n) {
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

// sum_j d_score_j * -|distance|
static float distance_gradient(const float *d_score, const float *positions, int64_t query, int64_t extra, int64_t n) {
	float sum = 0;
	if (query < extra)
		return 0;
	float here = positions[query];
#pragma omp simd reduction(+ : sum)
	for (int64_t j = extra; j < n; j++)
		sum += d_score[j] * -fabsf(here - positions[j]);
	return sum;
}

// The part of queries first ... first + count in d_q, d_k and d_v, given d_scores and dropped probabilities.
static bool backward_products(
	const d2v_attention *op, const workspace *w, int64_t row, int64_t head, int64_t first, int64_t count) {
	int64_t n = op->tokens, size = op->width / op->heads, pitch = 3 * op->width;
	const float *qkv = d2v_cpu_in(op->qkv), *d_out = d2v_cpu_in(op->d_out) + row * n * op->width + head * size;
	float *d_q = d2v_cpu_out(op->d_qkv) + row * n * pitch + head * size;
	float alpha = 1.0f / sqrtf((float)size);
	d2v_gemm d_query = { .m = count,
		.n = size,
		.k = n,
		.a = w->d_scores,
		.lda = w->pitch,
		.alpha = alpha,
		.b = part_of(op, qkv, row, 1, head),
		.ldb = pitch,
		.c = d_q + first * pitch,
		.ldc = pitch };
	d2v_gemm d_key = { .m = n,
		.n = size,
		.k = count,
		.a = w->d_scores,
		.lda = w->pitch,
		.trans_a = true,
		.alpha = alpha,
		.b = part_of(op, qkv, row, 0, head) + first * pitch,
		.ldb = pitch,
		.c = d_q + op->width,
		.ldc = pitch,
		.accumulate = first > 0 };
	d2v_gemm d_value = { .m = n,
		.n = size,
		.k = count,
		.a = w->scores,
		.lda = w->pitch,
		.trans_a = true,
		.b = d_out + first * op->width,
		.ldb = op->width,
		.c = d_q + 2 * op->width,
		.ldc = pitch,
		.accumulate = first > 0 };
	return d2v_cpu_gemm(&d_query) && d2v_cpu_gemm(&d_key) && d2v_cpu_gemm(&d_value);
}

static bool backward_head(const d2v_attention *op, const workspace *w, int64_t row, int64_t head, double *d_scale) {
	int64_t n = op->tokens, size = op->width / op->heads;
	const float *out = d2v_cpu_in(op->out) + row * n * op->width + head * size;
	const float *d_out = d2v_cpu_in(op->d_out) + row * n * op->width + head * size;
	const float *lse = op->lse + (row * op->heads + head) * n;
	bool ok = true;
	*d_scale = 0;
	for (int64_t first = 0; first < n; first += w->queries) {
		int64_t count = d2v_cpu_min(w->queries, n - first);
		ok = make_scores(op, w, row, head, first, count) && ok;
		ok = d2v_cpu_gemm(&(d2v_gemm){ .m = count,
				 .n = n,
				 .k = size,
				 .a = d_out + first * op->width,
				 .lda = op->width,
				 .b = part_of(op, d2v_cpu_in(op->qkv), row, 2, head),
				 .ldb = 3 * op->width,
				 .trans_b = true,
				 .c = w->d_scores,
				 .ldc = w->pitch }) &&
			 ok;
		for (int64_t i = 0; i < count; i++) {
			int64_t query = first + i;
			float delta = inner_product(out + query * op->width, d_out + query * op->width, size);
			bool drop = d2v_cpu_dropout_on(&op->drop);
			const float *factors = drop ? query_factors(op, w, row, head, query) : NULL;
			float *d_score = w->d_scores + i * w->pitch;
			softmax_backward(w->scores + i * w->pitch, d_score, lse[query], delta, factors, n);
			if (op->d_scale)
				*d_scale += (double)distance_gradient(d_score, w->positions, query, op->extra, n);
		}
		ok = backward_products(op, w, row, head, first, count) && ok;
	}
	return ok;
}

// The column sums of a head's d_qkv, into its places of a row's (3D).
static void sum_head(const d2v_attention *op, int64_t row, int64_t head, float *sums) {
	int64_t size = op->width / op->heads, pitch = 3 * op->width;
	for (int64_t part = 0; part < 3; part++) {
		const float *d = part_of(op, d2v_cpu_out(op->d_qkv), row, part, head);
		float *sum = sums + part * op->width + head * size;
		memset(sum, 0, (size_t)size * sizeof *sum);
		for (int64_t token = 0; token < op->tokens; token++) {
#pragma omp simd
			for (int64_t e = 0; e < size; e++)
				sum[e] += d[token * pitch + e];
		}
	}
}

static void add_d_scale(const d2v_attention *op, const double *parts) {
	for (int64_t head = 0; head < op->heads; head++) {
		double sum = 0;
		for (int64_t row = 0; row < op->rows; row++)
			sum += parts[row * op->heads + head];
		if (!op->scale || op->scale[head] >= 0)
			op->d_scale[head] += (float)(sum * (double)op->slope[head]);
	}
}

void d2v_cpu_attention_backward(d2v_device *dev, const d2v_attention *op) {
	if (op->rows * op->tokens * op->width == 0)
		return;
	workspace w = plan(op, true);
	int64_t tasks = op->rows * op->heads, scales = d2v_cpu_round(2 * tasks), columns = 3 * op->width;
	int64_t parts = scales + (op->d_qkv_bias ? d2v_cpu_round(op->rows * columns) : 0);
	float *scratch = d2v_cpu_scratch(dev, parts + w.floats * dev->threads);
	if (!scratch)
		return;
	double *d_scale = (double *)(void *)scratch;
	float *sums = scratch + scales; // (R, 3D)
	bool ok = true;
#pragma omp parallel for schedule(dynamic) reduction(&& : ok)
	for (int64_t task = 0; task < tasks; task++) {
		workspace mine = place(w, scratch + parts, op->tokens, true);
		fill_positions(op, task / op->heads, mine.positions);
		ok = backward_head(op, &mine, task / op->heads, task % op->heads, d_scale + task) && ok;
		if (op->d_qkv_bias)
			sum_head(op, task / op->heads, task % op->heads, sums + task / op->heads * columns);
	}
	if (op->d_scale && op->slope)
		add_d_scale(op, d_scale);
	if (op->d_qkv_bias)
		d2v_cpu_add_partials(op->d_qkv_bias, sums, op->rows, columns, columns);
	if (!ok)
		d2v_cpu_gemm_failed(dev);
}

void d2v_cpu_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias) {
	int64_t n = op->tokens;
	float *positions = d2v_cpu_scratch(dev, n);
	if (!positions || op->rows * n == 0)
		return;
	fill_positions(op, 0, positions);
	memset(bias, 0, (size_t)(op->heads * n * n) * sizeof *bias);
	for (int64_t head = 0; head < op->heads && op->slope; head++)
		for (int64_t i = 0; i < n; i++)
			add_distance(bias + (head * n + i) * n, positions, i, op->extra, n, op->slope[head], head_scale(op, head));
}
