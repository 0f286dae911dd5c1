// Driving a loader without a trainer: how fast it is, where its time goes, and the digest of what it hands out. Speech
// is counted in hours, pictures by the piece, text in tokens.
#ifndef D2V_LOADERS_BENCH_H
#define D2V_LOADERS_BENCH_H

#include "loaders/source.h"

#include <jansson.h>
#include <stdio.h>

typedef struct d2v_bench_options {
	int threads;      // of the loader, to be reported
	uint64_t batches; // to take; 0: an epoch of this rank
	uint64_t skip;    // batches taken before the clock starts (page cache, first digests); the digest is over all
	// Called after each batch, may be NULL: batches so far and in all. Returning false ends the run early.
	bool (*progress)(void *context, uint64_t batches, uint64_t total);
	void *context;
} d2v_bench_options;

typedef struct d2v_bench_result {
	d2v_modality modality;                     // of the batches; 0 when there was none
	uint64_t batches, samples, bytes, damaged; // while the clock ran; damaged: from the start
	uint64_t tokens;                           // of text, handed out while the clock ran, <s> included and <pad> not
	uint64_t epoch_batches;
	double seconds, cpu_seconds; // cpu_seconds: of the whole process, all threads
	double audio_seconds;        // handed out
	double waited;               // by the consumer
	double padding;              // share of what was read and then cropped away
	uint64_t peak_rss;           // bytes, of the process, what it saw of the mapped shards included
	uint64_t own_memory;         // bytes at the end without those; 0: not known here
	uint64_t digest;             // chain of the batches' digests
	int threads;
	const char *stage_name[D2V_SOURCE_STAGES];
	double stage_seconds[D2V_SOURCE_STAGES];
} d2v_bench_result;

// From where the source stands; it stays the caller's.
d2v_status d2v_bench_run(
	d2v_source *source, const d2v_bench_options *options, d2v_bench_result *result, d2v_error *err);
// Seconds of audio handed out per second of wall time, and per second of processor time.
double d2v_bench_real_time(const d2v_bench_result *result);
double d2v_bench_real_time_per_core(const d2v_bench_result *result);
d2v_status d2v_bench_json(const d2v_bench_result *result, json_t **object, d2v_error *err); // owned by the caller
void d2v_bench_print(const d2v_bench_result *result, FILE *out);

#endif
