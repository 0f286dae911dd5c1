// The loader that `d2v-shard bench` drives: the one for what a data set holds, with the settings of the published base
// recipe of that modality wherever nothing else is given.
#ifndef D2V_TOOLS_SHARD_BENCH_SOURCE_H
#define D2V_TOOLS_SHARD_BENCH_SOURCE_H

#include "loaders/source.h"

#define SHARD_BENCH_PUBLISHED (-10) // not given: as the recipe has it

typedef struct shard_bench_settings {
	const char *split; // NULL: the only one, or train
	int64_t threads, slots, seed, world_size, rank, max_damaged;
	// SHARD_BENCH_PUBLISHED, or given:
	int64_t batch_size, clones, mask_length;
	double mask_prob, mask_prob_adjust;
	int64_t max_tokens;                       // speech and text alone
	int64_t min_sample_size, max_sample_size; // speech alone
	int64_t input_size, patch_size;           // pictures alone
	int64_t tokens_per_sample;                // text alone
} shard_bench_settings;

#define SHARD_BENCH_AS_PUBLISHED \
	{ \
		.threads = 1, .seed = 1, .world_size = 1, .batch_size = SHARD_BENCH_PUBLISHED, \
		.clones = SHARD_BENCH_PUBLISHED, .mask_length = SHARD_BENCH_PUBLISHED, .mask_prob = SHARD_BENCH_PUBLISHED, \
		.mask_prob_adjust = SHARD_BENCH_PUBLISHED, .max_tokens = SHARD_BENCH_PUBLISHED, \
		.min_sample_size = SHARD_BENCH_PUBLISHED, .max_sample_size = SHARD_BENCH_PUBLISHED, \
		.input_size = SHARD_BENCH_PUBLISHED, .patch_size = SHARD_BENCH_PUBLISHED, \
		.tokens_per_sample = SHARD_BENCH_PUBLISHED \
	}

// D2V_INVALID when a setting is given that this kind of data does not have. Closed by the caller.
d2v_status shard_bench_open(
	d2v_source **source, const char *data, const shard_bench_settings *settings, d2v_error *err);

#endif
