// The ordered end of the pipeline: items in the source's order become shards, lists of rejected files, and a journal.
// Internal to ingest/; one thread.
#ifndef D2V_INGEST_CONSUMER_H
#define D2V_INGEST_CONSUMER_H

#include "base/progress.h"
#include "ingest/budget.h"
#include "ingest/ingest.h"
#include "ingest/item.h"
#include "ingest/journal.h"
#include "ingest/outlet.h"
#include "ingest/texts.h"

#define D2V_CONSUMER_REJECTED 512

typedef struct d2v_consumer {
	const d2v_ingest_options *options;
	const char *state;
	d2v_journal *journal;
	d2v_budget *budget;
	d2v_ingest_result *result;
	d2v_outlet *outlets; // (D2V_JOURNAL_SPLITS_MAX), parallel to journal->splits
	size_t outlet_count;
	d2v_texts *texts;
	uint64_t waiting; // bytes that wait for texts
	d2v_progress *progress;
	double started;
	uint64_t done, total; // of the current source
	size_t keep_bytes;    // buffers larger than this are not kept for reuse
	char last_rejected[D2V_CONSUMER_REJECTED]; // "NAME: WHY" of the last file that this run left out; "": none
} d2v_consumer;

d2v_status d2v_consumer_open(d2v_consumer *consumer, const d2v_ingest_options *options, const char *state,
	d2v_journal *journal, d2v_budget *budget, d2v_ingest_result *result, d2v_error *err);
// Takes the item over and gives one back for reuse in its place (the same or another).
d2v_status d2v_consumer_handle(d2v_consumer *consumer, d2v_item **item, d2v_error *err);
// After the last item: publishes the lists; D2V_CORRUPT when too many files were rejected.
d2v_status d2v_consumer_finish(d2v_consumer *consumer, d2v_error *err);
// A wrong checksum: takes back what the current source has published.
d2v_status d2v_consumer_disown_source(d2v_consumer *consumer, d2v_error *err);
void d2v_consumer_close(d2v_consumer *consumer);

#endif
