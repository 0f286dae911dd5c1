// Damage on purpose in the records of a data set, and what every source promises about it (loaders/prefetch_options.h).
// A broken promise fails the test.
#ifndef D2V_TESTS_LOADERS_SOURCE_DAMAGE_H
#define D2V_TESTS_LOADERS_SOURCE_DAMAGE_H

#include "tests/loaders/source_promises.h"

// Flips a bit in the middle of these bytes of a record, in the one shard that has them.
void source_damage_flip(const char *folder, uint32_t shards, const void *bytes, size_t size);

// Whether a sample has anything of a damaged record; context is the caller's.
typedef bool source_damage_hits(const void *context, uint64_t id);

// What a source gave until it failed, or until enough was taken.
typedef struct source_taken {
	uint64_t batches, damaged, warnings; // warnings logged meanwhile, opening included
	d2v_status status;
	d2v_error error; // when status is not D2V_OK
} source_taken;
// Opens a source and takes at most `most` batches, no sample of which may be hit (NULL: is looked at); digests: of
// these. What has failed must fail the same way when asked again.
source_taken source_damage_take(
	const source_opener *opener, uint64_t most, uint64_t *digests, source_damage_hits *hits, const void *context);

typedef struct source_damage {
	const char *whole, *broken; // folders of two data sets, which differ by the damage alone
	uint64_t damaged, records;  // damaged ones, all of which take part, and all there are
	source_damage_hits *hits;
	const void *context;
	uint64_t batches; // of an epoch that have damaged records' samples in them, at most
} source_damage;
// By default the first damaged record stops the stream, at the same batch for any number of threads, and is named.
// Those that are allowed are replaced, counted and named once each, and the rest of the stream is untouched; one more
// than allowed stops it.
void source_damage_promises(const source_opener *opener, const source_damage *damage);

#endif
