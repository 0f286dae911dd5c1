// LibriSpeech into shards, against what libsndfile takes to open and decode the same FLAC files, one after the other,
// from the page cache, on one core.
//
// "per core" is speech per second of processor time, all threads, reading the archive and writing the shards included;
// the gain of a second job is in seconds of the clock. Limit and ingests take turns, so that all see the same machine,
// and the best of each counts. The first ingest of a round only touches memory for its files' pages: a virtual machine
// gives memory back when it lies idle, and to get it again is the host's work, of which libsndfile alone needs none.
// The corpus is the small real archive when D2V_SHARED has it, otherwise made here, and put into the archive several
// times under other speakers' names, so that opening and closing do not count.
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/ingest.h"
#include "shards/codec_audio.h"
#include "tests/bench/work_folder.h"

#include <archive.h>
#include <archive_entry.h>
#include <math.h>
#include <pthread.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define RATE 16000
#define COPIES 8
#define CHAPTER_FILES 16 // with their transcripts behind them, as in LibriSpeech
#define ROUNDS 6
#define FILES_MAX 4096
#define TARGET_CORE 0.8
#define TARGET_TWO 1.8
#define REAL_ARCHIVE "data/librispeech/train-clean-5-mini.tar.gz"

typedef struct flac_file {
	void *bytes;
	size_t size;
} flac_file;

typedef struct bench {
	flac_file files[FILES_MAX];
	size_t count;
	double seconds; // of speech, all copies together
	char folder[512], archive[600], out[600];
} bench;

typedef struct timing {
	double user, kernel, wall; // seconds; of processor time in the program and in the kernel, and of the clock
} timing;

static timing now(void) {
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (timing){ .user = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6,
		.kernel = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6,
		.wall = d2v_clock() };
}

static double cpu(const timing *t) {
	return t->user + t->kernel;
}

// The least processor time counts, and the least time of the clock, which need not be of the same round.
static void keep_best(timing *best, const timing *start) {
	timing end = now();
	timing took = { end.user - start->user, end.kernel - start->kernel, fmin(best->wall, end.wall - start->wall) };
	double wall = took.wall;
	if (cpu(&took) < cpu(best))
		*best = took;
	best->wall = wall;
}

// ---- the corpus

static d2v_status add_file(bench *b, const void *bytes, size_t size, d2v_error *err) {
	if (b->count == FILES_MAX)
		return d2v_fail(err, D2V_UNSUPPORTED, "more than %d files", FILES_MAX);
	D2V_TRY(d2v_alloc(&b->files[b->count].bytes, size, 1, err));
	memcpy(b->files[b->count].bytes, bytes, size);
	b->files[b->count++].size = size;
	return D2V_OK;
}

static d2v_status read_member(bench *b, struct archive *archive, struct archive_entry *entry, d2v_error *err) {
	const char *name = archive_entry_pathname(entry);
	size_t length = name ? strlen(name) : 0, size = (size_t)archive_entry_size(entry);
	if (length < 5 || strcmp(name + length - 5, ".flac") != 0)
		return D2V_OK;
	void *bytes;
	D2V_TRY(d2v_alloc(&bytes, size, 1, err));
	d2v_status status = archive_read_data(archive, bytes, size) == (la_ssize_t)size
							? add_file(b, bytes, size, err)
							: d2v_fail(err, D2V_CORRUPT, "%s: cut off", name);
	d2v_free(bytes);
	return status;
}

static d2v_status read_archive(bench *b, const char *path, d2v_error *err) {
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	archive_read_support_filter_all(archive);
	archive_read_support_format_all(archive);
	d2v_status status = archive_read_open_filename(archive, path, (size_t)1 << 20) == ARCHIVE_OK
							? D2V_OK
							: d2v_fail(err, D2V_IO, "%s: %s", path, archive_error_string(archive));
	while (status == D2V_OK && archive_read_next_header(archive, &entry) == ARCHIVE_OK)
		status = read_member(b, archive, entry, err);
	archive_read_free(archive);
	return status;
}

// Ten seconds of a voice-like sound: harmonics under an envelope, with a little noise.
static void make_sound(int16_t *samples, int count, int voice) {
	uint32_t noise = 1 + (uint32_t)voice;
	for (int i = 0; i < count; i++) {
		double t = (double)i / RATE, sound = 0, envelope = fabs(sin(3.14159265 * (3 + voice % 3) * t));
		for (int k = 1; k <= 8; k++)
			sound += sin(6.2831853 * (90 + 7 * voice) * k * t) / k;
		noise = noise * 1664525 + 1013904223;
		samples[i] = (int16_t)(6000 * envelope * sound / 2 + (double)(noise >> 24) - 128);
	}
}

static d2v_status make_files(bench *b, d2v_error *err) {
	static int16_t samples[10 * RATE];
	d2v_status status = D2V_OK;
	for (int voice = 0; status == D2V_OK && voice < 60; voice++) {
		void *flac = NULL;
		size_t size = 0;
		make_sound(samples, 10 * RATE, voice);
		status = d2v_codec_flac_encode(samples, 10 * RATE, RATE, &flac, &size, err);
		if (status == D2V_OK)
			status = add_file(b, flac, size, err);
		d2v_free(flac);
	}
	return status;
}

static bool write_member(struct archive *archive, const char *name, const void *bytes, size_t size) {
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, name);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	bool written = archive_write_header(archive, entry) == ARCHIVE_OK &&
				   archive_write_data(archive, bytes, size) == (la_ssize_t)size;
	archive_entry_free(entry);
	return written;
}

static const char *file_name(const bench *b, int speaker, size_t i, char name[700]) {
	snprintf(name, 700, "%s/files/%d-1-%04zu.flac", b->folder, speaker, i);
	return name;
}

// A line for each file of the chapter that ends with file `last`.
static bool write_transcripts(struct archive *archive, int speaker, size_t last) {
	char name[700], text[CHAPTER_FILES * 64];
	size_t size = 0;
	int chapter = (int)(last / CHAPTER_FILES);
	for (size_t i = last - last % CHAPTER_FILES; i <= last; i++)
		size +=
			(size_t)snprintf(text + size, sizeof text - size, "%d-%d-%04zu NOT WHAT IS SAID\n", speaker, chapter, i);
	snprintf(name, sizeof name, "LibriSpeech/train-clean-5/%d/%d/%d-%d.trans.txt", speaker, chapter, speaker, chapter);
	return write_member(archive, name, text, size);
}

// The same files twice: as members of an archive, with transcripts behind each chapter, and alone.
static d2v_status write_copy(const bench *b, struct archive *archive, int speaker, d2v_error *err) {
	char name[700];
	for (size_t i = 0; i < b->count; i++) {
		const flac_file *file = &b->files[i];
		int chapter = (int)(i / CHAPTER_FILES);
		snprintf(name, sizeof name, "LibriSpeech/train-clean-5/%d/%d/%d-%d-%04zu.flac", speaker, chapter, speaker,
			chapter, i);
		bool written = write_member(archive, name, file->bytes, file->size);
		if (written && (i % CHAPTER_FILES == CHAPTER_FILES - 1 || i == b->count - 1))
			written = write_transcripts(archive, speaker, i);
		if (!written)
			return d2v_fail(err, D2V_IO, "%s: %s", b->archive, archive_error_string(archive));
		D2V_TRY(d2v_file_replace(file_name(b, speaker, i, name), file->bytes, file->size, err));
	}
	return D2V_OK;
}

static d2v_status write_corpus(const bench *b, d2v_error *err) {
	char files[700];
	struct archive *archive = archive_write_new();
	snprintf(files, sizeof files, "%s/files", b->folder);
	d2v_status status = d2v_file_make_directories(files, err);
	archive_write_set_format_ustar(archive);
	archive_write_open_filename(archive, b->archive);
	for (int speaker = 1; status == D2V_OK && speaker <= COPIES; speaker++)
		status = write_copy(b, archive, speaker, err);
	if (archive_write_close(archive) != ARCHIVE_OK && status == D2V_OK)
		status = d2v_fail(err, D2V_IO, "%s: %s", b->archive, archive_error_string(archive));
	archive_write_free(archive);
	return status;
}

static d2v_status make_corpus(bench *b, d2v_error *err) {
	const char *shared = getenv("D2V_SHARED");
	char path[1024];
	snprintf(path, sizeof path, "%s/" REAL_ARCHIVE, shared ? shared : "");
	bool real = shared && d2v_file_exists(path);
	D2V_TRY(real ? read_archive(b, path, err) : make_files(b, err));
	printf("%zu files of %s speech, %d times\n", b->count, real ? "real" : "synthetic", COPIES);
	return write_corpus(b, err);
}

// ---- the limit: libsndfile and nothing else

typedef struct share { // of the files: every second speaker
	const bench *b;
	int first, step;
	double seconds; // of speech
	bool failed;
} share;

static void *decode(void *context) {
	share *part = context;
	int16_t *samples = malloc(40 * RATE * sizeof *samples);
	for (int speaker = 1 + part->first; samples && speaker <= COPIES; speaker += part->step)
		for (size_t i = 0; i < part->b->count; i++) {
			char name[700];
			SF_INFO info = { 0 };
			SNDFILE *sound = sf_open(file_name(part->b, speaker, i, name), SFM_READ, &info);
			if (!sound || info.channels != 1 || info.frames > 40 * RATE) {
				part->failed = true;
				break;
			}
			part->seconds += (double)sf_readf_short(sound, samples, info.frames) / info.samplerate;
			sf_close(sound);
		}
	part->failed |= !samples;
	free(samples);
	return NULL;
}

static d2v_status measure_limit(bench *b, int threads, timing *best, d2v_error *err) {
	share parts[2] = { { .b = b, .step = threads }, { .b = b, .first = 1, .step = threads } };
	pthread_t other;
	timing start = now();
	if (threads == 2 && pthread_create(&other, NULL, decode, &parts[1]) != 0)
		return d2v_fail(err, D2V_NO_MEMORY, "no thread could be started");
	decode(&parts[0]);
	if (threads == 2)
		pthread_join(other, NULL);
	keep_best(best, &start);
	b->seconds = parts[0].seconds + (threads == 2 ? parts[1].seconds : 0);
	if (parts[0].failed || parts[1].failed)
		return d2v_fail(err, D2V_CORRUPT, "a file of the corpus is not mono, or longer than 40 s");
	return D2V_OK;
}

// ---- the ingest

static d2v_status measure_ingest(const bench *b, int jobs, timing *best, d2v_error *err) {
	d2v_ingest_source source = { .where = b->archive };
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	d2v_ingest_result result;
	options.out = b->out;
	options.layout = &d2v_layout_librispeech;
	options.sources = &source;
	options.source_count = 1;
	options.jobs = jobs;
	options.quiet = true;
	timing start = now();
	D2V_TRY(d2v_ingest_run(&options, &result, err));
	keep_best(best, &start);
	if (result.records != b->count * COPIES)
		return d2v_fail(err, D2V_CORRUPT, "%llu records of %zu", (unsigned long long)result.records, b->count * COPIES);
	return d2v_file_remove_tree(b->out, err);
}

static void report(const char *what, const timing *t, double speech) {
	printf("ingest, %-9s  %6.0f x real time per core, %.0f by the clock; %.0f %% of the processor time in the kernel\n",
		what, speech / cpu(t), speech / t->wall, 100 * t->kernel / cpu(t));
}

static d2v_status run(bench *b, d2v_error *err) {
	timing limit = { INFINITY, 0, INFINITY }, limit_two = limit, first = limit, one = limit, two = limit;
	D2V_TRY(make_corpus(b, err));
	for (int i = 0; i < ROUNDS; i++) {
		D2V_TRY(measure_limit(b, 1, &limit, err));
		D2V_TRY(measure_limit(b, 2, &limit_two, err));
		D2V_TRY(measure_ingest(b, 2, &first, err));
		D2V_TRY(measure_ingest(b, 1, &one, err));
		D2V_TRY(measure_ingest(b, 2, &two, err));
	}
	double speech = b->seconds, per_core = cpu(&limit) / cpu(&one), gain = one.wall / two.wall;
	printf("libsndfile alone   %6.0f x real time on one core; two threads are %.2f times as fast as one\n",
		speech / cpu(&limit), limit.wall / limit_two.wall);
	report("one job", &one, speech);
	report("two jobs", &two, speech);
	printf("per core %.2f of libsndfile (%g wanted; %.2f without the kernel's part), two jobs %.2f times one (%g "
		   "wanted)\n",
		per_core, TARGET_CORE, limit.user / one.user, gain, TARGET_TWO);
	printf("{\"bench\":\"ingest\",\"limit_real_time\":%.6g,\"ratio_per_core\":%.4g,\"target_per_core\":%g,"
		   "\"ratio_without_kernel\":%.4g,\"two_jobs\":%.4g,\"target_two_jobs\":%g}\n",
		speech / cpu(&limit), per_core, TARGET_CORE, limit.user / one.user, gain, TARGET_TWO);
	return D2V_OK;
}

static d2v_status run_in(void *context, const char *folder, d2v_error *err) {
	bench *b = context;
	snprintf(b->folder, sizeof b->folder, "%s", folder);
	snprintf(b->archive, sizeof b->archive, "%s/speech.tar", folder);
	snprintf(b->out, sizeof b->out, "%s/out", folder);
	d2v_status status = run(b, err);
	for (size_t i = 0; i < b->count; i++)
		d2v_free(b->files[i].bytes);
	return status;
}

int main(void) {
	static bench b;
	d2v_memory_keep_freed(); // as d2v-ingest does
	return work_in_folder("bench_ingest", run_in, &b);
}
