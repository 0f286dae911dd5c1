#include "tools/shard_stat.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "shards/label_counts.h"
#include "tools/option_rows.h"
#include "tools/shard_histogram.h"
#include "tools/shard_output.h"
#include "tools/shard_selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REJECTED_MAX ((size_t)1 << 30)
#define LABELS_SHOWN 10

static struct { bool labels, json; } given;

static d2v_option rows[] = {
	{ .name = "labels", .kind = D2V_OPTION_FLAG, .into = &given.labels, .help = "list every label with its count" },
	D2V_ROW_JSON(given.json, "print JSON"),
	{ 0 },
};

const d2v_command shard_stat_command = {
	.program = "d2v-shard",
	.name = "stat",
	.operands = "DATASET",
	.summary = "counts, hours, lengths, labels, sources, what was rejected",
	.detail = "What the manifest says, the length histogram of each split, and the labels, which are counted from the "
			  "shards' indexes. No record is read.",
	.examples = "d2v-shard stat data/librispeech\n    an overview\n"
				"d2v-shard stat data/imagenet --labels\n    how many pictures there are of each class\n"
				"d2v-shard stat data/librispeech --json\n    for another program\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = 1,
};

// ---- what is gathered ----

typedef struct facts {
	const char *path;
	d2v_dataset *dataset;
	const d2v_manifest *manifest;
	d2v_label_counts labels;
	json_t **reasons; // per split: { "undecodable": 2, ... }
} facts;

// Counts the second column of a list of what was rejected.
static d2v_status count_reasons(char *text, json_t *counts, d2v_error *err) {
	for (char *line = text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		char *reason = strchr(line, '\t');
		if (!reason)
			continue;
		reason++;
		reason[strcspn(reason, "\t")] = '\0';
		json_int_t before = json_integer_value(json_object_get(counts, reason));
		D2V_TRY(d2v_json_set(counts, reason, json_integer(before + 1), err));
	}
	return D2V_OK;
}

static d2v_status read_reasons(const facts *self, const d2v_manifest_split *split, json_t **counts, d2v_error *err) {
	char *path;
	void *text = NULL;
	size_t size;
	*counts = json_object();
	if (!*counts)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for the list of what was rejected");
	D2V_TRY(d2v_asprintf(&path, err, "%s/%s/rejected.tsv", self->path, split->name));
	d2v_status status = d2v_file_read(path, REJECTED_MAX, &text, &size, NULL);
	d2v_free(path);
	if (status == D2V_OK)
		status = count_reasons(text, *counts, err);
	else
		status = D2V_OK; // its number is in the manifest; verify says that the list is gone
	d2v_free(text);
	return status;
}

static d2v_status gather(facts *self, const char *path, d2v_error *err) {
	self->path = path;
	D2V_TRY(shard_selection_open(&self->dataset, path, NULL, err));
	self->manifest = d2v_dataset_manifest(self->dataset);
	D2V_TRY(
		d2v_label_counts_make(&self->labels, d2v_dataset_rows(self->dataset), d2v_dataset_records(self->dataset), err));
	D2V_TRY(d2v_alloc_zero(&self->reasons, self->manifest->split_count, sizeof *self->reasons, err));
	for (size_t i = 0; i < self->manifest->split_count; i++)
		D2V_TRY(read_reasons(self, &self->manifest->splits[i], &self->reasons[i], err));
	return D2V_OK;
}

static void release(facts *self) {
	for (size_t i = 0; self->reasons && i < self->manifest->split_count; i++)
		json_decref(self->reasons[i]);
	d2v_free(self->reasons);
	d2v_label_counts_release(&self->labels);
	d2v_dataset_close(self->dataset);
}

// ---- JSON ----

static json_t *split_json(const d2v_manifest_split *split, json_t *reasons) {
	char digest[17];
	d2v_hash64_hex(split->digest, digest);
	json_t *made = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:O, s:s}", "name", split->name, "records",
		(json_int_t)split->records, "units", (json_int_t)split->units, "bytes", (json_int_t)split->bytes, "shards",
		(json_int_t)split->shard_count, "rejected", (json_int_t)split->rejected, "rejected_reasons", reasons, "digest",
		digest);
	if (made && split->statistics)
		json_object_set(made, "statistics", split->statistics);
	return made;
}

static json_t *source_json(const d2v_manifest_source *source) {
	return json_pack(
		"{s:s, s:s, s:I}", "name", source->name, "checksum", source->checksum, "bytes", (json_int_t)source->bytes);
}

static json_t *label_json(const d2v_manifest *manifest, const d2v_label_count *label) {
	json_t *made = json_pack("{s:i, s:I}", "label", (int)label->label, "records", (json_int_t)label->records);
	if (made && label->label >= 0 && (size_t)label->label < manifest->class_count) {
		json_object_set_new(made, "class", json_string(manifest->classes[label->label].name));
		json_object_set_new(made, "words", json_string(manifest->classes[label->label].words));
	}
	return made;
}

static d2v_status print_json(const facts *self, d2v_error *err) {
	const d2v_manifest *manifest = self->manifest;
	char digest[17];
	d2v_hash64_hex(d2v_manifest_digest(manifest), digest);
	json_t *splits = json_array(), *sources = json_array(), *labels = json_array();
	for (size_t i = 0; i < manifest->split_count; i++)
		json_array_append_new(splits, split_json(&manifest->splits[i], self->reasons[i]));
	for (size_t i = 0; i < manifest->source_count; i++)
		json_array_append_new(sources, source_json(&manifest->sources[i]));
	for (size_t i = 0; i < self->labels.count; i++)
		json_array_append_new(labels, label_json(manifest, &self->labels.items[i]));
	json_t *all = json_pack("{s:s, s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:I, s:O}", "dataset", self->path, "modality",
		d2v_modality_name(manifest->modality), "rate", (json_int_t)manifest->rate, "schema",
		(json_int_t)D2V_MANIFEST_SCHEMA, "digest", digest, "splits", splits, "sources", sources, "labels", labels,
		"unlabelled", (json_int_t)self->labels.unlabelled, "options", manifest->options);
	return shard_output_json(all, err);
}

// ---- text ----

static const char *what_they_are(d2v_modality modality) {
	return modality == D2V_AUDIO ? "recordings" : modality == D2V_IMAGE ? "pictures" : "blocks of text";
}

static void print_split_row(const d2v_manifest *manifest, const char *name, uint64_t records, uint64_t units,
	uint64_t bytes, size_t shards, uint64_t rejected) {
	char count[D2V_PROGRESS_TEXT], size[D2V_PROGRESS_TEXT], left_out[D2V_PROGRESS_TEXT], length[SHARD_OUTPUT_LENGTH];
	printf("  %-20s %12s  %20s  %10s  %6zu  %8s\n", name, d2v_progress_count(records, count),
		shard_output_total(units, manifest->modality, manifest->rate, length), d2v_progress_bytes((double)bytes, size),
		shards, d2v_progress_count(rejected, left_out));
}

static void print_splits(const d2v_manifest *manifest) {
	d2v_manifest_split all = { 0 };
	printf("  %-20s %12s  %20s  %10s  %6s  %8s\n", "split", "records", "length", "size", "shards", "rejected");
	for (size_t i = 0; i < manifest->split_count; i++) {
		const d2v_manifest_split *split = &manifest->splits[i];
		print_split_row(
			manifest, split->name, split->records, split->units, split->bytes, split->shard_count, split->rejected);
		all.records += split->records;
		all.units += split->units;
		all.bytes += split->bytes;
		all.shard_count += split->shard_count;
		all.rejected += split->rejected;
	}
	if (manifest->split_count > 1)
		print_split_row(manifest, "all", all.records, all.units, all.bytes, all.shard_count, all.rejected);
}

static void print_codecs(const json_t *statistics) {
	const char *codec, *separator = "; stored as ";
	json_t *count, *codecs = json_object_get(statistics, "codecs");
	json_object_foreach(codecs, codec, count) {
		printf("%s%s", separator, codec);
		separator = ", ";
	}
}

static void print_lengths(const facts *self, const d2v_manifest_split *split) {
	const json_t *length = json_object_get(split->statistics, "length");
	static const char *const keys[] = { "shortest", "median", "mean", "longest" };
	static const char *const of_pictures[] = { "smallest", "median", "mean", "largest" };
	const char *const *words = self->manifest->modality == D2V_IMAGE ? of_pictures : keys;
	if (!length || !split->records)
		return;
	int digits = self->manifest->modality == D2V_AUDIO ? 2 : 0;
	printf("\n%s of %s:", self->manifest->modality == D2V_IMAGE ? "sizes" : "lengths", split->name);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		printf("%s %s %.*f", i ? "," : "", words[i], digits, json_number_value(json_object_get(length, keys[i])));
	const char *unit = json_string_value(json_object_get(length, "unit"));
	printf(" %s", unit ? unit : "");
	print_codecs(split->statistics);
	putchar('\n');
	shard_histogram_print(split->statistics, shard_histogram_unicode(), stdout);
}

static void print_labels(const facts *self) {
	const d2v_label_counts *labels = &self->labels;
	char records[D2V_PROGRESS_TEXT], meaning[SHARD_SELECTION_LABEL];
	size_t classes = self->manifest->class_count;
	if (!labels->count)
		return;
	size_t shown = given.labels || labels->count <= LABELS_SHOWN ? labels->count : LABELS_SHOWN;
	printf(
		"\n%s: %zu%s", classes ? "classes" : "labels", classes ? classes : labels->count, classes ? "" : " different");
	if (labels->unlabelled)
		printf(", %s records have none", d2v_progress_count(labels->unlabelled, records));
	putchar('\n');
	for (size_t i = 0; i < shown; i++) {
		int32_t label = labels->items[i].label;
		printf("  %12s  ", d2v_progress_count(labels->items[i].records, records));
		if (classes)
			printf("%5d  ", label);
		puts(shard_selection_label(self->manifest, label, meaning));
	}
	if (shown < labels->count)
		printf("  ... --labels lists them all\n");
}

static void print_sources(const d2v_manifest *manifest) {
	char bytes[D2V_PROGRESS_TEXT];
	printf("\nsources:\n");
	for (size_t i = 0; i < manifest->source_count; i++) {
		const d2v_manifest_source *source = &manifest->sources[i];
		printf("  %s  %s  %s\n", source->name, source->bytes ? d2v_progress_bytes((double)source->bytes, bytes) : "-",
			source->checksum[0] ? source->checksum : "no checksum known");
	}
}

static void print_options(const d2v_manifest *manifest) {
	const char *key;
	json_t *value;
	printf("\ningest options:\n ");
	json_object_foreach(manifest->options, key, value) {
		if (json_is_object(value) || json_is_array(value))
			continue; // the sources, which were listed; --json has all
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		printf(" %s=%s", key, text ? text : "?");
		free(text);
	}
	putchar('\n');
}

static void print_rejected(const facts *self) {
	const char *reason;
	json_t *count;
	for (size_t i = 0; i < self->manifest->split_count; i++) {
		if (!self->manifest->splits[i].rejected)
			continue;
		printf("\nrejected from %s (%s/%s/rejected.tsv):\n", self->manifest->splits[i].name, self->path,
			self->manifest->splits[i].name);
		json_object_foreach(self->reasons[i], reason, count)
			printf("  %-16s %10lld\n", reason, (long long)json_integer_value(count));
	}
}

static void print_text(const facts *self) {
	const d2v_manifest *manifest = self->manifest;
	char digest[17], rate[D2V_PROGRESS_TEXT];
	d2v_hash64_hex(d2v_manifest_digest(manifest), digest);
	printf("%s: %s", self->path, what_they_are(manifest->modality));
	if (manifest->modality == D2V_AUDIO)
		printf(" at %s Hz", d2v_progress_count(manifest->rate, rate));
	printf(", digest %s\n\n", digest);
	print_splits(manifest);
	for (size_t i = 0; i < manifest->split_count; i++)
		print_lengths(self, &manifest->splits[i]);
	print_labels(self);
	print_sources(manifest);
	print_options(manifest);
	print_rejected(self);
}

static d2v_status stat_of(const d2v_operands *operands, d2v_error *err) {
	facts all = { 0 };
	d2v_status status = gather(&all, operands->items[0], err);
	if (status == D2V_OK && given.json)
		status = print_json(&all, err);
	else if (status == D2V_OK)
		print_text(&all);
	release(&all);
	return status;
}

int shard_stat_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, stat_of);
}
