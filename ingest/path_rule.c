#include "ingest/path_rule.h"

#include "base/memory.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

struct d2v_path_rule {
	char *text;
	char *name; // of what matches; NULL: the group says it
	regex_t expression;
	bool compiled;
};

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

static d2v_status fill(d2v_path_rule *rule, const char *option, const char *text, d2v_error *err) {
	char why[200];
	D2V_TRY(d2v_strdup(&rule->text, text, err));
	size_t name = strspn(text, NAME_LETTERS);
	if (name && text[name] == '=') {
		D2V_TRY(d2v_asprintf(&rule->name, err, "%.*s", (int)name, text));
		text += name + 1;
	}
	int result = regcomp(&rule->expression, text, REG_EXTENDED);
	if (result) {
		regerror(result, &rule->expression, why, sizeof why);
		return d2v_fail(err, D2V_INVALID, "%s '%s': no extended regular expression: %s", option, text, why);
	}
	rule->compiled = true;
	return D2V_OK;
}

d2v_status d2v_path_rule_new(d2v_path_rule **rule, const char *option, const char *text, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(rule, 1, sizeof **rule, err));
	d2v_status status = fill(*rule, option, text, err);
	if (status != D2V_OK) {
		d2v_path_rule_free(*rule);
		*rule = NULL;
	}
	return status;
}

void d2v_path_rule_free(d2v_path_rule *rule) {
	if (!rule)
		return;
	if (rule->compiled)
		regfree(&rule->expression);
	d2v_free(rule->text);
	d2v_free(rule->name);
	d2v_free(rule);
}

const char *d2v_path_rule_text(const d2v_path_rule *rule) {
	return rule->text;
}

bool d2v_path_rule_read(const d2v_path_rule *rule, const char *path, char *name, size_t size) {
	regmatch_t match[2];
	if (regexec(&rule->expression, path, 2, match, 0) != 0)
		return false;
	const regmatch_t *found = &match[rule->expression.re_nsub > 0];
	const char *from = rule->name ? rule->name : found->rm_so < 0 ? "" : path + found->rm_so;
	size_t length = rule->name ? strlen(rule->name) : found->rm_so < 0 ? 0 : (size_t)(found->rm_eo - found->rm_so);
	if (!length || length >= size)
		return false;
	snprintf(name, size, "%.*s", (int)length, from);
	return true;
}
