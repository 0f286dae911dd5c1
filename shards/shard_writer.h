// Writing one shard: an LMDB file (MDB_NOSUBDIR) built under a temporary name (PATH.tmp), synced, renamed.
//
// Records are appended in order (ordinals 0, 1, ...) with MDB_APPEND and MDB_RESERVE under NOSYNC; names must be unique within the
// shard. commit writes index, names, meta and the trailer (shards/shard_trailer.h), syncs, renames, syncs the folder. The same records and
// meta give the same bytes: what no value covers is zero, nothing depends on time, process, heap or size_hint (only the machine's
// page size shows). At most 4 MiB and one record wait in memory. A full disk is D2V_NO_SPACE, and nothing is left behind.
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
	uint64_t file_digest; // XXH3-64 of the file's bytes up to its footers
} d2v_shard_facts;

// path: the final name, ".../train/00000.mdb". A leftover temporary file of a dead run is replaced. size_hint: expected bytes, 0 when unknown
// (how much address space is mapped at first; it grows as needed).
d2v_status d2v_shard_writer_begin(d2v_shard_writer **writer, const char *path, uint64_t size_hint, d2v_error *err);
// Copies the record and sets its digest. D2V_EXISTS when the name was used before, D2V_INVALID for what no record may be: the shard goes on
// without it. After any other failure only abandon and commit (which fails) are left.
d2v_status d2v_shard_writer_append(d2v_shard_writer *writer, d2v_record *record, d2v_error *err);
uint64_t d2v_shard_writer_bytes(const d2v_shard_writer *writer); // of records so far: when to begin the next shard
uint64_t d2v_shard_writer_records(const d2v_shard_writer *writer);
// meta: the shard's own JSON (borrowed; may be NULL), e.g. what a restarted ingest needs to go on after this shard. Both end the writer.
d2v_status d2v_shard_writer_commit(d2v_shard_writer *writer, const json_t *meta, d2v_shard_facts *facts, d2v_error *err);
void d2v_shard_writer_abandon(d2v_shard_writer *writer); // NULL is allowed

#endif
