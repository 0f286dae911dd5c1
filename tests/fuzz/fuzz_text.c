// Arbitrary bytes as a text that is as large as one likes (the input repeated): its pieces come to the lines that a
// plain splitter finds in the whole.
#include "base/memory.h"
#include "ingest/char_class.h"
#include "ingest/text_lines.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct given {
	const uint8_t *bytes;
	size_t size, total, at, block;
} given;

typedef struct lines {
	uint64_t count, bytes, documents;
} lines;

static d2v_status give(void *context, const void **bytes, size_t *size, d2v_error *err) {
	given *from = context;
	size_t offset = from->at % from->size, left = from->size - offset;
	(void)err;
	*size = left < from->block ? left : from->block;
	*size = *size < from->total - from->at ? *size : from->total - from->at;
	*bytes = from->bytes + offset;
	from->at += *size;
	return D2V_OK;
}

static d2v_status on_line(void *context, const unsigned char *line, size_t size, bool whole, d2v_error *err) {
	lines *seen = context;
	(void)line, (void)err;
	seen->bytes += size;
	seen->count += whole;
	return D2V_OK;
}

static d2v_status on_document(void *context, d2v_error *err) {
	(void)err;
	((lines *)context)->documents++;
	return D2V_OK;
}

static lines cut(given *from, uint64_t *empty) {
	d2v_text_cutter *cutter;
	unsigned char *out = NULL;
	size_t capacity = 0;
	d2v_text_piece piece;
	d2v_rejection rejection;
	d2v_error err;
	lines seen = { 0 };
	d2v_text_sink sink = { on_line, on_document, &seen };
	d2v_bytes input = { .read = give, .context = from, .name = "input" };
	D2V_ASSERT(d2v_text_cutter_new(&cutter, &err) == D2V_OK);
	D2V_ASSERT(d2v_text_cutter_start(cutter, &input, NULL, &err) == D2V_OK);
	while (d2v_text_cutter_next(cutter, &out, &capacity, &piece, &rejection, &err) == D2V_OK)
		D2V_ASSERT(d2v_text_lines(out, &piece, &sink, empty, &err) == D2V_OK);
	d2v_free(out);
	d2v_text_cutter_free(cutter);
	return seen;
}

// The first byte says how often the rest is repeated: a little, or beyond the size of a piece.
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	uint64_t empty_whole = 0, empty_single = 0;
	if (size < 2)
		return 0;
	size_t total =
		bytes[0] < 4 ? D2V_CUTTER_PIECE + bytes[0] * (D2V_CUTTER_PIECE / 5) : (size - 1) * (bytes[0] % 5 + 1);
	given whole = { bytes + 1, size - 1, total, 0, 1 << 16 }, single = { bytes + 1, size - 1, total, 0, 7 };
	lines a = cut(&whole, &empty_whole), b = cut(&single, &empty_single);
	D2V_ASSERT(memcmp(&a, &b, sizeof a) == 0 && empty_whole == empty_single);
	D2V_ASSERT(a.documents + empty_whole == 1);
	return 0;
}
