#include "shards/dictionary.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)64 << 20)
#define MAX_LINES ((uint32_t)2 << 20)
#define FILLER "madeupword"
#define NO_ROW ((uint32_t)D2V_DICTIONARY_UNK) // what `rows` says of an id that no line has

// A line of dict.txt.
typedef struct entry {
	uint32_t id;     // of GPT-2; D2V_NO_TOKEN: a filler
	uint32_t filler; // its number
	uint64_t count;
} entry;

struct d2v_dictionary {
	entry *entries; // row 4 is entries[0]
	uint32_t count;
	size_t capacity;
	uint32_t *rows; // by GPT-2 id
	uint32_t ids;
};

static d2v_status new_dictionary(d2v_dictionary **dictionary, uint32_t ids, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(dictionary, 1, sizeof **dictionary, err));
	d2v_status status = d2v_alloc(&(*dictionary)->rows, ids, sizeof *(*dictionary)->rows, err);
	if (status != D2V_OK) {
		d2v_free(*dictionary);
		*dictionary = NULL;
		return status;
	}
	(*dictionary)->ids = ids;
	for (uint32_t id = 0; id < ids; id++)
		(*dictionary)->rows[id] = NO_ROW;
	return D2V_OK;
}

void d2v_dictionary_free(d2v_dictionary *dictionary) {
	if (!dictionary)
		return;
	d2v_free(dictionary->entries);
	d2v_free(dictionary->rows);
	d2v_free(dictionary);
}

static d2v_status add_entry(d2v_dictionary *dictionary, entry line, d2v_error *err) {
	D2V_TRY(d2v_reserve(
		&dictionary->entries, &dictionary->capacity, (size_t)dictionary->count + 1, sizeof *dictionary->entries, err));
	if (line.id != D2V_NO_TOKEN)
		dictionary->rows[line.id] = D2V_DICTIONARY_SPECIALS + dictionary->count;
	dictionary->entries[dictionary->count++] = line;
	return D2V_OK;
}

// A decimal number that ends at `end`, in the form that printing gives.
static bool read_number(const char *text, const char *end, uint64_t *value) {
	*value = 0;
	if (text == end || (*text == '0' && end - text > 1))
		return false;
	for (; text < end; text++) {
		if (*text < '0' || *text > '9')
			return false;
		if (__builtin_mul_overflow(*value, (uint64_t)10, value) ||
			__builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
			return false;
	}
	return true;
}

// madeupword0000: four digits, or more when there must be.
static bool read_filler(const char *text, const char *end, uint32_t *number) {
	size_t prefix = sizeof FILLER - 1, size = (size_t)(end - text);
	if (size < prefix + 4 || size > prefix + 9 || memcmp(text, FILLER, prefix) != 0 ||
		(size > prefix + 4 && text[prefix] == '0'))
		return false;
	*number = 0;
	for (text += prefix; text < end; text++) {
		if (*text < '0' || *text > '9')
			return false;
		*number = *number * 10 + (uint32_t)(*text - '0');
	}
	return true;
}

static const char *read_entry(const d2v_dictionary *dictionary, const char *text, const char *end, entry *line) {
	const char *space = memrchr(text, ' ', (size_t)(end - text));
	uint64_t id;
	if (!space || !read_number(space + 1, end, &line->count))
		return "not 'SYMBOL COUNT'";
	line->id = D2V_NO_TOKEN;
	if (read_filler(text, space, &line->filler))
		return NULL;
	if (!read_number(text, space, &id))
		return "its symbol is neither a GPT-2 id nor a madeupword: the dictionary of another tokenizer?";
	if (id >= dictionary->ids)
		return "its id is past the end of the vocabulary";
	if (dictionary->rows[id] != NO_ROW)
		return "its id was there before";
	line->id = (uint32_t)id;
	return NULL;
}

static d2v_status read_lines(
	d2v_dictionary *dictionary, const char *text, size_t size, const char *where, d2v_error *err) {
	const char *end = text + size;
	for (size_t number = 1; text < end; number++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text)), *stop = newline ? newline : end;
		entry line = { 0 };
		const char *wrong =
			number > MAX_LINES ? "more lines than a dictionary has" : read_entry(dictionary, text, stop, &line);
		if (wrong)
			return d2v_fail(err, D2V_INVALID, "%s: line %zu: %s", where, number, wrong);
		D2V_TRY(add_entry(dictionary, line, err));
		text = newline ? newline + 1 : end;
	}
	return D2V_OK;
}

d2v_status d2v_dictionary_parse(
	d2v_dictionary **dictionary, const char *text, size_t size, const char *where, uint32_t ids, d2v_error *err) {
	D2V_TRY(new_dictionary(dictionary, ids, err));
	d2v_status status = read_lines(*dictionary, text, size, where, err);
	if (status == D2V_OK && (*dictionary)->count == 0)
		status = d2v_fail(err, D2V_INVALID, "%s: an empty dictionary", where);
	if (status != D2V_OK) {
		d2v_dictionary_free(*dictionary);
		*dictionary = NULL;
	}
	return status;
}

d2v_status d2v_dictionary_load(d2v_dictionary **dictionary, const char *path, uint32_t ids, d2v_error *err) {
	void *text;
	size_t size;
	*dictionary = NULL;
	D2V_TRY(d2v_file_read(path, MAX_FILE, &text, &size, err));
	d2v_status status = d2v_dictionary_parse(dictionary, text, size, path, ids, err);
	d2v_free(text);
	return status;
}

// Count descending, then the decimal spelling ascending.
static int compare_entries(const void *a, const void *b) {
	const entry *left = a, *right = b;
	char left_text[16], right_text[16];
	if (left->count != right->count)
		return left->count > right->count ? -1 : 1;
	snprintf(left_text, sizeof left_text, "%u", left->id);
	snprintf(right_text, sizeof right_text, "%u", right->id);
	return strcmp(left_text, right_text);
}

static d2v_status add_counted(d2v_dictionary *dictionary, const uint64_t *counts, d2v_error *err) {
	for (uint32_t id = 0; id < dictionary->ids; id++)
		if (counts[id])
			D2V_TRY(add_entry(dictionary, (entry){ .id = id, .count = counts[id] }, err));
	if (dictionary->count)
		qsort(dictionary->entries, dictionary->count, sizeof *dictionary->entries, compare_entries);
	for (uint32_t k = 0; k < dictionary->count; k++)
		dictionary->rows[dictionary->entries[k].id] = D2V_DICTIONARY_SPECIALS + k;
	for (uint32_t filler = 0; (dictionary->count + D2V_DICTIONARY_SPECIALS) % 8; filler++)
		D2V_TRY(add_entry(dictionary, (entry){ .id = D2V_NO_TOKEN, .filler = filler }, err));
	return D2V_OK;
}

d2v_status d2v_dictionary_build(d2v_dictionary **dictionary, const uint64_t *counts, uint32_t ids, d2v_error *err) {
	D2V_TRY(new_dictionary(dictionary, ids, err));
	d2v_status status = add_counted(*dictionary, counts, err);
	if (status != D2V_OK) {
		d2v_dictionary_free(*dictionary);
		*dictionary = NULL;
	}
	return status;
}

static d2v_status write_entries(const d2v_dictionary *dictionary, d2v_file_out *out, d2v_error *err) {
	for (uint32_t k = 0; k < dictionary->count; k++) {
		const entry *line = &dictionary->entries[k];
		char text[64];
		int size = line->id == D2V_NO_TOKEN
					   ? snprintf(text, sizeof text, FILLER "%04" PRIu32 " %" PRIu64 "\n", line->filler, line->count)
					   : snprintf(text, sizeof text, "%" PRIu32 " %" PRIu64 "\n", line->id, line->count);
		D2V_TRY(d2v_file_write(out, text, (size_t)size, err));
	}
	return D2V_OK;
}

d2v_status d2v_dictionary_save(const d2v_dictionary *dictionary, const char *path, d2v_error *err) {
	d2v_file_out *out;
	D2V_TRY(d2v_file_begin(&out, path, err));
	d2v_status status = write_entries(dictionary, out, err);
	if (status != D2V_OK) {
		d2v_file_abandon(out);
		return status;
	}
	return d2v_file_commit(out, err);
}

uint32_t d2v_dictionary_rows(const d2v_dictionary *dictionary) {
	return D2V_DICTIONARY_SPECIALS + dictionary->count + 1;
}

uint32_t d2v_dictionary_mask(const d2v_dictionary *dictionary) {
	return D2V_DICTIONARY_SPECIALS + dictionary->count;
}

uint32_t d2v_dictionary_row(const d2v_dictionary *dictionary, uint32_t gpt2_id) {
	return gpt2_id < dictionary->ids ? dictionary->rows[gpt2_id] : NO_ROW;
}

const uint32_t *d2v_dictionary_map(const d2v_dictionary *dictionary, uint32_t *ids) {
	*ids = dictionary->ids;
	return dictionary->rows;
}

uint32_t d2v_dictionary_gpt2_id(const d2v_dictionary *dictionary, uint32_t row) {
	if (row < D2V_DICTIONARY_SPECIALS || row - D2V_DICTIONARY_SPECIALS >= dictionary->count)
		return D2V_NO_TOKEN;
	return dictionary->entries[row - D2V_DICTIONARY_SPECIALS].id;
}
