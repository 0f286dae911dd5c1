// Text to GPT-2 ids, exactly as the original's GPT-2 module does: split by its pattern, bytes, merges.
//
//     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Any bytes will do (see ingest/char_class.h for what is no UTF-8), and decoding the ids gives them back. Special
// tokens are never made: "<|endoftext|>" in a text is a text.
//
// Two objects: d2v_bpe_merges is the vocabulary made ready for merging, immutable and shared by all threads; a
// d2v_bpe_encoder belongs to one thread and keeps a cache of pieces, some megabytes. Both borrow what they are made
// from. What comes out never depends on what was encoded before.
//
//     d2v_bpe_merges_new(&merges, vocabulary, err);
//     d2v_bpe_encoder_new(&encoder, merges, err);          // per thread
//     ids.count = 0;
//     d2v_bpe_encode(encoder, line, size, &ids, err);      // appends
#ifndef D2V_INGEST_BPE_ENCODER_H
#define D2V_INGEST_BPE_ENCODER_H

#include "base/error.h"
#include "ingest/bpe_merges.h"

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_bpe_encoder d2v_bpe_encoder;

// A growing list of ids. Starts as zeros; the caller sets count back to 0 to use it again, and frees ids with d2v_free.
typedef struct d2v_ids {
	uint32_t *ids;
	size_t count, capacity;
} d2v_ids;

d2v_status d2v_bpe_encoder_new(d2v_bpe_encoder **encoder, const d2v_bpe_merges *merges, d2v_error *err);
void d2v_bpe_encoder_free(d2v_bpe_encoder *encoder); // NULL is allowed

// Appends the ids of a text. The only failure is D2V_NO_MEMORY; then ids are as before.
d2v_status d2v_bpe_encode(d2v_bpe_encoder *encoder, const void *text, size_t size, d2v_ids *ids, d2v_error *err);
// The same for a text within a larger block, of which `readable` (>= size) bytes from `text` on may be read. What is
// behind the text does not matter, but with D2V_BPE_READS bytes there its end, and so a short line, is encoded faster.
#define D2V_BPE_READS 96
d2v_status d2v_bpe_encode_within(
	d2v_bpe_encoder *encoder, const void *text, size_t size, size_t readable, d2v_ids *ids, d2v_error *err);

#endif
