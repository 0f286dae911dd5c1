#include "shards/vocabulary.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <string.h>

#define END_OF_TEXT "<|endoftext|>"
#define LAST_CHARACTER 0x143                                // the 68th from U+0100
#define MAX_SPELLING ((size_t)2 * D2V_VOCABULARY_MAX_TOKEN) // a byte is spelled with one or two

struct d2v_vocabulary {
	uint32_t size;
	uint32_t end_of_text;
	uint32_t byte_ids[256];
	size_t *starts; // size + 1: token id is bytes[starts[id]] to bytes[starts[id + 1]]
	unsigned char *bytes;
	d2v_merge *merges;
	uint32_t merge_count;
};

// What is needed while reading.
typedef struct reading {
	d2v_vocabulary *vocabulary;
	const char *where;                   // the folder
	json_t *ids;                         // spelling to id
	int16_t byte_of[LAST_CHARACTER + 1]; // -1: spells none
	bool *made;                          // by id: is a byte or the product of a merge
	size_t merge_capacity;
} reading;

static bool stands_for_itself(unsigned byte) {
	return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static void spell_bytes(int16_t *byte_of) {
	memset(byte_of, 0xff, (LAST_CHARACTER + 1) * sizeof *byte_of);
	int next = 0x100;
	for (int byte = 0; byte < 256; byte++)
		byte_of[stands_for_itself((unsigned)byte) ? byte : next++] = (int16_t)byte;
}

// The byte that a spelling starts with; -1 when there is none. All characters in question have one or two bytes of
// UTF-8, and jansson has checked that it is UTF-8; vocab.bpe is looked up among the strings that it checked.
static int read_byte(const reading *in, const char **spelling) {
	const unsigned char *at = (const unsigned char *)*spelling;
	uint32_t code = at[0];
	size_t length = 1;
	if (code >= 0x80) {
		if (code >= 0xe0)
			return -1;
		code = (code & 0x1f) << 6 | (at[1] & 0x3f);
		length = 2;
	}
	*spelling += length;
	return code <= LAST_CHARACTER ? in->byte_of[code] : -1;
}

// Bytes of a spelling, written to `bytes` when not NULL; 0 when it spells none.
static size_t read_spelling(const reading *in, const char *spelling, unsigned char *bytes) {
	size_t size = 0;
	while (*spelling) {
		int byte = read_byte(in, &spelling);
		if (byte < 0)
			return 0;
		if (bytes)
			bytes[size] = (unsigned char)byte;
		size++;
	}
	return size;
}

static d2v_status check_token(const reading *in, const char *spelling, const json_t *id, size_t *size, d2v_error *err) {
	const d2v_vocabulary *vocabulary = in->vocabulary;
	*size = read_spelling(in, spelling, NULL);
	if (*size == 0 || *size > D2V_VOCABULARY_MAX_TOKEN)
		return d2v_fail(err, D2V_INVALID,
			"%s/" D2V_VOCABULARY_JSON ": token '%.64s' is not 1 to %d bytes in GPT-2's spelling", in->where, spelling,
			D2V_VOCABULARY_MAX_TOKEN);
	if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= (json_int_t)vocabulary->size)
		return d2v_fail(err, D2V_INVALID,
			"%s/" D2V_VOCABULARY_JSON ": token '%.64s': its id is not an integer from 0 to %u", in->where, spelling,
			vocabulary->size - 1);
	return D2V_OK;
}

// Sizes of all tokens into starts[id + 1], so that their sums are where tokens start.
static d2v_status place_tokens(reading *in, d2v_error *err) {
	d2v_vocabulary *vocabulary = in->vocabulary;
	const char *spelling;
	json_t *id;
	json_object_foreach(in->ids, spelling, id) {
		size_t size;
		D2V_TRY(check_token(in, spelling, id, &size, err));
		size_t *place = &vocabulary->starts[json_integer_value(id) + 1];
		if (*place)
			return d2v_fail(err, D2V_INVALID,
				"%s/" D2V_VOCABULARY_JSON ": token '%.64s': id %lld is another token's too", in->where, spelling,
				(long long)json_integer_value(id));
		*place = size;
	}
	for (uint32_t k = 0; k < vocabulary->size; k++)
		vocabulary->starts[k + 1] += vocabulary->starts[k];
	return D2V_OK;
}

static void fill_tokens(reading *in) {
	d2v_vocabulary *vocabulary = in->vocabulary;
	const char *spelling;
	json_t *id;
	json_object_foreach(in->ids, spelling, id)
		read_spelling(in, spelling, vocabulary->bytes + vocabulary->starts[json_integer_value(id)]);
}

static d2v_status find_bytes(reading *in, d2v_error *err) {
	d2v_vocabulary *vocabulary = in->vocabulary;
	for (unsigned byte = 0; byte < 256; byte++)
		vocabulary->byte_ids[byte] = D2V_NO_TOKEN;
	for (uint32_t id = 0; id < vocabulary->size; id++)
		if (vocabulary->starts[id + 1] - vocabulary->starts[id] == 1) {
			vocabulary->byte_ids[vocabulary->bytes[vocabulary->starts[id]]] = id;
			in->made[id] = true;
		}
	for (unsigned byte = 0; byte < 256; byte++)
		if (vocabulary->byte_ids[byte] == D2V_NO_TOKEN)
			return d2v_fail(err, D2V_INVALID, "%s/" D2V_VOCABULARY_JSON ": no token for byte %u", in->where, byte);
	return D2V_OK;
}

static d2v_status read_tokens(reading *in, const char *json, size_t size, d2v_error *err) {
	d2v_vocabulary *vocabulary = in->vocabulary;
	char *name;
	D2V_TRY(d2v_path_join(&name, in->where, D2V_VOCABULARY_JSON, err));
	d2v_status status = d2v_json_parse(json, size, name, &in->ids, err);
	d2v_free(name);
	D2V_TRY(status);
	if (!json_is_object(in->ids) || json_object_size(in->ids) == 0 ||
		json_object_size(in->ids) > D2V_VOCABULARY_MAX_IDS)
		return d2v_fail(err, D2V_INVALID, "%s/" D2V_VOCABULARY_JSON ": not an object of 1 to %u tokens", in->where,
			D2V_VOCABULARY_MAX_IDS);
	vocabulary->size = (uint32_t)json_object_size(in->ids);
	D2V_TRY(d2v_alloc_zero(&vocabulary->starts, (size_t)vocabulary->size + 1, sizeof *vocabulary->starts, err));
	D2V_TRY(d2v_alloc_zero(&in->made, vocabulary->size, sizeof *in->made, err));
	D2V_TRY(place_tokens(in, err));
	D2V_TRY(d2v_alloc(&vocabulary->bytes, vocabulary->starts[vocabulary->size], 1, err));
	fill_tokens(in);
	const json_t *end = json_object_get(in->ids, END_OF_TEXT);
	vocabulary->end_of_text = end ? (uint32_t)json_integer_value(end) : D2V_NO_TOKEN;
	return find_bytes(in, err);
}

static d2v_status fail_merge(const reading *in, size_t line, const char *what, d2v_error *err) {
	return d2v_fail(err, D2V_INVALID, "%s/" D2V_VOCABULARY_MERGES ": line %zu: %s", in->where, line, what);
}

static uint32_t find_token(const reading *in, const char *spelling) {
	const json_t *id = json_object_get(in->ids, spelling);
	return id ? (uint32_t)json_integer_value(id) : D2V_NO_TOKEN;
}

// "LEFT RIGHT", without its newline.
static d2v_status read_merge(reading *in, const char *text, size_t size, size_t line, d2v_error *err) {
	d2v_vocabulary *vocabulary = in->vocabulary;
	char spelling[2 * MAX_SPELLING + 2];
	const char *space = memchr(text, ' ', size);
	if (!space || size > sizeof spelling - 1 || memchr(text, 0, size) ||
		memchr(space + 1, ' ', size - (size_t)(space - text) - 1))
		return fail_merge(in, line, "not two tokens with a space between them", err);
	size_t left_size = (size_t)(space - text);
	d2v_merge merge;
	memcpy(spelling, text, size);
	spelling[size] = 0;
	merge.right = find_token(in, spelling + left_size + 1);
	spelling[left_size] = 0;
	merge.left = find_token(in, spelling);
	memmove(spelling + left_size, spelling + left_size + 1, size - left_size);
	merge.product = find_token(in, spelling);
	if (merge.left == D2V_NO_TOKEN || merge.right == D2V_NO_TOKEN || merge.product == D2V_NO_TOKEN)
		return fail_merge(in, line, "its parts or what they make are not in " D2V_VOCABULARY_JSON, err);
	if (!in->made[merge.left] || !in->made[merge.right])
		return fail_merge(in, line, "joins a token that no earlier line makes", err);
	if (in->made[merge.product])
		return fail_merge(in, line, "makes a token that an earlier line makes", err);
	in->made[merge.product] = true;
	D2V_TRY(
		d2v_reserve(&vocabulary->merges, &in->merge_capacity, (size_t)vocabulary->merge_count + 1, sizeof merge, err));
	vocabulary->merges[vocabulary->merge_count++] = merge;
	return D2V_OK;
}

static d2v_status read_merges(reading *in, const char *text, size_t size, d2v_error *err) {
	static const char version[] = "#version";
	const char *end = text + size;
	if (size < sizeof version - 1 || memcmp(text, version, sizeof version - 1) != 0)
		return fail_merge(in, 1, "does not start with #version", err);
	for (size_t line = 1; text < end; line++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		if (!newline)
			return fail_merge(in, line, "has no end: the file is cut off", err);
		if (line > 1)
			D2V_TRY(read_merge(in, text, (size_t)(newline - text), line, err));
		text = newline + 1;
	}
	return D2V_OK;
}

d2v_status d2v_vocabulary_parse(d2v_vocabulary **vocabulary, const char *json, size_t json_size, const char *merges,
	size_t merges_size, const char *where, d2v_error *err) {
	reading in = { .where = where };
	*vocabulary = NULL;
	D2V_TRY(d2v_alloc_zero(&in.vocabulary, 1, sizeof *in.vocabulary, err));
	spell_bytes(in.byte_of);
	d2v_status status = read_tokens(&in, json, json_size, err);
	if (status == D2V_OK)
		status = read_merges(&in, merges, merges_size, err);
	json_decref(in.ids);
	d2v_free(in.made);
	if (status == D2V_OK)
		*vocabulary = in.vocabulary;
	else
		d2v_vocabulary_free(in.vocabulary);
	return status;
}

static d2v_status read_beside(const char *folder, const char *name, void **text, size_t *size, d2v_error *err) {
	char *path;
	D2V_TRY(d2v_path_join(&path, folder, name, err));
	d2v_status status = d2v_file_read(path, D2V_VOCABULARY_MAX_FILE, text, size, err);
	d2v_free(path);
	return status;
}

d2v_status d2v_vocabulary_load(d2v_vocabulary **vocabulary, const char *folder, d2v_error *err) {
	void *json = NULL, *merges = NULL;
	size_t json_size, merges_size;
	*vocabulary = NULL;
	d2v_status status = read_beside(folder, D2V_VOCABULARY_JSON, &json, &json_size, err);
	if (status == D2V_OK)
		status = read_beside(folder, D2V_VOCABULARY_MERGES, &merges, &merges_size, err);
	if (status == D2V_OK)
		status = d2v_vocabulary_parse(vocabulary, json, json_size, merges, merges_size, folder, err);
	d2v_free(json);
	d2v_free(merges);
	return status;
}

void d2v_vocabulary_free(d2v_vocabulary *vocabulary) {
	if (!vocabulary)
		return;
	d2v_free(vocabulary->starts);
	d2v_free(vocabulary->bytes);
	d2v_free(vocabulary->merges);
	d2v_free(vocabulary);
}

uint32_t d2v_vocabulary_size(const d2v_vocabulary *vocabulary) {
	return vocabulary->size;
}

uint32_t d2v_vocabulary_end_of_text(const d2v_vocabulary *vocabulary) {
	return vocabulary->end_of_text;
}

uint32_t d2v_vocabulary_byte(const d2v_vocabulary *vocabulary, unsigned char byte) {
	return vocabulary->byte_ids[byte];
}

const d2v_merge *d2v_vocabulary_merges(const d2v_vocabulary *vocabulary, uint32_t *count) {
	*count = vocabulary->merge_count;
	return vocabulary->merges;
}

d2v_token d2v_vocabulary_token(const d2v_vocabulary *vocabulary, uint32_t id) {
	D2V_ASSERT(id < vocabulary->size);
	size_t start = vocabulary->starts[id];
	return (d2v_token){ vocabulary->bytes + start, vocabulary->starts[id + 1] - start };
}

d2v_status d2v_vocabulary_decode(const d2v_vocabulary *vocabulary, const uint32_t *ids, size_t count, void *bytes,
	size_t capacity, size_t *size, d2v_error *err) {
	unsigned char *out = bytes;
	*size = 0;
	for (size_t k = 0; k < count; k++) {
		if (ids[k] >= vocabulary->size)
			return d2v_fail(
				err, D2V_CORRUPT, "token %zu: id %u is not among the vocabulary's %u", k, ids[k], vocabulary->size);
		*size += vocabulary->starts[ids[k] + 1] - vocabulary->starts[ids[k]];
	}
	if (*size > capacity)
		return D2V_OK;
	for (size_t k = 0; k < count; k++) {
		d2v_token token = d2v_vocabulary_token(vocabulary, ids[k]);
		memcpy(out, token.bytes, token.size);
		out += token.size;
	}
	return D2V_OK;
}
