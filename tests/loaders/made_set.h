// Writes a data set of made-up records: one split, "train", cut into shards of about as many records each. What a
// record is, and what its modality adds to the manifest, is the caller's.
#ifndef D2V_TESTS_LOADERS_MADE_SET_H
#define D2V_TESTS_LOADERS_MADE_SET_H

#include "shards/manifest.h"
#include "shards/shard_writer.h"

typedef struct made_set {
	const char *folder; // made when absent
	d2v_modality modality;
	uint32_t records, shards;
	// Appends record `number`; asked for 0, 1, ... in turn.
	d2v_status (*append)(const void *data, d2v_shard_writer *writer, uint32_t number, d2v_error *err);
	// Sets what the manifest says besides; the folder is there, the shards are not yet. NULL: nothing.
	d2v_status (*describe)(const void *data, d2v_manifest *manifest, d2v_error *err);
	const void *data; // handed to both
} made_set;

d2v_status made_set_write(const made_set *set, d2v_error *err);

#endif
