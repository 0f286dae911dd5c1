#include "tools/shard_bench.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/signals.h"
#include "loaders/bench.h"
#include "tools/option_rows.h"
#include "tools/shard_bench_source.h"

#include <stdio.h>

static struct {
	shard_bench_settings source;
	int64_t batches, skip;
	bool json, quiet;
} given = { .source = SHARD_BENCH_AS_PUBLISHED };

static d2v_option rows[] = {
	D2V_ROW_SPLIT(given.source.split, "read these splits (default: the only one, or train)"),
	{ .name = "threads",
		.letter = 't',
		.kind = D2V_OPTION_INT,
		.into = &given.source.threads,
		.min = 1,
		.max = 256,
		.value = "N",
		.help = "prepare batches with N threads (default 1)" },
	{ .name = "batches",
		.letter = 'n',
		.kind = D2V_OPTION_INT,
		.into = &given.batches,
		.min = 0,
		.max = 1e12,
		.value = "N",
		.help = "take N batches (default 0: one epoch)" },
	{ .name = "skip",
		.kind = D2V_OPTION_INT,
		.into = &given.skip,
		.min = 0,
		.max = 1e12,
		.value = "N",
		.help = "take N batches before the clock starts (default 0)" },
	{ .name = "slots",
		.kind = D2V_OPTION_INT,
		.into = &given.source.slots,
		.min = 0,
		.max = 1024,
		.value = "N",
		.help = "let N batches be on their way at a time (default 0: threads + 3)" },
	{ .name = "max-tokens",
		.kind = D2V_OPTION_INT,
		.into = &given.source.max_tokens,
		.min = 0,
		.max = 1e12,
		.value = "N",
		.help = "speech, text: limit a batch to N audio samples or tokens, 0 for no limit (speech: 1000000)" },
	{ .name = "batch-size",
		.letter = 'b',
		.kind = D2V_OPTION_INT,
		.into = &given.source.batch_size,
		.min = 0,
		.max = 1e6,
		.value = "N",
		.help = "so many pictures (16), at most so many utterances (0: any) or blocks of text (4) in a batch" },
	{ .name = "min-sample-size",
		.kind = D2V_OPTION_INT,
		.into = &given.source.min_sample_size,
		.min = 0,
		.max = 1e9,
		.value = "N",
		.help = "speech: leave out utterances of fewer samples (32000)" },
	{ .name = "max-sample-size",
		.kind = D2V_OPTION_INT,
		.into = &given.source.max_sample_size,
		.min = 0,
		.max = 1e9,
		.value = "N",
		.help = "speech: crop longer utterances (320000)" },
	{ .name = "input-size",
		.kind = D2V_OPTION_INT,
		.into = &given.source.input_size,
		.min = 1,
		.max = 4096,
		.value = "N",
		.help = "pictures: crop and resize to N x N pixels (224)" },
	{ .name = "patch-size",
		.kind = D2V_OPTION_INT,
		.into = &given.source.patch_size,
		.min = 1,
		.max = 4096,
		.value = "N",
		.help = "pictures: mask patches of N x N pixels (16)" },
	{ .name = "tokens-per-sample",
		.kind = D2V_OPTION_INT,
		.into = &given.source.tokens_per_sample,
		.min = 2,
		.max = 1e6,
		.value = "N",
		.help = "text: cut blocks of N tokens (512)" },
	{ .name = "clones",
		.kind = D2V_OPTION_INT,
		.into = &given.source.clones,
		.min = 1,
		.max = 1024,
		.value = "M",
		.help = "draw M masks for each sample (8; pictures 16)" },
	{ .name = "mask-prob",
		.kind = D2V_OPTION_REAL,
		.into = &given.source.mask_prob,
		.min = 0,
		.max = 1,
		.value = "P",
		.help = "mask this share of the positions (speech 0.5, pictures 0.8, text 0.48)" },
	{ .name = "mask-prob-adjust",
		.kind = D2V_OPTION_REAL,
		.into = &given.source.mask_prob_adjust,
		.min = -1,
		.max = 1,
		.value = "P",
		.help = "draw so many more block centres (speech 0.05, pictures 0.07)" },
	{ .name = "mask-length",
		.kind = D2V_OPTION_INT,
		.into = &given.source.mask_length,
		.min = 1,
		.max = 10000,
		.value = "N",
		.help = "mask in blocks of N positions (speech 5, pictures 3, text 1)" },
	D2V_ROW_SEED(given.source.seed, "seed of order, crops and masks (default 1)"),
	{ .name = "world-size",
		.kind = D2V_OPTION_INT,
		.into = &given.source.world_size,
		.min = 1,
		.max = 1e6,
		.value = "N",
		.help = "deal the batches to N ranks (default 1)" },
	{ .name = "rank",
		.kind = D2V_OPTION_INT,
		.into = &given.source.rank,
		.min = 0,
		.max = 1e6,
		.value = "N",
		.help = "be this rank (default 0)" },
	{ .name = "max-damaged",
		.kind = D2V_OPTION_INT,
		.into = &given.source.max_damaged,
		.min = 0,
		.max = 1e12,
		.value = "N",
		.help = "replace up to N damaged records instead of stopping at the first (default 0)" },
	D2V_ROW_JSON(given.json, "print JSON"),
	D2V_ROW_QUIET(given.quiet, "no progress line"),
	{ 0 },
};

const d2v_command shard_bench_command = {
	.program = "d2v-shard",
	.name = "bench",
	.operands = "DATASET",
	.summary = "time the loader without a trainer",
	.detail =
		"Prepares batches as pretraining on this kind of data would (with the settings of the published base recipe, "
		"unless\n"
		"options say otherwise) and throws them away. Prints batches and hours of speech, pictures or tokens per "
		"second,\n"
		"bytes read, where the time went, memory, and the digest of the batches, which is the same for any number of\n"
		"threads.",
	.examples =
		"d2v-shard bench data/librispeech --threads 2\n    one epoch\n"
		"d2v-shard bench data/librispeech --batches 1000 --skip 100 --json\n    without the first reads from disk\n"
		"d2v-shard bench data/photos --input-size 32 --patch-size 4 --batch-size 64\n    pictures for image-tiny\n",
	.options = rows,
	.operands_min = 1,
	.operands_max = 1,
};

static bool show_progress(void *context, uint64_t batches, uint64_t total) {
	char done[D2V_PROGRESS_TEXT], all[D2V_PROGRESS_TEXT];
	d2v_progress_update(context, (double)batches, (double)total, "batches %s/%s", d2v_progress_count(batches, done),
		d2v_progress_count(total, all));
	return !d2v_signals_asked();
}

static d2v_status print_result(const d2v_bench_result *result, d2v_error *err) {
	json_t *object;
	char *text;
	if (!given.json) {
		d2v_bench_print(result, stdout);
		return D2V_OK;
	}
	D2V_TRY(d2v_bench_json(result, &object, err));
	d2v_status status = d2v_json_text(object, &text, err);
	json_decref(object);
	D2V_TRY(status);
	fputs(text, stdout);
	d2v_free(text);
	return D2V_OK;
}

static d2v_status run(d2v_source *source, d2v_bench_result *result, d2v_error *err) {
	d2v_bench_options options = { .threads = (int)given.source.threads,
		.batches = (uint64_t)given.batches,
		.skip = (uint64_t)given.skip,
		.progress = show_progress };
	d2v_progress *progress;
	D2V_TRY(d2v_progress_new(&progress, given.quiet, err));
	options.context = progress;
	d2v_status status = d2v_bench_run(source, &options, result, err);
	d2v_progress_free(progress);
	return status;
}

static d2v_status bench(const d2v_operands *operands, d2v_error *err) {
	const char *data = operands->items[0];
	d2v_bench_result result;
	d2v_source *source;
	d2v_signals_install();
	D2V_TRY(shard_bench_open(&source, data, &given.source, err));
	d2v_status status = run(source, &result, err);
	d2v_source_close(source);
	return status == D2V_OK ? print_result(&result, err) : status;
}

int shard_bench_run(const d2v_command *command, int argc, char **argv) {
	return d2v_options_run(command, argc, argv, bench);
}
