#include "tools/shard_bench.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/signals.h"
#include "loaders/bench.h"

#include <stdio.h>

static struct {
	const char *split;
	int64_t threads, slots, batches, skip, seed, clones, mask_length;
	int64_t batch_size, max_tokens, min_sample_size, max_sample_size, world_size, rank, max_damaged;
	double mask_prob, mask_prob_adjust;
	bool json, quiet;
} given = { .threads = 1,
	.seed = 1,
	.clones = 8,
	.mask_length = 5,
	.max_tokens = 1000000,
	.min_sample_size = 32000,
	.max_sample_size = 320000,
	.world_size = 1,
	.mask_prob = .5,
	.mask_prob_adjust = .05 };

static d2v_option rows[] = {
	{ .name = "split",
		.letter = 's',
		.kind = D2V_OPTION_TEXT,
		.into = &given.split,
		.value = "NAME[,NAME...]",
		.help = "read these splits (default: the only one, or train)" },
	{ .name = "threads",
		.letter = 't',
		.kind = D2V_OPTION_INT,
		.into = &given.threads,
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
		.into = &given.slots,
		.min = 0,
		.max = 1024,
		.value = "N",
		.help = "let N batches be on their way at a time (default 0: threads + 3)" },
	{ .name = "max-tokens",
		.kind = D2V_OPTION_INT,
		.into = &given.max_tokens,
		.min = 0,
		.max = 1e12,
		.value = "N",
		.help = "limit a batch to N audio samples, 0 for no limit (default 1000000)" },
	{ .name = "batch-size",
		.letter = 'b',
		.kind = D2V_OPTION_INT,
		.into = &given.batch_size,
		.min = 0,
		.max = 1e6,
		.value = "N",
		.help = "limit a batch to N utterances (default 0: no limit)" },
	{ .name = "min-sample-size",
		.kind = D2V_OPTION_INT,
		.into = &given.min_sample_size,
		.min = 0,
		.max = 1e9,
		.value = "N",
		.help = "leave out utterances of fewer samples (default 32000)" },
	{ .name = "max-sample-size",
		.kind = D2V_OPTION_INT,
		.into = &given.max_sample_size,
		.min = 0,
		.max = 1e9,
		.value = "N",
		.help = "crop longer utterances (default 320000)" },
	{ .name = "clones",
		.kind = D2V_OPTION_INT,
		.into = &given.clones,
		.min = 1,
		.max = 1024,
		.value = "M",
		.help = "draw M masks for each utterance (default 8)" },
	{ .name = "mask-prob",
		.kind = D2V_OPTION_REAL,
		.into = &given.mask_prob,
		.min = 0,
		.max = 1,
		.value = "P",
		.help = "mask this share of the positions (default 0.5)" },
	{ .name = "mask-prob-adjust",
		.kind = D2V_OPTION_REAL,
		.into = &given.mask_prob_adjust,
		.min = -1,
		.max = 1,
		.value = "P",
		.help = "draw so many more block centres (default 0.05)" },
	{ .name = "mask-length",
		.kind = D2V_OPTION_INT,
		.into = &given.mask_length,
		.min = 1,
		.max = 10000,
		.value = "N",
		.help = "mask in blocks of N positions (default 5)" },
	{ .name = "seed",
		.kind = D2V_OPTION_INT,
		.into = &given.seed,
		.min = 0,
		.max = 9e15,
		.value = "N",
		.help = "seed of order, crops and masks (default 1)" },
	{ .name = "world-size",
		.kind = D2V_OPTION_INT,
		.into = &given.world_size,
		.min = 1,
		.max = 1e6,
		.value = "N",
		.help = "deal the batches to N ranks (default 1)" },
	{ .name = "rank",
		.kind = D2V_OPTION_INT,
		.into = &given.rank,
		.min = 0,
		.max = 1e6,
		.value = "N",
		.help = "be this rank (default 0)" },
	{ .name = "max-damaged",
		.kind = D2V_OPTION_INT,
		.into = &given.max_damaged,
		.min = 0,
		.max = 1e12,
		.value = "N",
		.help = "replace up to N damaged records instead of stopping at the first (default 0)" },
	{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &given.json, .help = "print JSON" },
	{ .name = "quiet", .letter = 'q', .kind = D2V_OPTION_FLAG, .into = &given.quiet, .help = "no progress line" },
	{ 0 },
};

const d2v_command shard_bench_command = {
	.program = "d2v-shard",
	.name = "bench",
	.operands = "DATASET",
	.summary = "time the loader without a trainer",
	.detail = "Prepares batches of speech as pretraining would (at first with the settings of the published base "
			  "recipe) and\n"
			  "throws them away. Prints batches and hours of speech per second, where the time went, how much was "
			  "cropped away,\n"
			  "memory, and the digest of the batches, which is the same for any number of threads.",
	.examples =
		"d2v-shard bench data/librispeech --threads 2\n    one epoch\n"
		"d2v-shard bench data/librispeech --batches 1000 --skip 100 --json\n    without the first reads from disk\n",
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

static d2v_bench_options options_of(const char *data) {
	d2v_bench_options options = { .batches = (uint64_t)given.batches, .skip = (uint64_t)given.skip };
	d2v_speech_options *loader = &options.loader;
	d2v_speech_options_init(loader);
	loader->common.data = data;
	loader->common.split = given.split;
	loader->common.seed = (uint64_t)given.seed;
	loader->limits = (d2v_speech_limits){ .max_tokens = (uint64_t)given.max_tokens,
		.batch_size = (uint32_t)given.batch_size,
		.min_sample_size = (uint32_t)given.min_sample_size,
		.max_sample_size = (uint32_t)given.max_sample_size };
	loader->clone_batch = (int32_t)given.clones;
	loader->masks = (d2v_mask_settings){ .mask_prob = given.mask_prob,
		.mask_prob_adjust = given.mask_prob_adjust,
		.mask_length = (int32_t)given.mask_length };
	loader->common.world_size = (uint32_t)given.world_size;
	loader->common.rank = (uint32_t)given.rank;
	loader->common.threads = (int)given.threads;
	loader->common.slots = (int)given.slots;
	loader->common.max_damaged = (uint64_t)given.max_damaged;
	return options;
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

static d2v_status bench(const char *data, d2v_error *err) {
	d2v_bench_options options = options_of(data);
	d2v_bench_result result;
	d2v_progress *progress;
	d2v_signals_install();
	D2V_TRY(d2v_progress_new(&progress, given.quiet, err));
	options.progress = show_progress;
	options.context = progress;
	d2v_status status = d2v_bench_run(&options, &result, err);
	d2v_progress_free(progress);
	return status == D2V_OK ? print_result(&result, err) : status;
}

int shard_bench_run(const d2v_command *command, int argc, char **argv) {
	d2v_operands operands = { 0 };
	d2v_error err;
	d2v_status status = d2v_options_parse(command, argc, argv, &operands, &err);
	if (status == D2V_OK && !operands.help)
		status = bench(operands.items[0], &err);
	d2v_options_release(&operands);
	return status == D2V_OK ? 0 : d2v_options_report("d2v-shard", &err);
}
