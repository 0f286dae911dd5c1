#include "train/collapse.h"

#include "base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ROWS_MAX 256      // positions looked at
#define OLD 0.8           // weight of the average so far; the newest look has the rest
#define LOOKS_MIN 3       // no verdict from fewer
#define RANK_MIN 1.25     // below it, nearly all variance lies in one direction
#define FEATURES_KEEP .01 // of their first spread local features must keep
#define TARGET_SPREAD .1  // published stop conditions of the speech recipe
#define PREDICTION_SPREAD .01

const char *d2v_watched_name(d2v_watched watched) {
	static const char *const names[] = { "local features", "targets", "predictions" };
	return names[watched];
}

// ---- measuring

// Sum over pairs of rows of (their product)^2, which is the sum of the squared eigenvalues of rows' * rows.
static double squared_products(const double *rows, int64_t count, int64_t width) {
	double sum = 0;
	for (int64_t i = 0; i < count; i++)
		for (int64_t j = 0; j <= i; j++) {
			double product = 0;
			for (int64_t d = 0; d < width; d++)
				product += rows[i * width + d] * rows[j * width + d];
			sum += (i == j ? 1 : 2) * product * product;
		}
	return sum;
}

d2v_status d2v_spread_measure(const float *rows, int64_t count, int64_t width, d2v_spread *spread, d2v_error *err) {
	double *centred = NULL;
	*spread = (d2v_spread){ 0 };
	if (count < 2 || width < 1)
		return D2V_OK;
	D2V_TRY(d2v_alloc(&centred, (size_t)count * (size_t)width, sizeof *centred, err));
	double total = 0, deviations = 0;
	for (int64_t d = 0; d < width; d++) {
		double mean = 0, variance = 0;
		for (int64_t i = 0; i < count; i++)
			mean += (double)rows[i * width + d];
		mean /= (double)count;
		for (int64_t i = 0; i < count; i++) {
			double away = (double)rows[i * width + d] - mean;
			centred[i * width + d] = away;
			variance += away * away;
		}
		total += variance;
		deviations += sqrt(variance / (double)(count - 1));
	}
	spread->spread = deviations / (double)width;
	double squares = squared_products(centred, count, width);
	spread->rank = squares > 0 ? total * total / squares : 0;
	d2v_free(centred);
	return D2V_OK;
}

// Rows spread evenly over `count` of them. Which ones is a function of the numbers alone.
static int64_t chosen(int64_t index, int64_t wanted, int64_t count) {
	return index * count / wanted;
}

typedef struct sample {
	const d2v_real *reals; // or
	const float *floats;
	const int32_t *only; // rows to choose from, NULL: all
	int64_t count;       // of them
} sample;

static d2v_status measure(d2v_device *device, const sample *from, int64_t width, float *on_device, float *rows,
	d2v_spread *spread, d2v_error *err) {
	int64_t wanted = from->count < ROWS_MAX ? from->count : ROWS_MAX;
	for (int64_t i = 0; i < wanted; i++) {
		int64_t place = chosen(i, wanted, from->count), row = from->only ? from->only[place] : place;
		if (from->floats)
			d2v_device_copy(device, on_device + i * width, from->floats + row * width, (size_t)width * sizeof(float));
		else
			d2v_device_to_float(
				device, on_device + i * width, d2v_real_at(device, from->reals, (size_t)(row * width)), (size_t)width);
	}
	d2v_device_download(device, rows, on_device, (size_t)(wanted * width) * sizeof(float));
	return d2v_spread_measure(rows, wanted, width, spread, err);
}

d2v_status d2v_collapse_look(d2v_collapse *collapse, d2v_model *model, const d2v_batch *batch,
	const d2v_collapse_limits *limits, char sentences[D2V_COLLAPSE_TEXT], d2v_error *err) {
	d2v_device *device = d2v_model_device(model);
	const d2v_step_view *view = d2v_model_view(model);
	int64_t width = d2v_model_configuration(model)->embed_dim, positions = view->batch * view->tokens;
	float *on_device = NULL, *rows = NULL;
	d2v_spread now[D2V_WATCHED_COUNT];
	sentences[0] = 0;
	const sample samples[D2V_WATCHED_COUNT] = {
		[D2V_WATCHED_FEATURES] = { .reals = view->local_features, .count = positions },
		[D2V_WATCHED_TARGETS] = { .floats = view->target, .count = positions },
		[D2V_WATCHED_PREDICTIONS] = { .reals = view->decoder_out, .only = batch->masked, .count = batch->masked_count },
	};
	size_t bytes = (size_t)(ROWS_MAX * width) * sizeof(float);
	d2v_status status = d2v_alloc(&rows, bytes, 1, err);
	if (status == D2V_OK)
		status = d2v_device_alloc(device, &on_device, bytes, err);
	for (int i = 0; i < D2V_WATCHED_COUNT && status == D2V_OK; i++)
		status = measure(device, &samples[i], width, on_device, rows, &now[i], err);
	if (status == D2V_OK)
		d2v_collapse_judge(collapse, now, width, limits, sentences);
	if (on_device)
		d2v_device_free(device, on_device);
	d2v_free(rows);
	return status;
}

// ---- judging

static double spread_limit(const d2v_collapse *collapse, int watched, const d2v_collapse_limits *limits) {
	switch (watched) {
	case D2V_WATCHED_TARGETS:
		return limits->min_target_var > 0 ? limits->min_target_var : TARGET_SPREAD;
	case D2V_WATCHED_PREDICTIONS:
		return limits->min_pred_var > 0 ? limits->min_pred_var : PREDICTION_SPREAD;
	default:
		return FEATURES_KEEP * collapse->watched[watched].first;
	}
}

__attribute__((format(printf, 2, 3))) static void say(char text[D2V_COLLAPSE_TEXT], const char *format, ...) {
	size_t length = strlen(text);
	va_list args;
	va_start(args, format);
	vsnprintf(text + length, D2V_COLLAPSE_TEXT - length, format, args);
	va_end(args);
}

static void say_collapse(
	const d2v_collapse *collapse, int watched, double limit, int64_t width, char sentences[D2V_COLLAPSE_TEXT]) {
	const d2v_spread *average = &collapse->watched[watched].average;
	say(sentences, "%s%s are collapsing: ", sentences[0] ? "\n" : "", d2v_watched_name((d2v_watched)watched));
	if (!(average->spread >= limit))
		say(sentences, "spread %.3g fell below %.3g, effective rank %.1f of %lld", average->spread, limit,
			average->rank, (long long)width);
	else
		say(sentences, "effective rank %.2f of %lld, spread %.3g", average->rank, (long long)width, average->spread);
	say(sentences, ": lower optimization.lr, or raise model.ema_decay or lr_scheduler.warmup_updates");
}

static void average_in(d2v_spread *average, const d2v_spread *now, bool first) {
	average->spread = first ? now->spread : OLD * average->spread + (1 - OLD) * now->spread;
	average->rank = first ? now->rank : OLD * average->rank + (1 - OLD) * now->rank;
}

void d2v_collapse_judge(d2v_collapse *collapse, const d2v_spread now[D2V_WATCHED_COUNT], int64_t width,
	const d2v_collapse_limits *limits, char sentences[D2V_COLLAPSE_TEXT]) {
	sentences[0] = 0;
	for (int i = 0; i < D2V_WATCHED_COUNT; i++) {
		average_in(&collapse->watched[i].average, &now[i], collapse->looks == 0);
		if (collapse->looks == 0)
			collapse->watched[i].first = now[i].spread;
	}
	collapse->looks++;
	for (int i = 0; i < D2V_WATCHED_COUNT && collapse->looks >= LOOKS_MIN; i++) {
		const d2v_spread *average = &collapse->watched[i].average;
		double limit = spread_limit(collapse, i, limits);
		// Written so that NaN is no health.
		bool healthy = average->spread >= limit && (width < 2 || average->rank >= RANK_MIN);
		bool judged = i != D2V_WATCHED_PREDICTIONS || collapse->watched[i].healthy;
		if (!healthy && judged && !collapse->watched[i].collapsed)
			say_collapse(collapse, i, limit, width, sentences);
		collapse->watched[i].collapsed = !healthy && judged;
		collapse->watched[i].healthy |= healthy;
	}
}

// ---- as JSON

// Doubles as the 16 hex digits of their bits: exact, NaN included.
static d2v_status set_double(json_t *object, const char *key, double value, d2v_error *err) {
	uint64_t bits;
	memcpy(&bits, &value, sizeof bits);
	return d2v_json_set_hex64(object, key, bits, err);
}

static d2v_status get_double(const json_t *object, const char *key, const char *where, double *value, d2v_error *err) {
	uint64_t bits;
	D2V_TRY(d2v_json_get_hex64(object, key, where, &bits, err));
	memcpy(value, &bits, sizeof bits);
	return D2V_OK;
}

static d2v_status watched_tree(const d2v_collapse *collapse, int i, json_t *object, d2v_error *err) {
	D2V_TRY(set_double(object, "spread", collapse->watched[i].average.spread, err));
	D2V_TRY(set_double(object, "rank", collapse->watched[i].average.rank, err));
	D2V_TRY(set_double(object, "first", collapse->watched[i].first, err));
	D2V_TRY(d2v_json_set(object, "healthy", json_boolean(collapse->watched[i].healthy), err));
	return d2v_json_set(object, "collapsed", json_boolean(collapse->watched[i].collapsed), err);
}

d2v_status d2v_collapse_tree(const d2v_collapse *collapse, json_t **tree, d2v_error *err) {
	json_t *root = json_object();
	d2v_status status = d2v_json_set_u64(root, "looks", collapse->looks, err);
	for (int i = 0; i < D2V_WATCHED_COUNT && status == D2V_OK; i++) {
		json_t *object = json_object();
		status = watched_tree(collapse, i, object, err);
		if (status == D2V_OK)
			status = d2v_json_set(root, d2v_watched_name((d2v_watched)i), object, err);
		else
			json_decref(object);
	}
	if (status != D2V_OK) {
		json_decref(root);
		root = NULL;
	}
	*tree = root;
	return status;
}

d2v_status d2v_collapse_read(d2v_collapse *collapse, const json_t *tree, const char *where, d2v_error *err) {
	memset(collapse, 0, sizeof *collapse);
	D2V_TRY(d2v_json_get_u64(tree, "looks", where, INT64_MAX, &collapse->looks, err));
	for (int i = 0; i < D2V_WATCHED_COUNT; i++) {
		json_t *object;
		D2V_TRY(d2v_json_get_object(tree, d2v_watched_name((d2v_watched)i), where, &object, err));
		D2V_TRY(get_double(object, "spread", where, &collapse->watched[i].average.spread, err));
		D2V_TRY(get_double(object, "rank", where, &collapse->watched[i].average.rank, err));
		D2V_TRY(get_double(object, "first", where, &collapse->watched[i].first, err));
		collapse->watched[i].healthy = json_is_true(json_object_get(object, "healthy"));
		collapse->watched[i].collapsed = json_is_true(json_object_get(object, "collapsed"));
	}
	return D2V_OK;
}
