#include "shards/statistics.h"

#include "base/json.h"
#include "base/memory.h"
#include "shards/record.h"

#include <stdlib.h>

typedef struct lengths {
	uint64_t *sorted;
	uint64_t count, total;
	double per_unit; // units (samples) in one of what people count in (seconds)
	const char *unit;
} lengths;

static int by_value(const void *a, const void *b) {
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

static const char *unit_of(d2v_modality modality) {
	return modality == D2V_AUDIO ? "seconds" : modality == D2V_IMAGE ? "pixels" : "tokens";
}

static d2v_status sort_lengths(lengths *all, const d2v_index_row *rows, uint64_t count, d2v_error *err) {
	D2V_TRY(d2v_alloc(&all->sorted, count, sizeof *all->sorted, err));
	for (uint64_t i = 0; i < count; i++) {
		all->sorted[i] = rows[i].units;
		all->total += rows[i].units;
	}
	if (count)
		qsort(all->sorted, count, sizeof *all->sorted, by_value);
	all->count = count;
	return D2V_OK;
}

// Steals what it is given: so that a chain of these needs no clean-up in between.
static d2v_status set_real(json_t *object, const char *key, double value, d2v_error *err) {
	return d2v_json_set(object, key, json_real(value), err);
}

static d2v_status set_lengths(json_t *object, const lengths *all, d2v_error *err) {
	uint64_t n = all->count;
	double median = n ? ((double)all->sorted[(n - 1) / 2] + (double)all->sorted[n / 2]) / 2 : 0;
	json_t *length = json_object();
	D2V_TRY(d2v_json_set(object, "length", length, err));
	D2V_TRY(d2v_json_set(length, "unit", json_string(all->unit), err));
	D2V_TRY(set_real(length, "total", (double)all->total / all->per_unit, err));
	D2V_TRY(set_real(length, "shortest", n ? (double)all->sorted[0] / all->per_unit : 0, err));
	D2V_TRY(set_real(length, "longest", n ? (double)all->sorted[n - 1] / all->per_unit : 0, err));
	D2V_TRY(set_real(length, "mean", n ? (double)all->total / all->per_unit / (double)n : 0, err));
	return set_real(length, "median", median / all->per_unit, err);
}

// The smallest of 0.1, 0.2, 0.5, 1, 2, 5, ... (1, 2, 5, ... where units cannot be cut) that needs no more than the
// bars.
static double bar_width(const lengths *all) {
	double longest = all->count ? (double)all->sorted[all->count - 1] / all->per_unit : 0;
	for (double power = all->per_unit > 1 ? 0.1 : 1;; power *= 10)
		for (int step = 0; step < 3; step++) {
			double width = power * (step == 0 ? 1 : step == 1 ? 2 : 5);
			if (longest < width * D2V_STATISTICS_BARS)
				return width;
		}
}

static d2v_status set_histogram(json_t *object, const lengths *all, d2v_error *err) {
	double width = bar_width(all), units = width * all->per_unit;
	uint64_t counts[D2V_STATISTICS_BARS] = { 0 };
	size_t used = 0;
	for (uint64_t i = 0; i < all->count; i++) {
		size_t bar = (size_t)((double)all->sorted[i] / units);
		bar = bar < D2V_STATISTICS_BARS ? bar : D2V_STATISTICS_BARS - 1;
		counts[bar]++;
		used = bar + 1;
	}
	json_t *histogram = json_object(), *array = json_array();
	d2v_status status = d2v_json_set(object, "histogram", histogram, err);
	if (status != D2V_OK) {
		json_decref(array);
		return status;
	}
	D2V_TRY(d2v_json_set(histogram, "counts", array, err));
	D2V_TRY(d2v_json_set(histogram, "unit", json_string(all->unit), err));
	D2V_TRY(set_real(histogram, "width", width, err));
	for (size_t i = 0; i < used; i++)
		if (json_array_append_new(array, json_integer((json_int_t)counts[i])) != 0)
			return d2v_fail(err, D2V_NO_MEMORY, "no memory for a histogram");
	return D2V_OK;
}

static d2v_status set_codecs(json_t *object, const d2v_index_row *rows, uint64_t count, d2v_error *err) {
	uint64_t counts[256] = { 0 };
	json_t *codecs = json_object();
	D2V_TRY(d2v_json_set(object, "codecs", codecs, err));
	for (uint64_t i = 0; i < count; i++)
		counts[rows[i].codec]++;
	for (int i = 0; i < 256; i++)
		if (counts[i])
			D2V_TRY(d2v_json_set_u64(codecs, d2v_codec_name((d2v_codec)i), counts[i], err));
	return D2V_OK;
}

static d2v_status fill(
	json_t *object, const lengths *all, const d2v_index_row *rows, d2v_modality modality, d2v_error *err) {
	D2V_TRY(d2v_json_set_u64(object, "records", all->count, err));
	D2V_TRY(d2v_json_set_u64(object, "units", all->total, err));
	D2V_TRY(set_codecs(object, rows, all->count, err));
	D2V_TRY(set_lengths(object, all, err));
	if (modality == D2V_AUDIO)
		D2V_TRY(set_real(object, "hours", (double)all->total / all->per_unit / 3600, err));
	return set_histogram(object, all, err);
}

d2v_status d2v_statistics_make(const d2v_index_row *rows, uint64_t count, d2v_modality modality, uint32_t rate,
	json_t **statistics, d2v_error *err) {
	lengths all = { .per_unit = modality == D2V_AUDIO && rate ? rate : 1, .unit = unit_of(modality) };
	*statistics = NULL;
	D2V_TRY(sort_lengths(&all, rows, count, err));
	json_t *object = json_object();
	d2v_status status =
		object ? fill(object, &all, rows, modality, err) : d2v_fail(err, D2V_NO_MEMORY, "no memory for statistics");
	d2v_free(all.sorted);
	if (status != D2V_OK) {
		json_decref(object);
		return status;
	}
	*statistics = object;
	return D2V_OK;
}

static d2v_status set_counts(json_t *labels, const uint64_t *counts, size_t classes, d2v_error *err) {
	json_t *array = json_array();
	D2V_TRY(d2v_json_set(labels, "counts", array, err));
	D2V_TRY(d2v_json_set_u64(labels, "none", counts[classes], err));
	for (size_t i = 0; i < classes; i++)
		if (json_array_append_new(array, json_integer((json_int_t)counts[i])) != 0)
			return d2v_fail(err, D2V_NO_MEMORY, "no memory for the counts of labels");
	return D2V_OK;
}

d2v_status d2v_statistics_add_labels(
	json_t *statistics, const d2v_index_row *rows, uint64_t count, size_t classes, d2v_error *err) {
	uint64_t *counts; // (classes + 1), the last of those without a class
	json_t *labels = json_object();
	D2V_TRY(d2v_json_set(statistics, "labels", labels, err));
	D2V_TRY(d2v_alloc_zero(&counts, classes + 1, sizeof *counts, err));
	for (uint64_t i = 0; i < count; i++) {
		int32_t label = rows[i].label;
		counts[label >= 0 && (size_t)label < classes ? (size_t)label : classes]++;
	}
	d2v_status status = set_counts(labels, counts, classes, err);
	d2v_free(counts);
	return status;
}

d2v_status d2v_statistics_add_documents(json_t *statistics, uint64_t documents, uint64_t empty, d2v_error *err) {
	D2V_TRY(d2v_json_set_u64(statistics, "documents", documents, err));
	return d2v_json_set_u64(statistics, "empty_documents", empty, err);
}

void d2v_statistics_count_documents(const json_t *statistics, uint64_t *documents, uint64_t *empty) {
	*documents += (uint64_t)json_integer_value(json_object_get(statistics, "documents"));
	*empty += (uint64_t)json_integer_value(json_object_get(statistics, "empty_documents"));
}
