#include "shards/dataset.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PARTS_PER_THREAD 4 // fewer shards are opened without threads
#define SPLIT_NAMES 512    // bytes of a list for a message

typedef struct part { // one shard
	char *path;
	const d2v_manifest_split *split; // borrowed from the manifest, like `file`
	const char *file;
	d2v_shard_facts facts; // by the manifest
	uint64_t first;
	d2v_shard *shard;  // NULL: nothing of it can be read
	d2v_status status; // of loading it
	d2v_error damage;
} part;

// Constant after opening, but for `verified`: a bit per record, set by any thread.
struct d2v_dataset {
	char *path;
	d2v_manifest manifest;
	part *parts;
	size_t part_count, parts_capacity;
	uint64_t records, damages, max_damages;
	d2v_index_row *rows;
	_Atomic uint64_t *verified;
};

struct d2v_dataset_view {
	d2v_dataset *dataset;
	d2v_shard_view **views; // per shard, made when first read
	size_t last;            // where the last record was found
};

static const char *list_splits(const d2v_dataset *dataset, char names[SPLIT_NAMES]) {
	size_t used = 0;
	names[0] = '\0';
	for (size_t i = 0; i < dataset->manifest.split_count && used < SPLIT_NAMES; i++)
		used +=
			(size_t)snprintf(names + used, SPLIT_NAMES - used, "%s%s", i ? ", " : "", dataset->manifest.splits[i].name);
	return names[0] ? names : "none";
}

static d2v_status fail_no_split(const d2v_dataset *dataset, const char *name, size_t size, d2v_error *err) {
	char names[SPLIT_NAMES];
	return d2v_fail(err, D2V_NOT_FOUND, "%s: has no split '%.*s'; there %s %s", dataset->path, (int)size, name,
		dataset->manifest.split_count == 1 ? "is" : "are", list_splits(dataset, names));
}

static d2v_status fail_no_default(const d2v_dataset *dataset, d2v_error *err) {
	char names[SPLIT_NAMES];
	return d2v_fail(err, D2V_NOT_FOUND,
		"%s: which split? None is called train; there are %s: choose some, separated by commas, with --split, or "
		"dataset.train_subset of a training",
		dataset->path, list_splits(dataset, names));
}

static bool has_split(const d2v_dataset *dataset, const d2v_manifest_split *split) {
	for (size_t i = 0; i < dataset->part_count; i++)
		if (dataset->parts[i].split == split)
			return true;
	return false;
}

static d2v_status add_split(d2v_dataset *dataset, const d2v_manifest_split *split, d2v_error *err) {
	for (size_t i = 0; i < split->shard_count; i++) {
		const d2v_manifest_shard *shard = &split->shards[i];
		D2V_TRY(d2v_reserve(
			&dataset->parts, &dataset->parts_capacity, dataset->part_count + 1, sizeof *dataset->parts, err));
		part *made = &dataset->parts[dataset->part_count];
		*made = (part){ .first = dataset->records, .facts = shard->facts, .split = split, .file = shard->file };
		D2V_TRY(d2v_path_join(&made->path, dataset->path, shard->file, err));
		dataset->part_count++;
		if (__builtin_add_overflow(dataset->records, shard->facts.records, &dataset->records))
			return d2v_fail(err, D2V_CORRUPT, "%s: has too many records to be true", dataset->path);
	}
	return D2V_OK;
}

static const d2v_manifest_split *default_split(const d2v_manifest *manifest) {
	return manifest->split_count == 1 ? &manifest->splits[0] : d2v_manifest_find_split(manifest, "train");
}

static d2v_status add_splits(d2v_dataset *dataset, const char *names, d2v_error *err) {
	if (!names || !*names) {
		const d2v_manifest_split *only = default_split(&dataset->manifest);
		return only ? add_split(dataset, only, err) : fail_no_default(dataset, err);
	}
	if (strcmp(names, D2V_DATASET_ALL) == 0) {
		for (size_t i = 0; i < dataset->manifest.split_count; i++)
			D2V_TRY(add_split(dataset, &dataset->manifest.splits[i], err));
		return D2V_OK;
	}
	for (;;) {
		size_t size = strcspn(names, ",");
		const d2v_manifest_split *found = d2v_manifest_first_split(&dataset->manifest, names);
		if (!found)
			return fail_no_split(dataset, names, size, err);
		if (has_split(dataset, found))
			return d2v_fail(err, D2V_INVALID, "%s: split '%s' was named twice", dataset->path, found->name);
		D2V_TRY(add_split(dataset, found, err));
		if (!names[size])
			return D2V_OK;
		names += size + 1;
	}
}

// That the file is the one the manifest means, and not another shard under its name.
static d2v_status check_facts(const part *at, d2v_error *err) {
	d2v_shard_facts found = d2v_shard_facts_read(at->shard);
	if (found.records != at->facts.records)
		return d2v_fail(err, D2V_CORRUPT, "%s: has %llu records, its manifest says %llu; run d2v-shard verify",
			at->path, (unsigned long long)found.records, (unsigned long long)at->facts.records);
	if (found.bytes != at->facts.bytes || found.digest != at->facts.digest ||
		found.file_digest != at->facts.file_digest || found.units != at->facts.units)
		return d2v_fail(
			err, D2V_CORRUPT, "%s: is another shard than its manifest says; run d2v-shard verify", at->path);
	return D2V_OK;
}

// Rows of a part that cannot be read are zero.
static d2v_status load_part(part *at, d2v_index_row *rows, bool forgiving, d2v_error *err) {
	D2V_TRY(forgiving ? d2v_shard_open_damaged(&at->shard, at->path, err) : d2v_shard_open(&at->shard, at->path, err));
	d2v_status status = check_facts(at, err);
	if (status == D2V_OK)
		status = d2v_shard_read_rows(at->shard, rows, err);
	if (status != D2V_OK) {
		d2v_shard_close(at->shard);
		at->shard = NULL;
		return status;
	}
	if (d2v_shard_damage(at->shard))
		return d2v_fail(err, D2V_CORRUPT, "%s", d2v_shard_damage(at->shard));
	return D2V_OK;
}

static void load_turn(void *context, size_t i) {
	d2v_dataset *dataset = context;
	part *at = &dataset->parts[i];
	d2v_index_row *rows = dataset->rows + at->first;
	at->status = load_part(at, rows, dataset->max_damages > 0, &at->damage);
	if (!at->shard && at->facts.records)
		memset(rows, 0, at->facts.records * sizeof *rows);
}

// A shard that is damaged or gone may be forgiven; no memory and no rights may not.
static bool is_damage(d2v_status status) {
	return d2v_status_is_skippable(status) || status == D2V_NOT_FOUND || status == D2V_UNSUPPORTED;
}

// What is wrong with a part that is not forgiven, in the words for that.
static d2v_status fail_part(d2v_dataset *dataset, part *at, d2v_error *err) {
	if (dataset->max_damages && is_damage(at->status)) {
		d2v_shard_close(at->shard);
		at->shard = NULL;
		d2v_status status = load_part(at, dataset->rows + at->first, false, err);
		if (status != D2V_OK)
			return status;
	}
	return d2v_fail(err, at->status, "%s", at->damage.text);
}

static d2v_status load_parts(d2v_dataset *dataset, d2v_error *err) {
	int processors = d2v_parallel_processors(), most = (int)(dataset->part_count / PARTS_PER_THREAD);
	d2v_parallel_for(dataset->part_count, most < processors ? most : processors, load_turn, dataset);
	for (size_t i = 0; i < dataset->part_count; i++) {
		part *at = &dataset->parts[i];
		if (at->status == D2V_OK)
			continue;
		if (!is_damage(at->status) || dataset->damages == dataset->max_damages)
			return fail_part(dataset, at, err);
		dataset->damages++;
	}
	return D2V_OK;
}

static d2v_status open_all(d2v_dataset *dataset, const char *path, const char *split, d2v_error *err) {
	D2V_TRY(d2v_strdup(&dataset->path, path, err));
	D2V_TRY(d2v_manifest_load(&dataset->manifest, path, err));
	D2V_TRY(add_splits(dataset, split, err));
	// The manifest's counts are no bound for memory until the files have been seen to be that large.
	for (size_t i = 0; i < dataset->part_count && !dataset->max_damages; i++) {
		uint64_t size;
		D2V_TRY(d2v_file_size(dataset->parts[i].path, &size, err));
		if (size != dataset->parts[i].facts.bytes)
			return d2v_fail(err, D2V_CORRUPT, "%s: has %llu bytes, its manifest says %llu; run d2v-shard verify",
				dataset->parts[i].path, (unsigned long long)size, (unsigned long long)dataset->parts[i].facts.bytes);
	}
	D2V_TRY(d2v_alloc(&dataset->rows, dataset->records, sizeof *dataset->rows, err));
	D2V_TRY(d2v_alloc_zero(&dataset->verified, dataset->records / 64 + 1, sizeof *dataset->verified, err));
	return load_parts(dataset, err);
}

d2v_status d2v_dataset_open_damaged(
	d2v_dataset **dataset, const char *path, const char *split, uint64_t max_damages, d2v_error *err) {
	d2v_dataset *made;
	*dataset = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->max_damages = max_damages;
	d2v_manifest_init(&made->manifest, D2V_AUDIO);
	d2v_status status = open_all(made, path, split, err);
	if (status != D2V_OK) {
		d2v_dataset_close(made);
		return status;
	}
	*dataset = made;
	return D2V_OK;
}

d2v_status d2v_dataset_open(d2v_dataset **dataset, const char *path, const char *split, d2v_error *err) {
	return d2v_dataset_open_damaged(dataset, path, split, 0, err);
}

void d2v_dataset_close(d2v_dataset *dataset) {
	if (!dataset)
		return;
	for (size_t i = 0; i < dataset->part_count; i++) {
		d2v_shard_close(dataset->parts[i].shard);
		d2v_free(dataset->parts[i].path);
	}
	d2v_free(dataset->parts);
	d2v_free(dataset->rows);
	d2v_free(dataset->verified);
	d2v_manifest_release(&dataset->manifest);
	d2v_free(dataset->path);
	d2v_free(dataset);
}

uint64_t d2v_dataset_damages(const d2v_dataset *dataset) {
	return dataset->damages;
}

const char *d2v_dataset_damage(const d2v_dataset *dataset, uint64_t index) {
	for (size_t i = 0; i < dataset->part_count; i++)
		if (dataset->parts[i].status != D2V_OK && index-- == 0)
			return dataset->parts[i].damage.text;
	return NULL;
}

const d2v_manifest *d2v_dataset_manifest(const d2v_dataset *dataset) {
	return &dataset->manifest;
}

uint64_t d2v_dataset_records(const d2v_dataset *dataset) {
	return dataset->records;
}

const d2v_index_row *d2v_dataset_rows(const d2v_dataset *dataset) {
	return dataset->rows;
}

// The shard of a record that is there.
static size_t find_part(const d2v_dataset *dataset, uint64_t record) {
	size_t low = 0, high = dataset->part_count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (dataset->parts[middle].first <= record)
			low = middle;
		else
			high = middle;
	}
	return low;
}

const char *d2v_dataset_where(const d2v_dataset *dataset, uint64_t record, char *text, size_t size) {
	if (record >= dataset->records) {
		snprintf(text, size, "%s: record %llu", dataset->path, (unsigned long long)record);
		return text;
	}
	const part *at = &dataset->parts[find_part(dataset, record)];
	snprintf(text, size, "%s: record %llu", at->path, (unsigned long long)(record - at->first));
	return text;
}

d2v_dataset_place d2v_dataset_place_of(const d2v_dataset *dataset, uint64_t record) {
	D2V_ASSERT(record < dataset->records);
	const part *at = &dataset->parts[find_part(dataset, record)];
	return (d2v_dataset_place){ .split = at->split, .file = at->file, .ordinal = record - at->first };
}

d2v_status d2v_dataset_record_at(
	const d2v_dataset *dataset, const char *file, uint64_t ordinal, uint64_t *record, d2v_error *err) {
	for (size_t i = 0; i < dataset->part_count; i++) {
		const part *at = &dataset->parts[i];
		if (strcmp(at->file, file) != 0)
			continue;
		if (ordinal >= at->facts.records)
			return d2v_fail(err, D2V_NOT_FOUND, "%s: record %llu: there are only %llu", at->path,
				(unsigned long long)ordinal, (unsigned long long)at->facts.records);
		*record = at->first + ordinal;
		return D2V_OK;
	}
	return d2v_fail(err, D2V_NOT_FOUND, "%s: has no shard '%s' in these splits", dataset->path, file);
}

d2v_status d2v_dataset_view_new(d2v_dataset_view **view, d2v_dataset *dataset, d2v_error *err) {
	d2v_dataset_view *made;
	*view = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->dataset = dataset;
	d2v_status status = d2v_alloc_zero(&made->views, dataset->part_count, sizeof *made->views, err);
	if (status != D2V_OK) {
		d2v_free(made);
		return status;
	}
	*view = made;
	return D2V_OK;
}

void d2v_dataset_view_free(d2v_dataset_view *view) {
	if (!view)
		return;
	for (size_t i = 0; i < view->dataset->part_count; i++)
		d2v_shard_view_free(view->views[i]);
	d2v_free(view->views);
	d2v_free(view);
}

static bool holds(const part *at, uint64_t record) {
	return record >= at->first && record - at->first < at->facts.records;
}

// The view of the record's shard, and the record's ordinal in it.
static d2v_status seek(
	d2v_dataset_view *view, uint64_t record, d2v_shard_view **found, uint64_t *ordinal, d2v_error *err) {
	d2v_dataset *dataset = view->dataset;
	if (record >= dataset->records)
		return d2v_fail(err, D2V_NOT_FOUND, "%s: record %llu: there are only %llu", dataset->path,
			(unsigned long long)record, (unsigned long long)dataset->records);
	if (!holds(&dataset->parts[view->last], record))
		view->last = find_part(dataset, record);
	part *at = &dataset->parts[view->last];
	*ordinal = record - at->first;
	if (!at->shard)
		return d2v_fail(
			err, D2V_CORRUPT, "%s: record %llu: its shard cannot be read", at->path, (unsigned long long)*ordinal);
	if (!view->views[view->last])
		D2V_TRY(d2v_shard_view_new(&view->views[view->last], at->shard, err));
	*found = view->views[view->last];
	return D2V_OK;
}

d2v_status d2v_dataset_read(d2v_dataset_view *view, uint64_t record, d2v_record *out, d2v_error *err) {
	d2v_shard_view *found = NULL;
	uint64_t ordinal = 0;
	memset(out, 0, sizeof *out);
	D2V_TRY(seek(view, record, &found, &ordinal, err));
	_Atomic uint64_t *word = &view->dataset->verified[record / 64];
	uint64_t bit = (uint64_t)1 << record % 64;
	bool known = atomic_load_explicit(word, memory_order_relaxed) & bit;
	D2V_TRY(d2v_shard_read(found, ordinal, !known, out, err));
	if (!known)
		atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
	return D2V_OK;
}

d2v_status d2v_dataset_peek(d2v_dataset_view *view, uint64_t record, d2v_record *out, d2v_error *err) {
	d2v_shard_view *found = NULL;
	uint64_t ordinal = 0;
	memset(out, 0, sizeof *out);
	D2V_TRY(seek(view, record, &found, &ordinal, err));
	return d2v_shard_read(found, ordinal, false, out, err);
}

d2v_status d2v_dataset_find(d2v_dataset_view *view, const char *name, uint64_t *record, d2v_error *err) {
	const d2v_dataset *dataset = view->dataset;
	for (size_t i = 0; i < dataset->part_count; i++) {
		const part *at = &dataset->parts[i];
		d2v_shard_view *found = NULL;
		uint64_t ordinal = 0;
		if (!at->shard || !at->facts.records)
			continue;
		D2V_TRY(seek(view, at->first, &found, &ordinal, err));
		d2v_status status = d2v_shard_find(found, name, &ordinal, err);
		if (status == D2V_NOT_FOUND)
			continue;
		D2V_TRY(status);
		if (ordinal >= at->facts.records)
			return d2v_fail(err, D2V_CORRUPT, "%s: its table of names is damaged at '%s'", at->path, name);
		*record = at->first + ordinal;
		return D2V_OK;
	}
	return d2v_fail(err, D2V_NOT_FOUND, "%s: has no record named '%s'; d2v-shard ls lists them", dataset->path, name);
}

void d2v_dataset_will_need(d2v_dataset_view *view, uint64_t record) {
	d2v_shard_view *found = NULL;
	uint64_t ordinal = 0;
	if (seek(view, record, &found, &ordinal, NULL) == D2V_OK)
		d2v_shard_will_need(found, ordinal);
}
