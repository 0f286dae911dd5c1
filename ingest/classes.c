#include "ingest/classes.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ingest/utf8.h"

#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)64 << 20)

void d2v_classes_init(d2v_classes *classes) {
	*classes = (d2v_classes){ 0 };
}

void d2v_classes_release(d2v_classes *classes) {
	for (size_t i = 0; i < classes->count; i++) {
		d2v_free(classes->items[i].name);
		d2v_free(classes->items[i].words);
	}
	d2v_free(classes->items);
	d2v_free(classes->slots);
	d2v_classes_init(classes);
}

// ---- finding

static size_t slot_of(const d2v_classes *classes, const char *name) {
	size_t at = d2v_hash64(name, strlen(name)) & (classes->slot_count - 1);
	while (classes->slots[at] && strcmp(classes->items[classes->slots[at] - 1].name, name) != 0)
		at = (at + 1) & (classes->slot_count - 1);
	return at;
}

int32_t d2v_classes_find(const d2v_classes *classes, const char *name) {
	return classes->slot_count ? (int32_t)classes->slots[slot_of(classes, name)] - 1 : -1;
}

static void fill_slots(d2v_classes *classes) {
	memset(classes->slots, 0, classes->slot_count * sizeof *classes->slots);
	for (size_t i = 0; i < classes->count; i++)
		classes->slots[slot_of(classes, classes->items[i].name)] = (uint32_t)i + 1;
}

static d2v_status make_room(d2v_classes *classes, d2v_error *err) {
	D2V_TRY(d2v_reserve(&classes->items, &classes->capacity, classes->count + 1, sizeof *classes->items, err));
	if ((classes->count + 1) * 2 <= classes->slot_count)
		return D2V_OK;
	uint32_t *slots;
	size_t count = classes->slot_count ? classes->slot_count * 2 : 64;
	D2V_TRY(d2v_alloc(&slots, count, sizeof *slots, err));
	d2v_free(classes->slots);
	classes->slots = slots;
	classes->slot_count = count;
	fill_slots(classes);
	return D2V_OK;
}

// ---- adding

static bool is_plain(const char *text) {
	return d2v_utf8_is_text(text, strlen(text)) && !d2v_utf8_has_control(text, strlen(text));
}

d2v_status d2v_classes_add(d2v_classes *classes, const char *name, const char *words, d2v_error *err) {
	d2v_class class = { 0 };
	words = words ? words : "";
	if (d2v_classes_find(classes, name) >= 0)
		return D2V_OK;
	if (!name[0] || strlen(name) > D2V_CLASS_NAME_MAX || !is_plain(name) || !is_plain(words))
		return d2v_fail(err, D2V_INVALID, "class %zu: a name is UTF-8 text of 1 to %d bytes without control characters",
			classes->count + 1, D2V_CLASS_NAME_MAX);
	if (classes->count == D2V_CLASSES_MAX)
		return d2v_fail(err, D2V_UNSAFE, "more than %d classes", D2V_CLASSES_MAX);
	D2V_TRY(make_room(classes, err));
	D2V_TRY(d2v_strdup(&class.name, name, err));
	d2v_status status = d2v_strdup(&class.words, words, err);
	if (status != D2V_OK) {
		d2v_free(class.name);
		return status;
	}
	classes->items[classes->count++] = class;
	classes->slots[slot_of(classes, name)] = (uint32_t)classes->count;
	return D2V_OK;
}

// Cuts the line into name and words, in place.
static d2v_status add_line(d2v_classes *classes, char *line, const char *path, size_t number, d2v_error *err) {
	line += strspn(line, " \t");
	for (size_t end = strlen(line); end && strchr(" \t\r", line[end - 1]); end--)
		line[end - 1] = '\0';
	char *words = line + strcspn(line, " \t");
	if (*words) {
		*words++ = '\0';
		words += strspn(words, " \t");
	}
	if (!line[0])
		return D2V_OK;
	if (d2v_classes_find(classes, line) >= 0)
		return d2v_fail(err, D2V_INVALID, "%s: line %zu: the class '%s' comes twice", path, number, line);
	d2v_error why = { 0 };
	d2v_status status = d2v_classes_add(classes, line, words, &why);
	return status == D2V_OK ? D2V_OK : d2v_fail(err, status, "%s: line %zu: %s", path, number, why.text);
}

d2v_status d2v_classes_load(d2v_classes *classes, const char *path, d2v_error *err) {
	void *bytes;
	size_t size, number = 0;
	D2V_TRY(d2v_file_read(path, FILE_MAX, &bytes, &size, err));
	d2v_status status = D2V_OK;
	char *text = bytes; // d2v_file_read ends it with a NUL
	if (strlen(text) != size)
		status = d2v_fail(err, D2V_INVALID, "%s: no text: it holds a NUL", path);
	for (char *line = text, *next; status == D2V_OK && line < text + size; line = next) {
		size_t length = strcspn(line, "\n");
		next = line + length + 1;
		line[length] = '\0';
		status = add_line(classes, line, path, ++number, err);
	}
	if (status == D2V_OK && !classes->count)
		status = d2v_fail(err, D2V_INVALID, "%s: lists no class; one a line is expected: NAME WORDS", path);
	d2v_free(bytes);
	return status;
}

d2v_status d2v_classes_copy(d2v_classes *classes, const d2v_classes *from, d2v_error *err) {
	for (size_t i = 0; i < from->count; i++)
		D2V_TRY(d2v_classes_add(classes, from->items[i].name, from->items[i].words, err));
	return D2V_OK;
}

static int by_name(const void *a, const void *b) {
	return strcmp(((const d2v_class *)a)->name, ((const d2v_class *)b)->name);
}

void d2v_classes_sort(d2v_classes *classes) {
	if (!classes->count)
		return;
	qsort(classes->items, classes->count, sizeof *classes->items, by_name);
	fill_slots(classes);
}

// ---- to JSON and back

d2v_status d2v_classes_to_json(const d2v_classes *classes, json_t **array, d2v_error *err) {
	*array = json_array();
	for (size_t i = 0; i < classes->count; i++)
		if (json_array_append_new(*array, json_pack("[s, s]", classes->items[i].name, classes->items[i].words)) < 0) {
			json_decref(*array);
			*array = NULL;
			break;
		}
	return *array ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "the classes: out of memory");
}

d2v_status d2v_classes_from_json(d2v_classes *classes, const json_t *array, const char *where, d2v_error *err) {
	json_t *pair;
	size_t i;
	json_array_foreach(array, i, pair) {
		const char *name = json_string_value(json_array_get(pair, 0)),
				   *words = json_string_value(json_array_get(pair, 1));
		if (!name || !words)
			return d2v_fail(err, D2V_CORRUPT, "%s: class %zu is no pair of texts", where, i);
		D2V_TRY(d2v_classes_add(classes, name, words, err));
	}
	return D2V_OK;
}

uint64_t d2v_classes_digest(const d2v_classes *classes) {
	uint64_t digest = classes->count;
	for (size_t i = 0; i < classes->count; i++) {
		digest = d2v_hash64_chain(digest, d2v_hash64(classes->items[i].name, strlen(classes->items[i].name)));
		digest = d2v_hash64_chain(digest, d2v_hash64(classes->items[i].words, strlen(classes->items[i].words)));
	}
	return digest;
}
