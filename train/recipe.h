// Recipes: configurations that come with d2v (train/recipes/), or a YAML file of the user's.
#ifndef D2V_TRAIN_RECIPE_H
#define D2V_TRAIN_RECIPE_H

#include "train/config.h"
#include "train/recipes_embedded.h"

// name: "audio-base", or the path of a YAML file (it has a slash or ends in .yaml or .yml). Defaults, the recipe, then
// the `count` overrides "key=value"; resolved. An unknown name is D2V_INVALID and says which there are.
d2v_status d2v_recipe_load(
	d2v_config *config, const char *name, const char *const *overrides, int count, d2v_error *err);

// NULL: no such recipe.
const d2v_recipe_text *d2v_recipe_find(const char *name);
// The comment that a recipe's text begins with, in one line: what it is. text is returned.
const char *d2v_recipe_summary(const d2v_recipe_text *recipe, char *text, size_t size);

#endif
