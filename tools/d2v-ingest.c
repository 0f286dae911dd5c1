// d2v-ingest: recordings from archives, folders and addresses into a data set of shards.
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/signals.h"
#include "ingest/ingest.h"
#include "ingest/librispeech_splits.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES_MAX 4096

// What the options of both subcommands are parsed into.
static struct arguments {
	d2v_option_list splits, from;
	const char *out, *split, *max_rejected, *archives, *mirror;
	int64_t jobs, retries, max_files;
	int store;
	uint64_t shard_size, max_member, max_download;
	double max_seconds, retry_delay, stall;
	bool no_text, check_md5, keep_archives, json, quiet;
} arguments = { .max_rejected = "1%",
	.mirror = D2V_LIBRISPEECH_MIRROR,
	.retries = 8,
	.max_files = 2 << 20,
	.shard_size = (uint64_t)1 << 30,
	.max_member = (uint64_t)64 << 20,
	.max_download = (uint64_t)64 << 30,
	.max_seconds = 3600,
	.retry_delay = 1,
	.stall = 60 };

#define COMMON_OPTIONS \
	{ .name = "from", \
		.letter = 'f', \
		.kind = D2V_OPTION_LIST, \
		.into = &arguments.from, \
		.value = "SOURCE", \
		.help = \
			"a folder, an archive (tar, also .gz .bz2 .xz .zst; zip), or an http(s) address of one; may be repeated; " \
			"SOURCE#md5=SUM checks it" }, \
		{ .name = "out", \
			.letter = 'o', \
			.kind = D2V_OPTION_TEXT, \
			.into = &arguments.out, \
			.value = "DIR", \
			.help = "the data set's folder; made when it is not there (required)" }, \
		{ .name = "split", .kind = D2V_OPTION_TEXT, .into = &arguments.split, .value = "NAME", .help = SPLIT_HELP }, \
		{ .name = "jobs", \
			.letter = 'j', \
			.kind = D2V_OPTION_INT, \
			.into = &arguments.jobs, \
			.min = 1, \
			.max = 256, \
			.value = "N", \
			.help = "decode with N threads (default: one per core); the result does not depend on it" }, \
		{ .name = "store", \
			.kind = D2V_OPTION_CHOICE, \
			.into = &arguments.store, \
			.choices = "pcm16|flac", \
			.help = "how samples are stored: pcm16 (default) is read fastest, flac takes half the space" }, \
		{ .name = "shard-size", \
			.kind = D2V_OPTION_SIZE, \
			.into = &arguments.shard_size, \
			.min = 65536, \
			.max = 0x1p38, \
			.value = "BYTES", \
			.help = "begin another shard after this much (default 1G)" }, \
		{ .name = "max-rejected", \
			.kind = D2V_OPTION_TEXT, \
			.into = &arguments.max_rejected, \
			.value = "N|P%", \
			.help = "fail when more files than this are damaged or unsafe: a count, or a percentage (default 1%)" }, \
		{ .name = "max-member", \
			.kind = D2V_OPTION_SIZE, \
			.into = &arguments.max_member, \
			.min = 4096, \
			.max = 0x1p30, \
			.value = "BYTES", \
			.help = "reject files larger than this (default 64M)" }, \
		{ .name = "max-seconds", \
			.kind = D2V_OPTION_REAL, \
			.into = &arguments.max_seconds, \
			.min = 0.01, \
			.max = 30000, \
			.value = "S", \
			.help = "reject longer recordings (default 3600)" }, \
		{ .name = "max-files", \
			.kind = D2V_OPTION_INT, \
			.into = &arguments.max_files, \
			.min = 1, \
			.max = 0x1p30, \
			.value = "N", \
			.help = "fail when a source has more members (default 2097152); memory grows with it" }, \
		{ .name = "no-text", .kind = D2V_OPTION_FLAG, .into = &arguments.no_text, .help = "leave transcripts out" }, \
		{ .name = "check-md5", \
			.kind = D2V_OPTION_FLAG, \
			.into = &arguments.check_md5, \
			.help = "hold the samples of FLAC files against the MD5 in their headers; slower" }, \
		{ .name = "keep-archives", \
			.letter = 'k', \
			.kind = D2V_OPTION_FLAG, \
			.into = &arguments.keep_archives, \
			.help = "download to DIR/.downloads first and keep the archives (default: read them as they come)" }, \
		{ .name = "archives", \
			.kind = D2V_OPTION_TEXT, \
			.into = &arguments.archives, \
			.value = "DIR", \
			.help = "keep downloaded archives there" }, \
		{ .name = "max-download", \
			.kind = D2V_OPTION_SIZE, \
			.into = &arguments.max_download, \
			.min = 1, \
			.max = 0x1p50, \
			.value = "BYTES", \
			.help = "refuse larger downloads when their size is not known beforehand (default 64G)" }, \
		{ .name = "retries", \
			.kind = D2V_OPTION_INT, \
			.into = &arguments.retries, \
			.max = 1000, \
			.value = "N", \
			.help = "connect again after up to N failures in a row (default 8)" }, \
		{ .name = "retry-delay", \
			.kind = D2V_OPTION_REAL, \
			.into = &arguments.retry_delay, \
			.max = 3600, \
			.value = "S", \
			.help = \
				"wait about S seconds before the first retry, twice as long before each further one (default 1)" }, \
		{ .name = "stall", \
			.kind = D2V_OPTION_REAL, \
			.into = &arguments.stall, \
			.min = 0.1, \
			.max = 3600, \
			.value = "S", \
			.help = "take a connection for lost after S seconds without a byte (default 60)" }, \
		{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &arguments.json, .help = "print what was made as JSON" }, \
		{ .name = "quiet", \
			.letter = 'q', \
			.kind = D2V_OPTION_FLAG, \
			.into = &arguments.quiet, \
			.help = "no progress line" }, \
	{ \
		0 \
	}

#define SPLIT_HELP "the split of recordings whose path names none (default: the folder's name, or train)"
static d2v_option librispeech_options[] = {
	{ .name = "splits",
		.letter = 's',
		.kind = D2V_OPTION_LIST,
		.into = &arguments.splits,
		.value = "NAME,...",
		.help = "official splits to download: train-clean-100, train-clean-360, train-other-500, dev-clean, dev-other, "
				"test-clean, "
				"test-other" },
	{ .name = "mirror",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.mirror,
		.value = "URL",
		.help = "take the official splits from there (default " D2V_LIBRISPEECH_MIRROR ")" },
	COMMON_OPTIONS,
};
#undef SPLIT_HELP
#define SPLIT_HELP "the split that all recordings go to (default train)"
static d2v_option audio_options[] = { COMMON_OPTIONS };

#define DETAIL \
	"The same command gives the same bytes, whatever the number of jobs. A killed ingest goes on from the last " \
	"published shard " \
	"when the same command is given again. Files that are damaged or unsafe are left out and listed in " \
	"DIR/SPLIT/rejected.tsv. " \
	"Nothing is ever unpacked to disk."

static const d2v_command librispeech = {
	.program = "d2v-ingest",
	.name = "librispeech",
	.operands = "--out DIR [SOURCE...]",
	.summary = "LibriSpeech: SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac with transcripts",
	.detail = DETAIL " Records are named SPEAKER-CHAPTER-UTTERANCE; their labels are the speakers.",
	.examples = "d2v-ingest librispeech --splits train-clean-100,dev-clean --out librispeech\n"
				"    downloads two official splits and ingests them as they come\n"
				"d2v-ingest librispeech --from train-clean-5.tar.gz --out mini\n"
				"    takes an archive that is there already\n",
	.options = librispeech_options,
	.operands_max = -1,
};

static const d2v_command audio = {
	.program = "d2v-ingest",
	.name = "audio",
	.operands = "--out DIR SOURCE...",
	.summary = "anybody's recordings: FLAC, WAV, OGG, MP3 of any rate, as 16 kHz mono",
	.detail = DETAIL " Records are named by their paths without the ending; NAME.txt beside NAME.wav becomes its text.",
	.examples = "d2v-ingest audio --from recordings/ --out speech\n"
				"    all audio files below a folder\n"
				"d2v-ingest audio --out speech --max-rejected 10 a.tar.zst b.zip\n"
				"    two archives, and up to ten damaged files\n",
	.options = audio_options,
	.operands_max = -1,
};

// ---- sources
// ---------------------------------------------------------------------------------------------------------------

typedef struct source_list {
	d2v_ingest_source *items;
	size_t count;
	char **texts; // owned strings that items point to
	size_t text_count;
} source_list;

static void release_sources(source_list *list) {
	for (size_t i = 0; i < list->text_count; i++)
		d2v_free(list->texts[i]);
	d2v_free(list->texts);
	d2v_free(list->items);
}

static d2v_status no_such_split(const char *name, d2v_error *err) {
	const char *names[16] = { 0 };
	for (size_t i = 0; i + 1 < sizeof names / sizeof *names && d2v_librispeech_splits[i].name; i++)
		names[i] = d2v_librispeech_splits[i].name;
	const char *nearest = d2v_options_nearest(name, names);
	return d2v_fail(err, D2V_INVALID,
		"--splits: LibriSpeech has no split '%s'%s%s%s; see d2v-ingest librispeech --help", name,
		nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

static d2v_status add_official(source_list *list, const char *name, d2v_error *err) {
	const d2v_librispeech_split *split = d2v_librispeech_find_split(name);
	if (!split)
		return no_such_split(name, err);
	char **url = &list->texts[list->text_count], **shown = url + 1;
	size_t mirror = strlen(arguments.mirror);
	while (mirror && arguments.mirror[mirror - 1] == '/')
		mirror--;
	D2V_TRY(d2v_asprintf(url, err, "%.*s/%s.tar.gz", (int)mirror, arguments.mirror, name));
	list->text_count++;
	D2V_TRY(d2v_asprintf(shown, err, D2V_LIBRISPEECH_MIRROR "/%s.tar.gz", name));
	list->text_count++;
	list->items[list->count++] = (d2v_ingest_source){ .where = *url,
		.name = *shown,
		.md5 = split->md5,
		.bytes = split->bytes,
		.files = split->utterances,
		.hours = split->hours };
	return D2V_OK;
}

static d2v_status add_source(source_list *list, const char *text, bool is_librispeech, d2v_error *err) {
	char **where = &list->texts[list->text_count], **split = where + 1;
	D2V_TRY(d2v_strdup(where, text, err));
	list->text_count++;
	d2v_ingest_source *source = &list->items[list->count++];
	*source = (d2v_ingest_source){ .where = *where };
	char *sum = strstr(*where, "#md5=");
	if (sum && strlen(sum) == 37 && strspn(sum + 5, "0123456789abcdef") == 32) {
		*sum = '\0';
		source->md5 = sum + 5;
	}
	// ".../LibriSpeech/dev-clean/" as a folder: its files do not name their split, it does.
	const char *slash;
	D2V_TRY(d2v_strdup(split, *where, err));
	list->text_count++;
	for (size_t end = strlen(*split); end > 1 && (*split)[end - 1] == '/'; end--)
		(*split)[end - 1] = '\0';
	slash = strrchr(*split, '/');
	const char *name = slash ? slash + 1 : *split;
	if (is_librispeech && !arguments.split && !d2v_download_is_url(*where) && !strchr(name, '.') &&
		d2v_layout_is_split_name(name))
		source->split = name;
	return D2V_OK;
}

static d2v_status list_sources(source_list *list, const d2v_operands *operands, bool is_librispeech, d2v_error *err) {
	size_t count = arguments.splits.count + arguments.from.count + (size_t)operands->count;
	if (!count)
		return d2v_fail(err, D2V_INVALID, "no source: give --from%s; see d2v-ingest %s --help",
			is_librispeech ? " or --splits" : "", is_librispeech ? "librispeech" : "audio");
	if (count > SOURCES_MAX)
		return d2v_fail(err, D2V_INVALID, "%zu sources; %d are possible", count, SOURCES_MAX);
	D2V_TRY(d2v_alloc_zero(&list->items, count, sizeof *list->items, err));
	D2V_TRY(d2v_alloc_zero(&list->texts, count * 2, sizeof *list->texts, err));
	for (size_t i = 0; i < arguments.splits.count; i++)
		D2V_TRY(add_official(list, arguments.splits.items[i], err));
	for (size_t i = 0; i < arguments.from.count; i++)
		D2V_TRY(add_source(list, arguments.from.items[i], is_librispeech, err));
	for (int i = 0; i < operands->count; i++)
		D2V_TRY(add_source(list, operands->items[i], is_librispeech, err));
	return D2V_OK;
}

// ---- running
// ---------------------------------------------------------------------------------------------------------------

static d2v_status parse_rejected(d2v_ingest_options *options, d2v_error *err) {
	char *end;
	const char *text = arguments.max_rejected;
	options->max_rejected = strtod(text, &end);
	options->max_rejected_is_percent = end > text && *end == '%';
	end += options->max_rejected_is_percent;
	if (end == text || *end || !(options->max_rejected >= 0 && options->max_rejected <= 1e15))
		return d2v_fail(err, D2V_INVALID, "--max-rejected %s: expected a count or a percentage, like 10 or 1%%", text);
	return D2V_OK;
}

static int cores(void) {
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
	return count < 1 ? 1 : count > 256 ? 256 : count;
}

static d2v_status fill_options(
	d2v_ingest_options *options, const d2v_layout *layout, const source_list *list, char **keep, d2v_error *err) {
	*options = D2V_INGEST_DEFAULTS;
	if (!arguments.out || !arguments.out[0])
		return d2v_fail(err, D2V_INVALID, "--out DIR is missing; see d2v-ingest %s --help", layout->name);
	options->out = arguments.out;
	options->layout = layout;
	options->sources = list->items;
	options->source_count = list->count;
	if (arguments.split && !d2v_layout_is_split_name(arguments.split))
		return d2v_fail(err, D2V_INVALID, "--split %s: expected letters, digits, '-', '_' and '.'", arguments.split);
	if (arguments.split)
		options->places.split = arguments.split;
	options->places.texts = !arguments.no_text;
	options->store = arguments.store ? D2V_CODEC_FLAC : D2V_CODEC_PCM16;
	options->shard_size = arguments.shard_size;
	options->max_member = arguments.max_member;
	options->max_seconds = arguments.max_seconds;
	options->max_files = (uint64_t)arguments.max_files;
	options->check_md5 = arguments.check_md5;
	options->jobs = arguments.jobs ? (int)arguments.jobs : cores();
	options->quiet = arguments.quiet;
	options->download.max = arguments.max_download;
	options->download.retries = (int)arguments.retries;
	options->download.retry_delay = arguments.retry_delay;
	options->download.stall = arguments.stall;
	if (arguments.archives)
		options->keep = arguments.archives;
	else if (arguments.keep_archives) {
		D2V_TRY(d2v_asprintf(keep, err, "%s/.downloads", arguments.out));
		options->keep = *keep;
	}
	return parse_rejected(options, err);
}

static d2v_status print_json(const d2v_ingest_options *options, const d2v_ingest_result *result, d2v_error *err) {
	char digest[17], *text;
	snprintf(digest, sizeof digest, "%016llx", (unsigned long long)result->digest);
	json_t *facts = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:f}", "out", options->out,
		"was_complete", result->was_complete, "records", (json_int_t)result->records, "rejected",
		(json_int_t)result->rejected, "without_text", (json_int_t)result->without_text, "ignored",
		(json_int_t)result->ignored, "shards", (json_int_t)result->shards, "bytes", (json_int_t)result->bytes, "hours",
		(double)result->units / options->rate / 3600, "seconds", result->seconds, "digest", digest, "times_real_time",
		result->seconds > 0 ? (double)result->new_units / options->rate / result->seconds : 0.0);
	if (!facts)
		return d2v_fail(err, D2V_NO_MEMORY, "out of memory");
	d2v_status status = d2v_json_text(facts, &text, err);
	json_decref(facts);
	D2V_TRY(status);
	fputs(text, stdout);
	d2v_free(text);
	return D2V_OK;
}

static void print_text(const d2v_ingest_options *options, const d2v_ingest_result *result) {
	char records[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], took[D2V_PROGRESS_TEXT];
	double hours = (double)result->units / options->rate / 3600;
	printf("%s: %s recordings, %.2f h, %s in %llu shards, digest %016llx\n", options->out,
		d2v_progress_count(result->records, records), hours, d2v_progress_bytes((double)result->bytes, bytes),
		(unsigned long long)result->shards, (unsigned long long)result->digest);
	if (result->was_complete)
		printf("it was complete already: nothing to do\n");
	else
		printf("%llu rejected, %llu without text, %llu other files; took %s, %.0fx real time\n",
			(unsigned long long)result->rejected, (unsigned long long)result->without_text,
			(unsigned long long)result->ignored, d2v_progress_duration(result->seconds, took),
			result->seconds > 0 ? (double)result->new_units / options->rate / result->seconds : 0);
}

static d2v_status ingest(const d2v_layout *layout, const d2v_operands *operands, d2v_error *err) {
	source_list list = { 0 };
	d2v_ingest_options options;
	d2v_ingest_result result;
	char *keep = NULL;
	d2v_status status = list_sources(&list, operands, layout == &d2v_layout_librispeech, err);
	if (status == D2V_OK)
		status = fill_options(&options, layout, &list, &keep, err);
	if (status == D2V_OK) {
		d2v_signals_install();
		status = d2v_ingest_run(&options, &result, err);
	}
	if (status == D2V_OK && !result.was_complete && result.without_text && !arguments.no_text &&
		layout == &d2v_layout_librispeech)
		d2v_warn("%llu of %llu recordings have no transcript", (unsigned long long)result.without_text,
			(unsigned long long)result.records);
	if (status == D2V_OK && arguments.json)
		status = print_json(&options, &result, err);
	else if (status == D2V_OK)
		print_text(&options, &result);
	release_sources(&list);
	d2v_free(keep);
	return status;
}

static int run(const d2v_command *command, int argc, char **argv) {
	d2v_operands operands;
	d2v_error err = { 0 };
	d2v_log_set_program("d2v-ingest");
	d2v_status status = d2v_options_parse(command, argc, argv, &operands, &err);
	if (status == D2V_OK && !operands.help)
		status = ingest(command == &librispeech ? &d2v_layout_librispeech : &d2v_layout_audio, &operands, &err);
	d2v_options_release(&operands);
	return status == D2V_OK ? 0 : d2v_options_report("d2v-ingest", &err);
}

int main(int argc, char **argv) {
	static const d2v_subcommand table[] = { { &librispeech, run }, { &audio, run }, { 0 } };
	return d2v_options_dispatch(
		"d2v-ingest", "recordings from archives, folders and addresses into a data set of shards", table, argc, argv);
}
