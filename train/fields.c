#include "train/fields.h"

#include "base/memory.h"
#include "base/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_PATH_MAX 256

// What a D2V_FIELD_FIXED row with this text says: any value is taken, and has no effect.
static bool ignores_value(const d2v_field *field) {
	return strcmp(field->choices, "*") == 0;
}

static const d2v_field *find(const d2v_field *table, const char *path) {
	for (const d2v_field *field = table; field->path; field++)
		if (strcmp(field->path, path) == 0)
			return field;
	return NULL;
}

// Whether rows lie below the path, as they do for "model.modalities".
static bool is_branch(const d2v_field *table, const char *path) {
	size_t length = strlen(path);
	for (const d2v_field *field = table; field->path; field++)
		if (strncmp(field->path, path, length) == 0 && field->path[length] == '.')
			return true;
	return false;
}

static const char *last_word(const char *path) {
	const char *dot = strrchr(path, '.');
	return dot ? dot + 1 : path;
}

static int depth_of(const char *path) {
	int depth = 0;
	for (; *path; path++)
		depth += *path == '.';
	return depth;
}

// The field that was meant: of those whose last word is the path's ("lr" for "optimization.lr") the nearest, or the
// least nested; without any the nearest of all. names: room for all fields, and NULL behind them.
static const char *nearest_field(const d2v_field *table, const char *path, const char **names) {
	const char *least = NULL;
	size_t count = 0, all = 0;
	for (const d2v_field *field = table; field->path; field++) {
		if (field->kind == D2V_FIELD_FIXED || strcmp(last_word(field->path), last_word(path)) != 0)
			continue;
		names[count++] = field->path;
		if (!least || depth_of(field->path) < depth_of(least))
			least = field->path;
	}
	names[count] = NULL;
	if (least) {
		const char *nearest = d2v_options_nearest(path, names);
		return nearest ? nearest : least;
	}
	for (; table[all].path; all++)
		names[all] = table[all].path;
	names[all] = NULL;
	return d2v_options_nearest(path, names);
}

static d2v_status fail_unknown(const d2v_field *table, const char *path, const char *where, d2v_error *err) {
	size_t count = 0;
	while (table[count].path)
		count++;
	const char **names;
	D2V_TRY(d2v_alloc(&names, count + 1, sizeof *names, err));
	const char *nearest = nearest_field(table, path, names);
	d2v_free(names);
	if (nearest)
		return d2v_fail(err, D2V_INVALID, "%s: unknown key %s; did you mean %s?", where, path, nearest);
	return d2v_fail(err, D2V_INVALID, "%s: unknown key %s; --print-config shows all there are", where, path);
}

// The value as short text, for messages.
static const char *shown(const json_t *value, char *text, size_t size) {
	if (json_is_string(value))
		snprintf(text, size, "'%s'", json_string_value(value));
	else if (json_is_integer(value))
		snprintf(text, size, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, size, "%.17g", json_real_value(value));
	else if (json_is_boolean(value))
		snprintf(text, size, "%s", json_is_true(value) ? "true" : "false");
	else
		snprintf(text, size, "%s", json_is_null(value) ? "null" : json_is_object(value) ? "a mapping" : "a list");
	return text;
}

static d2v_status fail_value(
	const d2v_field *field, const json_t *value, const char *where, const char *expected, d2v_error *err) {
	char text[128];
	return d2v_fail(err, D2V_INVALID, "%s: %s: expected %s, found %s", where, field->path, expected,
		shown(value, text, sizeof text));
}

static d2v_status check_bounds(const d2v_field *field, double value, const char *where, d2v_error *err) {
	if (field->min == 0 && field->max == 0) // no bounds were given
		return D2V_OK;
	if (value >= field->min && value <= field->max)
		return D2V_OK;
	return d2v_fail(
		err, D2V_INVALID, "%s: %s: %.9g is outside %.9g to %.9g", where, field->path, value, field->min, field->max);
}

// "a|b|c": the position of the word, letters of either case; -1: not there.
static int choice_index(const char *choices, const char *word, size_t length) {
	int index = 0;
	for (const char *at = choices;; index++) {
		size_t span = strcspn(at, "|");
		if (span == length && strncasecmp(at, word, length) == 0)
			return index;
		if (!at[span])
			return -1;
		at += span + 1;
	}
}

static const char *choice_name(const char *choices, int index, size_t *length) {
	for (; index > 0; index--)
		choices += strcspn(choices, "|") + 1;
	*length = strcspn(choices, "|");
	return choices;
}

// "(0.9,0.98)", "[0.9, 0.98]" or "0.9": fairseq's YAML writes adam_betas as a string.
static bool parse_reals(const char *text, d2v_field_reals *out) {
	out->count = 0;
	const char *at = text + strspn(text, " ([");
	while (*at && out->count < D2V_FIELD_REALS_MAX) {
		char *end;
		double value = strtod(at, &end);
		if (end == at)
			return false;
		out->value[out->count++] = value;
		at = end + strspn(end, " ,");
		if (*at == ')' || *at == ']') {
			at += strspn(at, " )]");
			break;
		}
	}
	return *at == 0 && out->count > 0;
}

static d2v_status read_reals(
	const d2v_field *field, d2v_field_reals *out, const json_t *value, const char *where, d2v_error *err) {
	d2v_field_reals reals = { .count = 0 };
	bool good = true;
	if (json_is_number(value)) {
		reals.value[reals.count++] = json_number_value(value);
	} else if (json_is_string(value)) {
		good = parse_reals(json_string_value(value), &reals);
	} else if (json_is_array(value) && json_array_size(value) <= D2V_FIELD_REALS_MAX) {
		for (size_t i = 0; i < json_array_size(value); i++) {
			good = good && json_is_number(json_array_get(value, i));
			reals.value[reals.count++] = json_number_value(json_array_get(value, i));
		}
	} else {
		good = false;
	}
	if (!good || reals.count == 0)
		return fail_value(field, value, where, "a number or a short list of numbers", err);
	for (int i = 0; i < reals.count; i++)
		D2V_TRY(check_bounds(field, reals.value[i], where, err));
	*out = reals;
	return D2V_OK;
}

static d2v_status read_integer(
	const d2v_field *field, int64_t *out, const json_t *value, const char *where, d2v_error *err) {
	int64_t number = 0;
	if (json_is_integer(value))
		number = json_integer_value(value);
	else if (json_is_real(value) && fabs(json_real_value(value)) < 9e15 &&
			 floor(json_real_value(value)) == json_real_value(value))
		number = (int64_t)json_real_value(value);
	else
		return fail_value(field, value, where, "a whole number", err);
	D2V_TRY(check_bounds(field, (double)number, where, err));
	*out = number;
	return D2V_OK;
}

static d2v_status read_real(
	const d2v_field *field, double *out, const json_t *value, const char *where, d2v_error *err) {
	if (field->kind == D2V_FIELD_REAL_OR_NULL && json_is_null(value)) {
		*out = NAN;
		return D2V_OK;
	}
	if (!json_is_number(value))
		return fail_value(field, value, where, "a number", err);
	D2V_TRY(check_bounds(field, json_number_value(value), where, err));
	*out = json_number_value(value);
	return D2V_OK;
}

// Bounds that are only there to keep numbers finite tell nobody anything.
#define TELLING_BOUND 1e8

const char *d2v_fields_describe(const d2v_field *table, const char *path, char *text, size_t size) {
	const d2v_field *field = find(table, path);
	if (!field || !field->help)
		return NULL;
	if (field->kind == D2V_FIELD_CHOICE)
		snprintf(text, size, "%s (%s)", field->help, field->choices);
	else if ((field->min != 0 || field->max != 0) && field->max < TELLING_BOUND)
		snprintf(text, size, "%s [%.9g..%.9g]", field->help, field->min, field->max);
	else
		snprintf(text, size, "%s", field->help);
	return text;
}

static d2v_status read_choice(
	const d2v_field *field, int *out, const json_t *value, const char *where, d2v_error *err) {
	const char *word = json_is_null(value) ? "null" : json_string_value(value);
	int index = word ? choice_index(field->choices, word, strlen(word)) : -1;
	if (index < 0)
		return fail_value(field, value, where, field->choices, err);
	*out = index;
	return D2V_OK;
}

static d2v_status read_text(const d2v_field *field, char *out, const json_t *value, const char *where, d2v_error *err) {
	const char *text = json_is_null(value) ? "" : json_string_value(value);
	if (!text)
		return fail_value(field, value, where, "text", err);
	if (strlen(text) >= D2V_FIELD_TEXT_MAX)
		return d2v_fail(err, D2V_INVALID, "%s: %s: longer than %d bytes", where, field->path, D2V_FIELD_TEXT_MAX - 1);
	strcpy(out, text);
	return D2V_OK;
}

static bool matches_fixed(const d2v_field *field, const json_t *value) {
	if (ignores_value(field) || json_is_null(value))
		return true;
	if (json_is_string(value))
		return choice_index(field->choices, json_string_value(value), json_string_length(value)) >= 0;
	if (json_is_boolean(value))
		return strcmp(field->choices, json_is_true(value) ? "true" : "false") == 0;
	char *end;
	double only = strtod(field->choices, &end);
	return json_is_number(value) && end != field->choices && *end == 0 && json_number_value(value) == only;
}

static d2v_status read_value(
	const d2v_field *field, void *object, const json_t *value, const char *where, d2v_error *err) {
	void *member = (char *)object + field->offset;
	switch (field->kind) {
	case D2V_FIELD_BOOL:
		if (!json_is_boolean(value))
			return fail_value(field, value, where, "true or false", err);
		*(bool *)member = json_is_true(value);
		return D2V_OK;
	case D2V_FIELD_INT:
		return read_integer(field, member, value, where, err);
	case D2V_FIELD_REAL:
	case D2V_FIELD_REAL_OR_NULL:
		return read_real(field, member, value, where, err);
	case D2V_FIELD_TEXT:
		return read_text(field, member, value, where, err);
	case D2V_FIELD_CHOICE:
		return read_choice(field, member, value, where, err);
	case D2V_FIELD_REALS:
		return read_reals(field, member, value, where, err);
	case D2V_FIELD_FIXED:
		if (matches_fixed(field, value))
			return D2V_OK;
		char expected[64];
		snprintf(expected, sizeof expected, "%s (d2v does not do anything else here)", field->choices);
		return fail_value(field, value, where, expected, err);
	}
	return D2V_OK;
}

d2v_status d2v_fields_defaults(const d2v_field *table, void *object, d2v_error *err) {
	for (const d2v_field *field = table; field->path; field++) {
		if (field->kind == D2V_FIELD_FIXED)
			continue;
		json_t *value = NULL;
		D2V_TRY(d2v_yaml_parse_value(field->standard, &value, err));
		d2v_status status = read_value(field, object, value, "default", err);
		json_decref(value);
		D2V_TRY(status);
	}
	return D2V_OK;
}

d2v_status d2v_fields_read(
	const d2v_field *table, void *object, const json_t *tree, const char *prefix, const char *where, d2v_error *err) {
	if (!json_is_object(tree))
		return d2v_fail(err, D2V_INVALID, "%s: %s: expected a mapping", where, *prefix ? prefix : "the document");
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)tree, key, value) {
		char path[FIELD_PATH_MAX];
		int length = snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
		if (length < 0 || (size_t)length >= sizeof path)
			return d2v_fail(err, D2V_INVALID, "%s: the key %.40s... is too long", where, key);
		const d2v_field *field = find(table, path);
		if (field)
			D2V_TRY(read_value(field, object, value, where, err));
		else if (is_branch(table, path))
			D2V_TRY(d2v_fields_read(table, object, value, path, where, err));
		else
			return fail_unknown(table, path, where, err);
	}
	return D2V_OK;
}

d2v_status d2v_fields_override(const d2v_field *table, void *object, const char *assignment, d2v_error *err) {
	const char *equals = strchr(assignment, '=');
	if (!equals || equals == assignment || equals - assignment >= FIELD_PATH_MAX)
		return d2v_fail(err, D2V_INVALID, "'%s' is not of the form key=value", assignment);
	char path[FIELD_PATH_MAX];
	memcpy(path, assignment, (size_t)(equals - assignment));
	path[equals - assignment] = 0;
	const d2v_field *field = find(table, path);
	if (!field)
		return fail_unknown(table, path, "command line", err);
	if (field->kind == D2V_FIELD_TEXT) // "0123" and "[(512, 10, 5)]" are text as they stand
	{
		json_t *text = json_string(equals + 1);
		if (!text)
			return d2v_fail(err, D2V_INVALID, "%s: the value is not UTF-8", path);
		d2v_status status = read_value(field, object, text, "command line", err);
		json_decref(text);
		return status;
	}
	json_t *value = NULL;
	d2v_status status = d2v_yaml_parse_value(equals + 1, &value, err);
	if (status != D2V_OK)
		return d2v_error_prefix(err, "%s", path);
	status = read_value(field, object, value, "command line", err);
	json_decref(value);
	return status;
}

// ---- the present values as a tree

static json_t *reals_tree(const d2v_field_reals *reals) {
	json_t *list = json_array();
	for (int i = 0; list && i < reals->count; i++)
		if (json_array_append_new(list, json_real(reals->value[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *value_tree(const d2v_field *field, const void *object) {
	const void *member = (const char *)object + field->offset;
	switch (field->kind) {
	case D2V_FIELD_BOOL:
		return json_boolean(*(const bool *)member);
	case D2V_FIELD_INT:
		return json_integer(*(const int64_t *)member);
	case D2V_FIELD_REAL:
	case D2V_FIELD_REAL_OR_NULL:
		return isnan(*(const double *)member) ? json_null() : json_real(*(const double *)member);
	case D2V_FIELD_TEXT:
		return json_string(member);
	case D2V_FIELD_CHOICE: {
		size_t length;
		const char *name = choice_name(field->choices, *(const int *)member, &length);
		return length == 4 && strncmp(name, "null", 4) == 0 ? json_null() : json_stringn(name, length);
	}
	case D2V_FIELD_REALS:
		return reals_tree(member);
	case D2V_FIELD_FIXED:
		break;
	}
	return NULL;
}

// The mapping that holds the path's last key, made where missing. NULL: out of memory.
static json_t *branch_of(json_t *root, const char *path, const char **last) {
	json_t *at = root;
	for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
		char key[FIELD_PATH_MAX];
		snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
		json_t *next = json_object_get(at, key);
		if (!next && (json_object_set_new(at, key, json_object()) != 0 || !(next = json_object_get(at, key))))
			return NULL;
		at = next;
	}
	*last = path;
	return at;
}

d2v_status d2v_fields_tree(const d2v_field *table, const void *object, json_t **tree, d2v_error *err) {
	*tree = NULL;
	json_t *root = json_object();
	for (const d2v_field *field = table; root && field->path; field++) {
		if (field->kind == D2V_FIELD_FIXED)
			continue;
		const char *key;
		json_t *branch = branch_of(root, field->path, &key);
		if (!branch || json_object_set_new(branch, key, value_tree(field, object)) != 0) {
			json_decref(root);
			root = NULL;
			break;
		}
	}
	if (!root)
		return d2v_fail(err, D2V_NO_MEMORY, "out of memory for the configuration's tree");
	*tree = root;
	return D2V_OK;
}
