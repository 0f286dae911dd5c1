// Vocabularies made of random merges over a small alphabet: where GPT-2's files are not at hand, and for texts in which
// almost every pair can be merged.
#ifndef D2V_TESTS_SMALL_VOCABULARY_H
#define D2V_TESTS_SMALL_VOCABULARY_H

#include "shards/vocabulary.h"

// The bytes that its merges are about.
#define SMALL_VOCABULARY_ALPHABET "ab c'sl.1\n\xc3\xa9\xe2\x80\x99"

// The same for the same seed. 256 tokens for the bytes, at most `merges` for merges, and <|endoftext|>.
d2v_status small_vocabulary_make(d2v_vocabulary **vocabulary, uint64_t seed, uint32_t merges, d2v_error *err);

#endif
