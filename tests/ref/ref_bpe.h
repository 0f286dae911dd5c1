// GPT-2's tokenizer word for word: the pattern's alternatives tried in order on whole characters, merges as the
// original's loop does them. What the encoder of ingest/ is held against. Slow; the caller's vocabulary is borrowed.
#ifndef D2V_TESTS_REF_BPE_H
#define D2V_TESTS_REF_BPE_H

#include "shards/vocabulary.h"

typedef struct ref_bpe ref_bpe;

d2v_status ref_bpe_new(ref_bpe **ref, const d2v_vocabulary *vocabulary, d2v_error *err);
void ref_bpe_free(ref_bpe *ref);
// *ids is owned by the caller (d2v_free).
d2v_status ref_bpe_encode(
	const ref_bpe *ref, const void *text, size_t size, uint32_t **ids, size_t *count, d2v_error *err);

#endif
