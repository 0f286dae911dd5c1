#include "shards/codec_tokens.h"

#include <string.h>

static size_t width_of(d2v_codec codec) {
	return codec == D2V_CODEC_TOK16 ? sizeof(uint16_t) : sizeof(uint32_t);
}

static size_t ends_at(d2v_codec codec, uint64_t count) {
	return ((size_t)count * width_of(codec) + 3) & ~(size_t)3;
}

size_t d2v_codec_tokens_size(d2v_codec codec, uint64_t count, uint32_t documents) {
	D2V_ASSERT(count <= D2V_RECORD_PAYLOAD_MAX && documents <= D2V_RECORD_PAYLOAD_MAX);
	return ends_at(codec, count) + documents * sizeof(uint32_t);
}

// Both are the bytes as they are on machines that are little-endian themselves.
static void put_tokens(d2v_codec codec, const void *tokens, size_t count, void *payload) {
	if (BYTE_ORDER == LITTLE_ENDIAN) {
		memmove(payload, tokens, count * width_of(codec));
	} else if (codec == D2V_CODEC_TOK16) {
		for (size_t i = 0; i < count; i++)
			((uint16_t *)payload)[i] = htole16(((const uint16_t *)tokens)[i]);
	} else {
		for (size_t i = 0; i < count; i++)
			((uint32_t *)payload)[i] = htole32(((const uint32_t *)tokens)[i]);
	}
}

void d2v_codec_tokens_encode(
	d2v_codec codec, const void *tokens, uint64_t count, const uint32_t *ends, uint32_t documents, void *payload) {
	D2V_ASSERT(codec == D2V_CODEC_TOK16 || codec == D2V_CODEC_TOK32);
	size_t used = (size_t)count * width_of(codec), at = ends_at(codec, count);
	put_tokens(codec, tokens, (size_t)count, payload);
	memset((unsigned char *)payload + used, 0, at - used);
	uint32_t *out = (uint32_t *)(void *)((unsigned char *)payload + at);
	for (uint32_t i = 0; i < documents; i++)
		out[i] = htole32(ends[i]);
}

static d2v_status check_ends(const d2v_tokens *tokens, d2v_error *err) {
	uint64_t before = 0;
	for (uint32_t i = 0; i < tokens->documents; i++) {
		uint64_t end = d2v_tokens_end(tokens, i);
		if (end <= before || end > tokens->count)
			return d2v_fail(err, D2V_CORRUPT, "document %u ends before token %llu of %llu, the one before it at %llu",
				i, (unsigned long long)end, (unsigned long long)tokens->count, (unsigned long long)before);
		before = end;
	}
	return D2V_OK;
}

d2v_status d2v_codec_tokens_view(const d2v_record *record, d2v_tokens *tokens, d2v_error *err) {
	d2v_codec codec = (d2v_codec)record->codec;
	*tokens = (d2v_tokens){ .count = record->units, .documents = record->rows };
	if (codec != D2V_CODEC_TOK16 && codec != D2V_CODEC_TOK32)
		return d2v_fail(err, D2V_CORRUPT, "%s where tokens are expected", d2v_codec_name(codec));
	if ((uintptr_t)record->payload % sizeof(uint32_t))
		return d2v_fail(err, D2V_INVALID, "a payload that is not aligned");
	if (record->units > D2V_RECORD_PAYLOAD_MAX || record->rows > D2V_RECORD_PAYLOAD_MAX ||
		d2v_codec_tokens_size(codec, record->units, record->rows) != record->payload_size)
		return d2v_fail(err, D2V_CORRUPT, "%llu bytes cannot be %llu tokens and %u ends",
			(unsigned long long)record->payload_size, (unsigned long long)record->units, record->rows);
	if (codec == D2V_CODEC_TOK16)
		tokens->narrow = record->payload;
	else
		tokens->wide = record->payload;
	tokens->ends =
		(const uint32_t *)(const void *)((const unsigned char *)record->payload + ends_at(codec, record->units));
	return check_ends(tokens, err);
}
