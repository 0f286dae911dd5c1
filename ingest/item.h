// What travels through the pipeline: one member of a source on its way into the data set. Internal to ingest/.
#ifndef D2V_INGEST_ITEM_H
#define D2V_INGEST_ITEM_H

#include "base/error.h"
#include "ingest/layout.h"
#include "ingest/text_cutter.h"
#include "shards/record.h"

typedef enum d2v_item_kind {
	D2V_ITEM_SAMPLE,     // payload is what will be stored
	D2V_ITEM_REJECTED,   // place.rejection says why
	D2V_ITEM_TEXT,       // payload is the content of a text member
	D2V_ITEM_SOURCE_END, // checksum and bytes are those of the whole source
	D2V_ITEM_FAILED,     // status and err: the ingest ends here
} d2v_item_kind;

typedef struct d2v_item {
	d2v_item_kind kind;
	uint32_t source; // which one, from 0
	uint64_t member; // which member of it
	bool skipped;    // a text before the point where a restarted ingest goes on
	d2v_place place;
	d2v_codec codec;
	uint32_t rate, rows; // as in d2v_record
	uint64_t units;
	bool in_pieces;                        // of a member that is read so
	uint64_t piece_number;                 // which one, from 0; lines of no use are counted too
	d2v_text_piece piece;                  // what was read
	uint64_t documents, empty, text_bytes; // text: that end in the payload, that were left out, bytes that went in
	unsigned char *payload;                // owned
	size_t payload_capacity, payload_size;
	uint64_t reserved;    // bytes of the budget that go with the payload
	uint64_t done, total; // bytes of the source when this member was read, for progress
	uint64_t ignored;     // members passed over before this one
	char checksum[D2V_CHECKSUM_TEXT];
	uint64_t bytes;
	d2v_status status;
	d2v_error err;
} d2v_item;

#endif
