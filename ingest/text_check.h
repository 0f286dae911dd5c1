// A data set of text held against what it was made from: the sources are read once more, and every token that is stored
// must decode to the very bytes of its line, every line and document end where it does. Nothing is encoded to compare.
//
// One thread, and memory as in an ingest of one job.
#ifndef D2V_INGEST_TEXT_CHECK_H
#define D2V_INGEST_TEXT_CHECK_H

#include "ingest/ingest.h"

typedef struct d2v_text_check_result {
	uint64_t documents, lines, tokens, bytes; // bytes: of lines
} d2v_text_check_result;

// options: those of the ingest. D2V_CORRUPT: the first difference, with source and record.
d2v_status d2v_text_check(const d2v_ingest_options *options, d2v_text_check_result *result, d2v_error *err);

#endif
