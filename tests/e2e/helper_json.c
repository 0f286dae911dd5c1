// Picks values out of the JSON on standard input (one document, or one per line) for shell tests.
//     helper_json PATH [FIELD...]
// PATH goes down by keys and numbers: `splits.0.records`; `[]` goes through all elements of an array: `records.[]`; `.`
// is the whole. Each value found is a line; with FIELDs the line holds these of its keys, separated by tabs. Nothing
// found is status 1.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int found;

static void print_value(const json_t *value) {
	if (json_is_string(value)) {
		fputs(json_string_value(value), stdout);
	} else if (value) {
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
		fputs(text ? text : "?", stdout);
		free(text);
	}
}

static void print_line(const json_t *value, char **fields, int count) {
	found++;
	if (count == 0)
		print_value(value);
	for (int i = 0; i < count; i++) {
		if (i)
			putchar('\t');
		print_value(json_object_get(value, fields[i]));
	}
	putchar('\n');
}

static void walk(const json_t *value, const char *path, char **fields, int count) {
	char key[256];
	size_t length = strcspn(path, ".");
	const char *rest = path[length] ? path + length + 1 : path + length;
	if (!value)
		return;
	if (!*path || strcmp(path, ".") == 0) {
		print_line(value, fields, count);
		return;
	}
	snprintf(key, sizeof key, "%.*s", (int)length, path);
	if (strcmp(key, "[]") == 0) {
		for (size_t i = 0; i < json_array_size(value); i++)
			walk(json_array_get(value, i), rest, fields, count);
	} else if (json_is_array(value)) {
		walk(json_array_get(value, strtoul(key, NULL, 10)), rest, fields, count);
	} else {
		walk(json_object_get(value, key), rest, fields, count);
	}
}

int main(int argc, char **argv) {
	if (argc < 2)
		return fprintf(stderr, "usage: helper_json PATH [FIELD...]\n"), 2;
	for (;;) {
		json_error_t error;
		int c;
		while ((c = getchar()) == '\n' || c == ' ') {
		}
		if (c == EOF)
			break;
		ungetc(c, stdin);
		json_t *document = json_loadf(stdin, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
		if (!document)
			return fprintf(stderr, "helper_json: line %d: %s\n", error.line, error.text), 1;
		walk(document, argv[1], argv + 2, argc - 2);
		json_decref(document);
	}
	return found == 0;
}
