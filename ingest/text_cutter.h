// Text of any size, one document or JSON lines, becomes pieces that can be encoded apart from each other, in memory
// that does not depend on what the text is.
//
// A piece ends with a document or behind the end of a line. A line longer than a piece is cut where GPT-2's pattern
// cuts in any case: before white space, or before a symbol that follows a letter or number. Three things are given up
// on text that is none, the same way every time: a word is cut when the last D2V_CUTTER_WINDOW bytes of a piece have no
// better place; white space that fills a piece within a line is left out; so is white space that fills the pieces with
// which a document begins.
//
// Life: new -> start -> next ... until D2V_END -> start ... -> free. One thread at a time; another may carry on.
#ifndef D2V_INGEST_TEXT_CUTTER_H
#define D2V_INGEST_TEXT_CUTTER_H

#include "ingest/bytes.h"
#include "ingest/rejection.h"

#include <stdint.h>

#define D2V_CUTTER_PIECE ((size_t)512 << 10) // a piece is never larger
#define D2V_CUTTER_WINDOW ((size_t)64 << 10)

typedef struct d2v_text_piece {
	size_t size;        // bytes of text
	uint32_t documents; // that end in it
	bool continues;     // its first document began in an earlier piece, with something other than white space
	bool within_line;   // and so did its first line
	bool goes_on;       // what follows the last document's end is not the whole of another one
	bool line_goes_on;  // nor is its line whole (then it has one line, and nothing ends in it)
	uint64_t line;      // of JSON lines that are of no use: which one
} d2v_text_piece;

typedef struct d2v_text_cutter d2v_text_cutter;

d2v_status d2v_text_cutter_new(d2v_text_cutter **cutter, d2v_error *err);
// field NULL: the bytes are one document; otherwise JSON lines, of which that string is the text. Both are borrowed.
d2v_status d2v_text_cutter_start(d2v_text_cutter *cutter, const d2v_bytes *bytes, const char *field, d2v_error *err);
// The next piece into *bytes (d2v_reserve): its text, and behind it at d2v_text_piece_ends the places in it where
// documents end. Or a line that is of no use: rejection says why. D2V_END: there is no more. What reading the bytes
// failed with is handed on.
d2v_status d2v_text_cutter_next(d2v_text_cutter *cutter, unsigned char **bytes, size_t *capacity, d2v_text_piece *piece,
	d2v_rejection *rejection, d2v_error *err);
// The bytes cannot be read on: what was read of a document is the whole of it, and next goes on to D2V_END. A line of
// JSON lines of which nothing was handed out is dropped.
d2v_status d2v_text_cutter_stop(d2v_text_cutter *cutter, d2v_error *err);
void d2v_text_cutter_free(d2v_text_cutter *cutter); // NULL is allowed

static inline const uint32_t *d2v_text_piece_ends(const d2v_text_piece *piece, const unsigned char *bytes) {
	return (const uint32_t *)(const void *)(bytes + ((piece->size + 3) & ~(size_t)3));
}

#endif
