// The sources one after the other as a sequence of items: what the workers of the pipeline take turns to pull from.
//
// Everything that depends on order happens here, under the one lock of the callers: names are judged, duplicates found,
// what an earlier run has done is passed over. Internal to ingest/.
#ifndef D2V_INGEST_READER_H
#define D2V_INGEST_READER_H

#include "ingest/budget.h"
#include "ingest/ingest.h"
#include "ingest/item.h"
#include "ingest/journal.h"
#include "ingest/name_set.h"
#include "ingest/piece_reader.h"

#define D2V_READER_TEXT_MAX ((uint64_t)1 << 20) // bytes of a member that holds texts

typedef struct d2v_reader {
	const d2v_ingest_options *options;
	const char *state; // DIR/.ingest; NULL: nothing is kept
	struct d2v_reader_resume {
		char name[D2V_SPLIT_NAME_MAX + 1];
		uint32_t source;
		uint64_t member, piece;
	} resume[D2V_JOURNAL_SPLITS_MAX];
	size_t resume_count;
	d2v_origin *source;
	uint32_t index; // of the source
	d2v_name_set names;
	d2v_piece_reader *pieces; // NULL until a member is read so
	bool in_pieces;           // one is being read: this one
	d2v_place place;
	uint64_t member, piece;
	uint64_t ignored;
} d2v_reader;

d2v_status d2v_reader_open(d2v_reader *reader, const d2v_ingest_options *options, const char *state,
	const d2v_journal *journal, d2v_error *err);
// Fills *item for `ticket`. A sample's bytes go to *bytes (d2v_reserve), a text's to the item's payload; the budget is
// charged and the charge noted in item->reserved. D2V_END: no more.
d2v_status d2v_reader_next(d2v_reader *reader, uint64_t ticket, d2v_budget *budget, d2v_item *item,
	unsigned char **bytes, size_t *capacity, size_t *size, d2v_error *err);
void d2v_reader_close(d2v_reader *reader);

// Opens a source: its file, folder or address; with options->keep what lies at an address is fetched into a file first.
d2v_status d2v_reader_open_source(
	const d2v_ingest_options *options, uint32_t index, d2v_origin **source, d2v_error *err);
// The layout's options for a source.
d2v_layout_options d2v_reader_places(const d2v_ingest_options *options, uint32_t index);

#endif
