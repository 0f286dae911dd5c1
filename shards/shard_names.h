// The names of a shard being written: kept in memory, found to be unique, and handed out sorted at the end, so that LMDB gets them in the
// order in which it appends. A shard of 1 GiB has at most a quarter of a million records. Threads: one at a time.
#ifndef D2V_SHARDS_SHARD_NAMES_H
#define D2V_SHARDS_SHARD_NAMES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_shard_name {
	size_t offset; // of its bytes in `bytes`
	uint32_t size;
	uint32_t ordinal;
} d2v_shard_name;

typedef struct d2v_shard_names {
	char *bytes;
	size_t used, bytes_capacity;
	d2v_shard_name *names;
	size_t count, names_capacity;
	uint32_t *slots; // open addressing: ordinal + 1, 0 is free
	size_t slot_count; // a power of two, or 0
} d2v_shard_names;

void d2v_shard_names_init(d2v_shard_names *names);
void d2v_shard_names_release(d2v_shard_names *names);
// The next ordinal's name. D2V_EXISTS when it is there already; nothing has changed when it fails.
d2v_status d2v_shard_names_add(d2v_shard_names *names, const char *name, uint32_t size, d2v_error *err);
void d2v_shard_names_drop_last(d2v_shard_names *names); // when what the name was for could not be written
// Sorted by memcmp, a shorter one first: LMDB's order. Ends the adding.
void d2v_shard_names_sort(d2v_shard_names *names);

#endif
