// The lines of a piece of text, as Python's text files have them: \n, \r and \r\n end a line, each is stripped of white
// space at both ends, what follows the last line end of a document is a line when it is not empty. Documents of white
// space alone are passed over.
#ifndef D2V_INGEST_TEXT_LINES_H
#define D2V_INGEST_TEXT_LINES_H

#include "ingest/text_cutter.h"

typedef struct d2v_text_sink {
	// The next line, or with whole false a part of one that goes on with the next call.
	d2v_status (*line)(void *context, const unsigned char *line, size_t size, bool whole, d2v_error *err);
	d2v_status (*end_document)(void *context, d2v_error *err);
	void *context;
} d2v_text_sink;

// *empty: documents passed over are added to it. bytes: with the piece's ends behind it, as the cutter gives it.
d2v_status d2v_text_lines(const unsigned char *bytes, const d2v_text_piece *piece, const d2v_text_sink *sink,
	uint64_t *empty, d2v_error *err);

#endif
