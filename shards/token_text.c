#include "shards/token_text.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/vocabulary.h"

#include <string.h>

struct d2v_token_text {
	d2v_vocabulary *vocabulary;
};

// What a user may get wrong is damage where an ingest has written it.
static d2v_status load(d2v_vocabulary **vocabulary, const char *folder, d2v_error *err) {
	d2v_status status = d2v_vocabulary_load(vocabulary, folder, err);
	if (status == D2V_INVALID)
		return d2v_error_suffix(err, D2V_CORRUPT, "; it is damaged: take it from a copy or ingest again");
	return status;
}

d2v_status d2v_token_text_open(d2v_token_text **tokenizer, const char *dataset, d2v_error *err) {
	char *folder;
	*tokenizer = NULL;
	D2V_TRY(d2v_path_join(&folder, dataset, "tokenizer", err));
	d2v_status status = d2v_alloc_zero(tokenizer, 1, sizeof **tokenizer, err);
	if (status == D2V_OK && !d2v_file_is_directory(folder))
		status = d2v_fail(err, D2V_NOT_FOUND, "%s: is not there, so its tokens cannot be printed as text", folder);
	if (status == D2V_OK)
		status = load(&(*tokenizer)->vocabulary, folder, err);
	d2v_free(folder);
	if (status != D2V_OK) {
		d2v_token_text_close(*tokenizer);
		*tokenizer = NULL;
	}
	return status;
}

void d2v_token_text_close(d2v_token_text *tokenizer) {
	if (!tokenizer)
		return;
	d2v_vocabulary_free(tokenizer->vocabulary);
	d2v_free(tokenizer);
}

d2v_status d2v_token_text_append(const d2v_token_text *tokenizer, const d2v_tokens *tokens, uint64_t from, uint64_t to,
	char **bytes, size_t *capacity, size_t *size, d2v_error *err) {
	uint32_t ids = d2v_vocabulary_size(tokenizer->vocabulary);
	for (uint64_t i = from; i < to; i++) {
		uint32_t id = d2v_tokens_at(tokens, i);
		d2v_token token = { .bytes = (const unsigned char *)"\n", .size = 1 };
		if (id != D2V_TOKEN_LINE_END) {
			if (id >= ids)
				return d2v_fail(
					err, D2V_CORRUPT, "token %llu is %u, the tokenizer has %u", (unsigned long long)i, id, ids);
			token = d2v_vocabulary_token(tokenizer->vocabulary, id);
		}
		D2V_TRY(d2v_reserve(bytes, capacity, *size + token.size, 1, err));
		memcpy(*bytes + *size, token.bytes, token.size);
		*size += token.size;
	}
	return D2V_OK;
}
