#include "tools/shard_export.h"

#include "base/progress.h"
#include "base/signals.h"
#include "shards/export.h"
#include "tools/option_rows.h"
#include "tools/shard_output.h"

#include <stdio.h>
#include <string.h>

static struct {
	const char *out, *split, *ending;
	int64_t start, limit;
	uint64_t tar_size;
	bool json, quiet;
} given;

static d2v_option rows[] = {
	D2V_ROW_OUT(given.out, "DIR|FILE.tar", "a folder, or a tar archive as WebDataset reads it (required)"),
	D2V_ROW_SPLIT(given.split, "only these splits (default: all)"),
	{ .name = "as",
		.kind = D2V_OPTION_TEXT,
		.into = &given.ending,
		.value = "KIND",
		.help =
			"write payloads as wav or flac, png or jpg, or raw (default: as they are stored: wav for pcm16, flac, jpg, "
			"png for rgb8)" },
	D2V_ROW_START(given.start, "begin at record (of text: document) N, counted from 0 (default 0)"),
	D2V_ROW_LIMIT(given.limit, "take out at most N (default 0: all)"),
	{ .name = "tar-size",
		.kind = D2V_OPTION_SIZE,
		.into = &given.tar_size,
		.min = 1,
		.max = 0x1p50,
		.value = "BYTES",
		.help = "begin another archive after this much: FILE-000000.tar, FILE-000001.tar, ... (default: one archive)" },
	D2V_ROW_JSON(given.json, "print JSON"),
	D2V_ROW_QUIET(given.quiet, "no progress line"),
	{ 0 },
};

const d2v_command shard_export_command = {
	.program = "d2v-shard",
	.name = "export",
	.operands = "DATASET --out DIR|FILE.tar",
	.summary = "take the samples out again, into a folder or tar archives",
	.detail =
		"Writes SPLIT/NAME.wav (or .flac, .jpg, .png) and NAME.txt beside it where the record has a text; pictures "
		"go to folders of their classes, in archives labels are NAME.cls. Of text it writes one file a document. "
		"Every digest is checked on the way; nothing is left under the name when it fails.",
	.examples = "d2v-shard export data/librispeech --split dev-clean --out dev\n    recordings and transcripts\n"
				"d2v-shard export data/imagenet --out imagenet.tar --tar-size 1G\n    WebDataset's layout, in archives "
				"of 1 GiB\n"
				"d2v-shard export data/speech --as flac --limit 100 --out hundred\n    the first hundred, encoded\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = 1,
};

static bool show_progress(void *context, uint64_t records, uint64_t total, uint64_t bytes) {
	char done[D2V_PROGRESS_TEXT], all[D2V_PROGRESS_TEXT], size[D2V_PROGRESS_TEXT];
	d2v_progress_update(context, (double)records, (double)total, "records %s/%s  %s", d2v_progress_count(records, done),
		total ? d2v_progress_count(total, all) : "?", d2v_progress_bytes((double)bytes, size));
	return !d2v_signals_asked();
}

static bool is_tar(const char *out) {
	size_t size = strlen(out);
	return size > 4 && strcmp(out + size - 4, ".tar") == 0;
}

static d2v_status print_result(const d2v_export_result *result, d2v_error *err) {
	char records[D2V_PROGRESS_TEXT], files[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT];
	if (given.json)
		return shard_output_json(
			json_pack("{s:s, s:I, s:I, s:I}", "out", given.out, "records", (json_int_t)result->records, "files",
				(json_int_t)result->files, "bytes", (json_int_t)result->bytes),
			err);
	printf("%s: %s samples in %s files, %s\n", given.out, d2v_progress_count(result->records, records),
		d2v_progress_count(result->files, files), d2v_progress_bytes((double)result->bytes, bytes));
	return D2V_OK;
}

static d2v_status export(const d2v_operands *operands, d2v_error *err) {
	const char *dataset = operands->items[0];
	d2v_export_options options = { .dataset = dataset,
		.out = given.out,
		.split = given.split,
		.tar_bytes = given.tar_size,
		.ending = given.ending,
		.start = (uint64_t)given.start,
		.limit = (uint64_t)given.limit,
		.progress = show_progress };
	d2v_export_result result;
	d2v_progress *progress;
	if (!given.out || !given.out[0])
		return d2v_fail(err, D2V_INVALID, "--out DIR or --out FILE.tar is missing; see d2v-shard export --help");
	options.tar = is_tar(given.out);
	if (given.tar_size && !options.tar)
		return d2v_fail(err, D2V_INVALID, "--tar-size: --out %s is no .tar", given.out);
	d2v_signals_install();
	D2V_TRY(d2v_progress_new(&progress, given.quiet, err));
	options.context = progress;
	d2v_status status = d2v_export_run(&options, &result, err);
	d2v_progress_free(progress);
	return status == D2V_OK ? print_result(&result, err) : status;
}

int shard_export_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, export);
}
