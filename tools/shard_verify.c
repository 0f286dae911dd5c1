#include "tools/shard_verify.h"

#include "base/progress.h"
#include "shards/verify.h"
#include "tools/option_rows.h"
#include "tools/shard_output.h"

#include <stdio.h>
#include <string.h>

static struct {
	int64_t jobs;
	bool decode, json, quiet;
} given;

static d2v_option rows[] = {
	D2V_ROW_JOBS(given.jobs, "check N shards at a time (default: one per core)"),
	{ .name = "decode", .kind = D2V_OPTION_FLAG, .into = &given.decode, .help = "also decode every payload" },
	D2V_ROW_JSON(given.json, "print JSON"),
	D2V_ROW_QUIET(given.quiet, "no progress line"),
	{ 0 },
};

const d2v_command shard_verify_command = {
	.program = "d2v-shard",
	.name = "verify",
	.operands = "DATASET",
	.summary = "check every record, index, digest and the manifest",
	.detail =
		"Reads every file of the data set once, from begin to end. Any single changed bit is found; each damage is a "
		"line that names file and record, and the exit status is then 3. Nothing is changed. A damaged record can be "
		"looked at with 'show DATASET FILE:RECORD'; to repair, take the file from a copy or ingest again: the same "
		"source and options give the same bytes.",
	.examples = "d2v-shard verify data/librispeech\n    at the speed of the disk\n"
				"d2v-shard verify data/librispeech --decode --jobs 8 --json\n    also decodes what is stored\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = 1,
};

typedef struct report {
	d2v_progress *progress;
	json_t *damages; // array
	d2v_error *err;
	d2v_status status;
} report;

static void show_progress(void *context, uint64_t bytes, uint64_t total) {
	char done[D2V_PROGRESS_TEXT], all[D2V_PROGRESS_TEXT];
	d2v_progress_update(((report *)context)->progress, (double)bytes, (double)total, "%s of %s",
		d2v_progress_bytes((double)bytes, done), d2v_progress_bytes((double)total, all));
}

static void print_damage(const char *file, uint64_t record, const char *what) {
	if (record == UINT64_MAX)
		printf("%s: %s\n", file, what);
	else
		printf("%s: record %llu: %s\n", file, (unsigned long long)record, what);
	fflush(stdout); // whoever watches sees it when it is found
}

static void note_damage(void *context, const char *file, uint64_t record, const char *what) {
	report *self = context;
	if (!given.json) {
		print_damage(file, record, what);
		return;
	}
	json_t *damage =
		json_pack("{s:o, s:o}", "file", json_string(file), "what", shard_output_json_text(what, strlen(what)));
	if (damage && record != UINT64_MAX)
		json_object_set_new(damage, "record", json_integer((json_int_t)record));
	if (json_array_append_new(self->damages, damage) != 0)
		self->status = d2v_fail(self->err, D2V_NO_MEMORY, "no memory for the list of damages");
}

static d2v_status print_json(
	const char *dataset, report *self, const d2v_verify_result *result, double seconds, d2v_error *err) {
	return shard_output_json(
		json_pack("{s:s, s:b, s:I, s:I, s:I, s:O, s:f}", "dataset", dataset, "whole", result->damages == 0, "shards",
			(json_int_t)result->shards, "records", (json_int_t)result->records, "bytes", (json_int_t)result->bytes,
			"damages", self->damages, "seconds", seconds),
		err);
}

static void print_text(const char *dataset, const d2v_verify_result *result, double seconds) {
	char records[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], rate[D2V_PROGRESS_TEXT], took[D2V_PROGRESS_TEXT];
	printf("%s: %s records in %llu %s, %s, %s/s, %s: ", dataset, d2v_progress_count(result->records, records),
		(unsigned long long)result->shards, result->shards == 1 ? "shard" : "shards",
		d2v_progress_bytes((double)result->bytes, bytes),
		d2v_progress_bytes(seconds > 0 ? (double)result->bytes / seconds : 0, rate),
		d2v_progress_duration(seconds, took));
	if (result->damages)
		printf("%llu %s\n", (unsigned long long)result->damages, result->damages == 1 ? "damage" : "damages");
	else
		printf("all well\n");
}

static d2v_status verify(const d2v_operands *operands, d2v_error *err) {
	const char *dataset = operands->items[0];
	report self = { .err = err };
	d2v_verify_result result = { 0 };
	d2v_verify_options options = { .jobs = d2v_option_jobs(given.jobs),
		.decode = given.decode,
		.found = note_damage,
		.context = &self,
		.progress = show_progress };
	D2V_TRY(d2v_progress_new(&self.progress, given.quiet, err));
	self.damages = json_array();
	double start = d2v_clock();
	d2v_status status = d2v_verify_dataset(dataset, &options, &result, err);
	double seconds = d2v_clock() - start;
	d2v_progress_free(self.progress);
	bool checked = status == D2V_OK || (status == D2V_CORRUPT && result.damages);
	if (checked && self.status != D2V_OK)
		status = self.status;
	else if (checked && given.json) {
		d2v_error own = { 0 };
		if (print_json(dataset, &self, &result, seconds, &own) != D2V_OK)
			status = d2v_fail(err, own.status, "%s", own.text);
	} else if (checked)
		print_text(dataset, &result, seconds);
	json_decref(self.damages);
	return status;
}

int shard_verify_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, verify);
}
