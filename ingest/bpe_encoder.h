// Text to GPT-2 ids, exactly as the original's GPT-2 module does: split by its pattern, bytes, merges.
//
//     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Any bytes will do (see ingest/char_class.h for what is no UTF-8), and decoding the ids gives them back. Special
// tokens are never made:
// "<|endoftext|>" in a text is a text.
//
// Two objects: d2v_bpe_merges is the vocabulary made ready for merging, immutable and shared by all threads; a
// d2v_bpe_encoder belongs to one thread and keeps a cache of pieces, some megabytes. Both borrow what they are made
// from. What comes out never depends on what was encoded before.
//
//     d2v_bpe_merges_new(&merges, vocabulary, err);
//     d2v_bpe_encoder_new(&encoder, merges, err);          // per thread
//     ids.count = 0;
//     d2v_bpe_encode(encoder, line, size, &ids, err);      // appends
//
// A text need not be in memory as a whole. d2v_bpe_encode_part takes what is there and says how much of it is encoded
// for good; the rest is given again, with more behind it, and d2v_bpe_encode ends the text:
//
//     for (;;) { // [start, end) is filled from the file; `last` is true at its end
//         if (last) { d2v_bpe_encode(encoder, start, end - start, &ids, err); break; }
//         d2v_bpe_encode_part(encoder, start, end - start, &ids, &used, err);
//         start += used; ...
//     }
#ifndef D2V_INGEST_BPE_ENCODER_H
#define D2V_INGEST_BPE_ENCODER_H

#include "base/error.h"
#include "ingest/bpe_merges.h"

#include <stddef.h>
#include <stdint.h>

// A part of at least so many bytes always moves on: used > 0. Less can be kept back whole.
#define D2V_BPE_PART ((size_t)64 << 10)

typedef struct d2v_bpe_encoder d2v_bpe_encoder;

// A growing list of ids. Starts as zeros; the caller sets count back to 0 to use it again, and frees ids with d2v_free.
typedef struct d2v_ids {
	uint32_t *ids;
	size_t count, capacity;
} d2v_ids;

d2v_status d2v_bpe_encoder_new(d2v_bpe_encoder **encoder, const d2v_bpe_merges *merges, d2v_error *err);
void d2v_bpe_encoder_free(d2v_bpe_encoder *encoder); // NULL is allowed

// Appends the ids of a text, or of the end of one that was begun with d2v_bpe_encode_part. The only failure is
// D2V_NO_MEMORY; then ids are as before.
d2v_status d2v_bpe_encode(d2v_bpe_encoder *encoder, const void *text, size_t size, d2v_ids *ids, d2v_error *err);
// Appends the ids of the first *used bytes of a text that goes on behind `size`.
d2v_status d2v_bpe_encode_part(
	d2v_bpe_encoder *encoder, const void *text, size_t size, d2v_ids *ids, size_t *used, d2v_error *err);

#endif
