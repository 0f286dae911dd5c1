#include "tests/shards/stored_pictures.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

d2v_status stored_read(const char *file, void **bytes, size_t *size, d2v_error *err) {
	char path[256];
	snprintf(path, sizeof path, STORED_PICTURES "%s", file);
	return d2v_file_read(path, 1 << 20, bytes, size, err);
}

d2v_status stored_lines(const char *table, void (*use)(void *context, char **fields), void *context, d2v_error *err) {
	void *text;
	size_t size;
	char *rest, *line;
	D2V_TRY(stored_read(table, &text, &size, err));
	for (rest = text; (line = strsep(&rest, "\n"));) {
		char *fields[4] = { 0 };
		if (!*line || *line == '#')
			continue;
		for (int i = 0; i < 4 && line; i++)
			fields[i] = strsep(&line, "\t");
		use(context, fields);
	}
	d2v_free(text);
	return D2V_OK;
}
