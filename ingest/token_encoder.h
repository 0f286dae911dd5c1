// Pieces of text become tokens as they are stored (shards/codec_tokens.h): each line (ingest/text_lines.h) is encoded
// by itself and ended by a line end, blank ones too, and one more empty line follows each document. A document of white
// space alone is nothing, and counted.
//
// Life: new -> begin -> add ... -> the run is the caller's to read or take -> begin ... -> free. One thread at a time.
#ifndef D2V_INGEST_TOKEN_ENCODER_H
#define D2V_INGEST_TOKEN_ENCODER_H

#include "ingest/bpe_encoder.h"
#include "ingest/text_cutter.h"
#include "shards/record.h"

typedef struct d2v_token_run { // of tokens; owned by the encoder
	void *tokens;              // uint16_t for tok16, uint32_t for tok32; begins 64-byte aligned, d2v_free
	size_t count, capacity;    // capacity: bytes
	uint32_t *ends;            // places behind documents
	size_t documents, end_capacity;
	uint64_t empty; // documents left out
	uint64_t bytes; // of text that went in
} d2v_token_run;

typedef struct d2v_token_encoder d2v_token_encoder;

// The merges are borrowed. codec: D2V_CODEC_TOK16 for a vocabulary of at most D2V_TOKEN_LINE_END_16 ids.
d2v_status d2v_token_encoder_new(
	d2v_token_encoder **encoder, const d2v_bpe_merges *merges, d2v_codec codec, d2v_error *err);
void d2v_token_encoder_begin(d2v_token_encoder *encoder); // an empty run, in the memory of the one before
// Appends. At most UINT32_MAX tokens make a run: D2V_UNSUPPORTED.
d2v_status d2v_token_encoder_add(
	d2v_token_encoder *encoder, const unsigned char *bytes, const d2v_text_piece *piece, d2v_error *err);
d2v_token_run *d2v_token_encoder_run(d2v_token_encoder *encoder);
void d2v_token_encoder_free(d2v_token_encoder *encoder); // NULL is allowed

#endif
