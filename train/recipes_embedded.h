// The recipes of train/recipes/, built into the library by the Makefile so that a program needs no files beside it.
#ifndef D2V_TRAIN_RECIPES_EMBEDDED_H
#define D2V_TRAIN_RECIPES_EMBEDDED_H

typedef struct d2v_recipe_text {
	const char *name; // "audio-base"
	const char *yaml;
} d2v_recipe_text;

extern const d2v_recipe_text d2v_recipes_embedded[]; // ends with name NULL

#endif
