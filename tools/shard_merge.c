#include "tools/shard_merge.h"

#include "base/hash.h"
#include "base/progress.h"
#include "base/signals.h"
#include "shards/merge.h"
#include "tools/option_rows.h"
#include "tools/shard_output.h"

#include <stdio.h>

static struct {
	const char *out;
	bool copy, json, quiet;
} given;

static d2v_option rows[] = {
	D2V_ROW_OUT(given.out, "DIR", "the new data set's folder (required)"),
	{ .name = "copy",
		.kind = D2V_OPTION_FLAG,
		.into = &given.copy,
		.help = "copy shards (default: hard links where the file system allows, which take no space)" },
	D2V_ROW_JSON(given.json, "print JSON"),
	D2V_ROW_QUIET(given.quiet, "no progress line"),
	{ 0 },
};

const d2v_command shard_merge_command = {
	.program = "d2v-shard",
	.name = "merge",
	.operands = "--out DIR DATASET...",
	.summary = "join data sets, or the parts of one, into one",
	.detail =
		"Splits of one name become one, with the shards in the order of the data sets given. Shards are linked, not "
		"rewritten: the data sets that were joined may be removed afterwards. Kind, sampling rate, classes and "
		"tokenizer must agree.",
	.examples = "d2v-shard merge --out librispeech part-0 part-1 part-2\n    what three hosts prepared\n"
				"d2v-shard merge --out speech --copy librispeech voices\n    one data set of two, which shares nothing "
				"with them\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = -1,
};

static bool show_progress(void *context, uint64_t shards, uint64_t total, uint64_t bytes) {
	char size[D2V_PROGRESS_TEXT];
	d2v_progress_update(context, (double)shards, (double)total, "shards %llu/%llu  %s", (unsigned long long)shards,
		(unsigned long long)total, d2v_progress_bytes((double)bytes, size));
	return !d2v_signals_asked();
}

static d2v_status print_result(const d2v_merge_result *result, d2v_error *err) {
	char records[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], digest[17];
	d2v_hash64_hex(result->digest, digest);
	if (given.json)
		return shard_output_json(
			json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "out", given.out, "splits", (json_int_t)result->splits,
				"shards", (json_int_t)result->shards, "linked", (json_int_t)result->linked, "records",
				(json_int_t)result->records, "bytes", (json_int_t)result->bytes, "digest", digest),
			err);
	printf("%s: %s records in %llu %s (%llu linked), %s, digest %s\n", given.out,
		d2v_progress_count(result->records, records), (unsigned long long)result->shards,
		result->shards == 1 ? "shard" : "shards", (unsigned long long)result->linked,
		d2v_progress_bytes((double)result->bytes, bytes), digest);
	return D2V_OK;
}

static d2v_status merge(const d2v_operands *operands, d2v_error *err) {
	d2v_merge_options options = { .out = given.out,
		.inputs = operands->items,
		.input_count = operands->count,
		.copy = given.copy,
		.progress = show_progress };
	d2v_merge_result result;
	d2v_progress *progress;
	if (!given.out || !given.out[0])
		return d2v_fail(err, D2V_INVALID, "--out DIR is missing; see d2v-shard merge --help");
	d2v_signals_install();
	D2V_TRY(d2v_progress_new(&progress, given.quiet, err));
	options.context = progress;
	d2v_status status = d2v_merge_run(&options, &result, err);
	d2v_progress_free(progress);
	return status == D2V_OK ? print_result(&result, err) : status;
}

int shard_merge_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, merge);
}
