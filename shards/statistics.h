// What a sequence of records amounts to: counts, hours, lengths and their histogram, from index rows alone.
//
//     { "records": 122, "units": 6127360, "codecs": { "pcm16": 122 },
//       "length": { "unit": "seconds", "total": ..., "shortest": ..., "longest": ..., "mean": ..., "median": ... },
//       "hours": ..., "histogram": { "unit": "seconds", "width": 1.0, "counts": [0, 3, 17, ...] } }
//
// and, for data sets with classes,
//
//     "labels": { "counts": [1300, 1293, ...], "none": 0 }     records of each class, and those of none
//
// and, for texts,
//
//     "documents": 2403, "empty_documents": 0      those that are there, and those left out since there was nothing in them
//
// Count i of the histogram is of lengths in [i * width, (i + 1) * width). Images count pixels, text tokens; only sound has hours.
#ifndef D2V_SHARDS_STATISTICS_H
#define D2V_SHARDS_STATISTICS_H

#include "base/error.h"
#include "base/modality.h"
#include "shards/shard_index.h"

#include <jansson.h>

#define D2V_STATISTICS_BARS 24 // at most so many counts

// rate: samples per second, for sound. *statistics is owned by the caller.
d2v_status d2v_statistics_make(
	const d2v_index_row *rows, uint64_t count, d2v_modality modality, uint32_t rate, json_t **statistics, d2v_error *err);
// Adds "labels" to what was made: labels from 0 to classes - 1 are counted one by one, all others as "none".
d2v_status d2v_statistics_add_labels(
	json_t *statistics, const d2v_index_row *rows, uint64_t count, size_t classes, d2v_error *err);

// Adds the counts of documents, which no index tells.
d2v_status d2v_statistics_add_documents(json_t *statistics, uint64_t documents, uint64_t empty, d2v_error *err);
// Adds the counts that are there to *documents and *empty. statistics may be NULL.
void d2v_statistics_count_documents(const json_t *statistics, uint64_t *documents, uint64_t *empty);

#endif
