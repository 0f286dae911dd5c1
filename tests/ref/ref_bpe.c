#include "tests/ref/ref_bpe.h"

#include "base/memory.h"
#include "ingest/char_class.h"

#include <stdlib.h>
#include <string.h>

// ---- characters

typedef struct character {
	uint32_t code;
	d2v_char_class kind;
	size_t start; // its first byte
} character;

// As the definition of UTF-8 says: so many bytes by the lead, the smallest code point for that length, no surrogates.
static bool well_formed(const unsigned char *text, size_t size, size_t length, uint32_t *code) {
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (size < length)
		return false;
	*code = text[0] & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if (text[i] < 0x80 || text[i] > 0xbf)
			return false;
		*code = *code * 64 + (text[i] - 0x80u);
	}
	return *code >= smallest[length] && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
}

static size_t read_character(const unsigned char *text, size_t size, uint32_t *code) {
	size_t length = text[0] >= 0xf0 && text[0] <= 0xf7   ? 4
					: text[0] >= 0xe0 && text[0] <= 0xef ? 3
					: text[0] >= 0xc0 && text[0] <= 0xdf ? 2
														 : 0;
	if (length && well_formed(text, size, length, code))
		return length;
	*code = text[0] < 0x80 ? text[0] : 0xdc00u + text[0];
	return 1;
}

// The text as characters, with one more at the end that says where it ends.
static d2v_status read_characters(
	const unsigned char *text, size_t size, character **out, size_t *count, d2v_error *err) {
	D2V_TRY(d2v_alloc(out, size + 1, sizeof **out, err));
	*count = 0;
	for (size_t at = 0; at < size;) {
		character *c = &(*out)[(*count)++];
		c->start = at;
		at += read_character(text + at, size - at, &c->code);
		c->kind = d2v_char_class_of(c->code);
	}
	(*out)[*count] = (character){ .start = size };
	return D2V_OK;
}

// ---- the pattern: each function is an alternative; the result is how many characters it matches, 0 when it does not
// --

static size_t match_word(const character *c, size_t count, const char *word) {
	size_t length = strlen(word);
	for (size_t i = 0; i < length; i++)
		if (i >= count || c[i].code != (unsigned char)word[i])
			return 0;
	return length;
}

// " ?" and then one or more of the kind.
static size_t match_run(const character *c, size_t count, d2v_char_class kind) {
	size_t start = count && c[0].code == ' ', end = start;
	while (end < count && c[end].kind == kind)
		end++;
	return end > start ? end : 0;
}

static size_t count_space(const character *c, size_t count) {
	size_t end = 0;
	while (end < count && c[end].kind == D2V_CHAR_SPACE)
		end++;
	return end;
}

// \s+(?!\S): gives up characters until none that is not white space follows.
static size_t match_space_before_space(const character *c, size_t count) {
	size_t end = count_space(c, count);
	while (end && end < count && c[end].kind != D2V_CHAR_SPACE)
		end--;
	return end;
}

static size_t match_piece(const character *c, size_t count) {
	static const char *const contractions[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };
	size_t length;
	for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++)
		if ((length = match_word(c, count, contractions[i])))
			return length;
	if ((length = match_run(c, count, D2V_CHAR_LETTER)))
		return length;
	if ((length = match_run(c, count, D2V_CHAR_NUMBER)))
		return length;
	if ((length = match_run(c, count, D2V_CHAR_OTHER)))
		return length;
	if ((length = match_space_before_space(c, count)))
		return length;
	return count_space(c, count);
}

// ---- merges

typedef struct ranked {
	d2v_merge merge;
	uint32_t rank;
} ranked;

struct ref_bpe {
	const d2v_vocabulary *vocabulary;
	ranked *list; // sorted by left, right
	uint32_t count;
};

static int compare(const void *a, const void *b) {
	const d2v_merge *left = &((const ranked *)a)->merge, *right = &((const ranked *)b)->merge;
	if (left->left != right->left)
		return left->left < right->left ? -1 : 1;
	return left->right < right->right ? -1 : left->right > right->right;
}

d2v_status ref_bpe_new(ref_bpe **ref, const d2v_vocabulary *vocabulary, d2v_error *err) {
	uint32_t count;
	const d2v_merge *merges = d2v_vocabulary_merges(vocabulary, &count);
	D2V_TRY(d2v_alloc_zero(ref, 1, sizeof **ref, err));
	d2v_status status = d2v_alloc(&(*ref)->list, count, sizeof *(*ref)->list, err);
	if (status != D2V_OK) {
		d2v_free(*ref);
		*ref = NULL;
		return status;
	}
	(*ref)->vocabulary = vocabulary;
	(*ref)->count = count;
	for (uint32_t k = 0; k < count; k++)
		(*ref)->list[k] = (ranked){ merges[k], k };
	if (count)
		qsort((*ref)->list, count, sizeof *(*ref)->list, compare);
	return D2V_OK;
}

void ref_bpe_free(ref_bpe *ref) {
	if (!ref)
		return;
	d2v_free(ref->list);
	d2v_free(ref);
}

static const ranked *find(const ref_bpe *ref, uint32_t left, uint32_t right) {
	ranked key = { .merge = { .left = left, .right = right } };
	return ref->count ? bsearch(&key, ref->list, ref->count, sizeof key, compare) : NULL;
}

static const ranked *lowest_rank(const ref_bpe *ref, const uint32_t *word, size_t count) {
	const ranked *best = NULL;
	for (size_t i = 0; i + 1 < count; i++) {
		const ranked *pair = find(ref, word[i], word[i + 1]);
		if (pair && (!best || pair->rank < best->rank))
			best = pair;
	}
	return best;
}

// All occurrences of the pair, from left to right.
static size_t merge_all(uint32_t *word, size_t count, d2v_merge pair) {
	size_t out = 0;
	for (size_t i = 0; i < count;) {
		if (i + 1 < count && word[i] == pair.left && word[i + 1] == pair.right) {
			word[out++] = pair.product;
			i += 2;
		} else {
			word[out++] = word[i++];
		}
	}
	return out;
}

static size_t merge_piece(const ref_bpe *ref, const unsigned char *piece, size_t size, uint32_t *word) {
	const ranked *best;
	for (size_t i = 0; i < size; i++)
		word[i] = d2v_vocabulary_byte(ref->vocabulary, piece[i]);
	while ((best = lowest_rank(ref, word, size)))
		size = merge_all(word, size, best->merge);
	return size;
}

d2v_status ref_bpe_encode(
	const ref_bpe *ref, const void *text, size_t size, uint32_t **ids, size_t *count, d2v_error *err) {
	const unsigned char *bytes = text;
	character *characters;
	size_t characters_count;
	*count = 0;
	*ids = NULL;
	D2V_TRY(read_characters(bytes, size, &characters, &characters_count, err));
	d2v_status status = d2v_alloc(ids, size, sizeof **ids, err);
	for (size_t at = 0, end; status == D2V_OK && at < characters_count; at = end) {
		end = at + match_piece(characters + at, characters_count - at);
		size_t start = characters[at].start;
		*count += merge_piece(ref, bytes + start, characters[end].start - start, *ids + *count);
	}
	d2v_free(characters);
	return status;
}
