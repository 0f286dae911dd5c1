// Arbitrary bytes as JSON lines: read to the end, the same whether they come at once or byte by byte, and what is found
// in a line that is one is what jansson finds.
#include "base/json.h"
#include "base/memory.h"
#include "ingest/jsonl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct given {
	const uint8_t *bytes;
	size_t size, block;
} given;

static d2v_status give(void *context, const void **bytes, size_t *size, d2v_error *err) {
	given *from = context;
	(void)err;
	*size = from->size < from->block ? from->size : from->block;
	*bytes = from->bytes;
	from->bytes += *size;
	from->size -= *size;
	return D2V_OK;
}

// All events as one text; a bad line takes back what it gave.
static size_t read_all(const uint8_t *bytes, size_t size, size_t block, char *out) {
	given from = { bytes, size, block };
	d2v_bytes input = { .read = give, .context = &from, .name = "input" };
	d2v_jsonl *jsonl;
	d2v_jsonl_event event;
	d2v_error err;
	size_t used = 0, start = 0;
	D2V_ASSERT(d2v_jsonl_new(&jsonl, &input, "text", &err) == D2V_OK);
	do {
		D2V_ASSERT(d2v_jsonl_next(jsonl, &event, &err) == D2V_OK);
		if (event.kind == D2V_JSONL_TEXT) {
			memcpy(out + used, event.text, event.size);
			used += event.size;
		} else {
			used = event.kind == D2V_JSONL_BAD ? start : used;
			out[used++] = event.kind == D2V_JSONL_END ? '|' : '!';
			start = used;
		}
	} while (event.kind != D2V_JSONL_DONE);
	d2v_jsonl_free(jsonl);
	return used;
}

// jansson is stricter (UTF-8, numbers, NUL), so only what it takes is compared. It takes the last of two equal keys.
static void compare(const uint8_t *bytes, size_t size, const char *out, size_t used) {
	json_error_t error;
	if (memchr(bytes, '\n', size) || memchr(bytes, '\r', size))
		return;
	json_t *root = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	const json_t *text = json_object_get(root, "text");
	if (json_is_string(text) && used && out[used - 1] == '!' && used >= 2) {
		size_t length = json_string_length(text);
		D2V_ASSERT(used == length + 2 && memcmp(out, json_string_value(text), length) == 0);
	}
	json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	char *whole, *single;
	d2v_error err;
	// An escape makes at most as many bytes as it takes; each line one more.
	D2V_ASSERT(d2v_alloc(&whole, size * 3 + 16, 1, &err) == D2V_OK);
	D2V_ASSERT(d2v_alloc(&single, size * 3 + 16, 1, &err) == D2V_OK);
	size_t a = read_all(bytes, size, size + 1, whole), b = read_all(bytes, size, 1, single);
	D2V_ASSERT(a == b && memcmp(whole, single, a) == 0);
	compare(bytes, size, whole, a);
	d2v_free(whole);
	d2v_free(single);
	return 0;
}
