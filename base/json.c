#include "base/json.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

#define TEXT_FLAGS (JSON_SORT_KEYS | JSON_INDENT(2) | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY)

// Set when memory ran out: jansson's parser does not always say so.
static _Thread_local bool starved;

static void *take_for_jansson(size_t size) {
	void *block;
	if (d2v_alloc(&block, size, 1, NULL) == D2V_OK)
		return block;
	starved = true;
	return NULL;
}

// Before main, so that no tree was made yet with other functions than will free it. Our blocks may be freed by free(),
// so a program that embeds us and frees what json_dumps gave it is not hurt.
__attribute__((constructor)) static void set_up_jansson(void) {
	json_set_alloc_funcs(take_for_jansson, d2v_free);
	json_object_seed(1); // a fixed one: nothing about a run is to depend on chance
}

d2v_status d2v_json_parse(const char *text, size_t size, const char *where, json_t **root, d2v_error *err) {
	json_error_t about;
	starved = false;
	*root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &about);
	if (*root)
		return D2V_OK;
	if (starved || json_error_code(&about) == json_error_out_of_memory)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: no memory for its JSON", where);
	return d2v_fail(
		err, D2V_INVALID, "%s: line %d, column %d: not JSON: %s", where, about.line, about.column, about.text);
}

d2v_status d2v_json_load(const char *path, size_t max_bytes, json_t **root, d2v_error *err) {
	void *text;
	size_t size;
	*root = NULL;
	D2V_TRY(d2v_file_read(path, max_bytes, &text, &size, err));
	d2v_status status = d2v_json_parse(text, size, path, root, err);
	d2v_free(text);
	return status;
}

typedef struct text_buffer {
	char *bytes;
	size_t used, capacity;
} text_buffer;

static int append(const char *bytes, size_t size, void *context) {
	text_buffer *buffer = context;
	size_t need;
	if (!d2v_add_fits(buffer->used, size, &need) || !d2v_add_fits(need, 2, &need) ||
		d2v_reserve(&buffer->bytes, &buffer->capacity, need, 1, NULL) != D2V_OK)
		return -1;
	if (size)
		memcpy(buffer->bytes + buffer->used, bytes, size);
	buffer->used += size;
	return 0;
}

static d2v_status dump(const json_t *root, text_buffer *buffer, d2v_error *err) {
	// With a sane tree only memory can be missing: jansson keeps text that is no UTF-8 and numbers that are none out of
	// it.
	if (json_dump_callback(root, append, buffer, TEXT_FLAGS) != 0) {
		d2v_free(buffer->bytes);
		return d2v_fail(err, D2V_NO_MEMORY, "no memory to write JSON");
	}
	memcpy(buffer->bytes + buffer->used, "\n", 2);
	buffer->used++;
	return D2V_OK;
}

d2v_status d2v_json_text(const json_t *root, char **text, d2v_error *err) {
	text_buffer buffer = { 0 };
	*text = NULL;
	D2V_TRY(dump(root, &buffer, err));
	*text = buffer.bytes;
	return D2V_OK;
}

d2v_status d2v_json_save(const json_t *root, const char *path, d2v_error *err) {
	text_buffer buffer = { 0 };
	D2V_TRY(dump(root, &buffer, err));
	d2v_status status = d2v_file_replace(path, buffer.bytes, buffer.used, err);
	d2v_free(buffer.bytes);
	return status;
}

static const char *type_name(const json_t *value) {
	if (!value)
		return "nothing";
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a text";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	default:
		return "null";
	}
}

static d2v_status fail_type(
	d2v_error *err, const json_t *object, const char *where, const char *key, const char *expected) {
	if (!json_is_object(object))
		return d2v_fail(
			err, D2V_INVALID, "%s: %s: expected an object around it, found %s", where, key, type_name(object));
	return d2v_fail(err, D2V_INVALID, "%s: %s: expected %s, found %s", where, key, expected,
		type_name(json_object_get(object, key)));
}

d2v_status d2v_json_get_i64(const json_t *object, const char *key, const char *where, int64_t min, int64_t max,
	int64_t *value, d2v_error *err) {
	json_t *found = json_object_get(object, key);
	if (!json_is_integer(found))
		return fail_type(err, object, where, key, "an integer");
	json_int_t number = json_integer_value(found);
	if (number < min || number > max)
		return d2v_fail(err, D2V_INVALID, "%s: %s: expected an integer from %lld to %lld, found %lld", where, key,
			(long long)min, (long long)max, (long long)number);
	*value = number;
	return D2V_OK;
}

d2v_status d2v_json_get_u64(
	const json_t *object, const char *key, const char *where, uint64_t max, uint64_t *value, d2v_error *err) {
	int64_t number = 0;
	D2V_TRY(d2v_json_get_i64(object, key, where, 0, max > INT64_MAX ? INT64_MAX : (int64_t)max, &number, err));
	*value = (uint64_t)number;
	return D2V_OK;
}

d2v_status d2v_json_get_double(
	const json_t *object, const char *key, const char *where, double *value, d2v_error *err) {
	json_t *found = json_object_get(object, key);
	if (!json_is_number(found))
		return fail_type(err, object, where, key, "a number");
	*value = json_number_value(found);
	return D2V_OK;
}

d2v_status d2v_json_get_string(
	const json_t *object, const char *key, const char *where, const char **value, d2v_error *err) {
	json_t *found = json_object_get(object, key);
	if (!json_is_string(found))
		return fail_type(err, object, where, key, "a text");
	*value = json_string_value(found);
	return D2V_OK;
}

d2v_status d2v_json_get_object(
	const json_t *object, const char *key, const char *where, json_t **value, d2v_error *err) {
	json_t *found = json_object_get(object, key);
	if (!json_is_object(found))
		return fail_type(err, object, where, key, "an object");
	*value = found;
	return D2V_OK;
}

d2v_status d2v_json_get_array(
	const json_t *object, const char *key, const char *where, json_t **value, d2v_error *err) {
	json_t *found = json_object_get(object, key);
	if (!json_is_array(found))
		return fail_type(err, object, where, key, "a list");
	*value = found;
	return D2V_OK;
}

static bool parse_hex64(const char *text, uint64_t *value) {
	*value = 0;
	for (int i = 0; i < 16; i++) {
		char c = text[i];
		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false; // the end of a short text is one of these, so nothing behind it is read
	}
	return text[16] == 0;
}

d2v_status d2v_json_get_hex64(
	const json_t *object, const char *key, const char *where, uint64_t *value, d2v_error *err) {
	const char *text = "";
	uint64_t number;
	D2V_TRY(d2v_json_get_string(object, key, where, &text, err));
	if (!parse_hex64(text, &number))
		return d2v_fail(err, D2V_INVALID, "%s: %s: expected 16 hex digits, found '%.32s'", where, key, text);
	*value = number;
	return D2V_OK;
}

d2v_status d2v_json_set_hex64(json_t *object, const char *key, uint64_t value, d2v_error *err) {
	char hex[17];
	d2v_hash64_hex(value, hex);
	return d2v_json_set(object, key, json_string(hex), err);
}

d2v_status d2v_json_set_u64(json_t *object, const char *key, uint64_t value, d2v_error *err) {
	return d2v_json_set(object, key, json_integer((json_int_t)value), err);
}

d2v_status d2v_json_set(json_t *object, const char *key, json_t *stolen_value, d2v_error *err) {
	// A NULL value is refused by jansson as well, so both causes end here.
	if (json_object_set_new(object, key, stolen_value) != 0)
		return d2v_fail(err, D2V_NO_MEMORY,
			"%s: cannot be set in a JSON object (no memory, or a value that JSON has no form for)", key);
	return D2V_OK;
}
