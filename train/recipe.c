#include "train/recipe.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"

#include <stdio.h>
#include <string.h>

#define RECIPE_BYTES_MAX ((size_t)1 << 20)
#define RECIPES_MAX 64

const d2v_recipe_text *d2v_recipe_find(const char *name) {
	for (const d2v_recipe_text *recipe = d2v_recipes_embedded; recipe->name; recipe++)
		if (strcmp(recipe->name, name) == 0)
			return recipe;
	return NULL;
}

const char *d2v_recipe_summary(const d2v_recipe_text *recipe, char *text, size_t size) {
	size_t used = 0;
	text[0] = 0;
	for (const char *line = recipe->yaml; *line == '#'; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *start = line + 1 + strspn(line + 1, " ");
		int length = (int)strcspn(start, "\n");
		int put = snprintf(text + used, size - used, "%s%.*s", used ? " " : "", length, start);
		if (put < 0 || (size_t)put >= size - used)
			break;
		used += (size_t)put;
	}
	return text;
}

static bool is_path(const char *name) {
	size_t length = strlen(name);
	return strchr(name, '/') || (length > 5 && strcmp(name + length - 5, ".yaml") == 0) ||
		   (length > 4 && strcmp(name + length - 4, ".yml") == 0);
}

static d2v_status fail_unknown(const char *name, d2v_error *err) {
	const char *names[RECIPES_MAX + 1] = { 0 };
	char all[512] = "";
	for (int i = 0; i < RECIPES_MAX && d2v_recipes_embedded[i].name; i++) {
		names[i] = d2v_recipes_embedded[i].name;
		size_t used = strlen(all);
		snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", names[i]);
	}
	const char *nearest = d2v_options_nearest(name, names);
	if (nearest)
		return d2v_fail(err, D2V_INVALID, "no recipe %s; did you mean %s? A file's name ends in .yaml", name, nearest);
	return d2v_fail(err, D2V_INVALID, "no recipe %s; there are %s, or give the name of a .yaml file", name, all);
}

static d2v_status read_file(d2v_config *config, const char *path, d2v_error *err) {
	void *text = NULL;
	size_t size = 0;
	D2V_TRY(d2v_file_read(path, RECIPE_BYTES_MAX, &text, &size, err));
	d2v_status status = d2v_config_read_yaml(config, text, size, path, err);
	d2v_free(text);
	return status;
}

d2v_status d2v_recipe_load(
	d2v_config *config, const char *name, const char *const *overrides, int count, d2v_error *err) {
	const d2v_recipe_text *recipe = d2v_recipe_find(name);
	D2V_TRY(d2v_config_defaults(config, err));
	if (recipe)
		D2V_TRY(d2v_config_read_yaml(config, recipe->yaml, strlen(recipe->yaml), name, err));
	else if (is_path(name))
		D2V_TRY(read_file(config, name, err));
	else
		return fail_unknown(name, err);
	for (int i = 0; i < count; i++)
		D2V_TRY(d2v_config_override(config, overrides[i], err));
	d2v_status status = d2v_config_resolve(config, err);
	return status == D2V_OK ? D2V_OK : d2v_error_prefix(err, "%s", name);
}
