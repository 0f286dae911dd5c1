// Arbitrary bytes as a record of tokens: refused, or every token and every end of a document can be read.
#include "base/memory.h"
#include "shards/codec_tokens.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_all(const d2v_record *record) {
	d2v_tokens tokens;
	d2v_error err;
	if (d2v_codec_tokens_view(record, &tokens, &err) != D2V_OK)
		return;
	volatile uint32_t sum = 0;
	for (uint64_t i = 0; i < tokens.count; i++)
		sum += d2v_tokens_at(&tokens, i);
	for (uint32_t i = 0; i < tokens.documents; i++)
		D2V_ASSERT(d2v_tokens_end(&tokens, i) <= tokens.count);
}

// The first bytes are what a header would say.
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	struct {
		uint64_t units;
		uint32_t rows;
		uint8_t codec, zero[3];
	} head;
	if (size < sizeof head)
		return 0;
	memcpy(&head, bytes, sizeof head);
	void *payload;
	d2v_error err;
	D2V_ASSERT(d2v_alloc(&payload, size - sizeof head, 1, &err) == D2V_OK);
	memcpy(payload, bytes + sizeof head, size - sizeof head);
	read_all(&(d2v_record){ .codec = D2V_CODEC_TOK16 + head.codec % 2,
		.units = head.units,
		.rows = head.rows,
		.payload = payload,
		.payload_size = size - sizeof head });
	d2v_free(payload);
	return 0;
}
