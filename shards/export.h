// Taking a data set apart into files again: OUT/SPLIT/NAME.wav with NAME.txt beside it, in a folder or in tar archives.
//
// Sound and pictures: one file a record, named as the record is, with the ending of what it is (shards/payload_file.h);
// its text as NAME.txt; its label as NAME.cls in archives, where WebDataset looks for it; in folders pictures lie in a
// folder of their class, and other labels are listed in OUT/labels.tsv. In archives a dot in the last part of a name
// becomes "_", since WebDataset ends a sample's name at its first dot. Text: one file a document, SPLIT/00000017.txt,
// through the data set's tokenizer. Every record's digest is checked. Threads: one call uses one.
#ifndef D2V_SHARDS_EXPORT_H
#define D2V_SHARDS_EXPORT_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_export_options {
	const char *dataset, *out;
	const char *split; // NULL: all
	bool tar;
	uint64_t tar_bytes;    // begin another archive after so many; 0: one
	const char *ending;    // of payloads: "wav", "flac", "png", ...; NULL: the one that loses nothing
	uint64_t start, limit; // records (text: documents) from the start-th on, at most limit; limit 0: all
	// Called now and then, may be NULL. Returning false ends it with D2V_INTERRUPTED.
	bool (*progress)(void *context, uint64_t records, uint64_t total, uint64_t bytes);
	void *context;
} d2v_export_options;

typedef struct d2v_export_result {
	uint64_t records, files, bytes; // text: documents for records
} d2v_export_result;

// When it fails nothing lies under a folder's name; archives that were complete stay. D2V_EXISTS when something is
// there already, D2V_UNSAFE for a record whose name leads out of the folder.
d2v_status d2v_export_run(const d2v_export_options *options, d2v_export_result *result, d2v_error *err);

#endif
