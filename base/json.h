// JSON (jansson) and YAML (libyaml) as one tree, with bounds and with errors that name file and key.
//
// The tree is jansson's json_t. YAML is read into the same tree (yaml.c is the only file that sees libyaml): anchors and merge keys
// are refused, depth and size are bounded, scalars get YAML 1.2 core types, fairseq's "1e-6" and "0.98" are numbers.
// Getters fail with D2V_INVALID "WHERE: KEY: expected ..., found ..."; `where` is the file's name.
#ifndef D2V_BASE_JSON_H
#define D2V_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

// Owned by the caller: json_decref. At most max_bytes are read. Duplicate keys are an error.
d2v_status d2v_json_load(const char *path, size_t max_bytes, json_t **root, d2v_error *err);
d2v_status d2v_json_parse(const char *text, size_t size, const char *where, json_t **root, d2v_error *err);
d2v_status d2v_yaml_load(const char *path, json_t **root, d2v_error *err);
d2v_status d2v_yaml_parse(const char *text, size_t size, const char *where, json_t **root, d2v_error *err);
// One YAML scalar or flow value, as in `key=value` on the command line.
d2v_status d2v_yaml_parse_value(const char *text, json_t **value, d2v_error *err);

// Text with sorted keys and two-space indent, ending in a newline: equal trees give equal bytes. d2v_free.
d2v_status d2v_json_text(const json_t *root, char **text, d2v_error *err);
// Published as d2v_file_replace does.
d2v_status d2v_json_save(const json_t *root, const char *path, d2v_error *err);
// YAML of a tree in the order of its keys (for --print-config), which d2v_yaml_parse reads back as the same tree. d2v_free.
d2v_status d2v_yaml_text(const json_t *root, char **text, d2v_error *err);
// The same with comments, which reading passes over: note gives the one behind the value at "a.b.c", a single line; NULL: none.
typedef const char *d2v_yaml_note(void *context, const char *path);
d2v_status d2v_yaml_text_noted(
	const json_t *root, d2v_yaml_note *note, void *context, char **text, d2v_error *err);

d2v_status d2v_json_get_u64(const json_t *object, const char *key, const char *where, uint64_t max, uint64_t *value, d2v_error *err);
d2v_status d2v_json_get_i64(const json_t *object, const char *key, const char *where, int64_t min, int64_t max, int64_t *value, d2v_error *err);
d2v_status d2v_json_get_double(const json_t *object, const char *key, const char *where, double *value, d2v_error *err);
// Borrowed from the tree.
d2v_status d2v_json_get_string(const json_t *object, const char *key, const char *where, const char **value, d2v_error *err);
d2v_status d2v_json_get_object(const json_t *object, const char *key, const char *where, json_t **value, d2v_error *err);
d2v_status d2v_json_get_array(const json_t *object, const char *key, const char *where, json_t **value, d2v_error *err);
// 64-bit digests are stored as 16 hex digits, since JSON numbers are doubles to many readers.
d2v_status d2v_json_get_hex64(const json_t *object, const char *key, const char *where, uint64_t *value, d2v_error *err);
// Steals nothing; D2V_NO_MEMORY when jansson fails.
d2v_status d2v_json_set_hex64(json_t *object, const char *key, uint64_t value, d2v_error *err);
// Up to INT64_MAX, as getters allow.
d2v_status d2v_json_set_u64(json_t *object, const char *key, uint64_t value, d2v_error *err);
// json_object_set_new that turns failure (value NULL or out of memory) into a status.
d2v_status d2v_json_set(json_t *object, const char *key, json_t *stolen_value, d2v_error *err);

#endif
