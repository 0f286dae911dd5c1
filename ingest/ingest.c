#include "ingest/ingest.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/address.h"
#include "ingest/class_scan.h"
#include "ingest/decoder.h"
#include "ingest/journal.h"
#include "ingest/pipeline.h"
#include "shards/manifest.h"
#include "shards/statistics.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE ".ingest"
#define SPACE_SPARE ((double)((uint64_t)64 << 20))

typedef struct ingest_run {
	d2v_ingest_options own;            // the caller's, with the classes
	const d2v_ingest_options *options; // own
	d2v_classes classes;
	char *state, *journal_path;
	int lock;
	json_t *wanted; // the options that decide the bytes
	d2v_journal journal;
} ingest_run;

// ---- what decides the bytes

// A source as the manifest knows it: without what belongs to this machine.
static d2v_status source_name(const d2v_ingest_source *source, char **name, d2v_error *err) {
	char shown[1024];
	if (source->name)
		return d2v_strdup(name, source->name, err);
	if (d2v_address_is_url(source->where))
		return d2v_strdup(name, d2v_address_public(source->where, shown, sizeof shown), err);
	snprintf(shown, sizeof shown, "%s", source->where);
	for (size_t end = strlen(shown); end > 1 && shown[end - 1] == '/'; end--)
		shown[end - 1] = '\0';
	const char *last = d2v_path_name(shown);
	if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || !last[0])
		last = "folder";
	return d2v_strdup(name, last, err);
}

static d2v_status describe_source(const d2v_ingest_options *options, size_t index, json_t *array, d2v_error *err) {
	const d2v_ingest_source *source = &options->sources[index];
	json_t *object = json_object();
	char *name = NULL;
	uint64_t bytes = 0;
	d2v_status status = source_name(source, &name, err);
	if (status == D2V_OK)
		status = d2v_json_set(object, "name", json_string(name), err);
	// The size of a local archive: a changed one is not to be gone on from.
	if (status == D2V_OK && !d2v_address_is_url(source->where) && !d2v_file_is_directory(source->where)) {
		if (!d2v_file_exists(source->where))
			status = d2v_fail(err, D2V_NOT_FOUND,
				"%s: there is no such file or folder; an address would begin with http:// or https://", source->where);
		if (status == D2V_OK)
			status = d2v_file_size(source->where, &bytes, err);
		if (status == D2V_OK)
			status = d2v_json_set_u64(object, "bytes", bytes, err);
	}
	if (status == D2V_OK && source->md5)
		status = d2v_json_set(object, "md5", json_string(source->md5), err);
	if (status == D2V_OK && source->sha256)
		status = d2v_json_set(object, "sha256", json_string(source->sha256), err);
	if (status == D2V_OK && source->split)
		status = d2v_json_set(object, "split", json_string(source->split), err);
	if (json_array_append_new(array, object) < 0 && status == D2V_OK)
		status = d2v_fail(err, D2V_NO_MEMORY, "the options: out of memory");
	d2v_free(name);
	return status;
}

static d2v_status describe_rule(
	const d2v_path_rule *rule, bool folders, const char *key, json_t *described, d2v_error *err) {
	if (!rule && !folders)
		return D2V_OK;
	return d2v_json_set(described, key, json_string(rule ? d2v_path_rule_text(rule) : "folder"), err);
}

// How split and class are found. Keys that say nothing are left out.
static d2v_status describe_places(const d2v_ingest_options *options, json_t *described, d2v_error *err) {
	const d2v_layout_options *places = &options->places;
	D2V_TRY(describe_rule(places->split_rule, places->split_folders, "split_by", described, err));
	D2V_TRY(describe_rule(places->label_rule, places->label_folders, "label_by", described, err));
	if (options->classes)
		D2V_TRY(d2v_json_set_hex64(described, "classes", d2v_classes_digest(options->classes), err));
	if (places->val_labels)
		D2V_TRY(d2v_json_set_hex64(described, "val_labels", d2v_val_labels_digest(places->val_labels), err));
	return D2V_OK;
}

static d2v_status describe(const d2v_ingest_options *options, json_t **described, d2v_error *err) {
	json_t *sources = json_array();
	*described = json_pack("{s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:o}", "layout", options->layout->name, "split",
		options->places.split, "texts", options->places.texts, "store", d2v_codec_name(options->store), "shard_size",
		(json_int_t)options->shard_size, "max_member", (json_int_t)options->max_member, "max_files",
		(json_int_t)options->max_files, "sources", sources);
	if (!*described)
		return d2v_fail(err, D2V_NO_MEMORY, "the options: out of memory");
	D2V_TRY(options->layout->decoder->describe(options, *described, err));
	D2V_TRY(describe_places(options, *described, err));
	for (size_t i = 0; i < options->source_count; i++)
		D2V_TRY(describe_source(options, i, sources, err));
	return D2V_OK;
}

// The first key of `of` whose value is another one in `in`, or is not there; NULL: none.
static const char *other_key(json_t *of, const json_t *in) {
	const char *key;
	json_t *value;
	json_object_foreach(of, key, value) {
		if (!json_equal(value, json_object_get(in, key)))
			return key;
	}
	return NULL;
}

static d2v_status compare_options(const ingest_run *ingest, json_t *found, d2v_error *err) {
	if (json_equal(ingest->wanted, found))
		return D2V_OK;
	const char *key = other_key(ingest->wanted, found);
	if (!key)
		key = other_key(found, ingest->wanted);
	json_t *before = json_object_get(found, key), *now = json_object_get(ingest->wanted, key);
	char *had = before ? json_dumps(before, JSON_ENCODE_ANY | JSON_COMPACT) : NULL,
		 *have = now ? json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	d2v_fail(err, D2V_INVALID, "%s: was begun with other options (%s: %.300s, now %.300s); use those, or another --out",
		ingest->options->out, key ? key : "?", had ? had : "none", have ? have : "none");
	free(had);
	free(have);
	return D2V_INVALID;
}

// ---- beginning and end

static uint64_t units_of_splits(const d2v_manifest *manifest) {
	uint64_t units = 0;
	for (size_t i = 0; i < manifest->split_count; i++)
		units += manifest->splits[i].units;
	return units;
}

static uint64_t without_class(const d2v_manifest_split *split) {
	return (uint64_t)json_integer_value(json_object_get(json_object_get(split->statistics, "labels"), "none"));
}

static void sum_up(const d2v_manifest *manifest, d2v_ingest_result *result) {
	result->records = result->shards = result->bytes = result->splits = 0;
	result->units = units_of_splits(manifest);
	result->classes = manifest->class_count;
	for (size_t i = 0; i < manifest->split_count; i++) {
		result->records += manifest->splits[i].records;
		result->splits += manifest->splits[i].records > 0;
		result->shards += manifest->splits[i].shard_count;
		result->bytes += manifest->splits[i].bytes;
		result->rejected += manifest->splits[i].rejected;
		result->unlabelled += without_class(&manifest->splits[i]);
		d2v_statistics_count_documents(manifest->splits[i].statistics, &result->documents, &result->empty);
	}
	result->digest = d2v_manifest_digest(manifest);
}

// A data set that is complete: the same command has nothing to do, another is refused.
static d2v_status look_at_complete(const ingest_run *ingest, d2v_ingest_result *result, d2v_error *err) {
	d2v_manifest manifest;
	d2v_manifest_init(&manifest, ingest->options->layout->decoder->modality);
	d2v_status status = d2v_manifest_load(&manifest, ingest->options->out, err);
	if (status == D2V_OK)
		status = compare_options(ingest, manifest.options, err);
	if (status == D2V_OK) {
		result->was_complete = true;
		sum_up(&manifest, result);
	}
	d2v_manifest_release(&manifest);
	return status;
}

static d2v_status add_split(d2v_manifest *manifest, const d2v_journal_split *from, const char *out, d2v_error *err) {
	d2v_manifest_split *split;
	D2V_TRY(d2v_manifest_add_split(manifest, from->name, &split, err));
	for (uint64_t i = 0; i < from->now.shards; i++) {
		char file[D2V_SPLIT_NAME_MAX + 32];
		snprintf(file, sizeof file, "%s/%05llu.mdb", from->name, (unsigned long long)i);
		D2V_TRY(d2v_manifest_add_shard(split, file, &from->shards[i], err));
	}
	split->rejected = from->now.rejected;
	D2V_TRY(d2v_manifest_stats(manifest, split, out, err));
	if (manifest->modality != D2V_TEXT)
		return D2V_OK;
	return d2v_statistics_add_documents(split->statistics, from->now.documents, from->now.empty, err);
}

static int by_name(const void *a, const void *b) {
	return strcmp((*(const d2v_journal_split *const *)a)->name, (*(const d2v_journal_split *const *)b)->name);
}

static d2v_status fill_manifest(const ingest_run *ingest, d2v_manifest *manifest, d2v_error *err) {
	const d2v_journal *journal = &ingest->journal;
	const d2v_journal_split *splits[D2V_JOURNAL_SPLITS_MAX];
	for (size_t i = 0; i < journal->split_count; i++)
		splits[i] = &journal->splits[i];
	qsort(splits, journal->split_count, sizeof *splits, by_name);
	if (manifest->modality == D2V_AUDIO)
		manifest->rate = ingest->options->rate;
	for (size_t i = 0; i < ingest->classes.count; i++)
		D2V_TRY(d2v_manifest_add_class(manifest, ingest->classes.items[i].name, ingest->classes.items[i].words, err));
	for (size_t i = 0; i < journal->split_count; i++)
		if (splits[i]->name[0])
			D2V_TRY(add_split(manifest, splits[i], ingest->options->out, err));
	for (size_t i = 0; i < journal->source_count; i++) {
		char *name;
		D2V_TRY(source_name(&ingest->options->sources[i], &name, err));
		d2v_status status =
			d2v_manifest_add_source(manifest, name, journal->sources[i].checksum, journal->sources[i].bytes, err);
		d2v_free(name);
		D2V_TRY(status);
	}
	json_decref(manifest->options);
	manifest->options = json_incref(ingest->wanted);
	return D2V_OK;
}

static d2v_status finish(const ingest_run *ingest, d2v_ingest_result *result, d2v_error *err) {
	d2v_manifest manifest;
	d2v_manifest_init(&manifest, ingest->options->layout->decoder->modality);
	d2v_status status = fill_manifest(ingest, &manifest, err);
	sum_up(&manifest, result);
	result->rejected = 0;
	for (size_t i = 0; i < ingest->journal.split_count; i++) {
		result->rejected += ingest->journal.splits[i].now.rejected;
		result->without_text += ingest->journal.splits[i].now.without_text;
	}
	if (status == D2V_OK && !result->records)
		status = d2v_fail(err, D2V_NOT_FOUND,
			"no %s was found in the source (%llu other files, %llu rejected%s%s%s); d2v-ingest %s --help says what it "
			"looks for",
			ingest->options->layout->decoder->record, (unsigned long long)result->ignored,
			(unsigned long long)result->rejected, result->rejected ? ": see " : "",
			result->rejected ? ingest->options->out : "", result->rejected ? "/*/rejected.tsv" : "",
			ingest->options->layout->name);
	if (status == D2V_OK && ingest->options->layout->decoder->finish)
		status = ingest->options->layout->decoder->finish(ingest->options, &manifest, err);
	if (status == D2V_OK)
		status = d2v_manifest_save(&manifest, ingest->options->out, err);
	if (status == D2V_OK)
		status = d2v_file_remove_tree(ingest->state, err);
	d2v_manifest_release(&manifest);
	return status;
}

// What official splits will take is known beforehand.
static d2v_status check_space(const ingest_run *ingest, d2v_error *err) {
	double need = 0;
	uint64_t available;
	char needed[D2V_PROGRESS_TEXT], there[D2V_PROGRESS_TEXT];
	for (size_t i = ingest->journal.source_count; i < ingest->options->source_count; i++) {
		const d2v_ingest_source *source = &ingest->options->sources[i];
		double shards = ingest->options->layout->decoder->expect(ingest->options, source);
		need += shards;
		if (ingest->options->keep && shards > 0)
			need += (double)source->bytes;
	}
	for (size_t i = 0; i < ingest->journal.split_count; i++)
		for (uint64_t k = ingest->journal.splits[i].base.shards; k < ingest->journal.splits[i].now.shards; k++)
			need -= (double)ingest->journal.splits[i].shards[k].bytes;
	D2V_TRY(d2v_file_space_free(ingest->options->out, &available, err));
	if (need <= 0 || need + SPACE_SPARE <= (double)available)
		return D2V_OK;
	return d2v_fail(err, D2V_NO_SPACE, "%s: about %s of disk are needed, %s are free", ingest->options->out,
		d2v_progress_bytes(need + SPACE_SPARE, needed), d2v_progress_bytes((double)available, there));
}

static d2v_status take_lock(ingest_run *ingest, d2v_error *err) {
	char *path;
	D2V_TRY(d2v_file_make_directories(ingest->state, err));
	D2V_TRY(d2v_path_join(&path, ingest->state, "lock", err));
	d2v_status status = d2v_file_lock(&ingest->lock, path, err);
	d2v_free(path);
	return status;
}

// An ingest that failed before its first shard has nothing to lose: another command may take its place.
static bool has_begun(const d2v_journal *journal) {
	bool begun = false;
	for (size_t i = 0; i < journal->split_count; i++)
		begun |= journal->splits[i].now.shards > 0;
	return begun;
}

static d2v_status load_journal(ingest_run *ingest, d2v_error *err) {
	d2v_status status = d2v_journal_load(&ingest->journal, ingest->journal_path, err);
	if (status == D2V_OK && has_begun(&ingest->journal))
		return compare_options(ingest, ingest->journal.options, err);
	if (status == D2V_OK && json_equal(ingest->wanted, ingest->journal.options))
		return D2V_OK;
	if (status != D2V_OK && status != D2V_NOT_FOUND)
		return status;
	d2v_error_clear(err);
	d2v_journal_release(&ingest->journal);
	ingest->journal.options = json_incref(ingest->wanted);
	return d2v_journal_save(&ingest->journal, ingest->journal_path, err);
}

// A folder that holds something else is not to be mixed with a data set.
static d2v_status check_folder(const ingest_run *ingest, d2v_error *err) {
	char **names;
	size_t count, others = 0;
	D2V_TRY(d2v_file_make_directories(ingest->options->out, err));
	if (d2v_file_exists(ingest->state))
		return D2V_OK;
	D2V_TRY(d2v_file_list(ingest->options->out, &names, &count, err));
	for (size_t i = 0; i < count; i++)
		others += names[i][0] != '.';
	d2v_file_names_free(names, count);
	if (!others)
		return D2V_OK;
	return d2v_fail(err, D2V_EXISTS, "%s: is neither empty nor a data set begun by this program; give another --out",
		ingest->options->out);
}

// Given, found by an earlier run, or found now: in any case kept, so that all runs speak of the same.
static d2v_status settle_classes(ingest_run *ingest, d2v_error *err) {
	d2v_journal *journal = &ingest->journal;
	const d2v_layout *layout = ingest->options->layout;
	if (!layout->has_classes || !layout->has_classes(&ingest->options->places))
		return D2V_OK;
	if (journal->classes)
		D2V_TRY(d2v_classes_from_json(&ingest->classes, journal->classes, ingest->journal_path, err));
	else if (ingest->options->classes)
		D2V_TRY(d2v_classes_copy(&ingest->classes, ingest->options->classes, err));
	else
		D2V_TRY(d2v_class_scan(&ingest->classes, ingest->options, err));
	ingest->own.classes = &ingest->classes;
	if (journal->classes)
		return D2V_OK;
	D2V_TRY(d2v_classes_to_json(&ingest->classes, &journal->classes, err));
	return d2v_journal_save(journal, ingest->journal_path, err);
}

static d2v_status run_locked(ingest_run *ingest, d2v_ingest_result *result, d2v_error *err) {
	D2V_TRY(load_journal(ingest, err));
	D2V_TRY(check_space(ingest, err));
	D2V_TRY(settle_classes(ingest, err));
	if (ingest->options->layout->decoder->begin)
		D2V_TRY(ingest->options->layout->decoder->begin(ingest->options, err));
	D2V_TRY(d2v_pipeline_run(ingest->options, ingest->state, &ingest->journal, result, err));
	return finish(ingest, result, err);
}

static d2v_status run(ingest_run *ingest, d2v_ingest_result *result, d2v_error *err) {
	char *manifest;
	D2V_TRY(d2v_path_join(&manifest, ingest->options->out, D2V_MANIFEST_NAME, err));
	d2v_status status = describe(ingest->options, &ingest->wanted, err);
	if (status == D2V_OK && !d2v_file_exists(manifest)) {
		status = check_folder(ingest, err);
		if (status == D2V_OK)
			status = take_lock(ingest, err);
		if (status == D2V_OK && !d2v_file_exists(manifest)) { // another may have finished before we had the lock
			d2v_free(manifest);
			return run_locked(ingest, result, err);
		}
	}
	d2v_free(manifest);
	D2V_TRY(status);
	D2V_TRY(look_at_complete(ingest, result, err));
	if (!d2v_file_exists(ingest->state))
		return D2V_OK;
	if (ingest->lock < 0)
		D2V_TRY(take_lock(ingest, err)); // killed between the manifest and its last step
	return d2v_file_remove_tree(ingest->state, err);
}

d2v_status d2v_ingest_run(const d2v_ingest_options *options, d2v_ingest_result *result, d2v_error *err) {
	double started = d2v_clock();
	d2v_error local = { 0 };
	ingest_run ingest = { .own = *options, .lock = -1 };
	ingest.options = &ingest.own;
	*result = (d2v_ingest_result){ 0 };
	d2v_journal_init(&ingest.journal);
	d2v_status status = d2v_path_join(&ingest.state, options->out, STATE, &local);
	if (status == D2V_OK)
		status = d2v_path_join(&ingest.journal_path, ingest.state, "journal.json", &local);
	if (status == D2V_OK)
		status = run(&ingest, result, &local);
	result->seconds = d2v_clock() - started;
	d2v_file_unlock(ingest.lock);
	d2v_journal_release(&ingest.journal);
	d2v_classes_release(&ingest.classes);
	json_decref(ingest.wanted);
	d2v_free(ingest.journal_path);
	d2v_free(ingest.state);
	if (status != D2V_OK && err)
		*err = local;
	return status;
}
