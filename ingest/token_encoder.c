#include "ingest/token_encoder.h"

#include "base/memory.h"
#include "ingest/text_lines.h"
#include "shards/codec_tokens.h"

#include <string.h>

struct d2v_token_encoder {
	d2v_bpe_encoder *bpe;
	d2v_codec codec;
	d2v_ids ids;                    // of a line
	const unsigned char *piece_end; // of the piece that the line is in
	d2v_token_run run;
};

d2v_status d2v_token_encoder_new(
	d2v_token_encoder **encoder, const d2v_bpe_merges *merges, d2v_codec codec, d2v_error *err) {
	D2V_ASSERT(codec == D2V_CODEC_TOK16 || codec == D2V_CODEC_TOK32);
	D2V_TRY(d2v_alloc_zero(encoder, 1, sizeof **encoder, err));
	(*encoder)->codec = codec;
	d2v_status status = d2v_bpe_encoder_new(&(*encoder)->bpe, merges, err);
	if (status != D2V_OK) {
		d2v_free(*encoder);
		*encoder = NULL;
	}
	return status;
}

void d2v_token_encoder_free(d2v_token_encoder *encoder) {
	if (!encoder)
		return;
	d2v_bpe_encoder_free(encoder->bpe);
	d2v_free(encoder->ids.ids);
	d2v_free(encoder->run.tokens);
	d2v_free(encoder->run.ends);
	d2v_free(encoder);
}

void d2v_token_encoder_begin(d2v_token_encoder *encoder) {
	d2v_token_run *run = &encoder->run;
	run->count = run->documents = run->empty = run->bytes = 0;
}

d2v_token_run *d2v_token_encoder_run(d2v_token_encoder *encoder) {
	return &encoder->run;
}

// Appends the ids of the line and, when it is whole, its end.
static d2v_status put_ids(d2v_token_encoder *encoder, bool whole, d2v_error *err) {
	d2v_token_run *run = &encoder->run;
	size_t count = encoder->ids.count, after = run->count + count + whole;
	bool narrow = encoder->codec == D2V_CODEC_TOK16;
	if (after > UINT32_MAX)
		return d2v_fail(err, D2V_UNSUPPORTED, "more tokens in one run than 32 bits count");
	D2V_TRY(d2v_reserve(&run->tokens, &run->capacity, after * (narrow ? sizeof(uint16_t) : sizeof(uint32_t)), 1, err));
	const uint32_t *ids = encoder->ids.ids;
	if (narrow) {
		uint16_t *out = (uint16_t *)run->tokens + run->count;
		for (size_t i = 0; i < count; i++)
			out[i] = (uint16_t)ids[i];
		if (whole)
			out[count] = D2V_TOKEN_LINE_END_16;
	} else {
		uint32_t *out = (uint32_t *)run->tokens + run->count;
		if (count)
			memcpy(out, ids, count * sizeof *out);
		if (whole)
			out[count] = D2V_TOKEN_LINE_END;
	}
	run->count = after;
	return D2V_OK;
}

static d2v_status put_line(void *context, const unsigned char *line, size_t size, bool whole, d2v_error *err) {
	d2v_token_encoder *encoder = context;
	encoder->ids.count = 0;
	if (size)
		D2V_TRY(
			d2v_bpe_encode_within(encoder->bpe, line, size, (size_t)(encoder->piece_end - line), &encoder->ids, err));
	return put_ids(encoder, whole, err);
}

static d2v_status end_document(void *context, d2v_error *err) {
	d2v_token_encoder *encoder = context;
	d2v_token_run *run = &encoder->run;
	encoder->ids.count = 0;
	D2V_TRY(put_ids(encoder, true, err)); // the empty line between documents
	D2V_TRY(d2v_reserve(&run->ends, &run->end_capacity, run->documents + 1, sizeof *run->ends, err));
	run->ends[run->documents++] = (uint32_t)run->count;
	return D2V_OK;
}

d2v_status d2v_token_encoder_add(
	d2v_token_encoder *encoder, const unsigned char *bytes, const d2v_text_piece *piece, d2v_error *err) {
	d2v_text_sink sink = { .line = put_line, .end_document = end_document, .context = encoder };
	encoder->run.bytes += piece->size;
	encoder->piece_end = bytes + piece->size;
	return d2v_text_lines(bytes, piece, &sink, &encoder->run.empty, err);
}
