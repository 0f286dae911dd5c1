#include "ingest/layout.h"

#include <stdio.h>
#include <string.h>

bool d2v_layout_is_split_name(const char *name) {
	size_t length = strlen(name);
	return length && length <= D2V_SPLIT_NAME_MAX && name[0] != '.' && strcmp(name, "tokenizer") != 0 &&
		   strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == length;
}

const char *d2v_layout_extension(const char *path) {
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
	return dot && dot > name ? dot : path + strlen(path);
}

static bool has_ending(const char *path, const char *const *endings) {
	const char *slash = strrchr(path, '/'), *ending = d2v_layout_extension(path);
	// What macOS puts beside each file of an archive has the file's ending and is none.
	if (strncmp(slash ? slash + 1 : path, "._", 2) == 0)
		return false;
	for (int i = 0; endings[i]; i++)
		if (strcasecmp(ending, endings[i]) == 0)
			return true;
	return false;
}

bool d2v_layout_is_audio(const char *path) {
	static const char *const endings[] = { ".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc",
		".au", ".caf", ".w64", ".rf64", ".sph", NULL };
	return has_ending(path, endings);
}

bool d2v_layout_is_image(const char *path) {
	static const char *const endings[] = { ".jpg", ".jpeg", ".jpe", ".jfif", ".png", NULL };
	return has_ending(path, endings);
}

// ---- split and class

typedef struct component {
	const char *start; // NULL: there is none
	int size;
} component;

static bool is_split_folder(const component *folder) {
	static const char *const names[] = { "train", "training", "val", "valid", "validation", "dev", "test", "testing" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if ((size_t)folder->size == strlen(names[i]) && memcmp(folder->start, names[i], (size_t)folder->size) == 0)
			return true;
	return false;
}

// The folders of the path that mean something.
static void find_folders(const d2v_layout_options *options, const char *path, component *split, component *class) {
	*split = *class = (component){ 0 };
	bool behind_split = false;
	for (const char *at = path, *slash; (slash = strchr(at, '/')); at = slash + 1) {
		component folder = { .start = at, .size = (int)(slash - at) };
		if (options->split_folders && !split->start && is_split_folder(&folder)) {
			*split = folder;
			*class = (component){ 0 };
		} else if (!behind_split)
			*class = folder;
		behind_split = split->start && class->start;
	}
}

bool d2v_layout_sorts_classes(const d2v_layout_options *options) {
	return options->label_rule || options->label_folders;
}

void d2v_layout_sort(const d2v_layout_options *options, const char *path, d2v_place *place) {
	component split, class;
	find_folders(options, path, &split, &class);
	if (options->split_rule && d2v_path_rule_read(options->split_rule, path, place->split, sizeof place->split))
		;
	else if (split.start)
		snprintf(place->split, sizeof place->split, "%.*s", split.size, split.start);
	else
		snprintf(place->split, sizeof place->split, "%s", options->split);
	if (options->label_rule)
		d2v_path_rule_read(options->label_rule, path, place->class_name, sizeof place->class_name);
	else if (options->label_folders && class.start && class.size <= D2V_CLASS_NAME_MAX)
		snprintf(place->class_name, sizeof place->class_name, "%.*s", class.size, class.start);
	if (d2v_layout_is_split_name(place->split))
		return;
	place->split[0] = '\0';
	place->role = D2V_ROLE_REJECTED;
	d2v_reject(&place->rejection, D2V_REASON_LAYOUT,
		"--split-by gives no name for a folder: letters, digits, '-', '_' and '.' are expected");
}

void d2v_layout_trim(const char **text, size_t *size) {
	while (*size && strchr(" \t\r\n", (*text)[0]))
		(*text)++, (*size)--;
	while (*size && strchr(" \t\r\n", (*text)[*size - 1]))
		(*size)--;
}
