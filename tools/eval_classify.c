#include "tools/eval_classify.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/signals.h"
#include "eval/accuracy.h"
#include "eval/knn.h"
#include "eval/ridge.h"
#include "tools/feature_choice.h"
#include "tools/labelled_data.h"
#include "tools/open_device.h"
#include "tools/option_rows.h"
#include "tools/trained_model.h"

#include <stdio.h>
#include <string.h>

static struct {
	d2v_feature_choice features;
	const char *train, *test, *device;
	int64_t k, seed, samples, threads, workers;
	double lambda, temperature;
	bool compare_random, json, quiet;
} given = { .k = 20, .seed = 1, .workers = 1, .temperature = 0.07 };

#define COMMON_OPTIONS \
	D2V_FEATURE_OPTIONS(given.features), \
		{ .name = "train", \
			.kind = D2V_OPTION_TEXT, \
			.into = &given.train, \
			.value = "SPLIT", \
			.help = "learn from this split (default: train, or the one that is not tried on)" }, \
		{ .name = "test", \
			.kind = D2V_OPTION_TEXT, \
			.into = &given.test, \
			.value = "SPLIT", \
			.help = "try on this split (default: test, val, valid or dev; without any, a fifth that is held out)" }, \
		{ .name = "samples", \
			.letter = 'n', \
			.kind = D2V_OPTION_INT, \
			.into = &given.samples, \
			.min = 0, \
			.max = 1e15, \
			.value = "N", \
			.help = "take about N evenly spread samples of each split (default 0: all)" }, \
		{ .name = "compare-random", \
			.letter = 'c', \
			.kind = D2V_OPTION_FLAG, \
			.into = &given.compare_random, \
			.help = "put an untrained encoder of the same shape beside it, and test the difference" }, \
		D2V_ROW_SEED(given.seed, "of what is held out, and of the untrained encoder (default 1)"), \
		D2V_ROW_DEVICE(given.device, "cpu, cuda, cuda:N or auto (default: auto)"), \
		D2V_ROW_THREADS(given.threads, 0, "compute threads (default 0: all processors)"), \
		D2V_ROW_WORKERS(given.workers), D2V_ROW_JSON(given.json, "print JSON"), \
		D2V_ROW_QUIET(given.quiet, "no progress line"), { \
		0 \
	}

static d2v_option knn_rows[] = { { .name = "neighbours",
									 .letter = 'k',
									 .kind = D2V_OPTION_INT,
									 .into = &given.k,
									 .min = 1,
									 .max = D2V_KNN_K_MAX,
									 .value = "K",
									 .help = "let the K nearest vote (default 20)" },
	{ .name = "temperature",
		.kind = D2V_OPTION_REAL,
		.into = &given.temperature,
		.min = 1e-6,
		.max = 1e6,
		.value = "T",
		.help = "votes weigh exp(cosine / T) (default 0.07)" },
	COMMON_OPTIONS };

static d2v_option probe_rows[] = { { .name = "lambda",
									   .kind = D2V_OPTION_REAL,
									   .into = &given.lambda,
									   .min = 0,
									   .max = 1e9,
									   .value = "X",
									   .help = "strength of the ridge, relative to the features' variance (default 0: "
											   "chosen on a fifth of the training samples)" },
	COMMON_OPTIONS };

#define DETAIL \
	"CHECKPOINT is a file, or the folder of a run, whose newest is taken. The model runs over whole samples without " \
	"masks. The interval of an accuracy is Wilson's at 95 %; with --compare-random both encoders are tried on the " \
	"same " \
	"samples, the interval of the difference is Agresti and Min's for pairs, and p is McNemar's exact test."

const d2v_command eval_knn_command = {
	.program = "d2v-eval",
	.name = "knn",
	.operands = "CHECKPOINT DATASET",
	.summary = "how often nearest neighbours in the features have the right class",
	.detail = DETAIL,
	.examples = "d2v-eval knn runs/tiny pictures --compare-random\n"
				"    what a run has learnt so far, beside an untrained encoder\n"
				"d2v-eval knn runs/tiny/checkpoint_1000.safetensors pictures --layer 2 --weights teacher --json\n"
				"    one block of the teacher, for another program\n",
	.options = knn_rows,
	.operands_min = 2,
	.operands_max = 2,
};

const d2v_command eval_probe_command = {
	.program = "d2v-eval",
	.name = "probe",
	.operands = "CHECKPOINT DATASET",
	.summary = "how often a linear probe of the features finds the right class",
	.detail = "The probe is ridge regression to the classes, in closed form. " DETAIL,
	.examples = "d2v-eval probe runs/tiny pictures --compare-random\n"
				"    accuracy with its interval, and whether it exceeds an untrained encoder's\n"
				"d2v-eval probe runs/tiny speech --layer mean --test held-out\n"
				"    the mean of all blocks, tried on a split called held-out\n",
	.options = probe_rows,
	.operands_min = 2,
	.operands_max = 2,
};

typedef enum probe_kind { KNN, PROBE } probe_kind;

// What one encoder reached.
typedef struct outcome {
	int32_t *predicted; // (count)
	int32_t *labels;
	int64_t learnt_from, count;
	d2v_accuracy accuracy;
	double lambda;
	double seconds;
} outcome;

static d2v_status classify(probe_kind method, d2v_labelled_data *data, d2v_model *model, outcome *out, d2v_error *err) {
	d2v_labelled train, test;
	d2v_feature_settings settings;
	double start = d2v_clock();
	D2V_TRY(d2v_feature_choice_settings(&given.features, &settings, err));
	if (settings.pooling == D2V_POOLING_NONE)
		return d2v_fail(err, D2V_INVALID, "--pool none: a probe needs one vector per sample");
	D2V_TRY(d2v_labelled_data_features(data, model, &settings, &train, &test, err));
	D2V_TRY(d2v_alloc(&out->predicted, (size_t)test.count + 1, sizeof *out->predicted, err));
	D2V_TRY(d2v_alloc(&out->labels, (size_t)test.count + 1, sizeof *out->labels, err));
	if (method == KNN) {
		d2v_knn_options options = { .k = given.k, .temperature = given.temperature };
		D2V_TRY(d2v_knn_classify(&train, &test, &options, out->predicted, err));
	} else {
		d2v_ridge_options options = { .seed = (uint64_t)given.seed, .lambda = given.lambda };
		D2V_TRY(d2v_ridge_classify(&train, &test, &options, out->predicted, &out->lambda, err));
	}
	memcpy(out->labels, test.labels, (size_t)test.count * sizeof *out->labels);
	out->learnt_from = train.count;
	out->count = test.count;
	out->accuracy = d2v_accuracy_of(out->predicted, out->labels, out->count);
	out->seconds = d2v_clock() - start;
	return D2V_OK;
}

static void release(outcome *of) {
	d2v_free(of->predicted);
	d2v_free(of->labels);
}

// ---- printing

typedef struct report {
	probe_kind method;
	const d2v_labelled_data *data;
	uint64_t updates;
	outcome trained, untrained;
	d2v_accuracy_difference difference;
} report;

static json_t *accuracy_tree(const outcome *of) {
	const d2v_accuracy *a = &of->accuracy;
	return json_pack("{s:f, s:f, s:f, s:I, s:I, s:f}", "accuracy", a->share, "low", a->low, "high", a->high, "right",
		(json_int_t)a->right, "count", (json_int_t)a->count, "seconds", of->seconds);
}

static d2v_status print_json(const report *r, d2v_error *err) {
	char *text = NULL;
	json_t *tree = json_pack("{s:s, s:I, s:s, s:s, s:i, s:I, s:s, s:o}", "method", r->method == KNN ? "knn" : "probe",
		"updates", (json_int_t)r->updates, "weights", given.features.weights ? "teacher" : "student", "layer",
		given.features.layer ? given.features.layer : "last", "classes", (int)d2v_labelled_data_classes(r->data),
		"learnt_from", (json_int_t)r->trained.learnt_from, "tried_on", d2v_labelled_data_test(r->data), "trained",
		accuracy_tree(&r->trained));
	d2v_status status = tree ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "out of memory for the result");
	if (status == D2V_OK)
		status = r->method == KNN ? d2v_json_set(tree, "neighbours", json_integer(given.k), err)
								  : d2v_json_set(tree, "lambda", json_real(r->trained.lambda), err);
	if (status == D2V_OK && given.compare_random) {
		const d2v_accuracy_difference *d = &r->difference;
		status = d2v_json_set(tree, "untrained", accuracy_tree(&r->untrained), err);
		if (status == D2V_OK)
			status = d2v_json_set(tree, "difference",
				json_pack("{s:f, s:f, s:f, s:f, s:I, s:I, s:b}", "accuracy", d->share, "low", d->low, "high", d->high,
					"p", d->p, "only_trained", (json_int_t)d->only_first, "only_untrained", (json_int_t)d->only_second,
					"exceeds", d->low > 0),
				err);
	}
	if (status == D2V_OK)
		status = d2v_json_text(tree, &text, err);
	if (status == D2V_OK)
		fputs(text, stdout);
	d2v_free(text);
	json_decref(tree);
	return status;
}

static void print_accuracy(const char *what, const d2v_accuracy *a) {
	printf("%-22s %5.1f %%  (95 %%: %.1f to %.1f; %lld of %lld)\n", what, 100 * a->share, 100 * a->low, 100 * a->high,
		(long long)a->right, (long long)a->count);
}

static void print_text(const report *r) {
	char what[64];
	const d2v_accuracy_difference *d = &r->difference;
	printf("%d classes, %lld samples to learn from, tried on %lld of %s, %s\n", (int)d2v_labelled_data_classes(r->data),
		(long long)r->trained.learnt_from, (long long)r->trained.count, d2v_labelled_data_test(r->data),
		given.features.weights ? "teacher's weights" : "student's weights");
	if (r->method == KNN)
		snprintf(what, sizeof what, "%lld neighbours", (long long)given.k);
	else
		snprintf(what, sizeof what, "probe, lambda %g", r->trained.lambda);
	print_accuracy(what, &r->trained.accuracy);
	if (!given.compare_random)
		return;
	print_accuracy("untrained", &r->untrained.accuracy);
	printf("%-22s %+5.1f points  (95 %%: %+.1f to %+.1f; p = %.2g): %s\n", "difference", 100 * d->share, 100 * d->low,
		100 * d->high, d->p, d->low > 0 ? "better than untrained" : "not shown to be better than untrained");
}

// ---- running

static d2v_status compare(
	report *r, d2v_labelled_data *data, const d2v_config *config, d2v_device *device, d2v_error *err) {
	d2v_trained_model untrained;
	D2V_TRY(d2v_trained_model_untrained(&untrained, config, given.seed, device, err));
	d2v_status status = classify(r->method, data, untrained.model, &r->untrained, err);
	d2v_trained_model_close(&untrained);
	D2V_TRY(status);
	r->difference =
		d2v_accuracy_compare(r->trained.predicted, r->untrained.predicted, r->trained.labels, r->trained.count);
	return D2V_OK;
}

static d2v_status run_with(
	report *r, const d2v_operands *operands, d2v_device *device, d2v_trained_model *trained, d2v_error *err) {
	d2v_labelled_data *data = NULL;
	d2v_labelled_wanted wanted = { .data = operands->items[1],
		.train = given.train,
		.test = given.test,
		.seed = (uint64_t)given.seed,
		.most = (uint64_t)given.samples,
		.threads = given.workers,
		.stop_asked = d2v_signals_asked,
		.quiet = given.quiet };
	D2V_TRY(d2v_trained_model_open(trained, operands->items[0], device, err));
	D2V_TRY(d2v_labelled_data_open(&data, &wanted, &trained->config, device, err));
	r->data = data;
	r->updates = trained->updates;
	d2v_status status = classify(r->method, data, trained->model, &r->trained, err);
	if (status == D2V_OK && given.compare_random)
		status = compare(r, data, &trained->config, device, err);
	if (status == D2V_OK && given.json)
		status = print_json(r, err);
	else if (status == D2V_OK)
		print_text(r);
	d2v_labelled_data_close(data);
	return status;
}

static d2v_status run(probe_kind method, const d2v_operands *operands, d2v_error *err) {
	d2v_device *device = NULL;
	static d2v_trained_model trained;
	report r = { .method = method };
	d2v_signals_install();
	D2V_TRY(d2v_open_device(&device, given.device ? given.device : "auto", given.threads, err));
	d2v_status status = run_with(&r, operands, device, &trained, err);
	release(&r.trained);
	release(&r.untrained);
	d2v_trained_model_close(&trained);
	d2v_device_close(device);
	return status;
}

static d2v_status knn(const d2v_operands *operands, d2v_error *err) {
	return run(KNN, operands, err);
}

static d2v_status probe(const d2v_operands *operands, d2v_error *err) {
	return run(PROBE, operands, err);
}

int eval_knn_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, knn);
}

int eval_probe_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, probe);
}
