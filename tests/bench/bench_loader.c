// The loader from page cache at the settings of the published base recipe, as seconds of speech per second of processor
// time.
//
// The limit it is held against is 20,000 x real time per core; the rate at which this machine copies memory is measured
// beside it, since the loader does little but copy, sum up and hash. "first" is a pass in which every record's digest
// is checked, "steady" are the passes after it. Results are lines for people on stderr and one JSON line on stdout.
#include "base/memory.h"
#include "base/progress.h"
#include "loaders/bench.h"
#include "loaders/speech_source.h"
#include "tests/bench/work_folder.h"
#include "tests/loaders/speech_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET 20000.0
#define COPY_BYTES ((size_t)64 << 20)
#define BYTES_PER_SECOND_OF_SPEECH 32000.0

static double copy_rate(d2v_error *err) {
	char *from = NULL, *to = NULL;
	double best = 0;
	if (d2v_alloc_zero(&from, COPY_BYTES, 1, err) == D2V_OK && d2v_alloc_zero(&to, COPY_BYTES, 1, err) == D2V_OK)
		for (int i = 0; i < 8; i++) {
			double start = d2v_clock();
			memset(from, i, COPY_BYTES);
			start = d2v_clock();
			memcpy(to, from, COPY_BYTES);
			__asm__ volatile("" ::"r"(to) : "memory");
			double rate = (double)COPY_BYTES / (d2v_clock() - start);
			best = rate > best ? rate : best;
		}
	d2v_free(from);
	d2v_free(to);
	return best;
}

static d2v_status run(
	const char *folder, int threads, uint64_t skip_epochs, uint64_t epochs, d2v_bench_result *result, d2v_error *err) {
	d2v_speech_options loader;
	d2v_speech_options_init(&loader);
	loader.common.data = folder;
	loader.common.threads = threads;
	d2v_source *source;
	D2V_TRY(d2v_speech_source_open(&source, &loader, err));
	uint64_t steps = d2v_source_epoch_steps(source, 1);
	d2v_bench_options options = { .threads = threads, .skip = skip_epochs * steps, .batches = epochs * steps };
	d2v_status status = d2v_bench_run(source, &options, result, err);
	d2v_source_close(source);
	return status;
}

static void report(const char *what, const d2v_bench_result *result) {
	fprintf(stderr, "-- %s\n", what);
	d2v_bench_print(result, stderr);
}

static d2v_status measure(void *context, const char *folder, d2v_error *err) {
	(void)context;
	d2v_bench_result first, steady, two;
	speech_data data = { .folder = folder,
		.seed = 1,
		.utterances = 480,
		.shards = 2,
		.shortest = 32000,
		.longest = 272000, // LibriSpeech: 12.3 s on average, most below 17 s
		.codec = D2V_CODEC_PCM16 };
	double copy = copy_rate(err);
	D2V_TRY(speech_data_make(&data, err));
	D2V_TRY(run(folder, 1, 0, 1, &first, err));
	D2V_TRY(run(folder, 1, 1, 40, &steady, err));
	D2V_TRY(run(folder, 2, 1, 40, &two, err));
	report("first pass, every record's digest checked, 1 thread", &first);
	report("after that, 1 thread", &steady);
	report("after that, 2 threads", &two);
	double rate = d2v_bench_real_time_per_core(&steady), rate_first = d2v_bench_real_time_per_core(&first);
	printf("{\"bench\": \"loader\", \"real_time_per_core\": %.0f, \"target\": %.0f, \"ratio\": %.3f, "
		   "\"first_pass_real_time_per_core\": %.0f, \"first_pass_ratio\": %.3f, "
		   "\"two_threads_real_time\": %.0f, \"memcpy_bytes_per_second\": %.3e, \"share_of_memcpy\": %.3f}\n",
		rate, TARGET, rate / TARGET, rate_first, rate_first / TARGET, d2v_bench_real_time(&two), copy,
		rate * BYTES_PER_SECOND_OF_SPEECH / copy);
	return D2V_OK;
}

int main(void) {
	return work_in_folder("bench_loader", measure, NULL);
}
