// Blocks of tokens as text again, through the tokenizer that travels in the data set.
//
// The end of a line becomes a newline, the empty line behind each document too; bytes come back as they were read, so
// they need not be UTF-8. Life: open -> any number of calls -> close. Immutable in between: any number of threads may
// use one.
#ifndef D2V_SHARDS_TOKEN_TEXT_H
#define D2V_SHARDS_TOKEN_TEXT_H

#include "shards/codec_tokens.h"

typedef struct d2v_token_text d2v_token_text;

// DATASET/tokenizer/. D2V_NOT_FOUND when the data set has none, D2V_CORRUPT when it is not what was written.
d2v_status d2v_token_text_open(d2v_token_text **tokenizer, const char *dataset, d2v_error *err);
void d2v_token_text_close(d2v_token_text *tokenizer); // NULL is allowed
// Appends the bytes of tokens [from, to) to *bytes (d2v_reserve), which holds *size. D2V_CORRUPT for a token that the
// vocabulary does not have.
d2v_status d2v_token_text_append(const d2v_token_text *tokenizer, const d2v_tokens *tokens, uint64_t from, uint64_t to,
	char **bytes, size_t *capacity, size_t *size, d2v_error *err);

#endif
