// The vocabulary of GPT-2's byte-level tokenizer: which bytes an id stands for, and by which merges tokens come about.
//
// It is read from two files that lie together, in a folder of the user's or in a data set's tokenizer/: encoder.json
// (token to id) and vocab.bpe (a version line, then one merge a line, the most urgent first). Both spell bytes as
// characters: 33 to 126, 161 to 172 and 174 to 255 stand for themselves, the other 68 in ascending order for U+0100,
// U+0101, ...
//
// What is read is checked to be what byte-pair training makes, which the encoder relies on: ids are 0 to size - 1, each
// once; every byte has a token; every merge joins tokens that are bytes or made by earlier merges, and makes a token
// that no other merge makes. Anything else fails with D2V_INVALID and names file and line or token. Tokens that no
// merge makes (<|endoftext|>) have ids and are never encoded.
//
// Life: load -> use -> free. Immutable in between: any number of threads may use one vocabulary.
#ifndef D2V_SHARDS_VOCABULARY_H
#define D2V_SHARDS_VOCABULARY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define D2V_VOCABULARY_JSON "encoder.json"
#define D2V_VOCABULARY_MERGES "vocab.bpe"
#define D2V_VOCABULARY_MAX_FILE ((size_t)64 << 20)
#define D2V_VOCABULARY_MAX_IDS ((uint32_t)1 << 20)
#define D2V_VOCABULARY_MAX_TOKEN 1024 // bytes
#define D2V_NO_TOKEN UINT32_MAX

typedef struct d2v_vocabulary d2v_vocabulary;

// One line of vocab.bpe: an adjacent pair of tokens becomes one.
typedef struct d2v_merge {
	uint32_t left, right, product; // ids
} d2v_merge;

typedef struct d2v_token {
	const unsigned char *bytes; // borrowed from the vocabulary; no NUL behind them
	size_t size;                // at least 1
} d2v_token;

// Reads FOLDER/encoder.json and FOLDER/vocab.bpe.
d2v_status d2v_vocabulary_load(d2v_vocabulary **vocabulary, const char *folder, d2v_error *err);
// The same from memory; `where` names the folder in errors.
d2v_status d2v_vocabulary_parse(d2v_vocabulary **vocabulary, const char *json, size_t json_size, const char *merges,
	size_t merges_size, const char *where, d2v_error *err);
void d2v_vocabulary_free(d2v_vocabulary *vocabulary); // NULL is allowed

uint32_t d2v_vocabulary_size(const d2v_vocabulary *vocabulary); // 50,257 for GPT-2
uint32_t d2v_vocabulary_end_of_text(
	const d2v_vocabulary *vocabulary); // of <|endoftext|>; D2V_NO_TOKEN when there is none
uint32_t d2v_vocabulary_byte(const d2v_vocabulary *vocabulary, unsigned char byte); // the id of a single byte
// In order of urgency: merge k has rank k.
const d2v_merge *d2v_vocabulary_merges(const d2v_vocabulary *vocabulary, uint32_t *count);

d2v_token d2v_vocabulary_token(const d2v_vocabulary *vocabulary, uint32_t id); // id < size
// The bytes of a sequence. *size is their number; when it is more than capacity, nothing is written (so capacity 0 asks
// for the size). D2V_CORRUPT for an id that the vocabulary does not have.
d2v_status d2v_vocabulary_decode(const d2v_vocabulary *vocabulary, const uint32_t *ids, size_t count, void *bytes,
	size_t capacity, size_t *size, d2v_error *err);

#endif
