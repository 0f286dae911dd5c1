// An archive of documents that lies in memory, as OpenWebText has them within its own: its files in order, in pieces.
// Names do not matter, since nothing is written under them; what is no file is no document.
// Life: new -> read ... -> free. One thread at a time.
#ifndef D2V_INGEST_TEXT_ARCHIVE_H
#define D2V_INGEST_TEXT_ARCHIVE_H

#include "ingest/text_cutter.h"

typedef d2v_status d2v_text_take(
	void *context, const unsigned char *bytes, const d2v_text_piece *piece, d2v_error *err);

typedef struct d2v_text_archive d2v_text_archive;

d2v_status d2v_text_archive_new(d2v_text_archive **archive, d2v_error *err);
void d2v_text_archive_free(d2v_text_archive *archive); // NULL is allowed
// Calls take for each piece. rejection: the archive is damaged somewhere, or take said D2V_UNSAFE; what was taken of it
// is then to be dropped.
d2v_status d2v_text_archive_read(d2v_text_archive *archive, const char *name, const void *bytes, size_t size,
	d2v_text_take *take, void *context, d2v_rejection *rejection, d2v_error *err);

#endif
