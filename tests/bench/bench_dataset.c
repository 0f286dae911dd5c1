// Opening a large data set of pictures, and reading records that no cache holds.
//
// Opening: a data set of 1.3 million small pictures, made by repetition (one shard under many names), is opened and its
// first batch taken; the target is 100 ms of wall time on a machine that does nothing else. Reading: records of 110 KB
// in the order of an epoch, with the loader's look-ahead, after the page cache was told to forget the file; as a share
// of the rate of reading the same file from front to back, likewise forgotten. Results are lines for people on stderr
// and one JSON line on stdout.
#include "base/memory.h"
#include "base/progress.h"
#include "loaders/image_source.h"
#include "tests/bench/work_folder.h"
#include "tests/loaders/image_data.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_TARGET 0.100
#define COLD_TARGET 0.60
#define COPIES 130u
#define PER_SHARD 10000u
#define RECORD_BYTES 110000u
#define RECORDS 4000u
#define AHEAD 64 // as loaders/image_filler.c
#define ROUNDS 5

// ---- opening

// The first shard of `data` under many names, and a manifest that lists them all.
static d2v_status repeat_shard(const image_data *data, d2v_error *err) {
	d2v_manifest once, many;
	d2v_manifest_split *split;
	char from[1024], to[1024], name[32];
	D2V_TRY(d2v_manifest_load(&once, data->folder, err));
	d2v_manifest_init(&many, D2V_IMAGE);
	D2V_TRY(d2v_manifest_add_split(&many, "train", &split, err));
	snprintf(from, sizeof from, "%s/train/00000.mdb", data->folder);
	for (unsigned i = 0; i < COPIES; i++) {
		snprintf(name, sizeof name, "train/%05u.mdb", i);
		snprintf(to, sizeof to, "%s/%s", data->folder, name);
		if (i && link(from, to) < 0)
			return d2v_fail_errno(err, "%s: cannot be linked", to);
		D2V_TRY(d2v_manifest_add_shard(split, name, &once.splits[0].shards[0].facts, err));
	}
	for (size_t i = 0; i < once.class_count; i++)
		D2V_TRY(d2v_manifest_add_class(&many, once.classes[i].name, NULL, err));
	D2V_TRY(d2v_manifest_stats(&many, split, data->folder, err));
	D2V_TRY(d2v_manifest_save(&many, data->folder, err));
	d2v_manifest_release(&once);
	d2v_manifest_release(&many);
	return D2V_OK;
}

static d2v_status first_batch(const char *folder, double *opening, double *batch_ready, d2v_error *err) {
	d2v_image_options options;
	d2v_source *source;
	const d2v_batch *batch;
	d2v_image_options_init(&options);
	options.common.data = folder;
	options.size = 32;
	options.patch_size = 4;
	double start = d2v_clock();
	D2V_TRY(d2v_image_source_open(&source, &options, err));
	*opening = d2v_clock() - start;
	d2v_status status = d2v_source_next(source, &batch, err);
	*batch_ready = d2v_clock() - start;
	if (status == D2V_OK)
		d2v_source_give(source, batch);
	d2v_source_close(source);
	return status;
}

static d2v_status measure_opening(const char *folder, double *best, d2v_error *err) {
	image_data data = { .folder = folder,
		.seed = 1,
		.pictures = PER_SHARD,
		.shards = 1,
		.smallest = 32,
		.largest = 32,
		.codec = D2V_CODEC_RGB8 };
	double opening = 0, ready = 0, best_opening = 0;
	D2V_TRY(image_data_make(&data, err));
	D2V_TRY(repeat_shard(&data, err));
	*best = 1e9;
	for (int i = 0; i < ROUNDS; i++) {
		D2V_TRY(first_batch(folder, &opening, &ready, err));
		if (ready < *best)
			*best = ready, best_opening = opening;
	}
	fprintf(stderr, "opening        %u records: %.1f ms to open, first batch after %.1f ms (target %.0f ms)\n",
		COPIES * PER_SHARD, 1e3 * best_opening, 1e3 * *best, 1e3 * OPEN_TARGET);
	return D2V_OK;
}

// ---- cold reading

static d2v_status forget(const char *path, d2v_error *err) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", path);
	fsync(fd);
	int failed = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return failed ? d2v_fail(err, D2V_IO, "%s: the page cache keeps it", path) : D2V_OK;
}

static d2v_status sequential_rate(const char *path, double *rate, d2v_error *err) {
	enum { PIECE = 1 << 20 };
	static char piece[PIECE];
	D2V_TRY(forget(path, err));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", path);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	double start = d2v_clock(), bytes = 0;
	for (ssize_t got; (got = read(fd, piece, PIECE)) > 0;)
		bytes += (double)got;
	*rate = bytes / (d2v_clock() - start);
	close(fd);
	return D2V_OK;
}

static d2v_status random_rate(const char *folder, const char *path, int ahead, double *rate, d2v_error *err) {
	d2v_dataset *dataset;
	d2v_dataset_view *view;
	d2v_record record;
	double bytes = 0;
	D2V_TRY(forget(path, err));
	D2V_TRY(d2v_dataset_open(&dataset, folder, NULL, err));
	D2V_TRY(d2v_dataset_view_new(&view, dataset, err));
	d2v_random_key key = d2v_random_key_make(1, D2V_RANDOM_ORDER, 1, 0);
	double start = d2v_clock();
	for (uint64_t i = 0; i < RECORDS + (uint64_t)ahead; i++) {
		if (i < RECORDS)
			d2v_dataset_will_need(view, d2v_random_permute(key, RECORDS, i));
		if (i < (uint64_t)ahead)
			continue;
		D2V_TRY(d2v_dataset_read(view, d2v_random_permute(key, RECORDS, i - (uint64_t)ahead), &record, err));
		bytes += (double)record.payload_size;
	}
	*rate = bytes / (d2v_clock() - start);
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
	return D2V_OK;
}

static d2v_status measure_reading(const char *folder, double *share, d2v_error *err) {
	char path[1024];
	image_data data = { .folder = folder,
		.seed = 2,
		.pictures = RECORDS,
		.shards = 1,
		.smallest = 191, // 191 x 191 x 3 = 109,443 bytes
		.largest = 191,
		.codec = D2V_CODEC_RGB8 };
	double sequential = 0, shuffled = 0, rate;
	D2V_TRY(image_data_make(&data, err));
	snprintf(path, sizeof path, "%s/train/00000.mdb", folder);
	for (int i = 0; i < 3; i++) {
		D2V_TRY(sequential_rate(path, &rate, err));
		sequential = rate > sequential ? rate : sequential;
		D2V_TRY(random_rate(folder, path, AHEAD, &rate, err));
		shuffled = rate > shuffled ? rate : shuffled;
	}
	*share = shuffled / sequential;
	fprintf(stderr,
		"cold reading   %u records of %u KB: %.0f MB/s at random, %.0f MB/s from front to back: %.2f (target %.2f)\n",
		RECORDS, RECORD_BYTES / 1000, 1e-6 * shuffled, 1e-6 * sequential, *share, COLD_TARGET);
	return D2V_OK;
}

static d2v_status measure(void *context, const char *folder, d2v_error *err) {
	(void)context;
	char small[600], large[600];
	double ready, share;
	snprintf(small, sizeof small, "%s/small", folder);
	snprintf(large, sizeof large, "%s/large", folder);
	D2V_TRY(measure_opening(small, &ready, err));
	D2V_TRY(measure_reading(large, &share, err));
	printf("{\"bench\": \"dataset\", \"first_batch_seconds\": %.4f, \"target_seconds\": %.3f, \"cold_share\": %.3f, "
		   "\"target_share\": %.2f}\n",
		ready, OPEN_TARGET, share, COLD_TARGET);
	return D2V_OK;
}

int main(void) {
	return work_in_folder("bench_dataset", measure, NULL);
}
