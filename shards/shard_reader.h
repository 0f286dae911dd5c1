// Reading one published shard: an immutable LMDB file, opened without a lock file, read by any number of threads.
//
// One d2v_shard per shard and process; one d2v_shard_view per worker and shard (an LMDB read transaction).
// Life: open -> view_new (per thread) -> read ... -> view_free -> close after all views are gone.
//
// LMDB trusts its file, so its tables are checked against the trailer's digest before it sees them. Every byte of the file is checked
// by somebody: trailer, tables and meta at open, each record's pages at its (verified) read, the index when it is read.
#ifndef D2V_SHARDS_SHARD_READER_H
#define D2V_SHARDS_SHARD_READER_H

#include "shards/record.h"
#include "shards/shard_index.h"
#include "shards/shard_writer.h"

typedef struct d2v_shard d2v_shard;
typedef struct d2v_shard_view d2v_shard_view;

// A file that is no shard, truncated (SIGBUS is never met: sizes are checked against the file first), or of another schema: D2V_CORRUPT
// or D2V_UNSUPPORTED with the file's name.
d2v_status d2v_shard_open(d2v_shard **shard, const char *path, d2v_error *err);
// The same, but goes on with what is left of a damaged shard: records are found through the trailer's directory when LMDB's tables are
// damaged, and index rows come from the records' headers when the index is. d2v_shard_damage tells.
d2v_status d2v_shard_open_damaged(d2v_shard **shard, const char *path, d2v_error *err);
// What is damaged outside of records, "PATH: its tables are damaged ...", the first thing found; NULL: nothing so far.
const char *d2v_shard_damage(const d2v_shard *shard);
void d2v_shard_close(d2v_shard *shard);
uint64_t d2v_shard_records(const d2v_shard *shard);
// As its writer's commit gave them: what a restarted ingest needs for the manifest.
d2v_shard_facts d2v_shard_facts_read(const d2v_shard *shard);
// The shard's meta as parsed JSON, owned by the caller; *meta is NULL when the writer was given none.
d2v_status d2v_shard_meta(d2v_shard *shard, json_t **meta, d2v_error *err);
// All rows, checked against their digests. *rows: d2v_free.
d2v_status d2v_shard_read_index(d2v_shard *shard, d2v_index_row **rows, uint64_t *count, d2v_error *err);
// The same into the caller's d2v_shard_records rows, which after a failure hold anything.
d2v_status d2v_shard_read_rows(d2v_shard *shard, d2v_index_row *rows, d2v_error *err);

d2v_status d2v_shard_view_new(d2v_shard_view **view, d2v_shard *shard, d2v_error *err);
void d2v_shard_view_free(d2v_shard_view *view);
// The record's parts are borrowed from the file's map until the shard is closed. With verify its XXH3 is computed, and that of its pages
// which is not the record is checked too. Errors say "PATH: record 17: ...".
d2v_status d2v_shard_read(d2v_shard_view *view, uint64_t ordinal, bool verify, d2v_record *record, d2v_error *err);
d2v_status d2v_shard_find(d2v_shard_view *view, const char *name, uint64_t *ordinal, d2v_error *err); // D2V_NOT_FOUND
// Asks the kernel to read the record's pages soon (MADV_WILLNEED); returns at once. For look-ahead along a known order.
void d2v_shard_will_need(d2v_shard_view *view, uint64_t ordinal);

// For verify, which looks at everything. Borrowed until close.
struct d2v_shard_trailer;
const struct d2v_shard_trailer *d2v_shard_trailer_of(const d2v_shard *shard);
const unsigned char *d2v_shard_bytes(const d2v_shard *shard); // facts.bytes of them
// Rows of one block of the index (shards/shard_index.h), checked; count: the rows that block has. The message names neither.
d2v_status d2v_shard_read_block(
	d2v_shard *shard, uint64_t block, d2v_index_row *rows, size_t count, d2v_error *err);
// That LMDB's tables hold what the directory says: `records` and `names` in full. Calls found for each difference, with UINT64_MAX
// where no record is meant. Tables that are damaged are not walked.
d2v_status d2v_shard_check_tables(d2v_shard_view *view,
	void (*found)(void *context, uint64_t record, const char *what), void *context, d2v_error *err);

#endif
