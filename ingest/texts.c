#include "ingest/texts.h"

#include "base/hash.h"
#include "base/memory.h"
#include "ingest/utf8.h"

#include <string.h>

typedef struct entry {
	uint64_t key; // hash of the path; 0: free
	char *content;
	size_t size, left; // texts not yet taken
} entry;

struct d2v_texts {
	const d2v_layout *layout;
	entry *entries; // open addressing
	size_t capacity, count;
	size_t bytes; // of contents
	bool complete;
};

d2v_status d2v_texts_new(d2v_texts **texts, const d2v_layout *layout, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(texts, 1, sizeof **texts, err));
	(*texts)->layout = layout;
	return D2V_OK;
}

void d2v_texts_clear(d2v_texts *texts) {
	for (size_t i = 0; i < texts->capacity; i++)
		d2v_free(texts->entries[i].content);
	d2v_free(texts->entries);
	*texts = (d2v_texts){ .layout = texts->layout };
}

void d2v_texts_free(d2v_texts *texts) {
	if (!texts)
		return;
	d2v_texts_clear(texts);
	d2v_free(texts);
}

static uint64_t key_of(const char *path) {
	uint64_t key = d2v_hash64(path, strlen(path));
	return key ? key : 1;
}

static entry *slot_of(const d2v_texts *texts, uint64_t key) {
	size_t at = key & (texts->capacity - 1);
	while (texts->entries[at].key && texts->entries[at].key != key)
		at = (at + 1) & (texts->capacity - 1);
	return &texts->entries[at];
}

static entry *find(const d2v_texts *texts, const char *path) {
	entry *slot = texts->capacity ? slot_of(texts, key_of(path)) : NULL;
	return slot && slot->key ? slot : NULL;
}

static d2v_status make_room(d2v_texts *texts, d2v_error *err) {
	if (texts->count * 4 < texts->capacity * 3)
		return D2V_OK;
	d2v_texts larger = *texts;
	larger.capacity = texts->capacity ? texts->capacity * 2 : 256;
	D2V_TRY(d2v_alloc_zero(&larger.entries, larger.capacity, sizeof *larger.entries, err));
	for (size_t i = 0; i < texts->capacity; i++)
		if (texts->entries[i].key)
			*slot_of(&larger, texts->entries[i].key) = texts->entries[i];
	d2v_free(texts->entries);
	*texts = larger;
	return D2V_OK;
}

bool d2v_texts_has(const d2v_texts *texts, const char *path) {
	return find(texts, path) != NULL;
}

d2v_status d2v_texts_add_nothing(d2v_texts *texts, const char *path, d2v_error *err) {
	if (d2v_texts_has(texts, path))
		return D2V_OK;
	D2V_TRY(make_room(texts, err));
	*slot_of(texts, key_of(path)) = (entry){ .key = key_of(path) };
	texts->count++;
	return D2V_OK;
}

d2v_status d2v_texts_add(
	d2v_texts *texts, const char *path, const char *content, size_t size, d2v_rejection *rejection, d2v_error *err) {
	bool is_text = d2v_utf8_is_text(content, size), is_new = !d2v_texts_has(texts, path);
	D2V_TRY(d2v_texts_add_nothing(texts, path, err));
	if (!is_text)
		d2v_reject(rejection, D2V_REASON_BAD_TEXT, "no UTF-8 text");
	if (!is_text || !is_new)
		return D2V_OK;
	size_t left = texts->layout->count_texts(content, size);
	if (!left)
		return D2V_OK;
	if (texts->bytes + size > D2V_TEXTS_MAX)
		return d2v_fail(err, D2V_UNSAFE, "%s: more than %zu MiB of texts wait for their recordings; use --no-text",
			path, D2V_TEXTS_MAX >> 20);
	entry *here = find(texts, path);
	D2V_TRY(d2v_alloc(&here->content, size, 1, err));
	memcpy(here->content, content, size);
	here->size = size;
	here->left = left;
	texts->bytes += size;
	return D2V_OK;
}

void d2v_texts_complete(d2v_texts *texts) {
	texts->complete = true;
}

bool d2v_texts_is_complete(const d2v_texts *texts) {
	return texts->complete;
}

d2v_text_answer d2v_texts_find(d2v_texts *texts, const char *path, const char *name, const char **text, size_t *size) {
	*text = "";
	*size = 0;
	const entry *here = find(texts, path);
	if (!here)
		return texts->complete || !path[0] ? D2V_TEXT_NONE : D2V_TEXT_UNKNOWN;
	if (!here->content || !texts->layout->find_text(here->content, here->size, name, text, size))
		return D2V_TEXT_NONE;
	return D2V_TEXT_FOUND;
}

void d2v_texts_took(d2v_texts *texts, const char *path) {
	entry *here = find(texts, path);
	if (!here || !here->content || here->left == SIZE_MAX || --here->left)
		return;
	d2v_free(here->content);
	texts->bytes -= here->size;
	here->content = NULL;
}
