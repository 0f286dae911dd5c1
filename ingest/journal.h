// How far an ingest has come: DIR/.ingest/journal.json, published anew after every shard and every source.
//
// It alone says where a restarted ingest goes on: a shard that it does not list (a kill between the two renames) is
// made again, with the same bytes. Positions are per split, because each split is a function of the source's members of
// its own. Life: init -> load (or not: a fresh ingest) -> save ... -> release. Threads: one at a time.
#ifndef D2V_INGEST_JOURNAL_H
#define D2V_INGEST_JOURNAL_H

#include "base/error.h"
#include "ingest/layout.h"
#include "ingest/origin.h"
#include "shards/shard_writer.h"

#include <jansson.h>

#define D2V_JOURNAL_SPLITS_MAX 64

typedef struct d2v_journal_point { // a moment in the life of a split
	uint32_t source;               // everything of this split before (source, member) is done
	uint64_t member;
	uint64_t piece; // of that member, which is read in pieces: so many are done
	uint64_t shards;
	uint64_t rejected, rejected_bytes; // lines and bytes of rejected.tsv
	uint64_t without_text;
	uint64_t documents, empty; // text: stored and left out
} d2v_journal_point;

typedef struct d2v_journal_split {
	char name[D2V_SPLIT_NAME_MAX + 1]; // "": files rejected before their split was known
	d2v_journal_point now;             // the last published state
	d2v_journal_point base; // the same when the current source began: where to go back to when its checksum is wrong
	d2v_shard_facts *shards;
	size_t shard_capacity;
} d2v_journal_split;

typedef struct d2v_journal_source {
	char checksum[D2V_CHECKSUM_TEXT];
	uint64_t bytes;
} d2v_journal_source;

typedef struct d2v_journal {
	d2v_journal_split splits[D2V_JOURNAL_SPLITS_MAX];
	size_t split_count;
	d2v_journal_source *sources; // finished ones, in order
	size_t source_count, source_capacity;
	json_t *options; // what the ingest was begun with
	json_t *classes; // ingest/classes.h; NULL: not known yet, or there are none
} d2v_journal;

void d2v_journal_init(d2v_journal *journal);
void d2v_journal_release(d2v_journal *journal);
d2v_status d2v_journal_load(d2v_journal *journal, const char *path, d2v_error *err); // D2V_NOT_FOUND: none
d2v_status d2v_journal_save(const d2v_journal *journal, const char *path, d2v_error *err);
// Adds it when it is new.
d2v_status d2v_journal_split_of(d2v_journal *journal, const char *name, d2v_journal_split **split, d2v_error *err);
d2v_status d2v_journal_add_shard(d2v_journal_split *split, const d2v_shard_facts *facts, d2v_error *err);
d2v_status d2v_journal_add_source(d2v_journal *journal, const char *checksum, uint64_t bytes, d2v_error *err);

#endif
