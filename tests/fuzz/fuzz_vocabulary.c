// Any bytes as a tokenizer's files: refused in words, or fit to encode with. encoder.json and vocab.bpe with a zero
// byte between them; the whole is read as a dictionary too, and what can be read comes back the same when it is
// written.
#include "base/file.h"
#include "base/memory.h"
#include "ingest/bpe_encoder.h"
#include "shards/dictionary.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_encoding(const d2v_vocabulary *vocabulary, const uint8_t *text, size_t size) {
	d2v_bpe_merges *merges;
	d2v_bpe_encoder *encoder;
	d2v_ids ids = { 0 };
	size_t decoded;
	D2V_ASSERT(d2v_bpe_merges_new(&merges, vocabulary, NULL) == D2V_OK);
	D2V_ASSERT(d2v_bpe_encoder_new(&encoder, merges, NULL) == D2V_OK);
	D2V_ASSERT(d2v_bpe_encode(encoder, text, size, &ids, NULL) == D2V_OK);
	D2V_ASSERT(d2v_vocabulary_decode(vocabulary, ids.ids, ids.count, NULL, 0, &decoded, NULL) == D2V_OK);
	D2V_ASSERT(decoded == size);
	d2v_free(ids.ids);
	d2v_bpe_encoder_free(encoder);
	d2v_bpe_merges_free(merges);
}

static void check_vocabulary(const uint8_t *bytes, size_t size) {
	const uint8_t *zero = memchr(bytes, 0, size);
	d2v_vocabulary *vocabulary;
	d2v_error err;
	if (!zero || d2v_vocabulary_parse(&vocabulary, (const char *)bytes, (size_t)(zero - bytes), (const char *)zero + 1,
					 size - (size_t)(zero - bytes) - 1, "input", &err) != D2V_OK)
		return;
	check_encoding(vocabulary, bytes, size);
	d2v_vocabulary_free(vocabulary);
}

static void check_dictionary(const uint8_t *bytes, size_t size) {
	d2v_dictionary *dictionary;
	d2v_error err;
	char path[64];
	void *saved;
	size_t saved_size;
	if (d2v_dictionary_parse(&dictionary, (const char *)bytes, size, "input", 1000, &err) != D2V_OK)
		return;
	for (uint32_t row = 0; row < d2v_dictionary_rows(dictionary); row++) {
		uint32_t id = d2v_dictionary_gpt2_id(dictionary, row);
		D2V_ASSERT(id == D2V_NO_TOKEN || d2v_dictionary_row(dictionary, id) == row);
	}
	snprintf(path, sizeof path, "/tmp/d2v-fuzz-dict-%ld", (long)getpid());
	D2V_ASSERT(d2v_dictionary_save(dictionary, path, &err) == D2V_OK);
	D2V_ASSERT(d2v_file_read(path, SIZE_MAX - 2, &saved, &saved_size, &err) == D2V_OK);
	D2V_ASSERT(saved_size - (bytes[size - 1] != '\n') == size && memcmp(saved, bytes, size) == 0);
	d2v_free(saved);
	unlink(path);
	d2v_dictionary_free(dictionary);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	if (size == 0)
		return 0;
	check_vocabulary(bytes, size);
	check_dictionary(bytes, size);
	return 0;
}
