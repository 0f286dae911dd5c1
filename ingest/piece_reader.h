// The member of a source that is text of any size, as pieces: read from the source block by block, unpacked when it is
// packed, cut. Internal to ingest/; one thread at a time.
#ifndef D2V_INGEST_PIECE_READER_H
#define D2V_INGEST_PIECE_READER_H

#include "ingest/origin.h"
#include "ingest/text_cutter.h"

typedef struct d2v_piece_reader d2v_piece_reader;

d2v_status d2v_piece_reader_new(d2v_piece_reader **reader, d2v_error *err);
void d2v_piece_reader_free(d2v_piece_reader *reader); // NULL is allowed
// The source's current member; both are borrowed until its end. field: of JSON lines, or NULL.
void d2v_piece_reader_start(d2v_piece_reader *reader, d2v_origin *source, const char *name, const char *field);
// As d2v_text_cutter_next. When the member is damaged, what came before is the whole of it, then a rejection says so,
// and D2V_END follows; errors are about the source.
d2v_status d2v_piece_reader_next(d2v_piece_reader *reader, unsigned char **bytes, size_t *capacity,
	d2v_text_piece *piece, d2v_rejection *rejection, d2v_error *err);

#endif
