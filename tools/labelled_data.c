#include "tools/labelled_data.h"

#include "base/memory.h"
#include "base/progress.h"
#include "eval/held_out.h"
#include "loaders/prefetcher.h"

#include <stdlib.h>
#include <string.h>

#define HELD_SHARE 0.2
#define SPREAD 64 // batches at least, when not all samples are wanted

// A split with its features.
typedef struct part {
	d2v_source *source;
	d2v_feature_table table; // of all its records
	int32_t *classes;        // (table.count), -1: no label
} part;

// One half, packed.
typedef struct half {
	float *rows;
	int32_t *labels;
	int64_t count;
} half;

struct d2v_labelled_data {
	d2v_labelled_wanted wanted;
	d2v_modality modality;
	char test_name[160];
	part train, test; // test.source NULL: held out of train
	int32_t *labels;  // (class_count) distinct ones, ascending
	int32_t class_count;
	int64_t width;
	half halves[2];
};

// ---- opening

static const char *find_test(const d2v_manifest *manifest) {
	static const char *const names[] = { "test", "val", "valid", "dev" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (d2v_manifest_find_split(manifest, names[i]))
			return names[i];
	return NULL;
}

static bool contains(const int32_t *labels, int32_t count, int32_t label) {
	for (int32_t i = 0; i < count; i++)
		if (labels[i] == label)
			return true;
	return false;
}

static int ascending(const void *a, const void *b) {
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
	return (x > y) - (x < y);
}

// Distinct labels of a data set whose manifest names no classes.
static d2v_status collect_labels(d2v_labelled_data *self, d2v_dataset *dataset, size_t *capacity, d2v_error *err) {
	const d2v_index_row *rows = d2v_dataset_rows(dataset);
	for (uint64_t i = 0; i < d2v_dataset_records(dataset); i++) {
		if (rows[i].label < 0 || contains(self->labels, self->class_count, rows[i].label))
			continue;
		if (self->class_count == 65536)
			return d2v_fail(err, D2V_UNSUPPORTED, "%s: more than 65536 distinct labels", self->wanted.data);
		D2V_TRY(d2v_reserve(&self->labels, capacity, (size_t)self->class_count + 1, sizeof *self->labels, err));
		self->labels[self->class_count++] = rows[i].label;
	}
	return D2V_OK;
}

static d2v_status find_classes(d2v_labelled_data *self, d2v_error *err) {
	d2v_dataset *train = d2v_prefetcher_dataset_of(self->train.source);
	const d2v_manifest *manifest = d2v_dataset_manifest(train);
	size_t capacity = 0;
	if (manifest->class_count) {
		self->class_count = (int32_t)manifest->class_count;
		D2V_TRY(d2v_alloc(&self->labels, manifest->class_count, sizeof *self->labels, err));
		for (int32_t i = 0; i < self->class_count; i++)
			self->labels[i] = i;
	} else {
		D2V_TRY(collect_labels(self, train, &capacity, err));
		if (self->test.source)
			D2V_TRY(collect_labels(self, d2v_prefetcher_dataset_of(self->test.source), &capacity, err));
		if (self->class_count)
			qsort(self->labels, (size_t)self->class_count, sizeof *self->labels, ascending);
	}
	if (self->class_count < 2)
		return d2v_fail(err, D2V_INVALID,
			"%s has no classes to tell apart; ingest it with labels (d2v-ingest --label-by)", self->wanted.data);
	return D2V_OK;
}

static int32_t class_of(const d2v_labelled_data *self, int32_t label) {
	if (label < 0)
		return -1;
	const int32_t *found = bsearch(&label, self->labels, (size_t)self->class_count, sizeof *self->labels, ascending);
	return found ? (int32_t)(found - self->labels) : -1;
}

static d2v_status make_tables(d2v_labelled_data *self, part *of, d2v_error *err) {
	if (!of->source)
		return D2V_OK;
	d2v_dataset *dataset = d2v_prefetcher_dataset_of(of->source);
	of->table.count = d2v_dataset_records(dataset);
	D2V_TRY(d2v_alloc(&of->table.rows, of->table.count * (uint64_t)self->width, sizeof(float), err));
	D2V_TRY(d2v_alloc_zero(&of->table.have, of->table.count, 1, err));
	D2V_TRY(d2v_alloc(&of->classes, of->table.count, sizeof *of->classes, err));
	for (uint64_t i = 0; i < of->table.count; i++)
		of->classes[i] = class_of(self, d2v_dataset_rows(dataset)[i].label);
	return D2V_OK;
}

static d2v_status open_part(d2v_labelled_data *self, part *of, const char *split, const d2v_config *config,
	d2v_device *device, d2v_error *err) {
	d2v_eval_data data = { .data = self->wanted.data, .split = split, .threads = self->wanted.threads };
	if (self->wanted.most) // small batches, so that the ones that are read lie well spread over the classes
		data.batch_size = (int64_t)(self->wanted.most < SPREAD        ? 1
									: self->wanted.most / SPREAD < 64 ? self->wanted.most / SPREAD
																	  : 64);
	return d2v_open_eval_source(&of->source, config, self->modality, &data, device, err);
}

// Which splits, and of which modality.
static d2v_status choose(d2v_labelled_data *self, const d2v_config *config, const char **train, const char **test,
	d2v_manifest *manifest, d2v_error *err) {
	self->modality = manifest->modality;
	if (!d2v_model_config_has(&config->model, self->modality))
		return d2v_fail(err, D2V_INVALID, "%s holds %s, which the model has no encoder for", self->wanted.data,
			d2v_modality_name(self->modality));
	if (self->modality == D2V_TEXT)
		return d2v_fail(
			err, D2V_UNSUPPORTED, "%s: text has no labels that a probe could tell apart", self->wanted.data);
	*test = self->wanted.test ? self->wanted.test : find_test(manifest);
	*train = self->wanted.train;
	if (*test && !*train && manifest->split_count == 2) // the other one
		*train = manifest->splits[strcmp(manifest->splits[0].name, *test) == 0].name;
	if (*test && *train && strcmp(*test, *train) == 0)
		*test = NULL;
	if (*test && manifest->split_count == 1)
		*test = NULL;
	return D2V_OK;
}

static d2v_status open_all(d2v_labelled_data *self, const d2v_config *config, d2v_device *device, d2v_error *err) {
	const char *train, *test;
	d2v_manifest manifest;
	D2V_TRY(d2v_manifest_load(&manifest, self->wanted.data, err));
	d2v_status status = choose(self, config, &train, &test, &manifest, err);
	if (status == D2V_OK)
		status = open_part(self, &self->train, train, config, device, err);
	if (status == D2V_OK && test)
		status = open_part(self, &self->test, test, config, device, err);
	if (status == D2V_OK)
		snprintf(self->test_name, sizeof self->test_name, "%s%s", test ? "" : "held out of ",
			test    ? test
			: train ? train
					: "train");
	d2v_manifest_release(&manifest);
	D2V_TRY(status);
	self->width = config->model.embed_dim;
	D2V_TRY(find_classes(self, err));
	D2V_TRY(make_tables(self, &self->train, err));
	return make_tables(self, &self->test, err);
}

d2v_status d2v_labelled_data_open(d2v_labelled_data **data, const d2v_labelled_wanted *wanted, const d2v_config *config,
	d2v_device *device, d2v_error *err) {
	d2v_labelled_data *self;
	*data = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->wanted = *wanted;
	d2v_status status = open_all(self, config, device, err);
	if (status != D2V_OK)
		d2v_labelled_data_close(self);
	else
		*data = self;
	return status;
}

static void release_part(part *of) {
	d2v_source_close(of->source);
	d2v_free(of->table.rows);
	d2v_free(of->table.have);
	d2v_free(of->classes);
}

void d2v_labelled_data_close(d2v_labelled_data *data) {
	if (!data)
		return;
	release_part(&data->train);
	release_part(&data->test);
	for (int i = 0; i < 2; i++) {
		d2v_free(data->halves[i].rows);
		d2v_free(data->halves[i].labels);
	}
	d2v_free(data->labels);
	d2v_free(data);
}

int32_t d2v_labelled_data_classes(const d2v_labelled_data *data) {
	return data->class_count;
}

const char *d2v_labelled_data_test(const d2v_labelled_data *data) {
	return data->test_name;
}

// ---- features

// Of the samples that have features and a class: all, or those that are held out or not.
enum which { ALL, HELD, KEPT };
static d2v_status pack(const d2v_labelled_data *self, const part *of, enum which which, half *into, d2v_error *err) {
	size_t width = (size_t)self->width, count = of->table.count;
	if (!into->rows) {
		D2V_TRY(d2v_alloc(&into->rows, count * width, sizeof *into->rows, err));
		D2V_TRY(d2v_alloc(&into->labels, count, sizeof *into->labels, err));
	}
	into->count = 0;
	for (uint64_t i = 0; i < count; i++) {
		if (!of->table.have[i] || of->classes[i] < 0)
			continue;
		if (which != ALL && d2v_held_out(self->wanted.seed, (int64_t)count, HELD_SHARE, (int64_t)i) != (which == HELD))
			continue;
		memcpy(into->rows + (size_t)into->count * width, of->table.rows + i * width, width * sizeof *into->rows);
		into->labels[into->count++] = of->classes[i];
	}
	return D2V_OK;
}

typedef struct reading {
	const d2v_labelled_data *data;
	d2v_progress *progress;
	const char *what; // they are for
} reading;

static bool look(void *context, uint64_t batches, uint64_t of) {
	const reading *self = context;
	bool (*stop_asked)(void) = self->data->wanted.stop_asked;
	d2v_progress_update(self->progress, (double)batches, (double)of, "samples to %s: batch %llu of %llu", self->what,
		(unsigned long long)batches, (unsigned long long)of);
	return !stop_asked || !stop_asked();
}

static d2v_status read_part(const d2v_labelled_data *self, d2v_feature_reader *reader, part *of, d2v_error *err) {
	if (!of->source)
		return D2V_OK;
	reading now = { .data = self, .what = of == &self->test ? "try on" : "learn from" };
	D2V_TRY(d2v_progress_new(&now.progress, self->wanted.quiet, err));
	d2v_status status = d2v_feature_reader_collect(reader, of->source, self->wanted.most, look, &now, &of->table, err);
	if (status == D2V_OK)
		d2v_progress_finish(now.progress);
	d2v_progress_free(now.progress);
	return status;
}

static d2v_labelled view_of(const d2v_labelled_data *self, const half *of) {
	return (d2v_labelled){ of->rows, of->labels, of->count, self->width, self->class_count };
}

d2v_status d2v_labelled_data_features(d2v_labelled_data *data, d2v_model *model, const d2v_feature_settings *settings,
	d2v_labelled *train, d2v_labelled *test, d2v_error *err) {
	d2v_feature_reader *reader;
	D2V_TRY(d2v_feature_reader_new(&reader, model, settings, err));
	d2v_status status = read_part(data, reader, &data->train, err);
	if (status == D2V_OK)
		status = read_part(data, reader, &data->test, err);
	d2v_feature_reader_free(reader);
	D2V_TRY(status);
	bool own = data->test.source != NULL;
	D2V_TRY(pack(data, &data->train, own ? ALL : KEPT, &data->halves[0], err));
	D2V_TRY(pack(data, own ? &data->test : &data->train, own ? ALL : HELD, &data->halves[1], err));
	*train = view_of(data, &data->halves[0]);
	*test = view_of(data, &data->halves[1]);
	return D2V_OK;
}
