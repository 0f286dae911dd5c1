// Where the pieces of a text end: GPT-2's pattern, by hand.
#ifndef D2V_INGEST_BPE_SPLITTER_H
#define D2V_INGEST_BPE_SPLITTER_H

#include "ingest/byte_masks.h"
#include "ingest/char_class.h"

// Bytes of the piece that text (size >= 1) starts with, when nothing follows `size`.
size_t d2v_bpe_piece(const unsigned char *text, size_t size);

// The first pieces of a text at once, for speed: bit i is set when a piece starts at byte i; the last bit set is where
// the last piece ends. Only bit 0 is set when the first piece is too long, or white space beyond ASCII. `left` (>= 1)
// bytes of text follow and then nothing; D2V_BYTE_MASK bytes can be read, whatever left is.
uint64_t d2v_bpe_split_block(const unsigned char *text, size_t left);

#endif
