// What feeding a device from shards costs it: the trainer's own loop over the same batches twice, once from the loader
// at work and once from memory, where they were put before.
//     bench_feed RECIPE [KEY=VALUE...]     as for d2v-train; the environment may say UPDATES, SKIP, TURNS
//
// UPDATES (36) updates' batches are taken from the source that d2v-train would open, and copied. Every run of the
// trainer begins with the same weights at the same batch, so that updates are the same work in all of them: shapes,
// masks, layers left out. One run from memory warms up (plans of shapes); then both take turns, TURNS (3) times. The
// first SKIP (12) updates of a run do not count: the loader begins with them and fills its slots. Nothing is saved; no
// line is written but what the recipe's log_interval asks for.
//
// Of a row: what an update takes on average either way, and by how much that grows; by how much runs of one kind differ
// among themselves, below which a growth means nothing; from shards the share of the time waited for the loader, and
// the processors busy (from memory).
//
// The data set was read once when its batches were copied: files are in the page cache, as far as it holds them.
#include "base/progress.h"
#include "tests/bench/work_folder.h"
#include "tests/gpu/mark.h"
#include "tests/loaders/replayed_source.h"
#include "tools/loader_settings.h"
#include "tools/open_device.h"
#include "tools/open_source.h"
#include "train/recipe.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define TURNS_MAX 16
#define KEYS_MAX 64
#define TEXT_MAX 1200

// What the counted updates of a run took.
typedef struct run_times {
	double seconds;    // of an update, on average
	double waited;     // share of them spent waiting for the source
	double processors; // busy, on average
} run_times;

typedef struct bench {
	char **arguments; // RECIPE KEY=VALUE...
	int count;
	d2v_config config;
	long updates, skip, turns;
	d2v_device *device;
	d2v_source *live, *memory;
	d2v_source_position start;
	uint64_t digest; // of all batches of a run
	run_times from_memory[TURNS_MAX], from_shards[TURNS_MAX];
} bench;

// ---- one run

// The trainer asks after every update whether it is to stop: that is where the clock is looked at.
static struct {
	d2v_source *source;
	long skip, updates, done;
	double clock, processor, waited; // when counting began, then what the counted updates took
} watch;

static double processor_seconds(void) {
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		   1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static bool after_update(void) {
	watch.done++;
	if (watch.done == watch.skip || watch.done == watch.updates) {
		watch.clock = d2v_clock() - watch.clock;
		watch.processor = processor_seconds() - watch.processor;
		watch.waited = d2v_source_statistics(watch.source).waited - watch.waited;
	}
	return false;
}

// All runs were the same work, or there is nothing to compare.
static d2v_status check_work(bench *b, const d2v_loop_state *state, d2v_error *err) {
	if (state->updates != (uint64_t)b->updates)
		return d2v_fail(err, D2V_INVALID,
			"%llu updates were made, not %ld: leave the recipe's other limits as they are",
			(unsigned long long)state->updates, b->updates);
	if (b->digest && state->batch_digest != b->digest)
		return d2v_fail(err, D2V_CORRUPT, "the loader did not give the same batches again");
	b->digest = state->batch_digest;
	return D2V_OK;
}

// From the first batch; the source stands there again afterwards.
static d2v_status run_trainer(bench *b, d2v_source *source, run_times *times, d2v_error *err) {
	d2v_trainer_options options = { .quiet = true, .stop_asked = after_update };
	d2v_trainer *trainer = NULL;
	watch.source = source, watch.skip = b->skip, watch.updates = b->updates;
	watch.done = 0, watch.clock = watch.processor = watch.waited = 0;
	d2v_status status = d2v_trainer_new(&trainer, &b->config, b->device, source, &options, err);
	if (status == D2V_OK)
		status = d2v_trainer_run(trainer, err);
	if (status == D2V_OK)
		status = check_work(b, d2v_trainer_state(trainer), err);
	d2v_trainer_free(trainer);
	D2V_TRY(status);
	*times = (run_times){ .seconds = watch.clock / (double)(b->updates - b->skip),
		.waited = watch.waited / watch.clock,
		.processors = watch.processor / watch.clock };
	return d2v_source_seek(source, &b->start, err);
}

// ---- all runs

static d2v_status take_turns(bench *b, d2v_error *err) {
	run_times warm_up;
	D2V_TRY(run_trainer(b, b->memory, &warm_up, err));
	for (long turn = 0; turn < b->turns; turn++)
		for (long half = 0; half < 2; half++) {
			bool live = (turn + half) % 2; // neither is always the one that follows the other
			D2V_TRY(
				run_trainer(b, live ? b->live : b->memory, live ? &b->from_shards[turn] : &b->from_memory[turn], err));
		}
	return D2V_OK;
}

static run_times mean_of(const run_times *list, long count) {
	run_times mean = { 0 };
	for (long i = 0; i < count; i++) {
		mean.seconds += list[i].seconds / (double)count;
		mean.waited += list[i].waited / (double)count;
		mean.processors += list[i].processors / (double)count;
	}
	return mean;
}

// By how much the slowest run is slower than the fastest: what a difference means less than.
static double spread_of(const run_times *list, long count) {
	double least = INFINITY, most = 0;
	for (long i = 0; i < count; i++)
		least = fmin(least, list[i].seconds), most = fmax(most, list[i].seconds);
	return most / least - 1;
}

static void print(const bench *b) {
	const char *recipe = b->arguments[0];
	run_times memory = mean_of(b->from_memory, b->turns), shards = mean_of(b->from_shards, b->turns);
	double growth = shards.seconds / memory.seconds - 1;
	double spread = fmax(spread_of(b->from_memory, b->turns), spread_of(b->from_shards, b->turns));
	mark slower = { recipe, "% more than from memory", 100 * growth, 2, true };
	mark busy = { recipe, "processors busy", shards.processors, 4, true };
	printf("%-12s %9.2f ms from memory, %9.2f from shards: %+.2f %% (of one kind up to %.2f %%)%s; ", recipe,
		memory.seconds * 1e3, shards.seconds * 1e3, 100 * growth, 100 * spread, mark_text(&slower));
	printf("%.2f %% waiting, %.1f processors busy (%.1f)%s\n", 100 * shards.waited, shards.processors,
		memory.processors, mark_text(&busy));
	printf("{\"bench\":\"feed\",\"recipe\":\"%s\",\"device\":\"%s\",\"from_memory\":%.6g,\"from_shards\":%.6g,"
		   "\"growth\":%.4g,"
		   "\"spread\":%.4g,\"waited\":%.4g,\"processors\":%.4g,\"processors_from_memory\":%.4g,\"runs\":%ld,"
		   "\"updates\":%ld}\n",
		recipe, d2v_device_name(b->device), memory.seconds, shards.seconds, growth, spread, shards.waited,
		shards.processors, memory.processors, b->turns, b->updates - b->skip);
	mark_print_json(&slower);
	mark_print_json(&busy);
}

// ---- opening

static d2v_status number_of(const char *name, long usual, long least, long most, long *value, d2v_error *err) {
	const char *text = getenv(name);
	char *end;
	*value = usual;
	if (!text || !*text)
		return D2V_OK;
	*value = strtol(text, &end, 10);
	if (*end || *value < least || *value > most)
		return d2v_fail(err, D2V_INVALID, "%s=%s: a number from %ld to %ld", name, text, least, most);
	return D2V_OK;
}

static d2v_status numbers(bench *b, d2v_error *err) {
	D2V_TRY(number_of("UPDATES", 36, 2, 100000, &b->updates, err));
	D2V_TRY(number_of("SKIP", b->updates / 3, 1, b->updates - 1, &b->skip, err));
	return number_of("TURNS", 3, 1, TURNS_MAX, &b->turns, err);
}

// What was given, and behind it what makes a benchmark of a run.
static d2v_status load(bench *b, const char *folder, d2v_error *err) {
	char updates[64], save_dir[TEXT_MAX];
	const char *own[] = { updates, save_dir, "checkpoint.no_save=true", "lr_scheduler.warmup_updates=0",
		"d2v.probe_interval=0" };
	const char *keys[KEYS_MAX];
	int given = b->count - 1, more = (int)(sizeof own / sizeof *own);
	if (given < 0 || given > KEYS_MAX - more)
		return d2v_fail(err, D2V_INVALID, "usage: bench_feed RECIPE [KEY=VALUE...]");
	snprintf(updates, sizeof updates, "optimization.max_update=%ld", b->updates);
	snprintf(save_dir, sizeof save_dir, "checkpoint.save_dir=%s", folder);
	for (int i = 0; i < given + more; i++)
		keys[i] = i < given ? b->arguments[1 + i] : own[i - given];
	return d2v_recipe_load(&b->config, b->arguments[0], keys, given + more, err);
}

static d2v_status open_sources(bench *b, d2v_error *err) {
	D2V_TRY(d2v_open_device(&b->device, b->config.own.device, b->config.own.threads, err));
	D2V_TRY(d2v_open_source(&b->live, &b->config, b->device, err));
	b->start = d2v_source_tell(b->live);
	d2v_source_allocator memory = d2v_loader_memory(b->device);
	size_t batches = (size_t)b->updates * (size_t)d2v_config_batches_per_update(&b->config, 1);
	D2V_TRY(replayed_source_open(&b->memory, b->live, batches, &memory, err));
	return d2v_source_seek(b->live, &b->start, err);
}

static d2v_status measure(void *context, const char *folder, d2v_error *err) {
	bench *b = context;
	D2V_TRY(numbers(b, err));
	D2V_TRY(load(b, folder, err));
	D2V_TRY(open_sources(b, err));
	D2V_TRY(take_turns(b, err));
	print(b);
	return D2V_OK;
}

int main(int argc, char **argv) {
	static bench b;
	b.arguments = argv + 1, b.count = argc - 1;
	int code = work_in_folder("bench_feed", measure, &b);
	d2v_source_close(b.memory);
	d2v_source_close(b.live);
	d2v_device_close(b.device);
	return code;
}
