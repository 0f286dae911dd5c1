// Checking one shard: the half of verify that knows what a shard is made of.
#ifndef D2V_SHARDS_VERIFY_SHARD_H
#define D2V_SHARDS_VERIFY_SHARD_H

#include "shards/shard_reader.h"

// Where a check says what it found and how far it is. Called from the thread that checks.
typedef struct d2v_verify_sink {
	void (*found)(void *context, uint64_t record, const char *what); // record UINT64_MAX: the file as a whole
	void (*progress)(void *context, uint64_t bytes, uint64_t records); // since the last call
	void *context;
} d2v_verify_sink;

// expected: what the manifest says, or NULL. D2V_OK: checked to its end, whatever was found; anything else stopped the check
// for a reason that is no damage (no memory).
d2v_status d2v_verify_shard(
	const char *path, const d2v_shard_facts *expected, bool decode, const d2v_verify_sink *sink, d2v_error *err);

#endif
