// The documents of a text data set, one after the other: the half of export that knows about tokens.
#ifndef D2V_SHARDS_EXPORT_TEXT_H
#define D2V_SHARDS_EXPORT_TEXT_H

#include "shards/dataset.h"

typedef struct d2v_export_documents {
	uint64_t start, limit; // documents from the start-th on, at most limit (0: all)
	// document: its number in the split. text: its lines, each with its newline, without the empty one behind it.
	d2v_status (*put)(
		void *context, const char *split, uint64_t document, const char *text, size_t size, d2v_error *err);
	void *context;
} d2v_export_documents;

// path: of the data set, for its tokenizer. Errors about a record name it.
d2v_status d2v_export_text(const d2v_export_documents *documents, const char *path, d2v_dataset *dataset,
	d2v_dataset_view *view, d2v_error *err);

#endif
