// d2v-ingest librispeech and audio.
#include "base/memory.h"
#include "ingest/address.h"
#include "ingest/librispeech_splits.h"
#include "tools/ingest_program.h"

#include <string.h>

static struct arguments {
	d2v_option_list splits;
	const char *mirror;
	int store;
	double max_seconds;
	bool no_text, check_md5;
	const char *label_by, *split_by, *classes;
} arguments = { .mirror = D2V_LIBRISPEECH_MIRROR, .max_seconds = 3600 };

#define AUDIO_ROWS \
	{ .name = "store", \
		.kind = D2V_OPTION_CHOICE, \
		.into = &arguments.store, \
		.choices = "pcm16|flac", \
		.help = "how samples are stored: pcm16 (default) is read fastest, flac takes half the space" }, \
		{ .name = "max-seconds", \
			.kind = D2V_OPTION_REAL, \
			.into = &arguments.max_seconds, \
			.min = 0.01, \
			.max = 30000, \
			.value = "S", \
			.help = "reject longer recordings (default 3600)" }, \
		{ .name = "no-text", .kind = D2V_OPTION_FLAG, .into = &arguments.no_text, .help = "leave transcripts out" }, { \
		.name = "check-md5", .kind = D2V_OPTION_FLAG, .into = &arguments.check_md5, \
		.help = "hold the samples of FLAC files against the MD5 in their headers; slower" \
	}

static d2v_option librispeech_options[] = {
	{ .name = "splits",
		.letter = 's',
		.kind = D2V_OPTION_LIST,
		.into = &arguments.splits,
		.value = "NAME,...",
		.help = "official splits to download: train-clean-100, train-clean-360, train-other-500, dev-clean, dev-other, "
				"test-clean, test-other" },
	{ .name = "mirror",
		.kind = D2V_OPTION_TEXT,
		.into = &arguments.mirror,
		.value = "URL",
		.help = "take the official splits from there (default " D2V_LIBRISPEECH_MIRROR ")" },
	INGEST_SOURCE_ROWS("the split of recordings whose path names none (default: the folder's name, or train)"),
	AUDIO_ROWS,
	INGEST_LIMIT_ROWS,
	INGEST_DOWNLOAD_ROWS,
	INGEST_LOGIN_ROWS,
	INGEST_OUTPUT_ROWS,
	{ 0 },
};

static d2v_option audio_options[] = {
	INGEST_SOURCE_ROWS("the split of recordings that --split-by gives none (default train)"),
	INGEST_SORT_ROWS(arguments, "none", "none"),
	AUDIO_ROWS,
	INGEST_LIMIT_ROWS,
	INGEST_DOWNLOAD_ROWS,
	INGEST_LOGIN_ROWS,
	INGEST_OUTPUT_ROWS,
	{ 0 },
};

const d2v_command ingest_librispeech_command = {
	.program = "d2v-ingest",
	.name = "librispeech",
	.operands = "--out DIR [SOURCE...]",
	.summary = "LibriSpeech: SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac with transcripts",
	.detail = INGEST_DETAIL " Records are named SPEAKER-CHAPTER-UTTERANCE; their labels are the "
							"speakers." INGEST_LOGIN_DETAIL,
	.examples = "d2v-ingest librispeech --splits train-clean-100,dev-clean --out librispeech\n"
				"    downloads two official splits and ingests them as they come\n"
				"d2v-ingest librispeech --from train-clean-5.tar.gz --out mini\n"
				"    takes an archive that is there already\n",
	.options = librispeech_options,
	.operands_max = -1,
};

const d2v_command ingest_audio_command = {
	.program = "d2v-ingest",
	.name = "audio",
	.operands = "--out DIR SOURCE...",
	.summary = "anybody's recordings: FLAC, WAV, OGG, MP3 of any rate, as 16 kHz mono",
	.detail =
		INGEST_DETAIL " Records are named by their paths without the ending; NAME.txt beside NAME.wav becomes its "
					  "text." INGEST_SORT_DETAIL INGEST_LOGIN_DETAIL,
	.examples =
		"d2v-ingest audio --from recordings/ --out speech\n"
		"    all audio files below a folder\n"
		"d2v-ingest audio --out speech --max-rejected 10 a.tar.zst b.zip\n"
		"    two archives, and up to ten damaged files\n"
		"d2v-ingest audio --from fsdd.tar.gz --out digits --label-by '([0-9])_[a-z]+_[0-9]+\\.wav$' \\\n"
		"        --split-by 'test=_[0-4]\\.wav$'\n"
		"    the digit in DIGIT_SPEAKER_TAKE.wav is the class; takes 0 to 4 are the split test, all others train\n",
	.options = audio_options,
	.operands_max = -1,
};

static d2v_status no_such_split(const char *name, d2v_error *err) {
	const char *names[16] = { 0 };
	for (size_t i = 0; i + 1 < sizeof names / sizeof *names && d2v_librispeech_splits[i].name; i++)
		names[i] = d2v_librispeech_splits[i].name;
	const char *nearest = d2v_options_nearest(name, names);
	return d2v_fail(err, D2V_INVALID,
		"--splits: LibriSpeech has no split '%s'%s%s%s; see d2v-ingest librispeech --help", name,
		nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "");
}

static d2v_status add_official(ingest_job *job, const char *name, d2v_error *err) {
	const d2v_librispeech_split *split = d2v_librispeech_find_split(name);
	char *url, *shown;
	if (!split)
		return no_such_split(name, err);
	size_t mirror = strlen(arguments.mirror);
	while (mirror && arguments.mirror[mirror - 1] == '/')
		mirror--;
	D2V_TRY(d2v_asprintf(&url, err, "%.*s/%s.tar.gz", (int)mirror, arguments.mirror, name));
	D2V_TRY(ingest_job_keep(job, url, err));
	D2V_TRY(d2v_asprintf(&shown, err, D2V_LIBRISPEECH_MIRROR "/%s.tar.gz", name));
	D2V_TRY(ingest_job_keep(job, shown, err));
	return ingest_job_add(job,
		&(d2v_ingest_source){ .where = url,
			.name = shown,
			.md5 = split->md5,
			.bytes = split->bytes,
			.files = split->utterances,
			.hours = split->hours,
			.is_public = true },
		err);
}

// ".../LibriSpeech/dev-clean/" as a folder: its files do not name their split, it does.
static d2v_status name_folder_split(ingest_job *job, d2v_ingest_source *source, d2v_error *err) {
	char *path;
	D2V_TRY(d2v_strdup(&path, source->where, err));
	D2V_TRY(ingest_job_keep(job, path, err));
	for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--)
		path[end - 1] = '\0';
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	if (!ingest_common_options.split && !d2v_address_is_url(source->where) && !strchr(name, '.') &&
		d2v_layout_is_split_name(name))
		source->split = name;
	return D2V_OK;
}

static void fill_audio(d2v_ingest_options *options) {
	options->places.texts = !arguments.no_text;
	options->store = arguments.store ? D2V_CODEC_FLAC : D2V_CODEC_PCM16;
	options->max_seconds = arguments.max_seconds;
	options->check_md5 = arguments.check_md5;
}

static d2v_status fill_librispeech_job(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	job->options.layout = &d2v_layout_librispeech;
	fill_audio(&job->options);
	for (size_t i = 0; i < arguments.splits.count; i++)
		D2V_TRY(add_official(job, arguments.splits.items[i], err));
	size_t given = job->source_count;
	D2V_TRY(ingest_job_add_given(job, operands, err));
	for (size_t i = given; i < job->source_count; i++)
		D2V_TRY(name_folder_split(job, &job->sources[i], err));
	if (!job->source_count)
		return d2v_fail(err, D2V_INVALID, "no source: give --from or --splits; see d2v-ingest librispeech --help");
	return D2V_OK;
}

static d2v_status fill_audio_job(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	job->options.layout = &d2v_layout_audio;
	fill_audio(&job->options);
	D2V_TRY(ingest_job_split_by(job, arguments.split_by, false, err));
	D2V_TRY(ingest_job_label_by(job, arguments.label_by, false, err));
	D2V_TRY(ingest_job_classes(job, arguments.classes, err));
	D2V_TRY(ingest_job_add_given(job, operands, err));
	if (!job->source_count)
		return d2v_fail(err, D2V_INVALID, "no source: give --from; see d2v-ingest audio --help");
	return D2V_OK;
}

int ingest_librispeech(const d2v_command *command, int argc, char **argv) {
	return ingest_main(command, argc, argv, fill_librispeech_job);
}

int ingest_audio(const d2v_command *command, int argc, char **argv) {
	return ingest_main(command, argc, argv, fill_audio_job);
}
