// Fields of a configuration as a table: one row ties a fairseq key to a struct member, its type, bounds and default, and the
// sentence that --print-config shows. Reading, overriding, printing and "unknown key, did you mean" all come from it.
#ifndef D2V_TRAIN_FIELDS_H
#define D2V_TRAIN_FIELDS_H

#include "base/error.h"
#include "base/json.h"

#include <stddef.h>

typedef enum d2v_field_kind {
	D2V_FIELD_BOOL,   // bool
	D2V_FIELD_INT,    // int64_t
	D2V_FIELD_REAL,   // double
	D2V_FIELD_REAL_OR_NULL, // double; null reads as NaN
	D2V_FIELD_TEXT,   // char[D2V_FIELD_TEXT_MAX]
	D2V_FIELD_CHOICE, // int, index into `choices`; null is the choice "null"
	D2V_FIELD_REALS,  // d2v_field_reals: [0.9, 0.98] or "(0.9,0.98)" or a single number, as fairseq's YAML mixes them
	D2V_FIELD_FIXED,  // accepted only with the value in `choices` (or null): something d2v does not do otherwise. "*": any value
	                  // is taken and has no effect. No member; left out of d2v_fields_tree
} d2v_field_kind;

#define D2V_FIELD_TEXT_MAX 512
#define D2V_FIELD_REALS_MAX 8
typedef struct d2v_field_reals {
	double value[D2V_FIELD_REALS_MAX];
	int count;
} d2v_field_reals;

typedef struct d2v_field {
	const char *path; // "model.ema_decay"; dots lead into nested mappings
	d2v_field_kind kind;
	size_t offset; // of the member in the struct
	double min, max; // both 0: no bounds
	const char *choices;  // "a|b|c", or the text of the only accepted value
	const char *standard; // default, as YAML text
	const char *help;
} d2v_field;

// Sets every member to its default.
d2v_status d2v_fields_defaults(const d2v_field *table, void *object, d2v_error *err);
// Reads a tree into the struct; keys that the tree lacks stay as they are. `prefix` is put before the tree's keys ("" or "model").
// Unknown key: D2V_INVALID "WHERE: unknown key model.ema_decy; did you mean model.ema_decay?".
d2v_status d2v_fields_read(const d2v_field *table, void *object, const json_t *tree, const char *prefix, const char *where, d2v_error *err);
// One `key=value`.
d2v_status d2v_fields_override(const d2v_field *table, void *object, const char *assignment, d2v_error *err);
// "what it is for [MIN..MAX]", or with "(A|B)" behind it for a choice: text is returned. NULL: there is no such field.
const char *d2v_fields_describe(const d2v_field *table, const char *path, char *text, size_t size);
// The whole as a tree (for --print-config and checkpoints): every field with its present value. Owned by the caller.
d2v_status d2v_fields_tree(const d2v_field *table, const void *object, json_t **tree, d2v_error *err);

#endif
