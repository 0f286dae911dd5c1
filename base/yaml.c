// The YAML half of base/json.h, and the only file that sees libyaml.
#include "base/json.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MAX_BYTES ((size_t)4 << 20) // no configuration is larger; it bounds time and memory, since aliases are refused
#define MAX_DEPTH 32

typedef struct yaml_reader {
	yaml_parser_t parser;
	const char *where;
	d2v_error *err;
} yaml_reader;

static d2v_status fail_at(const yaml_reader *reader, const yaml_event_t *event, const char *problem) {
	return d2v_fail(reader->err, D2V_INVALID, "%s: line %zu, column %zu: %s", reader->where, event->start_mark.line + 1,
		event->start_mark.column + 1, problem);
}

static d2v_status fail_memory(const yaml_reader *reader) {
	return d2v_fail(reader->err, D2V_NO_MEMORY, "%s: no memory for its YAML", reader->where);
}

static d2v_status next_event(yaml_reader *reader, yaml_event_t *event) {
	if (yaml_parser_parse(&reader->parser, event))
		return D2V_OK;
	const yaml_parser_t *parser = &reader->parser;
	memset(event, 0, sizeof *event);
	if (parser->error == YAML_MEMORY_ERROR)
		return fail_memory(reader);
	return d2v_fail(reader->err, D2V_INVALID, "%s: line %zu, column %zu: not YAML: %s", reader->where,
		parser->problem_mark.line + 1, parser->problem_mark.column + 1, parser->problem ? parser->problem : "unknown");
}

static bool is_one_of(const char *text, const char *const *words) {
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static bool is_all(const char *text, const char *set) {
	return *text && text[strspn(text, set)] == 0;
}

#define DECIMAL "0123456789"

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
static bool looks_real(const char *text) {
	text += *text == '-' || *text == '+';
	size_t before = strspn(text, DECIMAL), after = 0;
	text += before;
	if (*text == '.') {
		after = strspn(++text, DECIMAL);
		text += after;
	}
	if (!before && !after)
		return false;
	if (*text == 'e' || *text == 'E') {
		text++;
		text += *text == '-' || *text == '+';
		return is_all(text, DECIMAL);
	}
	return *text == 0;
}

// The base in which text is an integer of YAML 1.2's core schema, or 0; *digits is where strtoll has to begin.
static int integer_base(const char *text, const char **digits) {
	*digits = text;
	if (is_all(text + (*text == '-' || *text == '+'), DECIMAL))
		return 10;
	if (text[0] != '0' || !text[1])
		return 0;
	*digits = text + 2;
	if (text[1] == 'o' && is_all(text + 2, "01234567"))
		return 8;
	return text[1] == 'x' && is_all(text + 2, DECIMAL "abcdefABCDEF") ? 16 : 0;
}

// A plain scalar by the core schema of YAML 1.2: so `on` and `yes` are texts, and 1e-6 is a number, which it was not
// in 1.1. *problem is set, and NULL returned, for numbers that the tree cannot hold; NULL alone is a lack of memory.
static json_t *plain_value(const char *text, const char **problem) {
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const trues[] = { "true", "True", "TRUE", NULL };
	static const char *const falses[] = { "false", "False", "FALSE", NULL };
	static const char *const no_numbers[] = { ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf",
		"-.INF", ".nan", ".NaN", ".NAN", NULL };
	*problem = NULL;
	if (is_one_of(text, nulls))
		return json_null();
	if (is_one_of(text, trues))
		return json_true();
	if (is_one_of(text, falses))
		return json_false();
	if (is_one_of(text, no_numbers)) {
		*problem = "infinity and NaN are not values here";
		return NULL;
	}
	const char *digits;
	int base = integer_base(text, &digits);
	errno = 0;
	if (base) {
		long long number = strtoll(digits, NULL, base);
		if (errno)
			*problem = "the integer is too large";
		return errno ? NULL : json_integer(number);
	}
	if (looks_real(text)) {
		double number = strtod(text, NULL);
		if (!(fabs(number) <= 1.7976931348623157e308))
			*problem = "the number is too large";
		return *problem ? NULL : json_real(number);
	}
	return json_string(text);
}

static d2v_status scalar(yaml_reader *reader, const yaml_event_t *event, json_t **value) {
	const char *text = (const char *)event->data.scalar.value, *tag = (const char *)event->data.scalar.tag;
	const char *problem = NULL;
	if (strlen(text) != event->data.scalar.length)
		return fail_at(reader, event, "a text with a zero byte");
	if (tag && strcmp(tag, "!") != 0 && strcmp(tag, YAML_STR_TAG) != 0)
		return fail_at(reader, event, "tags other than !!str are not understood");
	bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !tag;
	*value = plain ? plain_value(text, &problem) : json_string(text);
	if (problem)
		return fail_at(reader, event, problem);
	return *value ? D2V_OK : fail_memory(reader);
}

static d2v_status node(yaml_reader *reader, const yaml_event_t *event, int depth, json_t **value);

static d2v_status sequence(yaml_reader *reader, int depth, json_t *list) {
	for (;;) {
		yaml_event_t event;
		D2V_TRY(next_event(reader, &event));
		bool last = event.type == YAML_SEQUENCE_END_EVENT;
		json_t *item = NULL;
		d2v_status status = last ? D2V_OK : node(reader, &event, depth, &item);
		yaml_event_delete(&event);
		if (status != D2V_OK || last)
			return status;
		if (json_array_append_new(list, item) != 0)
			return fail_memory(reader);
	}
}

static d2v_status check_key(const yaml_reader *reader, const yaml_event_t *event, const json_t *object) {
	if (event->type != YAML_SCALAR_EVENT)
		return fail_at(reader, event, "a key must be a plain word");
	const char *key = (const char *)event->data.scalar.value;
	if (event->data.scalar.anchor)
		return fail_at(reader, event, "anchors are not allowed: write the value out");
	if (strlen(key) != event->data.scalar.length)
		return fail_at(reader, event, "a key with a zero byte");
	if (strcmp(key, "<<") == 0)
		return fail_at(reader, event, "merge keys are not allowed: write the values out");
	if (json_object_get(object, key)) {
		char problem[160];
		snprintf(problem, sizeof problem, "the key '%.100s' is there twice", key);
		return fail_at(reader, event, problem);
	}
	return D2V_OK;
}

// The value that follows the key in `key`.
static d2v_status mapping_entry(yaml_reader *reader, const yaml_event_t *key, int depth, json_t *object) {
	yaml_event_t event;
	json_t *item = NULL;
	D2V_TRY(check_key(reader, key, object));
	D2V_TRY(next_event(reader, &event));
	d2v_status status = node(reader, &event, depth, &item);
	yaml_event_delete(&event);
	if (status == D2V_OK && json_object_set_new(object, (const char *)key->data.scalar.value, item) != 0)
		status = fail_memory(reader);
	return status;
}

static d2v_status mapping(yaml_reader *reader, int depth, json_t *object) {
	for (;;) {
		yaml_event_t key;
		D2V_TRY(next_event(reader, &key));
		bool last = key.type == YAML_MAPPING_END_EVENT;
		d2v_status status = last ? D2V_OK : mapping_entry(reader, &key, depth, object);
		yaml_event_delete(&key);
		if (status != D2V_OK || last)
			return status;
	}
}

static bool has_anchor_or_tag(const yaml_event_t *event) {
	if (event->type == YAML_SEQUENCE_START_EVENT)
		return event->data.sequence_start.anchor || event->data.sequence_start.tag;
	return event->data.mapping_start.anchor || event->data.mapping_start.tag;
}

static d2v_status node(yaml_reader *reader, const yaml_event_t *event, int depth, json_t **value) {
	*value = NULL;
	if (event->type == YAML_ALIAS_EVENT)
		return fail_at(reader, event, "aliases are not allowed: write the value out");
	if (event->type == YAML_SCALAR_EVENT) {
		if (event->data.scalar.anchor)
			return fail_at(reader, event, "anchors are not allowed: write the value out");
		return scalar(reader, event, value);
	}
	if (event->type != YAML_SEQUENCE_START_EVENT && event->type != YAML_MAPPING_START_EVENT)
		return fail_at(reader, event, "a value was expected here");
	if (has_anchor_or_tag(event))
		return fail_at(reader, event, "anchors and tags are not allowed on lists and mappings");
	if (depth >= MAX_DEPTH)
		return fail_at(reader, event, "nested too deeply");
	bool list = event->type == YAML_SEQUENCE_START_EVENT;
	json_t *made = list ? json_array() : json_object();
	if (!made)
		return fail_memory(reader);
	d2v_status status = list ? sequence(reader, depth + 1, made) : mapping(reader, depth + 1, made);
	if (status != D2V_OK) {
		json_decref(made);
		return status;
	}
	*value = made;
	return D2V_OK;
}

// Of `key=value` on a command line: what is no quoted scalar and no flow collection is taken as it stands, so that "a
// #b" is not cut at what would be a comment in a file.
static d2v_status check_single_value(yaml_reader *reader, const yaml_event_t *event, const char *text, json_t **value) {
	bool block =
		(event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.style != YAML_FLOW_MAPPING_STYLE) ||
		(event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.style != YAML_FLOW_SEQUENCE_STYLE);
	if (block)
		return fail_at(reader, event, "one value was expected; put it into quotes if it is a text");
	if (event->type == YAML_SCALAR_EVENT && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		!event->data.scalar.tag && !event->data.scalar.anchor &&
		strcmp(text, (const char *)event->data.scalar.value) != 0) {
		*value = json_string(text);
		return *value ? D2V_OK : fail_memory(reader);
	}
	return D2V_OK;
}

// Moves on to an event of the stream that carries no value of ours.
static d2v_status expect(yaml_reader *reader, yaml_event_type_t type, const char *problem) {
	yaml_event_t event;
	D2V_TRY(next_event(reader, &event));
	d2v_status status = event.type == type ? D2V_OK : fail_at(reader, &event, problem);
	yaml_event_delete(&event);
	return status;
}

// `single` is the text of a command-line value, or NULL for a file.
static d2v_status document(yaml_reader *reader, const char *single, json_t **root) {
	yaml_event_t event;
	D2V_TRY(expect(reader, YAML_STREAM_START_EVENT, "no YAML"));
	D2V_TRY(next_event(reader, &event));
	bool empty = event.type == YAML_STREAM_END_EVENT;
	yaml_event_delete(&event);
	if (empty) {
		*root = single && *single ? json_string(single) : json_null();
		return *root ? D2V_OK : fail_memory(reader);
	}
	D2V_TRY(next_event(reader, &event));
	d2v_status status = single ? check_single_value(reader, &event, single, root) : D2V_OK;
	if (status == D2V_OK && !*root)
		status = node(reader, &event, 0, root);
	yaml_event_delete(&event);
	D2V_TRY(status);
	D2V_TRY(expect(reader, YAML_DOCUMENT_END_EVENT, "one document was expected"));
	return expect(reader, YAML_STREAM_END_EVENT, "more than one document");
}

static d2v_status parse(
	const char *text, size_t size, const char *where, const char *single, json_t **root, d2v_error *err) {
	yaml_reader reader = { .where = where, .err = err };
	*root = NULL;
	if (size > MAX_BYTES)
		return d2v_fail(err, D2V_INVALID, "%s: larger than the %zu bytes it may have", where, MAX_BYTES);
	if (!yaml_parser_initialize(&reader.parser))
		return fail_memory(&reader);
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	// With an encoding given libyaml takes the mark that editors put before UTF-8 for a character of the first line.
	size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text + mark, size - mark);
	d2v_status status = document(&reader, single, root);
	yaml_parser_delete(&reader.parser);
	if (status != D2V_OK) {
		json_decref(*root);
		*root = NULL;
	}
	return status;
}

d2v_status d2v_yaml_parse(const char *text, size_t size, const char *where, json_t **root, d2v_error *err) {
	return parse(text, size, where, NULL, root, err);
}

d2v_status d2v_yaml_load(const char *path, json_t **root, d2v_error *err) {
	void *text;
	size_t size;
	*root = NULL;
	D2V_TRY(d2v_file_read(path, MAX_BYTES, &text, &size, err));
	d2v_status status = d2v_yaml_parse(text, size, path, root, err);
	d2v_free(text);
	return status;
}

d2v_status d2v_yaml_parse_value(const char *text, json_t **value, d2v_error *err) {
	char *trimmed;
	*value = NULL;
	text += strspn(text, " \t");
	D2V_TRY(d2v_strdup(&trimmed, text, err));
	size_t length = strlen(trimmed);
	while (length && (trimmed[length - 1] == ' ' || trimmed[length - 1] == '\t'))
		trimmed[--length] = 0;
	d2v_status status = parse(trimmed, length, trimmed, trimmed, value, err);
	d2v_free(trimmed);
	return status;
}
