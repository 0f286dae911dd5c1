// One split on its way to the disk: what waits for its text, the shard being filled, the list of what was left out.
//
// Items arrive in the order of the source and leave in that order; one whose text is not known yet holds up those
// behind it. A shard ends when its records have reached shard_size, or with its source: so shards depend on the
// source's members alone. Used by the consumer of the pipeline only.
#ifndef D2V_INGEST_OUTLET_H
#define D2V_INGEST_OUTLET_H

#include "ingest/item.h"
#include "ingest/journal.h"
#include "ingest/rejected_log.h"
#include "ingest/texts.h"
#include "ingest/token_blocks.h"

typedef struct d2v_outlet {
	const char *out;            // the data set's folder; borrowed
	d2v_journal_split *journal; // borrowed
	d2v_shard_writer *writer;   // NULL between shards
	d2v_token_blocks *blocks;   // of text; NULL until there is any
	uint64_t number;            // text: of the next record in the split
	d2v_rejected_log log;
	d2v_item **waiting; // a queue
	size_t waiting_capacity, first, end;
	d2v_journal_point point; // after the last item that left
	uint64_t records;        // that left in this run
	uint64_t units;
	uint64_t shard_size;
} d2v_outlet;

// Goes on from journal->now: removes shards that it does not know.
d2v_status d2v_outlet_open(
	d2v_outlet *outlet, const char *out, d2v_journal_split *journal, uint64_t shard_size, d2v_error *err);
void d2v_outlet_close(d2v_outlet *outlet); // what was not published is dropped; waiting must be empty or is freed

// Takes over the item (a sample or a rejected one).
d2v_status d2v_outlet_put(d2v_outlet *outlet, d2v_item *item, d2v_error *err);
// Lets the first waiting item leave when its text is known: *item is then the caller's again, to be reused; NULL: none
// can. *published: a shard was completed with it, and journal->now was moved on: the journal is to be saved.
d2v_status d2v_outlet_drain(d2v_outlet *outlet, d2v_texts *texts, d2v_item **item, bool *published, d2v_error *err);
bool d2v_outlet_is_empty(const d2v_outlet *outlet);
// The source has ended and nothing waits: publishes the shard begun and moves journal->now to the start of the next
// source.
d2v_status d2v_outlet_end_source(d2v_outlet *outlet, uint32_t next_source, d2v_error *err);
// Publishes rejected.tsv where the data set wants it.
d2v_status d2v_outlet_publish_log(d2v_outlet *outlet, d2v_error *err);

#endif
