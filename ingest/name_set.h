// Which names were met, as 64-bit digests: to find duplicates in a source of any order without keeping the names.
// Threads: one at a time.
#ifndef D2V_INGEST_NAME_SET_H
#define D2V_INGEST_NAME_SET_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_name_set {
	uint64_t *keys; // open addressing; 0 is free
	size_t capacity, count;
	size_t max; // names that are too many
} d2v_name_set;

void d2v_name_set_init(d2v_name_set *set, size_t max);
void d2v_name_set_release(d2v_name_set *set);
// *added false: it was there. D2V_UNSAFE past the bound.
d2v_status d2v_name_set_add(d2v_name_set *set, const char *split, const char *name, bool *added, d2v_error *err);
// The set as a file, published whole.
d2v_status d2v_name_set_save(const d2v_name_set *set, const char *path, d2v_error *err);
d2v_status d2v_name_set_load(d2v_name_set *set, const char *path, d2v_error *err);

#endif
