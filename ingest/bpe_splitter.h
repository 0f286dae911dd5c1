// Where the pieces of a text end: GPT-2's pattern, by hand.
#ifndef D2V_INGEST_BPE_SPLITTER_H
#define D2V_INGEST_BPE_SPLITTER_H

#include "ingest/char_class.h"

// So many bytes behind its end can decide where a piece ends.
#define D2V_BPE_LOOK_AHEAD 8

// Bytes of the piece that text (size >= 1) starts with, when nothing follows `size`. *kind is what it is made of (of a
// contraction: D2V_CHAR_OTHER).
size_t d2v_bpe_piece(const unsigned char *text, size_t size, d2v_char_class *kind);
// Bytes that go on a piece of this kind that began before text: 0 when none do.
size_t d2v_bpe_piece_rest(const unsigned char *text, size_t size, d2v_char_class kind);

#endif
