// What --label-by and --split-by say: how a class or a split is read off the path of a file.
//
//     '([0-9])_[a-z]+_[0-9]+\.wav$'   the first group of an extended regular expression is the name (without a group:
//                                     all that matches)
//     'test=_[0-4]\.wav$'             what matches is NAME
//
// Plain functions of text. Life: new -> read ... -> free. Threads: any may read.
#ifndef D2V_INGEST_PATH_RULE_H
#define D2V_INGEST_PATH_RULE_H

#include "base/error.h"

typedef struct d2v_path_rule d2v_path_rule;

// option: its name, for messages. D2V_INVALID: no regular expression.
d2v_status d2v_path_rule_new(d2v_path_rule **rule, const char *option, const char *text, d2v_error *err);
void d2v_path_rule_free(d2v_path_rule *rule);              // NULL is allowed
const char *d2v_path_rule_text(const d2v_path_rule *rule); // as it was given
// The name that the rule reads off the path into name. False: it does not match, or the name is empty or too long.
bool d2v_path_rule_read(const d2v_path_rule *rule, const char *path, char *name, size_t size);

#endif
