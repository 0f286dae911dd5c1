// Writing one shard: an LMDB file (MDB_NOSUBDIR) built under a temporary name, synced, renamed.
//
// Records are appended in order (ordinals 0, 1, ...) with MDB_APPEND and MDB_RESERVE under NOSYNC; names must be unique within the
// shard. commit writes index, names, meta, syncs, renames, syncs the folder. The same records give the same bytes: unused pages and page tails
// are zeroed, nothing depends on time, pid or machine.
// Life: begin -> append ... -> commit | abandon. One thread at a time; different writers are independent.
#ifndef D2V_SHARDS_SHARD_WRITER_H
#define D2V_SHARDS_SHARD_WRITER_H

#include "shards/record.h"

#include <jansson.h>

typedef struct d2v_shard_writer d2v_shard_writer;

typedef struct d2v_shard_facts { // what the manifest keeps of a shard
	uint64_t records;
	uint64_t bytes;   // of the file
	uint64_t units;   // sum over records
	uint64_t digest;  // chain of the records' digests in order: what is in it, not how LMDB laid it out
	uint64_t file_digest; // XXH3-64 of the file's bytes
} d2v_shard_facts;

// path: the final name, ".../train/00000.mdb". A leftover temporary file of a dead run is replaced. size_hint: expected bytes (the map grows as needed).
d2v_status d2v_shard_writer_begin(d2v_shard_writer **writer, const char *path, uint64_t size_hint, d2v_error *err);
// Copies the record. D2V_EXISTS when the name was used before.
d2v_status d2v_shard_writer_append(d2v_shard_writer *writer, d2v_record *record, d2v_error *err);
uint64_t d2v_shard_writer_bytes(const d2v_shard_writer *writer); // of records so far: when to begin the next shard
uint64_t d2v_shard_writer_records(const d2v_shard_writer *writer);
// meta: the shard's own JSON (borrowed; may be NULL), e.g. what a restarted ingest needs to go on after this shard. Both end the writer.
d2v_status d2v_shard_writer_commit(d2v_shard_writer *writer, const json_t *meta, d2v_shard_facts *facts, d2v_error *err);
void d2v_shard_writer_abandon(d2v_shard_writer *writer); // NULL is allowed

#endif
