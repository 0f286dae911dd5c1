// Any bytes as a text: the encoder gives the reference's ids, and they decode to the bytes. The first byte chooses the
// vocabulary: GPT-2's, where it is at hand, or one of a few small ones.
#include "base/file.h"
#include "base/memory.h"
#include "ingest/bpe_encoder.h"
#include "tests/ref/ref_bpe.h"
#include "tests/ref/small_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define VOCABULARIES 8
#define MOST_BYTES 4096 // the reference takes quadratic time

typedef struct tokenizer {
	d2v_vocabulary *vocabulary;
	d2v_bpe_merges *merges;
	d2v_bpe_encoder *encoder;
	ref_bpe *ref;
} tokenizer;

static void load(tokenizer *t, unsigned number) {
	const char *shared = getenv("D2V_SHARED");
	char folder[512];
	snprintf(folder, sizeof folder, "%s/data/gpt2", shared ? shared : "");
	if (number == 0 && shared && *shared && d2v_file_is_directory(folder))
		D2V_ASSERT(d2v_vocabulary_load(&t->vocabulary, folder, NULL) == D2V_OK);
	else
		D2V_ASSERT(small_vocabulary_make(&t->vocabulary, number, number * 140, NULL) == D2V_OK);
	D2V_ASSERT(d2v_bpe_merges_new(&t->merges, t->vocabulary, NULL) == D2V_OK);
	D2V_ASSERT(d2v_bpe_encoder_new(&t->encoder, t->merges, NULL) == D2V_OK);
	D2V_ASSERT(ref_bpe_new(&t->ref, t->vocabulary, NULL) == D2V_OK);
}

static void check(tokenizer *t, const uint8_t *text, size_t size) {
	static d2v_ids ids;
	static unsigned char decoded[MOST_BYTES];
	uint32_t *expected;
	size_t count, decoded_size;
	ids.count = 0;
	D2V_ASSERT(d2v_bpe_encode(t->encoder, text, size, &ids, NULL) == D2V_OK);
	D2V_ASSERT(ref_bpe_encode(t->ref, text, size, &expected, &count, NULL) == D2V_OK);
	D2V_ASSERT(count == ids.count && memcmp(ids.ids, expected, count * sizeof *expected) == 0);
	D2V_ASSERT(
		d2v_vocabulary_decode(t->vocabulary, ids.ids, count, decoded, sizeof decoded, &decoded_size, NULL) == D2V_OK);
	D2V_ASSERT(decoded_size == size && memcmp(decoded, text, size) == 0);
	d2v_free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	static tokenizer tokenizers[VOCABULARIES];
	if (size == 0 || size > MOST_BYTES)
		return 0;
	tokenizer *t = &tokenizers[bytes[0] % VOCABULARIES];
	if (!t->vocabulary)
		load(t, bytes[0] % VOCABULARIES);
	check(t, bytes + 1, size - 1);
	return 0;
}
