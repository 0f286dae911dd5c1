// The half of shards/manifest.h that reads and writes dataset.json.
#include "shards/manifest.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"

#include <string.h>

// ---- reading ----

static d2v_status read_facts(const json_t *from, const char *where, d2v_shard_facts *facts, d2v_error *err) {
	D2V_TRY(d2v_json_get_u64(from, "records", where, INT64_MAX, &facts->records, err));
	D2V_TRY(d2v_json_get_u64(from, "bytes", where, INT64_MAX, &facts->bytes, err));
	D2V_TRY(d2v_json_get_u64(from, "units", where, INT64_MAX, &facts->units, err));
	D2V_TRY(d2v_json_get_hex64(from, "digest", where, &facts->digest, err));
	D2V_TRY(d2v_json_get_hex64(from, "file_digest", where, &facts->file_digest, err));
	// A record has pages of its own, so this bounds what an index may take in memory.
	if (facts->records > facts->bytes / D2V_RECORD_HEADER)
		return d2v_fail(err, D2V_CORRUPT, "%s: a shard cannot hold %llu records in %llu bytes", where,
			(unsigned long long)facts->records, (unsigned long long)facts->bytes);
	return D2V_OK;
}

static d2v_status read_split(d2v_manifest *manifest, const json_t *from, const char *where, d2v_error *err) {
	const char *name, *file;
	json_t *shards, *shard, *statistics;
	size_t i;
	d2v_manifest_split *split;
	D2V_TRY(d2v_json_get_string(from, "name", where, &name, err));
	D2V_TRY(d2v_json_get_array(from, "shards", where, &shards, err));
	D2V_TRY(d2v_manifest_add_split(manifest, name, &split, err));
	D2V_TRY(d2v_json_get_u64(from, "rejected", where, INT64_MAX, &split->rejected, err));
	json_array_foreach(shards, i, shard) {
		d2v_shard_facts facts = { 0 };
		D2V_TRY(d2v_json_get_string(shard, "file", where, &file, err));
		D2V_TRY(read_facts(shard, where, &facts, err));
		D2V_TRY(d2v_manifest_add_shard(split, file, &facts, err));
	}
	if (json_object_get(from, "statistics")) {
		D2V_TRY(d2v_json_get_object(from, "statistics", where, &statistics, err));
		split->statistics = json_incref(statistics);
	}
	return D2V_OK;
}

static d2v_status read_splits(d2v_manifest *manifest, const json_t *root, const char *where, d2v_error *err) {
	json_t *splits, *split;
	size_t i;
	D2V_TRY(d2v_json_get_array(root, "splits", where, &splits, err));
	json_array_foreach(splits, i, split)
		D2V_TRY(read_split(manifest, split, where, err));
	return D2V_OK;
}

static d2v_status read_sources(d2v_manifest *manifest, const json_t *root, const char *where, d2v_error *err) {
	json_t *sources, *source;
	size_t i;
	D2V_TRY(d2v_json_get_array(root, "sources", where, &sources, err));
	json_array_foreach(sources, i, source) {
		const char *name, *checksum;
		uint64_t bytes;
		D2V_TRY(d2v_json_get_string(source, "name", where, &name, err));
		D2V_TRY(d2v_json_get_string(source, "checksum", where, &checksum, err));
		D2V_TRY(d2v_json_get_u64(source, "bytes", where, INT64_MAX, &bytes, err));
		D2V_TRY(d2v_manifest_add_source(manifest, name, checksum, bytes, err));
	}
	return D2V_OK;
}

// Data sets without classes have no such key.
static d2v_status read_classes(d2v_manifest *manifest, const json_t *root, const char *where, d2v_error *err) {
	json_t *classes, *class;
	size_t i;
	if (!json_object_get(root, "classes"))
		return D2V_OK;
	D2V_TRY(d2v_json_get_array(root, "classes", where, &classes, err));
	json_array_foreach(classes, i, class) {
		const char *name, *words = NULL;
		D2V_TRY(d2v_json_get_string(class, "name", where, &name, err));
		if (json_object_get(class, "words"))
			D2V_TRY(d2v_json_get_string(class, "words", where, &words, err));
		D2V_TRY(d2v_manifest_add_class(manifest, name, words, err));
	}
	return D2V_OK;
}

static d2v_status read_file(d2v_manifest *manifest, const json_t *from, const char *where, d2v_error *err) {
	const char *name;
	d2v_manifest_file file = { 0 };
	D2V_TRY(d2v_json_get_string(from, "file", where, &name, err));
	D2V_TRY(d2v_json_get_u64(from, "bytes", where, INT64_MAX, &file.bytes, err));
	D2V_TRY(d2v_json_get_hex64(from, "digest", where, &file.digest, err));
	if (!d2v_path_is_safe(name))
		return d2v_fail(err, D2V_UNSAFE, "%s: the file '%s' does not lie in the data set", where, name);
	D2V_TRY(
		d2v_realloc(&manifest->files, manifest->file_count, manifest->file_count + 1, sizeof *manifest->files, err));
	D2V_TRY(d2v_strdup(&file.file, name, err));
	manifest->files[manifest->file_count++] = file;
	return D2V_OK;
}

static d2v_status read_files(d2v_manifest *manifest, const json_t *root, const char *where, d2v_error *err) {
	json_t *files, *file;
	size_t i;
	D2V_TRY(d2v_json_get_array(root, "files", where, &files, err));
	json_array_foreach(files, i, file)
		D2V_TRY(read_file(manifest, file, where, err));
	return D2V_OK;
}

static d2v_status read_modality(d2v_manifest *manifest, const json_t *root, const char *where, d2v_error *err) {
	const char *name;
	uint64_t rate;
	D2V_TRY(d2v_json_get_string(root, "modality", where, &name, err));
	D2V_TRY(d2v_json_get_u64(root, "rate", where, UINT32_MAX, &rate, err));
	manifest->rate = (uint32_t)rate;
	for (int i = 1; i < D2V_MODALITY_END; i++) {
		if (strcmp(name, d2v_modality_name((d2v_modality)i)) == 0) {
			manifest->modality = (d2v_modality)i;
			return D2V_OK;
		}
	}
	return d2v_fail(err, D2V_UNSUPPORTED, "%s: modality '%s' is not known", where, name);
}

static d2v_status read_all(d2v_manifest *manifest, const json_t *root, const char *where, d2v_error *err) {
	json_t *options;
	D2V_TRY(read_modality(manifest, root, where, err));
	D2V_TRY(d2v_json_get_object(root, "options", where, &options, err));
	manifest->options = json_incref(options);
	D2V_TRY(read_classes(manifest, root, where, err));
	D2V_TRY(read_sources(manifest, root, where, err));
	D2V_TRY(read_files(manifest, root, where, err));
	return read_splits(manifest, root, where, err);
}

static d2v_status fail_damaged(const char *where, const char *what, d2v_error *err) {
	return d2v_fail(err, D2V_CORRUPT, "%s: %s; it is damaged or was edited", where, what);
}

// The text is as save wrote it, and its digest is right. Comparing the whole text finds what parsing does not see.
static d2v_status check_text(json_t *root, const char *text, size_t size, const char *where, d2v_error *err) {
	char *again;
	uint64_t digest;
	D2V_TRY(d2v_json_text(root, &again, err));
	bool same = strlen(again) == size && memcmp(again, text, size) == 0;
	d2v_free(again);
	if (!same)
		return fail_damaged(where, "its text is not laid out as it was written", err);
	if (d2v_json_get_hex64(root, "digest", where, &digest, NULL) != D2V_OK)
		return fail_damaged(where, "it has no digest", err);
	json_object_del(root, "digest");
	D2V_TRY(d2v_json_text(root, &again, err));
	same = d2v_hash64(again, strlen(again)) == digest;
	d2v_free(again);
	return same ? D2V_OK : fail_damaged(where, "its digest differs", err);
}

static d2v_status check_schema(const json_t *root, const char *where, d2v_error *err) {
	uint64_t schema;
	if (d2v_json_get_u64(root, "schema", where, UINT32_MAX, &schema, NULL) != D2V_OK)
		return fail_damaged(where, "it has no schema", err);
	if (schema != D2V_MANIFEST_SCHEMA)
		return d2v_fail(err, D2V_UNSUPPORTED, "%s: has schema %llu, this program reads %d", where,
			(unsigned long long)schema, D2V_MANIFEST_SCHEMA);
	return D2V_OK;
}

d2v_status d2v_manifest_parse(
	d2v_manifest *manifest, const char *text, size_t size, const char *where, d2v_error *err) {
	json_t *root;
	d2v_error own = { 0 };
	d2v_manifest_init(manifest, D2V_AUDIO);
	d2v_status status = d2v_json_parse(text, size, where, &root, err);
	if (status == D2V_INVALID)
		return d2v_error_suffix(err, D2V_CORRUPT, "; it is damaged");
	D2V_TRY(status);
	status = check_text(root, text, size, where, &own);
	if (status == D2V_OK)
		status = check_schema(root, where, &own);
	if (status == D2V_OK)
		status = read_all(manifest, root, where, &own);
	json_decref(root);
	if (status == D2V_OK)
		return D2V_OK;
	d2v_manifest_release(manifest);
	// The text is as it was written, so what is wrong in it was wrong then; still it is the file that is at fault.
	if (status == D2V_INVALID || status == D2V_EXISTS || status == D2V_UNSAFE)
		status = D2V_CORRUPT;
	bool named = strncmp(own.text, where, strlen(where)) == 0;
	return d2v_fail(err, status, "%s%s%s", named ? "" : where, named ? "" : ": ", own.text);
}

d2v_status d2v_manifest_load(d2v_manifest *manifest, const char *dataset, d2v_error *err) {
	char *path = NULL;
	void *text = NULL;
	size_t size;
	d2v_manifest_init(manifest, D2V_AUDIO);
	D2V_TRY(d2v_path_join(&path, dataset, D2V_MANIFEST_NAME, err));
	d2v_status status;
	if (!d2v_file_is_directory(dataset))
		status = d2v_fail(err, D2V_NOT_FOUND, "%s: there is no such folder", dataset);
	else if (!d2v_file_exists(path))
		status = d2v_fail(err, D2V_NOT_FOUND, "%s: is no data set (it has no %s; is its ingest finished?)", dataset,
			D2V_MANIFEST_NAME);
	else
		status = d2v_file_read(path, D2V_MANIFEST_BYTES_MAX, &text, &size, err);
	if (status == D2V_OK)
		status = d2v_manifest_parse(manifest, text, size, path, err);
	d2v_free(text);
	d2v_free(path);
	return status;
}

d2v_status d2v_manifest_modality(const char *dataset, d2v_modality *modality, d2v_error *err) {
	d2v_manifest manifest;
	D2V_TRY(d2v_manifest_load(&manifest, dataset, err));
	*modality = manifest.modality;
	d2v_manifest_release(&manifest);
	return D2V_OK;
}

// ---- writing ----

// A new object at the end of the list; borrowed.
static d2v_status append_object(json_t *list, json_t **object, d2v_error *err) {
	*object = json_object();
	if (json_array_append_new(list, *object) != 0)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for a manifest");
	return D2V_OK;
}

// A new list under the key; borrowed.
static d2v_status set_list(json_t *object, const char *key, json_t **list, d2v_error *err) {
	*list = json_array();
	return d2v_json_set(object, key, *list, err);
}

static d2v_status write_shard(json_t *list, const d2v_manifest_shard *shard, d2v_error *err) {
	json_t *to;
	D2V_TRY(append_object(list, &to, err));
	D2V_TRY(d2v_json_set(to, "file", json_string(shard->file), err));
	D2V_TRY(d2v_json_set_u64(to, "records", shard->facts.records, err));
	D2V_TRY(d2v_json_set_u64(to, "bytes", shard->facts.bytes, err));
	D2V_TRY(d2v_json_set_u64(to, "units", shard->facts.units, err));
	D2V_TRY(d2v_json_set_hex64(to, "digest", shard->facts.digest, err));
	return d2v_json_set_hex64(to, "file_digest", shard->facts.file_digest, err);
}

static d2v_status write_split(json_t *list, const d2v_manifest_split *split, d2v_error *err) {
	json_t *to, *shards;
	D2V_TRY(append_object(list, &to, err));
	D2V_TRY(d2v_json_set(to, "name", json_string(split->name), err));
	D2V_TRY(d2v_json_set_u64(to, "records", split->records, err));
	D2V_TRY(d2v_json_set_u64(to, "units", split->units, err));
	D2V_TRY(d2v_json_set_u64(to, "bytes", split->bytes, err));
	D2V_TRY(d2v_json_set_u64(to, "rejected", split->rejected, err));
	D2V_TRY(d2v_json_set_hex64(to, "digest", split->digest, err));
	if (split->statistics)
		D2V_TRY(d2v_json_set(to, "statistics", json_deep_copy(split->statistics), err));
	D2V_TRY(set_list(to, "shards", &shards, err));
	for (size_t i = 0; i < split->shard_count; i++)
		D2V_TRY(write_shard(shards, &split->shards[i], err));
	return D2V_OK;
}

static d2v_status write_classes(json_t *root, const d2v_manifest *manifest, d2v_error *err) {
	json_t *list, *to;
	if (!manifest->class_count)
		return D2V_OK;
	D2V_TRY(set_list(root, "classes", &list, err));
	for (size_t i = 0; i < manifest->class_count; i++) {
		D2V_TRY(append_object(list, &to, err));
		D2V_TRY(d2v_json_set(to, "name", json_string(manifest->classes[i].name), err));
		if (manifest->classes[i].words[0])
			D2V_TRY(d2v_json_set(to, "words", json_string(manifest->classes[i].words), err));
	}
	return D2V_OK;
}

static d2v_status write_source(json_t *list, const d2v_manifest_source *source, d2v_error *err) {
	json_t *to;
	D2V_TRY(append_object(list, &to, err));
	D2V_TRY(d2v_json_set(to, "name", json_string(source->name), err));
	D2V_TRY(d2v_json_set(to, "checksum", json_string(source->checksum), err));
	return d2v_json_set_u64(to, "bytes", source->bytes, err);
}

static d2v_status write_file(json_t *list, const char *dataset, const char *folder, const char *name, d2v_error *err) {
	char *file = NULL, *path = NULL;
	void *bytes = NULL;
	size_t size = 0;
	json_t *to;
	d2v_status status = d2v_path_join(&file, folder, name, err);
	if (status == D2V_OK)
		status = d2v_path_join(&path, dataset, file, err);
	if (status == D2V_OK && d2v_file_exists(path) && !d2v_file_is_directory(path)) {
		status = d2v_file_read(path, D2V_MANIFEST_FILE_MAX, &bytes, &size, err);
		if (status == D2V_OK)
			status = append_object(list, &to, err);
		if (status == D2V_OK)
			status = d2v_json_set(to, "file", json_string(file), err);
		if (status == D2V_OK)
			status = d2v_json_set_u64(to, "bytes", size, err);
		if (status == D2V_OK)
			status = d2v_json_set_hex64(to, "digest", d2v_hash64(bytes, size), err);
	}
	d2v_free(bytes);
	d2v_free(path);
	d2v_free(file);
	return status;
}

static d2v_status write_tokenizer(json_t *list, const char *dataset, d2v_error *err) {
	char *folder, **names = NULL;
	size_t count = 0;
	D2V_TRY(d2v_path_join(&folder, dataset, "tokenizer", err));
	d2v_status status = D2V_OK;
	if (d2v_file_is_directory(folder))
		status = d2v_file_list(folder, &names, &count, err);
	for (size_t i = 0; i < count && status == D2V_OK; i++)
		status = write_file(list, dataset, "tokenizer", names[i], err);
	d2v_file_names_free(names, count);
	d2v_free(folder);
	return status;
}

static d2v_status write_files(const d2v_manifest *manifest, json_t *list, const char *dataset, d2v_error *err) {
	D2V_TRY(write_file(list, dataset, "", "rejected.tsv", err)); // of files whose split was never known
	for (size_t i = 0; i < manifest->split_count; i++)
		D2V_TRY(write_file(list, dataset, manifest->splits[i].name, "rejected.tsv", err));
	return write_tokenizer(list, dataset, err);
}

static d2v_status write_all(const d2v_manifest *manifest, json_t *root, const char *dataset, d2v_error *err) {
	json_t *splits, *sources, *files;
	D2V_TRY(d2v_json_set_u64(root, "schema", D2V_MANIFEST_SCHEMA, err));
	D2V_TRY(d2v_json_set(root, "modality", json_string(d2v_modality_name(manifest->modality)), err));
	D2V_TRY(d2v_json_set_u64(root, "rate", manifest->rate, err));
	D2V_TRY(d2v_json_set(root, "options", manifest->options ? json_deep_copy(manifest->options) : json_object(), err));
	D2V_TRY(write_classes(root, manifest, err));
	D2V_TRY(set_list(root, "sources", &sources, err));
	for (size_t i = 0; i < manifest->source_count; i++)
		D2V_TRY(write_source(sources, &manifest->sources[i], err));
	D2V_TRY(set_list(root, "files", &files, err));
	D2V_TRY(write_files(manifest, files, dataset, err));
	D2V_TRY(set_list(root, "splits", &splits, err));
	for (size_t i = 0; i < manifest->split_count; i++)
		D2V_TRY(write_split(splits, &manifest->splits[i], err));
	return D2V_OK;
}

static d2v_status set_digest(json_t *root, d2v_error *err) {
	char *text;
	D2V_TRY(d2v_json_text(root, &text, err));
	uint64_t digest = d2v_hash64(text, strlen(text));
	d2v_free(text);
	return d2v_json_set_hex64(root, "digest", digest, err);
}

d2v_status d2v_manifest_save(const d2v_manifest *manifest, const char *dataset, d2v_error *err) {
	char *path = NULL;
	json_t *root = json_object();
	d2v_status status =
		root ? write_all(manifest, root, dataset, err) : d2v_fail(err, D2V_NO_MEMORY, "no memory for a manifest");
	if (status == D2V_OK)
		status = set_digest(root, err);
	if (status == D2V_OK)
		status = d2v_path_join(&path, dataset, D2V_MANIFEST_NAME, err);
	if (status == D2V_OK)
		status = d2v_json_save(root, path, err);
	d2v_free(path);
	json_decref(root);
	return status;
}
