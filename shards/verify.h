// Checking a data set: every record, index row, name, digest and the manifest, at the speed of the disk.
//
// Every byte of every file that the manifest lists is covered by a digest, so any single flipped bit is found. Files are read from
// begin to end with read(2), so a disk that fails is a damage too and not a SIGBUS; records are checked as they come by.
// Threads: one call at a time starts `jobs` threads of its own.
#ifndef D2V_SHARDS_VERIFY_H
#define D2V_SHARDS_VERIFY_H

#include "base/error.h"

#include <stdint.h>

// One damage: file relative to the data set, record (UINT64_MAX: the file as a whole), what is wrong.
typedef void d2v_verify_found(void *context, const char *file, uint64_t record, const char *what);

typedef struct d2v_verify_options {
	int jobs;          // threads, one shard each; 0: 1
	bool decode;       // also decode every payload
	d2v_verify_found *found;
	void *context;     // found is called from one thread at a time
	void (*progress)(void *context, uint64_t bytes, uint64_t total);
} d2v_verify_options;

typedef struct d2v_verify_result {
	uint64_t shards, records, bytes, damages;
} d2v_verify_result;

// A damaged manifest is a damage as well; the shards that lie there are checked without it.
// D2V_OK: all well. D2V_CORRUPT: at least one damage, each reported through `found`; goes on after each as far as it can.
d2v_status d2v_verify_dataset(const char *dataset, const d2v_verify_options *options, d2v_verify_result *result, d2v_error *err);

#endif
