// The merges of a vocabulary as a table to look pairs up in, and merging itself: the ids of one piece of a text.
//
// Merging is "take the most urgent adjacent pair, join all its occurrences from left to right, until there is none".
// Done as said it takes quadratic time, so only windows of D2V_BPE_WINDOW bytes are merged like that, and a longer
// piece is put together from windows. That is exact, because a sequence of tokens is the encoding of its bytes as soon
// as each two neighbours are the encoding of theirs: the first merge across a border, did one happen, would happen as
// well when the two tokens beside it are merged alone, since up to it what lies on either side evolves on its own. So
// at a border between windows only the two tokens beside it are looked at; when they would have merged, the border
// moves back by a token. (It needs a vocabulary in which merges build on earlier ones and each token has one merge;
// shards/vocabulary.h lets no other through.)
//
// Life: new -> use -> free; borrows the vocabulary. Immutable in between and shared by all threads.
#ifndef D2V_INGEST_BPE_MERGES_H
#define D2V_INGEST_BPE_MERGES_H

#include "base/error.h"
#include "shards/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

#define D2V_BPE_WINDOW 512

typedef struct d2v_bpe_merges d2v_bpe_merges;

d2v_status d2v_bpe_merges_new(d2v_bpe_merges **merges, const d2v_vocabulary *vocabulary, d2v_error *err);
void d2v_bpe_merges_free(d2v_bpe_merges *merges); // NULL is allowed

// The ids of a piece of any size; ids has room for one a byte. Returns their number. Linear in size for all texts we
// could think of.
size_t d2v_bpe_merge(const d2v_bpe_merges *merges, const unsigned char *piece, size_t size, uint32_t *ids);

#endif
