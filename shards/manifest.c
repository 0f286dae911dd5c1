#include "shards/manifest.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "shards/shard_reader.h"
#include "shards/statistics.h"

#include <string.h>

void d2v_manifest_init(d2v_manifest *manifest, d2v_modality modality) {
	*manifest = (d2v_manifest){ .modality = modality };
}

static void release_split(d2v_manifest_split *split) {
	for (size_t i = 0; i < split->shard_count; i++)
		d2v_free(split->shards[i].file);
	d2v_free(split->shards);
	d2v_free(split->name);
	json_decref(split->statistics);
}

void d2v_manifest_release(d2v_manifest *manifest) {
	for (size_t i = 0; i < manifest->split_count; i++)
		release_split(&manifest->splits[i]);
	for (size_t i = 0; i < manifest->source_count; i++) {
		d2v_free(manifest->sources[i].name);
		d2v_free(manifest->sources[i].checksum);
	}
	for (size_t i = 0; i < manifest->class_count; i++) {
		d2v_free(manifest->classes[i].name);
		d2v_free(manifest->classes[i].words);
	}
	for (size_t i = 0; i < manifest->file_count; i++)
		d2v_free(manifest->files[i].file);
	d2v_free(manifest->splits);
	d2v_free(manifest->classes);
	d2v_free(manifest->sources);
	d2v_free(manifest->files);
	json_decref(manifest->options);
	d2v_manifest_init(manifest, manifest->modality);
}

// Splits are folders and appear in lists separated by commas.
static bool is_split_name(const char *name) {
	return d2v_path_is_safe(name) && !strpbrk(name, "/,\n\t") && name[0] != '.' && strlen(name) <= 255;
}

d2v_status d2v_manifest_add_split(
	d2v_manifest *manifest, const char *name, d2v_manifest_split **split, d2v_error *err) {
	*split = NULL;
	if (!is_split_name(name))
		return d2v_fail(err, D2V_INVALID, "'%s' cannot be the name of a split", name);
	if (d2v_manifest_find_split(manifest, name))
		return d2v_fail(err, D2V_EXISTS, "there is a split '%s' already", name);
	D2V_TRY(d2v_realloc(
		&manifest->splits, manifest->split_count, manifest->split_count + 1, sizeof *manifest->splits, err));
	d2v_manifest_split *made = &manifest->splits[manifest->split_count];
	*made = (d2v_manifest_split){ 0 };
	D2V_TRY(d2v_strdup(&made->name, name, err));
	manifest->split_count++;
	*split = made;
	return D2V_OK;
}

d2v_status d2v_manifest_add_shard(
	d2v_manifest_split *split, const char *file, const d2v_shard_facts *facts, d2v_error *err) {
	uint64_t records, units, bytes;
	if (!d2v_path_is_safe(file))
		return d2v_fail(err, D2V_UNSAFE, "the shard '%s' does not lie in the data set", file);
	// JSON's integers are signed.
	if (__builtin_add_overflow(split->records, facts->records, &records) || records > INT64_MAX ||
		__builtin_add_overflow(split->units, facts->units, &units) || units > INT64_MAX ||
		__builtin_add_overflow(split->bytes, facts->bytes, &bytes) || bytes > INT64_MAX)
		return d2v_fail(err, D2V_INVALID, "the shard '%s' is too large to be true", file);
	D2V_TRY(d2v_realloc(&split->shards, split->shard_count, split->shard_count + 1, sizeof *split->shards, err));
	d2v_manifest_shard *made = &split->shards[split->shard_count];
	*made = (d2v_manifest_shard){ .facts = *facts };
	D2V_TRY(d2v_strdup(&made->file, file, err));
	split->shard_count++;
	split->records = records;
	split->units = units;
	split->bytes = bytes;
	split->digest = d2v_hash64_chain(split->digest, facts->digest);
	return D2V_OK;
}

d2v_status d2v_manifest_add_source(
	d2v_manifest *manifest, const char *name, const char *checksum, uint64_t bytes, d2v_error *err) {
	D2V_TRY(d2v_realloc(
		&manifest->sources, manifest->source_count, manifest->source_count + 1, sizeof *manifest->sources, err));
	d2v_manifest_source *made = &manifest->sources[manifest->source_count];
	*made = (d2v_manifest_source){ .bytes = bytes };
	D2V_TRY(d2v_strdup(&made->name, name, err));
	d2v_status status = d2v_strdup(&made->checksum, checksum ? checksum : "", err);
	if (status != D2V_OK) {
		d2v_free(made->name);
		return status;
	}
	manifest->source_count++;
	return D2V_OK;
}

d2v_status d2v_manifest_add_class(d2v_manifest *manifest, const char *name, const char *words, d2v_error *err) {
	words = words ? words : "";
	if (!name[0] || !d2v_record_is_text(name, strlen(name)) || !d2v_record_is_text(words, strlen(words)))
		return d2v_fail(err, D2V_INVALID, "class %zu: its name is empty or no UTF-8 text", manifest->class_count);
	// In ascending order, as they nearly always come, nobody needs to look at all of them.
	if (manifest->class_count && strcmp(name, manifest->classes[manifest->class_count - 1].name) <= 0)
		manifest->classes_unsorted = true;
	for (size_t i = 0; manifest->classes_unsorted && i < manifest->class_count; i++)
		if (strcmp(manifest->classes[i].name, name) == 0)
			return d2v_fail(err, D2V_EXISTS, "class %zu: '%s' is class %zu already", manifest->class_count, name, i);
	D2V_TRY(d2v_realloc(
		&manifest->classes, manifest->class_count, manifest->class_count + 1, sizeof *manifest->classes, err));
	d2v_manifest_class *made = &manifest->classes[manifest->class_count];
	*made = (d2v_manifest_class){ 0 };
	D2V_TRY(d2v_strdup(&made->name, name, err));
	d2v_status status = d2v_strdup(&made->words, words, err);
	if (status != D2V_OK) {
		d2v_free(made->name);
		return status;
	}
	manifest->class_count++;
	return D2V_OK;
}

const d2v_manifest_split *d2v_manifest_find_split(const d2v_manifest *manifest, const char *name) {
	for (size_t i = 0; i < manifest->split_count; i++)
		if (strcmp(manifest->splits[i].name, name) == 0)
			return &manifest->splits[i];
	return NULL;
}

const d2v_manifest_split *d2v_manifest_first_split(const d2v_manifest *manifest, const char *names) {
	size_t size = strcspn(names, ",");
	for (size_t i = 0; i < manifest->split_count; i++)
		if (strlen(manifest->splits[i].name) == size && memcmp(manifest->splits[i].name, names, size) == 0)
			return &manifest->splits[i];
	return NULL;
}

uint64_t d2v_manifest_digest(const d2v_manifest *manifest) {
	uint64_t digest = 0;
	for (size_t i = 0; i < manifest->split_count; i++) {
		const d2v_manifest_split *split = &manifest->splits[i];
		digest = d2v_hash64_chain(digest, d2v_hash64(split->name, strlen(split->name)));
		digest = d2v_hash64_chain(digest, split->digest);
	}
	return digest;
}

d2v_status d2v_manifest_read_file(
	const char *dataset, const d2v_manifest_file *file, void **bytes, size_t *size, d2v_error *err) {
	char *path;
	*bytes = NULL;
	*size = 0;
	D2V_TRY(d2v_path_join(&path, dataset, file->file, err));
	d2v_status status = d2v_file_read(path, D2V_MANIFEST_FILE_MAX, bytes, size, err);
	if (status == D2V_OK && (*size != file->bytes || d2v_hash64(*bytes, *size) != file->digest)) {
		status = d2v_fail(err, D2V_CORRUPT, "%s: its digest differs; run d2v-shard verify", path);
		d2v_free(*bytes);
		*bytes = NULL;
	}
	d2v_free(path);
	return status;
}

// Appends the rows of one shard at *used.
static d2v_status add_rows(
	const char *dataset, const d2v_manifest_shard *shard, d2v_index_row *rows, uint64_t *used, d2v_error *err) {
	char *path;
	d2v_shard *opened = NULL;
	d2v_index_row *own = NULL;
	uint64_t count = 0;
	D2V_TRY(d2v_path_join(&path, dataset, shard->file, err));
	d2v_status status = d2v_shard_open(&opened, path, err);
	if (status == D2V_OK && d2v_shard_records(opened) != shard->facts.records)
		status = d2v_fail(err, D2V_CORRUPT, "%s: has %llu records, its manifest says %llu", path,
			(unsigned long long)d2v_shard_records(opened), (unsigned long long)shard->facts.records);
	if (status == D2V_OK)
		status = d2v_shard_read_index(opened, &own, &count, err);
	if (status == D2V_OK && count)
		memcpy(rows + *used, own, count * sizeof *rows);
	*used += count;
	d2v_free(own);
	d2v_shard_close(opened);
	d2v_free(path);
	return status;
}

d2v_status d2v_manifest_stats(d2v_manifest *manifest, d2v_manifest_split *split, const char *dataset, d2v_error *err) {
	d2v_index_row *rows;
	uint64_t used = 0;
	json_t *statistics = NULL;
	D2V_TRY(d2v_alloc(&rows, split->records, sizeof *rows, err));
	d2v_status status = D2V_OK;
	for (size_t i = 0; i < split->shard_count && status == D2V_OK; i++)
		status = add_rows(dataset, &split->shards[i], rows, &used, err);
	if (status == D2V_OK)
		status = d2v_statistics_make(rows, used, manifest->modality, manifest->rate, &statistics, err);
	if (status == D2V_OK && manifest->class_count)
		status = d2v_statistics_add_labels(statistics, rows, used, manifest->class_count, err);
	d2v_free(rows);
	if (status != D2V_OK) {
		json_decref(statistics);
		return status;
	}
	json_decref(split->statistics);
	split->statistics = statistics;
	return D2V_OK;
}
