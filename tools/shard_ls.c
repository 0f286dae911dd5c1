#include "tools/shard_ls.h"

#include "base/hash.h"
#include "base/progress.h"
#include "tools/option_rows.h"
#include "tools/shard_output.h"
#include "tools/shard_selection.h"

#include <stdio.h>
#include <string.h>

#define NAME_COLUMNS 64
#define TEXT_COLUMNS 60

static struct {
	const char *split;
	int64_t limit, start;
	bool shards, json;
} given;

static d2v_option rows[] = {
	D2V_ROW_SPLIT(given.split, "only these splits (default: all)"),
	D2V_ROW_LIMIT(given.limit, "list at most N (default 0: all)"),
	D2V_ROW_START(given.start, "begin at the N-th, counted from 0 (default 0)"),
	{ .name = "shards", .kind = D2V_OPTION_FLAG, .into = &given.shards, .help = "list shards instead of records" },
	D2V_ROW_JSON(given.json, "print a JSON array"),
	{ 0 },
};

const d2v_command shard_ls_command = {
	.program = "d2v-shard",
	.name = "ls",
	.operands = "DATASET",
	.summary = "list records or shards",
	.detail = "One line a record: its ordinal, length, codec, bytes, label, name and text. The ordinal counts over the "
			  "chosen splits in the order of the manifest; 'show' takes it. Only the beginning of each record is read: "
			  "'verify' looks at the rest.",
	.examples = "d2v-shard ls data/librispeech --limit 10\n    the first ten records\n"
				"d2v-shard ls data/librispeech --split dev-clean --start 1000 --limit 5 --json\n"
				"    five from the middle of a split, for another program\n"
				"d2v-shard ls data/librispeech --shards\n    the files it consists of\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = 1,
};

static uint64_t end_of(uint64_t count) {
	uint64_t start = (uint64_t)given.start, limit = (uint64_t)given.limit;
	return !limit || start >= count || limit > count - start ? count : start + limit;
}

// ---- records ----

static json_t *record_facts(
	const d2v_dataset *dataset, uint64_t ordinal, const d2v_record *record, const d2v_manifest *manifest) {
	d2v_dataset_place place = d2v_dataset_place_of(dataset, ordinal);
	json_t *facts = json_pack("{s:I, s:s, s:s, s:I, s:s, s:I, s:I, s:o, s:o}", "record", (json_int_t)ordinal, "split",
		place.split->name, "shard", place.file, "shard_record", (json_int_t)place.ordinal, "codec",
		d2v_codec_name((d2v_codec)record->codec), "bytes", (json_int_t)record->payload_size, "units",
		(json_int_t)record->units, "name", shard_output_json_text(record->name, record->name_size), "text",
		shard_output_json_text(record->text, record->text_size));
	if (facts && record->label != D2V_RECORD_NO_LABEL)
		json_object_set_new(facts, "label", json_integer(record->label));
	if (facts && record->label >= 0 && (size_t)record->label < manifest->class_count)
		json_object_set_new(facts, "class", json_string(manifest->classes[record->label].name));
	if (facts && manifest->modality == D2V_AUDIO && manifest->rate)
		json_object_set_new(facts, "seconds", json_real((double)record->units / manifest->rate));
	return facts;
}

static void print_heading(const d2v_manifest *manifest) {
	printf("%8s  %14s  %-6s %10s  %6s  %s%s\n", "record", "length", "codec", "bytes", "label",
		manifest->split_count > 1 ? "split  " : "", manifest->modality == D2V_TEXT ? "name" : "name  text");
}

static void print_record(
	const d2v_dataset *dataset, uint64_t ordinal, const d2v_record *record, const d2v_manifest *manifest) {
	char length[SHARD_OUTPUT_LENGTH], label[16] = "-", bytes[D2V_PROGRESS_TEXT];
	if (record->label != D2V_RECORD_NO_LABEL)
		snprintf(label, sizeof label, "%d", record->label);
	printf("%8llu  %14s  %-6s %10s  %6s  ", (unsigned long long)ordinal,
		shard_output_length(record, manifest->modality, manifest->rate, length),
		d2v_codec_name((d2v_codec)record->codec), d2v_progress_count(record->payload_size, bytes), label);
	if (manifest->split_count > 1)
		printf("%s  ", d2v_dataset_place_of(dataset, ordinal).split->name);
	shard_output_text(record->name, record->name_size, NAME_COLUMNS);
	if (record->text_size)
		fputs("  ", stdout);
	shard_output_text(record->text, record->text_size, TEXT_COLUMNS);
	putchar('\n');
}

static d2v_status list_record(
	const d2v_dataset *dataset, d2v_dataset_view *view, uint64_t ordinal, uint64_t *damaged, d2v_error *err) {
	const d2v_manifest *manifest = d2v_dataset_manifest(dataset);
	d2v_record record;
	d2v_error damage = { 0 };
	d2v_status status = d2v_dataset_peek(view, ordinal, &record, &damage);
	if (status != D2V_OK && !d2v_status_is_skippable(status))
		return d2v_fail(err, status, "%s", damage.text);
	*damaged += status != D2V_OK;
	if (given.json) {
		fputs(ordinal == (uint64_t)given.start ? "\n" : ",\n", stdout);
		return shard_output_json_line(
			status == D2V_OK ? record_facts(dataset, ordinal, &record, manifest)
							 : json_pack("{s:I, s:s}", "record", (json_int_t)ordinal, "damage", damage.text),
			err);
	}
	if (status == D2V_OK)
		print_record(dataset, ordinal, &record, manifest);
	else
		printf("%8llu  damaged: %s\n", (unsigned long long)ordinal, damage.text);
	return D2V_OK;
}

static d2v_status list_records(const char *path, d2v_error *err) {
	d2v_dataset *dataset;
	d2v_dataset_view *view = NULL;
	uint64_t damaged = 0;
	D2V_TRY(shard_selection_open(&dataset, path, given.split, err));
	uint64_t count = d2v_dataset_records(dataset), end = end_of(count);
	d2v_status status = d2v_dataset_view_new(&view, dataset, err);
	if (status == D2V_OK && given.json)
		putchar('[');
	else if (status == D2V_OK)
		print_heading(d2v_dataset_manifest(dataset));
	for (uint64_t i = (uint64_t)given.start; status == D2V_OK && i < end && !ferror(stdout); i++)
		status = list_record(dataset, view, i, &damaged, err);
	if (status == D2V_OK && given.json)
		fputs("\n]\n", stdout);
	else if (status == D2V_OK && end < count)
		printf("... %llu of %llu\n", (unsigned long long)(end - (uint64_t)given.start), (unsigned long long)count);
	if (status == D2V_OK && damaged)
		status =
			d2v_fail(err, D2V_CORRUPT, "%s: %llu of these records cannot be read; d2v-shard verify lists all damage",
				path, (unsigned long long)damaged);
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
	return status;
}

// ---- shards ----

static json_t *shard_facts(const d2v_manifest_split *split, const d2v_manifest_shard *shard) {
	char digest[17];
	d2v_hash64_hex(shard->facts.digest, digest);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "file", shard->file, "split", split->name, "records",
		(json_int_t)shard->facts.records, "units", (json_int_t)shard->facts.units, "bytes",
		(json_int_t)shard->facts.bytes, "digest", digest);
}

static d2v_status list_shard(const d2v_manifest *manifest, const d2v_manifest_split *split,
	const d2v_manifest_shard *shard, uint64_t ordinal, d2v_error *err) {
	char records[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], total[SHARD_OUTPUT_LENGTH], digest[17];
	if (given.json) {
		fputs(ordinal == (uint64_t)given.start ? "\n" : ",\n", stdout);
		return shard_output_json_line(shard_facts(split, shard), err);
	}
	d2v_hash64_hex(shard->facts.digest, digest);
	printf("%12s  %10s  %20s  %s  %s\n", d2v_progress_count(shard->facts.records, records),
		d2v_progress_bytes((double)shard->facts.bytes, bytes),
		shard_output_total(shard->facts.units, manifest->modality, manifest->rate, total), digest, shard->file);
	return D2V_OK;
}

// True when the list of names separated by commas has the name, or is not there.
static bool is_chosen(const char *names, const char *name) {
	size_t size = strlen(name);
	for (const char *at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, name, size) == 0 && (at[size] == ',' || !at[size]))
			return true;
	return !names;
}

static d2v_status check_chosen(const d2v_manifest *manifest, const char *path, d2v_error *err) {
	for (const char *at = given.split; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (!d2v_manifest_first_split(manifest, at))
			return d2v_fail(err, D2V_NOT_FOUND, "%s: has no split '%.*s'; d2v-shard stat lists them", path,
				(int)strcspn(at, ","), at);
	return D2V_OK;
}

static d2v_status list_shards_of(const d2v_manifest *manifest, d2v_error *err) {
	uint64_t ordinal = 0, end = given.limit ? (uint64_t)(given.start + given.limit) : UINT64_MAX;
	for (size_t i = 0; i < manifest->split_count; i++) {
		const d2v_manifest_split *split = &manifest->splits[i];
		for (size_t k = 0; is_chosen(given.split, split->name) && k < split->shard_count; k++, ordinal++)
			if (ordinal >= (uint64_t)given.start && ordinal < end)
				D2V_TRY(list_shard(manifest, split, &split->shards[k], ordinal, err));
	}
	return D2V_OK;
}

static d2v_status print_shards(const d2v_manifest *manifest, d2v_error *err) {
	if (given.json)
		putchar('[');
	else
		printf("%12s  %10s  %20s  %-16s  %s\n", "records", "size", "length", "digest", "file");
	d2v_status status = list_shards_of(manifest, err);
	if (given.json)
		fputs("\n]\n", stdout);
	return status;
}

static d2v_status list_shards(const char *path, d2v_error *err) {
	d2v_manifest manifest;
	D2V_TRY(d2v_manifest_load(&manifest, path, err));
	d2v_status status = check_chosen(&manifest, path, err);
	if (status == D2V_OK)
		status = print_shards(&manifest, err);
	d2v_manifest_release(&manifest);
	return status;
}

static d2v_status list(const d2v_operands *operands, d2v_error *err) {
	return given.shards ? list_shards(operands->items[0], err) : list_records(operands->items[0], err);
}

int shard_ls_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, list);
}
