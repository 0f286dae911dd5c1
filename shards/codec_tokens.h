// Text as it lies in a record: a block of tokens and, beside them, where documents end in it.
//
//     tokens (units x u16 or u32) | zeros up to a multiple of 4 | ends (rows x u32)            all little-endian
//
// Tokens are the tokenizer's own ids (GPT-2: 0..50256), before any dictionary: the dictionary that gives the model's
// ids travels in DATASET/tokenizer/ and is applied when a block is loaded, so that one made from the corpus counts can
// be made when the corpus has been read. One more value, the largest of the type, is the end of a line: the </s> of
// spec/recipes.md. Every line of a document ends in one, and so does the empty line that follows each document; a
// document ends behind that. ends[i] is the place behind the last token of a document, ascending, in [1, units].
//
// The blocks of a split are one stream, cut at places that mean nothing: a document goes on in the next block, and any
// number of them (rows, maybe none) end in one. A record's name is its number in the split, its text the member of the
// source in which it begins. Threads: plain functions on plain values.
#ifndef D2V_SHARDS_CODEC_TOKENS_H
#define D2V_SHARDS_CODEC_TOKENS_H

#include "shards/record.h"

#include <endian.h>

#define D2V_TOKEN_LINE_END UINT32_MAX    // as it is read; stored as
#define D2V_TOKEN_LINE_END_16 UINT16_MAX // in tok16
#define D2V_TOKENS_BLOCK 65536           // tokens of a block as d2v-ingest cuts them: 128 KiB of tok16

typedef struct d2v_tokens { // borrowed from the record's payload
	const uint16_t *narrow; // of tok16, or NULL
	const uint32_t *wide;   // of tok32, or NULL
	uint64_t count;
	const uint32_t *ends; // (documents)
	uint32_t documents;
} d2v_tokens;

// D2V_CORRUPT when the payload does not hold what the record says of it, or the ends are out of order; D2V_INVALID for
// a payload that is not 4-byte aligned (those of shards are). Whether a token is one of the vocabulary is for whoever
// has the vocabulary.
d2v_status d2v_codec_tokens_view(const d2v_record *record, d2v_tokens *tokens, d2v_error *err);

// Token i, or D2V_TOKEN_LINE_END.
static inline uint32_t d2v_tokens_at(const d2v_tokens *tokens, uint64_t i) {
	if (tokens->narrow) {
		uint16_t token = le16toh(tokens->narrow[i]);
		return token == D2V_TOKEN_LINE_END_16 ? D2V_TOKEN_LINE_END : token;
	}
	return le32toh(tokens->wide[i]);
}
// Document i ends before token d2v_tokens_end(tokens, i).
static inline uint64_t d2v_tokens_end(const d2v_tokens *tokens, uint32_t i) {
	return le32toh(tokens->ends[i]);
}

// Bytes of the payload of so many tokens and ends; at most D2V_RECORD_PAYLOAD_MAX tokens and documents.
size_t d2v_codec_tokens_size(d2v_codec codec, uint64_t count, uint32_t documents);
// Writes that many bytes to payload, which is 4-byte aligned. tokens: uint16_t for tok16, uint32_t for tok32; they may
// lie at the start of payload already.
void d2v_codec_tokens_encode(
	d2v_codec codec, const void *tokens, uint64_t count, const uint32_t *ends, uint32_t documents, void *payload);

#endif
