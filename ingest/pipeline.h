// The threads of an ingest, of which the caller is one: they take turns to read the next member under one lock, decode
// it outside, and take turns again to carry what is decoded on in the order of the source: there it is joined with its
// text and fills the shards. Nobody waits for anybody while there is something to do. Internal to ingest/.
//
// When texts come so late in an archive that too much would wait for them, the source is read once more for its texts
// alone.
#ifndef D2V_INGEST_PIPELINE_H
#define D2V_INGEST_PIPELINE_H

#include "ingest/ingest.h"
#include "ingest/journal.h"

// state: DIR/.ingest; journal is moved on and saved there as shards are published. Fills the fields of *result that
// speak of this run.
d2v_status d2v_pipeline_run(const d2v_ingest_options *options, const char *state, d2v_journal *journal,
	d2v_ingest_result *result, d2v_error *err);

#endif
