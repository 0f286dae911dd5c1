#include "ingest/layout.h"

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

bool d2v_layout_is_audio(const char *path) {
	static const char *const endings[] = { ".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc",
		".au", ".caf", ".w64", ".rf64", ".sph", NULL };
	const char *slash = strrchr(path, '/'), *ending = d2v_layout_extension(path);
	// What macOS puts beside each file of an archive has the file's ending and is no audio.
	if (strncmp(slash ? slash + 1 : path, "._", 2) == 0)
		return false;
	for (int i = 0; endings[i]; i++)
		if (strcasecmp(ending, endings[i]) == 0)
			return true;
	return false;
}

void d2v_layout_trim(const char **text, size_t *size) {
	while (*size && strchr(" \t\r\n", (*text)[0]))
		(*text)++, (*size)--;
	while (*size && strchr(" \t\r\n", (*text)[*size - 1]))
		(*size)--;
}
