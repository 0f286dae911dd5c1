#include "tests/ref/small_vocabulary.h"

#include "base/memory.h"
#include "base/random.h"

#include <stdio.h>
#include <string.h>

#define MOST_MERGES 1000
#define LONGEST 48 // bytes of a spelling
#define TEXT_ROOM ((size_t)(MOST_MERGES + 300) * (LONGEST + 16))

typedef struct making {
	char spellings[256 + MOST_MERGES][LONGEST + 1];
	uint32_t count;
	char json[TEXT_ROOM], merges[TEXT_ROOM];
	size_t json_size, merges_size;
	d2v_random random;
} making;

static void spell_bytes(making *m) {
	unsigned next = 0x100;
	for (unsigned byte = 0; byte < 256; byte++) {
		bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
		unsigned code = plain ? byte : next++;
		if (code < 0x80)
			snprintf(m->spellings[byte], sizeof m->spellings[byte], "%c", (char)code);
		else
			snprintf(m->spellings[byte], sizeof m->spellings[byte], "%c%c", (char)(0xc0 | code >> 6),
				(char)(0x80 | (code & 63)));
	}
	m->count = 256;
}

static void add_token(making *m, const char *spelling, uint32_t id) {
	bool escape = *spelling == '"' || *spelling == '\\'; // only as bytes: the alphabet has neither
	m->json_size += (size_t)snprintf(m->json + m->json_size, TEXT_ROOM - m->json_size, "%s\"%s%s\": %u",
		id ? ", " : "{", escape ? "\\" : "", spelling, id);
}

// A byte of the alphabet or an earlier product.
static uint32_t choose(making *m) {
	static const char alphabet[] = SMALL_VOCABULARY_ALPHABET;
	if (m->count == 256 || d2v_random_below(&m->random, 3) == 0)
		return (unsigned char)alphabet[d2v_random_below(&m->random, sizeof alphabet - 1)];
	return 256 + d2v_random_below(&m->random, m->count - 256);
}

static bool is_new(const making *m, const char *spelling) {
	for (uint32_t k = 0; k < m->count; k++)
		if (strcmp(m->spellings[k], spelling) == 0)
			return false;
	return true;
}

static void add_merge(making *m) {
	const char *left = m->spellings[choose(m)], *right = m->spellings[choose(m)];
	char *product = m->spellings[m->count];
	size_t left_size = strlen(left), right_size = strlen(right);
	if (left_size + right_size > LONGEST)
		return;
	memcpy(product, left, left_size);
	memcpy(product + left_size, right, right_size + 1);
	if (!is_new(m, product))
		return;
	m->merges_size += (size_t)snprintf(m->merges + m->merges_size, TEXT_ROOM - m->merges_size, "%s %s\n", left, right);
	m->count++;
}

d2v_status small_vocabulary_make(d2v_vocabulary **vocabulary, uint64_t seed, uint32_t merges, d2v_error *err) {
	making *m;
	*vocabulary = NULL;
	D2V_TRY(d2v_alloc_zero(&m, 1, sizeof *m, err));
	d2v_random_start(&m->random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, 0, 0));
	spell_bytes(m);
	m->merges_size = (size_t)snprintf(m->merges, TEXT_ROOM, "#version: small\n");
	for (uint32_t k = 0; k < merges && k < MOST_MERGES; k++)
		add_merge(m);
	for (uint32_t k = 0; k < m->count; k++)
		add_token(m, m->spellings[k], k);
	add_token(m, "<|endoftext|>", m->count);
	m->json_size += (size_t)snprintf(m->json + m->json_size, TEXT_ROOM - m->json_size, "}");
	d2v_status status =
		d2v_vocabulary_parse(vocabulary, m->json, m->json_size, m->merges, m->merges_size, "small vocabulary", err);
	d2v_free(m);
	return status;
}
