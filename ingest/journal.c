#include "ingest/journal.h"

#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define BYTES_MAX ((size_t)64 << 20)
#define NUMBER_MAX (UINT64_MAX >> 1)

void d2v_journal_init(d2v_journal *journal) {
	*journal = (d2v_journal){ 0 };
}

void d2v_journal_release(d2v_journal *journal) {
	for (size_t i = 0; i < journal->split_count; i++)
		d2v_free(journal->splits[i].shards);
	d2v_free(journal->sources);
	json_decref(journal->options);
	json_decref(journal->classes);
	d2v_journal_init(journal);
}

d2v_status d2v_journal_split_of(d2v_journal *journal, const char *name, d2v_journal_split **split, d2v_error *err) {
	for (size_t i = 0; i < journal->split_count; i++)
		if (strcmp(journal->splits[i].name, name) == 0) {
			*split = &journal->splits[i];
			return D2V_OK;
		}
	if (journal->split_count == D2V_JOURNAL_SPLITS_MAX)
		return d2v_fail(err, D2V_UNSAFE, "split %s: more than %d splits; the folders are not those of such a data set",
			name, D2V_JOURNAL_SPLITS_MAX);
	*split = &journal->splits[journal->split_count++];
	**split = (d2v_journal_split){ 0 };
	snprintf((*split)->name, sizeof(*split)->name, "%s", name);
	return D2V_OK;
}

d2v_status d2v_journal_add_shard(d2v_journal_split *split, const d2v_shard_facts *facts, d2v_error *err) {
	D2V_TRY(d2v_reserve(&split->shards, &split->shard_capacity, split->now.shards + 1, sizeof *split->shards, err));
	split->shards[split->now.shards++] = *facts;
	return D2V_OK;
}

d2v_status d2v_journal_add_source(d2v_journal *journal, const char *checksum, uint64_t bytes, d2v_error *err) {
	D2V_TRY(d2v_reserve(
		&journal->sources, &journal->source_capacity, journal->source_count + 1, sizeof *journal->sources, err));
	d2v_journal_source *source = &journal->sources[journal->source_count++];
	snprintf(source->checksum, sizeof source->checksum, "%s", checksum);
	source->bytes = bytes;
	return D2V_OK;
}

// ---- to JSON

static json_t *number(uint64_t value) {
	return json_integer((json_int_t)value);
}

static json_t *point_json(const d2v_journal_point *point) {
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "source", number(point->source), "member",
		number(point->member), "piece", number(point->piece), "documents", number(point->documents), "empty",
		number(point->empty), "shards", number(point->shards), "rejected", number(point->rejected), "rejected_bytes",
		number(point->rejected_bytes), "without_text", number(point->without_text));
}

static d2v_status split_json(const d2v_journal_split *split, json_t *array, d2v_error *err) {
	json_t *object = json_object(), *shards = json_array();
	d2v_status status = d2v_json_set(object, "shards", shards, err);
	if (status == D2V_OK)
		status = d2v_json_set(object, "name", json_string(split->name), err);
	if (status == D2V_OK)
		status = d2v_json_set(object, "now", point_json(&split->now), err);
	if (status == D2V_OK)
		status = d2v_json_set(object, "base", point_json(&split->base), err);
	for (uint64_t i = 0; status == D2V_OK && i < split->now.shards; i++) {
		const d2v_shard_facts *facts = &split->shards[i];
		json_t *shard = json_pack("{s:o, s:o, s:o}", "records", number(facts->records), "bytes", number(facts->bytes),
			"units", number(facts->units));
		if (!shard || json_array_append_new(shards, shard) < 0)
			status = d2v_fail(err, D2V_NO_MEMORY, "the journal: out of memory");
		if (status == D2V_OK)
			status = d2v_json_set_hex64(shard, "digest", facts->digest, err);
		if (status == D2V_OK)
			status = d2v_json_set_hex64(shard, "file_digest", facts->file_digest, err);
	}
	if (json_array_append_new(array, object) < 0 && status == D2V_OK)
		status = d2v_fail(err, D2V_NO_MEMORY, "the journal: out of memory");
	return status;
}

d2v_status d2v_journal_save(const d2v_journal *journal, const char *path, d2v_error *err) {
	json_t *root = json_object(), *splits = json_array(), *sources = json_array();
	d2v_status status = d2v_json_set(root, "splits", splits, err), other = d2v_json_set(root, "sources", sources, err);
	status = status == D2V_OK ? other : status;
	for (size_t i = 0; status == D2V_OK && i < journal->split_count; i++)
		status = split_json(&journal->splits[i], splits, err);
	for (size_t i = 0; status == D2V_OK && i < journal->source_count; i++)
		if (json_array_append_new(sources, json_pack("{s:s, s:o}", "checksum", journal->sources[i].checksum, "bytes",
											   number(journal->sources[i].bytes))) < 0)
			status = d2v_fail(err, D2V_NO_MEMORY, "the journal: out of memory");
	if (status == D2V_OK)
		status = d2v_json_set(root, "options", json_incref(journal->options), err);
	if (status == D2V_OK && journal->classes)
		status = d2v_json_set(root, "classes", json_incref(journal->classes), err);
	if (status == D2V_OK)
		status = d2v_json_save(root, path, err);
	json_decref(root);
	return status;
}

// ---- from JSON

static d2v_status parse_point(
	const json_t *split, const char *key, const char *where, d2v_journal_point *point, d2v_error *err) {
	json_t *object;
	uint64_t source;
	D2V_TRY(d2v_json_get_object(split, key, where, &object, err));
	D2V_TRY(d2v_json_get_u64(object, "source", where, UINT32_MAX, &source, err));
	point->source = (uint32_t)source;
	D2V_TRY(d2v_json_get_u64(object, "member", where, NUMBER_MAX, &point->member, err));
	D2V_TRY(d2v_json_get_u64(object, "piece", where, NUMBER_MAX, &point->piece, err));
	D2V_TRY(d2v_json_get_u64(object, "documents", where, NUMBER_MAX, &point->documents, err));
	D2V_TRY(d2v_json_get_u64(object, "empty", where, NUMBER_MAX, &point->empty, err));
	D2V_TRY(d2v_json_get_u64(object, "shards", where, NUMBER_MAX, &point->shards, err));
	D2V_TRY(d2v_json_get_u64(object, "rejected", where, NUMBER_MAX, &point->rejected, err));
	D2V_TRY(d2v_json_get_u64(object, "rejected_bytes", where, NUMBER_MAX, &point->rejected_bytes, err));
	return d2v_json_get_u64(object, "without_text", where, NUMBER_MAX, &point->without_text, err);
}

static d2v_status parse_split(d2v_journal *journal, const json_t *object, const char *where, d2v_error *err) {
	const char *name;
	json_t *shards, *shard;
	size_t i;
	d2v_journal_split *split;
	D2V_TRY(d2v_json_get_string(object, "name", where, &name, err));
	if (name[0] && !d2v_layout_is_split_name(name))
		return d2v_fail(err, D2V_CORRUPT, "%s: '%s' is no name of a split", where, name);
	D2V_TRY(d2v_journal_split_of(journal, name, &split, err));
	D2V_TRY(d2v_json_get_array(object, "shards", where, &shards, err));
	json_array_foreach(shards, i, shard) {
		d2v_shard_facts facts;
		D2V_TRY(d2v_json_get_u64(shard, "records", where, NUMBER_MAX, &facts.records, err));
		D2V_TRY(d2v_json_get_u64(shard, "bytes", where, NUMBER_MAX, &facts.bytes, err));
		D2V_TRY(d2v_json_get_u64(shard, "units", where, NUMBER_MAX, &facts.units, err));
		D2V_TRY(d2v_json_get_hex64(shard, "digest", where, &facts.digest, err));
		D2V_TRY(d2v_json_get_hex64(shard, "file_digest", where, &facts.file_digest, err));
		D2V_TRY(d2v_journal_add_shard(split, &facts, err));
	}
	D2V_TRY(parse_point(object, "now", where, &split->now, err));
	D2V_TRY(parse_point(object, "base", where, &split->base, err));
	if (split->now.shards != json_array_size(shards) || split->base.shards > split->now.shards)
		return d2v_fail(err, D2V_CORRUPT, "%s: split %s: the numbers of shards contradict each other", where, name);
	return D2V_OK;
}

static d2v_status parse(d2v_journal *journal, const json_t *root, const char *where, d2v_error *err) {
	json_t *splits, *sources, *object;
	size_t i;
	D2V_TRY(d2v_json_get_array(root, "splits", where, &splits, err));
	D2V_TRY(d2v_json_get_array(root, "sources", where, &sources, err));
	D2V_TRY(d2v_json_get_object(root, "options", where, &object, err));
	journal->options = json_incref(object);
	if (json_object_get(root, "classes")) {
		D2V_TRY(d2v_json_get_array(root, "classes", where, &object, err));
		journal->classes = json_incref(object);
	}
	json_array_foreach(splits, i, object)
		D2V_TRY(parse_split(journal, object, where, err));
	json_array_foreach(sources, i, object) {
		const char *checksum;
		uint64_t bytes;
		D2V_TRY(d2v_json_get_string(object, "checksum", where, &checksum, err));
		D2V_TRY(d2v_json_get_u64(object, "bytes", where, NUMBER_MAX, &bytes, err));
		D2V_TRY(d2v_journal_add_source(journal, checksum, bytes, err));
	}
	return D2V_OK;
}

d2v_status d2v_journal_load(d2v_journal *journal, const char *path, d2v_error *err) {
	json_t *root = NULL;
	D2V_TRY(d2v_json_load(path, BYTES_MAX, &root, err));
	d2v_status status = parse(journal, root, path, err);
	json_decref(root);
	if (status != D2V_OK)
		d2v_journal_release(journal);
	return status;
}
