// Writing a tree as YAML, for people to read (--print-config) and for d2v_yaml_parse to read back: texts that would be
// taken for something else are put into quotes. Lists of plain values stand on one line, as in fairseq's files: [0.9,
// 0.98].
#include "base/json.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_COLUMN 40
#define PATH_MAX_BYTES 256

typedef struct yaml_writer {
	char *bytes;
	size_t used, capacity;
	size_t line;               // where the present line begins
	d2v_yaml_note *note;       // NULL: no comments
	void *context;             // of it
	char path[PATH_MAX_BYTES]; // of the value that is written, cut off when it is longer
	d2v_error *err;
} yaml_writer;

static d2v_status put_bytes(yaml_writer *writer, const char *bytes, size_t size) {
	D2V_TRY(d2v_reserve(&writer->bytes, &writer->capacity, writer->used + size + 1, 1, writer->err));
	memcpy(writer->bytes + writer->used, bytes, size);
	writer->used += size;
	writer->bytes[writer->used] = 0;
	return D2V_OK;
}

static d2v_status put(yaml_writer *writer, const char *text) {
	return put_bytes(writer, text, strlen(text));
}

static d2v_status put_indent(yaml_writer *writer, int indent) {
	for (int i = 0; i < indent; i++)
		D2V_TRY(put(writer, "  "));
	return D2V_OK;
}

// JSON's escapes are a subset of those of YAML's double quotes.
static d2v_status put_quoted(yaml_writer *writer, const char *text) {
	D2V_TRY(put(writer, "\""));
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		char escape[8];
		if (c == '"' || c == '\\')
			snprintf(escape, sizeof escape, "\\%c", c);
		else if (c == '\n')
			snprintf(escape, sizeof escape, "\\n");
		else if (c == '\t')
			snprintf(escape, sizeof escape, "\\t");
		else if (c < 0x20 || c == 0x7f)
			snprintf(escape, sizeof escape, "\\x%02x", c);
		else
			snprintf(escape, sizeof escape, "%c", c);
		D2V_TRY(put(writer, escape));
	}
	return put(writer, "\"");
}

// Plain where nobody could take it for anything else; deliberately narrower than what YAML allows.
static bool may_be_plain(const char *text) {
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+";
	if (!*text || text[strspn(text, allowed)])
		return false;
	if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '_' || *text == '/'))
		return false; // numbers, ".inf", "-", "---", "..."
	// Also the words that older YAML takes for booleans, so that other programs read our files as we do.
	static const char *const words[] = { "null", "true", "false", "yes", "no", "on", "off", "y", "n", NULL };
	for (const char *const *word = words; *word; word++)
		if (strcasecmp(text, *word) == 0)
			return false;
	return true;
}

static d2v_status put_string(yaml_writer *writer, const char *text) {
	return may_be_plain(text) ? put(writer, text) : put_quoted(writer, text);
}

// The shortest form that reads back as the same double and still looks like a real number.
static d2v_status put_real(yaml_writer *writer, double value) {
	char text[40];
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	D2V_TRY(put(writer, text));
	return strpbrk(text, ".e") ? D2V_OK : put(writer, ".0");
}

static d2v_status put_scalar(yaml_writer *writer, const json_t *value) {
	char number[32];
	switch (json_typeof(value)) {
	case JSON_STRING:
		return put_string(writer, json_string_value(value));
	case JSON_INTEGER:
		snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
		return put(writer, number);
	case JSON_REAL:
		return put_real(writer, json_real_value(value));
	case JSON_TRUE:
		return put(writer, "true");
	case JSON_FALSE:
		return put(writer, "false");
	default:
		return put(writer, "null");
	}
}

static bool is_collection(const json_t *value) {
	return json_is_object(value) || json_is_array(value);
}

// Lists without lists or mappings in them; so also the empty one.
static bool fits_one_line(const json_t *value) {
	if (json_is_object(value))
		return json_object_size(value) == 0;
	for (size_t i = 0; i < json_array_size(value); i++)
		if (is_collection(json_array_get(value, i)))
			return false;
	return true;
}

static d2v_status put_one_line(yaml_writer *writer, const json_t *value) {
	if (json_is_object(value))
		return put(writer, "{}");
	if (!json_is_array(value))
		return put_scalar(writer, value);
	D2V_TRY(put(writer, "["));
	for (size_t i = 0; i < json_array_size(value); i++) {
		D2V_TRY(put(writer, i ? ", " : ""));
		D2V_TRY(put_scalar(writer, json_array_get(value, i)));
	}
	return put(writer, "]");
}

// Two spaces at least before the comment, and all in one column where values are short.
static d2v_status put_note(yaml_writer *writer) {
	const char *note = writer->note ? writer->note(writer->context, writer->path) : NULL;
	if (!note)
		return D2V_OK;
	D2V_TRY(put(writer, "  "));
	while (writer->used - writer->line < NOTE_COLUMN)
		D2V_TRY(put(writer, " "));
	D2V_TRY(put(writer, "# "));
	return put(writer, note);
}

static d2v_status end_line(yaml_writer *writer) {
	D2V_TRY(put(writer, "\n"));
	writer->line = writer->used;
	return D2V_OK;
}

static d2v_status put_block(yaml_writer *writer, const json_t *value, int indent);

// What follows "key:" or "-".
static d2v_status put_entry(yaml_writer *writer, const json_t *value, int indent) {
	if (fits_one_line(value)) {
		D2V_TRY(put(writer, " "));
		D2V_TRY(put_one_line(writer, value));
		D2V_TRY(put_note(writer));
		return end_line(writer);
	}
	D2V_TRY(end_line(writer));
	return put_block(writer, value, indent + 1);
}

static d2v_status put_block(yaml_writer *writer, const json_t *value, int indent) {
	for (size_t i = 0; i < json_array_size(value); i++) {
		D2V_TRY(put_indent(writer, indent));
		D2V_TRY(put(writer, "-"));
		D2V_TRY(put_entry(writer, json_array_get(value, i), indent));
	}
	if (!json_is_object(value))
		return D2V_OK;
	// jansson's iterators take a tree they could change; this does not.
	json_t *object = (json_t *)(uintptr_t)value;
	const char *key;
	json_t *item;
	json_object_foreach(object, key, item) {
		D2V_TRY(put_indent(writer, indent));
		D2V_TRY(put_string(writer, key));
		D2V_TRY(put(writer, ":"));
		size_t above = strlen(writer->path);
		snprintf(writer->path + above, sizeof writer->path - above, "%s%s", above ? "." : "", key);
		D2V_TRY(put_entry(writer, item, indent));
		writer->path[above] = '\0';
	}
	return D2V_OK;
}

d2v_status d2v_yaml_text(const json_t *root, char **text, d2v_error *err) {
	return d2v_yaml_text_noted(root, NULL, NULL, text, err);
}

d2v_status d2v_yaml_text_noted(const json_t *root, d2v_yaml_note *note, void *context, char **text, d2v_error *err) {
	yaml_writer writer = { .note = note, .context = context, .err = err };
	*text = NULL;
	d2v_status status;
	if (fits_one_line(root)) {
		status = put_one_line(&writer, root);
		if (status == D2V_OK)
			status = put(&writer, "\n");
	} else {
		status = put_block(&writer, root, 0);
	}
	if (status != D2V_OK) {
		d2v_free(writer.bytes);
		return status;
	}
	*text = writer.bytes;
	return D2V_OK;
}
