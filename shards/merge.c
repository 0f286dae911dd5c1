#include "shards/merge.h"

#include "base/file.h"
#include "base/folder_out.h"
#include "base/memory.h"
#include "shards/link_file.h"
#include "shards/manifest.h"
#include "shards/shard_reader.h"
#include "shards/statistics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct merge {
	const d2v_merge_options *options;
	d2v_merge_result *result;
	d2v_manifest *inputs; // (input_count)
	d2v_manifest made;
	const char *temporary; // where it is written
	uint64_t total;        // shards
} merge;

// ---- what must agree ----

static d2v_status differ(const merge *self, int input, const char *what, d2v_error *err) {
	return d2v_fail(err, D2V_INVALID, "%s and %s: %s; they cannot become one data set", self->options->inputs[0],
		self->options->inputs[input], what);
}

static bool same_classes(const d2v_manifest *a, const d2v_manifest *b) {
	if (a->class_count != b->class_count)
		return false;
	for (size_t i = 0; i < a->class_count; i++)
		if (strcmp(a->classes[i].name, b->classes[i].name) != 0)
			return false;
	return true;
}

static bool is_tokenizer(const d2v_manifest_file *file) {
	return strncmp(file->file, "tokenizer/", strlen("tokenizer/")) == 0;
}

static const d2v_manifest_file *find_file(const d2v_manifest *manifest, const char *name) {
	for (size_t i = 0; i < manifest->file_count; i++)
		if (strcmp(manifest->files[i].file, name) == 0)
			return &manifest->files[i];
	return NULL;
}

// True when every file of a's tokenizer is one of b's.
static bool has_tokenizer_of(const d2v_manifest *a, const d2v_manifest *b) {
	for (size_t i = 0; i < a->file_count; i++) {
		const d2v_manifest_file *file = &a->files[i], *other = find_file(b, file->file);
		if (is_tokenizer(file) && (!other || other->bytes != file->bytes || other->digest != file->digest))
			return false;
	}
	return true;
}

static d2v_status check_agreement(const merge *self, d2v_error *err) {
	const d2v_manifest *first = &self->inputs[0];
	for (int i = 1; i < self->options->input_count; i++) {
		const d2v_manifest *other = &self->inputs[i];
		if (other->modality != first->modality)
			return differ(self, i, "one is not of the other's kind (sound, pictures, text)", err);
		if (other->rate != first->rate)
			return differ(self, i, "their sampling rates differ", err);
		if (!same_classes(first, other))
			return differ(self, i, "their classes differ, so their labels mean different things", err);
		if (!has_tokenizer_of(first, other) || !has_tokenizer_of(other, first))
			return differ(self, i, "their tokenizers differ, so their tokens mean different things", err);
	}
	return D2V_OK;
}

// ---- shards ----

// Two shards of the same content in one split are most likely a part that was given twice.
static d2v_status check_new(
	const d2v_manifest_split *split, const d2v_shard_facts *facts, const char *path, d2v_error *err) {
	for (size_t i = 0; i < split->shard_count; i++)
		if (facts->records && split->shards[i].facts.digest == facts->digest)
			return d2v_fail(err, D2V_EXISTS,
				"%s: holds the same records as another shard of split %s: was it given twice?", path, split->name);
	return D2V_OK;
}

static d2v_status check_shard(const char *path, const d2v_shard_facts *expected, d2v_error *err) {
	d2v_shard *shard;
	D2V_TRY(d2v_shard_open(&shard, path, err));
	d2v_shard_facts facts = d2v_shard_facts_read(shard);
	d2v_shard_close(shard);
	if (memcmp(&facts, expected, sizeof facts) != 0)
		return d2v_fail(err, D2V_CORRUPT, "%s: is another shard than its manifest says; run d2v-shard verify", path);
	return D2V_OK;
}

static d2v_status add_shard(
	merge *self, int input, const d2v_manifest_shard *shard, d2v_manifest_split *to, d2v_error *err) {
	char *from = NULL, *file = NULL, *path = NULL;
	bool linked = false;
	d2v_status status = d2v_path_join(&from, self->options->inputs[input], shard->file, err);
	if (status == D2V_OK)
		status = d2v_asprintf(&file, err, "%s/%05zu.mdb", to->name, to->shard_count);
	if (status == D2V_OK)
		status = d2v_path_join(&path, self->temporary, file, err);
	if (status == D2V_OK)
		status = check_new(to, &shard->facts, from, err);
	if (status == D2V_OK)
		status = check_shard(from, &shard->facts, err);
	if (status == D2V_OK)
		status = d2v_link_file(from, path, &shard->facts, self->options->copy, &linked, err);
	if (status == D2V_OK)
		status = d2v_manifest_add_shard(to, file, &shard->facts, err);
	d2v_free(path);
	d2v_free(file);
	d2v_free(from);
	D2V_TRY(status);
	d2v_merge_result *result = self->result;
	result->shards++;
	result->linked += linked;
	result->bytes += shard->facts.bytes;
	if (self->options->progress &&
		!self->options->progress(self->options->context, result->shards, self->total, result->bytes))
		return d2v_fail(err, D2V_INTERRUPTED, "interrupted after %llu shards", (unsigned long long)result->shards);
	return D2V_OK;
}

// ---- lists of what was rejected ----

typedef struct joined_list {
	char *bytes;
	size_t size, capacity;
	bool any; // of the inputs has one
} joined_list;

static d2v_status append_list(const merge *self, int input, const char *name, joined_list *joined, d2v_error *err) {
	const d2v_manifest_file *file = find_file(&self->inputs[input], name);
	void *bytes;
	size_t size;
	if (!file)
		return D2V_OK;
	D2V_TRY(d2v_manifest_read_file(self->options->inputs[input], file, &bytes, &size, err));
	d2v_status status = d2v_reserve(&joined->bytes, &joined->capacity, joined->size + size + 1, 1, err);
	if (status == D2V_OK) {
		memcpy(joined->bytes + joined->size, bytes, size);
		joined->size += size;
		joined->any = true;
	}
	d2v_free(bytes);
	return status;
}

// folder "": what was rejected before its split was known.
static d2v_status join_lists(const merge *self, const char *folder, d2v_error *err) {
	joined_list joined = { 0 };
	char *name, *path = NULL;
	D2V_TRY(d2v_asprintf(&name, err, "%s%srejected.tsv", folder, folder[0] ? "/" : ""));
	d2v_status status = D2V_OK;
	for (int i = 0; i < self->options->input_count && status == D2V_OK; i++)
		status = append_list(self, i, name, &joined, err);
	if (status == D2V_OK && joined.any)
		status = d2v_path_join(&path, self->temporary, name, err);
	if (status == D2V_OK && joined.any)
		status = d2v_file_replace(path, joined.bytes, joined.size, err);
	d2v_free(path);
	d2v_free(name);
	d2v_free(joined.bytes);
	return status;
}

// ---- splits ----

static d2v_status merge_split(merge *self, const char *name, d2v_error *err) {
	d2v_manifest_split *to;
	char *folder;
	D2V_TRY(d2v_manifest_add_split(&self->made, name, &to, err));
	D2V_TRY(d2v_path_join(&folder, self->temporary, name, err));
	d2v_status status = d2v_file_make_directories(folder, err);
	for (int i = 0; i < self->options->input_count && status == D2V_OK; i++) {
		const d2v_manifest_split *from = d2v_manifest_find_split(&self->inputs[i], name);
		if (from)
			to->rejected += from->rejected;
		for (size_t k = 0; from && k < from->shard_count && status == D2V_OK; k++)
			status = add_shard(self, i, &from->shards[k], to, err);
	}
	if (status == D2V_OK)
		status = d2v_file_sync_directory(folder, err);
	d2v_free(folder);
	D2V_TRY(status);
	self->result->splits++;
	self->result->records += to->records;
	self->result->units += to->units;
	return join_lists(self, name, err);
}

static int by_name(const void *a, const void *b) {
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static d2v_status merge_splits(merge *self, d2v_error *err) {
	const char **names = NULL;
	size_t count = 0, capacity = 0;
	d2v_status status = D2V_OK;
	for (int i = 0; i < self->options->input_count && status == D2V_OK; i++)
		for (size_t k = 0; k < self->inputs[i].split_count && status == D2V_OK; k++) {
			status = d2v_reserve(&names, &capacity, count + 1, sizeof *names, err);
			if (status == D2V_OK)
				names[count++] = self->inputs[i].splits[k].name;
			self->total += self->inputs[i].splits[k].shard_count;
		}
	if (count)
		qsort(names, count, sizeof *names, by_name);
	for (size_t i = 0; i < count && status == D2V_OK; i++)
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			status = merge_split(self, names[i], err);
	d2v_free(names);
	return status;
}

// ---- the rest of the manifest ----

static bool has_source(const d2v_manifest *manifest, const d2v_manifest_source *source) {
	for (size_t i = 0; i < manifest->source_count; i++)
		if (strcmp(manifest->sources[i].name, source->name) == 0 &&
			strcmp(manifest->sources[i].checksum, source->checksum) == 0)
			return true;
	return false;
}

static d2v_status add_sources(merge *self, d2v_error *err) {
	for (int i = 0; i < self->options->input_count; i++)
		for (size_t k = 0; k < self->inputs[i].source_count; k++) {
			const d2v_manifest_source *source = &self->inputs[i].sources[k];
			if (!has_source(&self->made, source))
				D2V_TRY(d2v_manifest_add_source(&self->made, source->name, source->checksum, source->bytes, err));
		}
	return D2V_OK;
}

static d2v_status add_classes(merge *self, d2v_error *err) {
	const d2v_manifest *first = &self->inputs[0];
	for (size_t i = 0; i < first->class_count; i++)
		D2V_TRY(d2v_manifest_add_class(&self->made, first->classes[i].name, first->classes[i].words, err));
	return D2V_OK;
}

// Those of the first when all have the same; otherwise { "merged": [each input's] }.
static d2v_status add_options(merge *self, d2v_error *err) {
	bool same = true;
	for (int i = 1; i < self->options->input_count; i++)
		same &= json_equal(self->inputs[i].options, self->inputs[0].options);
	if (same) {
		self->made.options = json_incref(self->inputs[0].options);
		return D2V_OK;
	}
	json_t *list = json_array();
	for (int i = 0; i < self->options->input_count; i++)
		json_array_append(list, self->inputs[i].options);
	self->made.options = json_pack("{s:o}", "merged", list);
	return self->made.options ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "no memory for a manifest");
}

static d2v_status add_tokenizer_file(const merge *self, const d2v_manifest_file *file, d2v_error *err) {
	char *from = NULL, *to = NULL;
	void *bytes;
	size_t size;
	bool linked;
	// The new manifest takes the digest of what is there: damage would become part of it.
	D2V_TRY(d2v_manifest_read_file(self->options->inputs[0], file, &bytes, &size, err));
	d2v_free(bytes);
	d2v_status status = d2v_path_join(&from, self->options->inputs[0], file->file, err);
	if (status == D2V_OK)
		status = d2v_path_join(&to, self->temporary, file->file, err);
	if (status == D2V_OK)
		status = d2v_link_file(from, to, NULL, self->options->copy, &linked, err);
	d2v_free(to);
	d2v_free(from);
	return status;
}

static d2v_status add_tokenizer_files(const merge *self, const char *folder, d2v_error *err) {
	const d2v_manifest *first = &self->inputs[0];
	bool any = false;
	for (size_t i = 0; i < first->file_count; i++) {
		if (!is_tokenizer(&first->files[i]))
			continue;
		if (!any)
			D2V_TRY(d2v_file_make_directories(folder, err));
		any = true;
		D2V_TRY(add_tokenizer_file(self, &first->files[i], err));
	}
	return any ? d2v_file_sync_directory(folder, err) : D2V_OK;
}

static d2v_status add_tokenizer(const merge *self, d2v_error *err) {
	char *folder;
	D2V_TRY(d2v_path_join(&folder, self->temporary, "tokenizer", err));
	d2v_status status = add_tokenizer_files(self, folder, err);
	d2v_free(folder);
	return status;
}

// Made anew from the shards' indexes, but for what is in none of them.
static d2v_status add_statistics(merge *self, d2v_manifest_split *split, d2v_error *err) {
	uint64_t documents = 0, empty = 0;
	D2V_TRY(d2v_manifest_stats(&self->made, split, self->temporary, err));
	if (self->made.modality != D2V_TEXT)
		return D2V_OK;
	for (int i = 0; i < self->options->input_count; i++) {
		const d2v_manifest_split *from = d2v_manifest_find_split(&self->inputs[i], split->name);
		if (from)
			d2v_statistics_count_documents(from->statistics, &documents, &empty);
	}
	return d2v_statistics_add_documents(split->statistics, documents, empty, err);
}

static d2v_status complete(merge *self, d2v_error *err) {
	D2V_TRY(join_lists(self, "", err));
	D2V_TRY(add_sources(self, err));
	D2V_TRY(add_classes(self, err));
	D2V_TRY(add_options(self, err));
	D2V_TRY(add_tokenizer(self, err));
	for (size_t i = 0; i < self->made.split_count; i++)
		D2V_TRY(add_statistics(self, &self->made.splits[i], err));
	D2V_TRY(d2v_manifest_save(&self->made, self->temporary, err));
	self->result->digest = d2v_manifest_digest(&self->made);
	return D2V_OK;
}

static d2v_status load_inputs(merge *self, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(&self->inputs, (size_t)self->options->input_count, sizeof *self->inputs, err));
	for (int i = 0; i < self->options->input_count; i++)
		D2V_TRY(d2v_manifest_load(&self->inputs[i], self->options->inputs[i], err));
	return check_agreement(self, err);
}

static d2v_status run(merge *self, d2v_error *err) {
	d2v_folder_out *out;
	if (d2v_file_exists(self->options->out))
		return d2v_fail(err, D2V_EXISTS, "%s: is there already; remove it or give another name", self->options->out);
	D2V_TRY(load_inputs(self, err));
	d2v_manifest_init(&self->made, self->inputs[0].modality);
	self->made.rate = self->inputs[0].rate;
	D2V_TRY(d2v_folder_begin(&out, self->options->out, err));
	self->temporary = d2v_folder_place(out);
	d2v_status status = merge_splits(self, err);
	if (status == D2V_OK)
		status = complete(self, err);
	if (status == D2V_OK)
		return d2v_folder_commit(out, err);
	d2v_folder_abandon(out);
	return status;
}

d2v_status d2v_merge_run(const d2v_merge_options *options, d2v_merge_result *result, d2v_error *err) {
	merge self = { .options = options, .result = result };
	*result = (d2v_merge_result){ 0 };
	d2v_manifest_init(&self.made, D2V_AUDIO);
	d2v_status status = run(&self, err);
	for (int i = 0; self.inputs && i < options->input_count; i++)
		d2v_manifest_release(&self.inputs[i]);
	d2v_free(self.inputs);
	d2v_manifest_release(&self.made);
	return status;
}
