// OpenWebText into shards, against what xz takes to unpack the same archive, outer and inner, with as many threads.
//
// The limit reads the outer archive under a lock and unpacks the inner ones outside of it, as the ingest does, and
// drops the text. What an ingest costs beyond that is cutting, encoding, and writing; as long as it is less than the
// limit itself, xz decides how fast OpenWebText comes in. Limit and ingests take turns, so that all see the same
// machine, and the best of each counts. Needs D2V_SHARED: the small OpenWebText and GPT-2's vocabulary.
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/ingest.h"
#include "ingest/tokenizer.h"
#include "tests/bench/work_folder.h"

#include <archive.h>
#include <archive_entry.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPIES 6
#define ROUNDS 3
#define BLOCK ((size_t)1 << 18)

typedef struct timing {
	double cpu, wall; // seconds, the best seen
} timing;

typedef struct bench {
	char folder[512], archive[600], out[600], source[1024], bpe[1024];
	d2v_tokenizer *tokenizer;
	double text; // bytes of documents in the archive
	pthread_mutex_t reading;
	struct archive *outer; // guarded by it
	bool failed;
} bench;

static double cpu_clock(void) {
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void keep_best(timing *best, double cpu, double wall) {
	best->cpu = fmin(best->cpu, cpu);
	best->wall = fmin(best->wall, wall);
}

static struct archive *open_outer(const char *path) {
	struct archive *archive = archive_read_new();
	archive_read_support_filter_xz(archive);
	archive_read_support_format_tar(archive);
	if (archive_read_open_filename(archive, path, BLOCK) == ARCHIVE_OK)
		return archive;
	archive_read_free(archive);
	return NULL;
}

// The next file of the outer archive, in memory; NULL: no more.
static void *next_file(struct archive *outer, size_t *size, char name[256]) {
	struct archive_entry *entry;
	while (archive_read_next_header(outer, &entry) == ARCHIVE_OK) {
		if (archive_entry_filetype(entry) != AE_IFREG)
			continue;
		void *bytes = malloc((size_t)archive_entry_size(entry) + 1);
		la_ssize_t got = bytes ? archive_read_data(outer, bytes, (size_t)archive_entry_size(entry)) : -1;
		*size = got > 0 ? (size_t)got : 0;
		snprintf(name, 256, "%s", archive_entry_pathname(entry));
		return bytes;
	}
	return NULL;
}

// ---- the corpus: the small archive's inner ones, several times under other names

static bool write_copy(struct archive *to, const char *name, int copy, const void *bytes, size_t size) {
	char path[300];
	const char *ending = strstr(name, "_data.xz");
	snprintf(path, sizeof path, "%.*s%d_data.xz", (int)(ending ? ending - name : 0), name, copy);
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, path);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	bool good =
		archive_write_header(to, entry) == ARCHIVE_OK && archive_write_data(to, bytes, size) == (la_ssize_t)size;
	archive_entry_free(entry);
	return good;
}

static d2v_status make_corpus(bench *b, d2v_error *err) {
	struct archive *to = archive_write_new();
	archive_write_add_filter_xz(to);
	archive_write_set_filter_option(to, "xz", "compression-level", "0");
	archive_write_set_format_ustar(to);
	bool good = archive_write_open_filename(to, b->archive) == ARCHIVE_OK;
	for (int copy = 0; good && copy < COPIES; copy++) {
		struct archive *from = open_outer(b->source);
		char name[256];
		size_t size;
		void *bytes;
		good = from != NULL;
		while (good && (bytes = next_file(from, &size, name))) {
			good = write_copy(to, name, copy, bytes, size);
			free(bytes);
		}
		if (from)
			archive_read_free(from);
	}
	good = archive_write_close(to) == ARCHIVE_OK && good;
	d2v_status status = good ? D2V_OK : d2v_fail(err, D2V_IO, "%s: %s", b->archive, archive_error_string(to));
	archive_write_free(to);
	return status;
}

// ---- the limit

static bool unpack(const void *bytes, size_t size) {
	struct archive *inner = archive_read_new();
	struct archive_entry *entry;
	archive_read_support_filter_xz(inner);
	archive_read_support_format_tar(inner);
	bool good = archive_read_open_memory(inner, bytes, size) == ARCHIVE_OK;
	const void *block;
	size_t got;
	la_int64_t offset;
	while (good && archive_read_next_header(inner, &entry) == ARCHIVE_OK)
		while (archive_read_data_block(inner, &block, &got, &offset) == ARCHIVE_OK)
			;
	archive_read_free(inner);
	return good;
}

static void *unpack_turns(void *context) {
	bench *b = context;
	char name[256];
	size_t size;
	for (;;) {
		pthread_mutex_lock(&b->reading);
		void *bytes = next_file(b->outer, &size, name);
		pthread_mutex_unlock(&b->reading);
		if (!bytes)
			return NULL;
		if (!unpack(bytes, size))
			b->failed = true;
		free(bytes);
	}
}

static d2v_status measure_limit(bench *b, int jobs, timing *best, d2v_error *err) {
	pthread_t threads[8];
	double cpu = cpu_clock(), wall = d2v_clock();
	b->outer = open_outer(b->archive);
	if (!b->outer)
		return d2v_fail(err, D2V_IO, "%s: cannot be opened", b->archive);
	for (int i = 0; i < jobs; i++)
		if (pthread_create(&threads[i], NULL, unpack_turns, b))
			return d2v_fail(err, D2V_NO_MEMORY, "no thread");
	for (int i = 0; i < jobs; i++)
		pthread_join(threads[i], NULL);
	archive_read_free(b->outer);
	keep_best(best, cpu_clock() - cpu, d2v_clock() - wall);
	return b->failed ? d2v_fail(err, D2V_CORRUPT, "an inner archive cannot be read") : D2V_OK;
}

// ---- the ingest

static d2v_status measure_ingest(bench *b, int jobs, timing *best, d2v_error *err) {
	d2v_ingest_source source = { .where = b->archive };
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	d2v_ingest_result result;
	options.out = b->out;
	options.layout = &d2v_layout_openwebtext;
	options.places.texts = false;
	options.tokenizer = b->tokenizer;
	options.store = d2v_tokenizer_codec(b->tokenizer);
	options.sources = &source;
	options.source_count = 1;
	options.jobs = jobs;
	options.quiet = true;
	double cpu = cpu_clock(), wall = d2v_clock();
	D2V_TRY(d2v_ingest_run(&options, &result, err));
	keep_best(best, cpu_clock() - cpu, d2v_clock() - wall);
	b->text = (double)result.new_text_bytes;
	return d2v_file_remove_tree(b->out, err);
}

static void print(const bench *b, int jobs, const timing *limit, const timing *ingest) {
	double rest = ingest->cpu - limit->cpu;
	printf(
		"%d job%s: xz alone %5.0f MB/s of text per core, the rest of the ingest %5.0f (%.2f times as fast; 1 wanted)\n",
		jobs, jobs > 1 ? "s" : " ", b->text / limit->cpu / 1e6, b->text / rest / 1e6, limit->cpu / rest);
	printf("        ingest %5.0f MB/s by the clock: %.2f of xz alone\n", b->text / ingest->wall / 1e6,
		limit->wall / ingest->wall);
	printf("{\"bench\":\"text_ingest\",\"jobs\":%d,\"rest_over_xz\":%.4g,\"target_rest_over_xz\":1,\"ratio_cpu\":%.4g,"
		   "\"ratio_clock\":%.4g}\n",
		jobs, limit->cpu / rest, limit->cpu / ingest->cpu, limit->wall / ingest->wall);
}

static d2v_status run(bench *b, d2v_error *err) {
	timing limit[2], ingest[2];
	D2V_TRY(d2v_tokenizer_open(&b->tokenizer, b->bpe, "", NULL, b->out, &(d2v_download_options){ 0 }, err));
	D2V_TRY(make_corpus(b, err));
	for (int i = 0; i < 2; i++)
		limit[i] = ingest[i] = (timing){ INFINITY, INFINITY };
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < 2; i++) {
			D2V_TRY(measure_limit(b, i + 1, &limit[i], err));
			D2V_TRY(measure_ingest(b, i + 1, &ingest[i], err));
		}
	printf("%.1f MB of text in %d times the small OpenWebText\n", b->text / 1e6, COPIES);
	for (int i = 0; i < 2; i++)
		print(b, i + 1, &limit[i], &ingest[i]);
	printf("        two jobs are %.2f times one\n", ingest[0].wall / ingest[1].wall);
	return D2V_OK;
}

static d2v_status run_in(void *context, const char *folder, d2v_error *err) {
	bench *b = context;
	snprintf(b->folder, sizeof b->folder, "%s", folder);
	snprintf(b->archive, sizeof b->archive, "%s/openwebtext.tar.xz", folder);
	snprintf(b->out, sizeof b->out, "%s/out", folder);
	d2v_status status = run(b, err);
	d2v_tokenizer_close(b->tokenizer);
	return status;
}

int main(void) {
	static bench b = { .reading = PTHREAD_MUTEX_INITIALIZER };
	const char *shared = getenv("D2V_SHARED");
	snprintf(b.source, sizeof b.source, "%s/data/openwebtext/openwebtext.tar.xz", shared ? shared : "");
	snprintf(b.bpe, sizeof b.bpe, "%s/data/gpt2", shared ? shared : "");
	if (!shared || !d2v_file_exists(b.source)) {
		printf("skipped: D2V_SHARED has no OpenWebText\n");
		return 0;
	}
	return work_in_folder("bench_text", run_in, &b);
}
