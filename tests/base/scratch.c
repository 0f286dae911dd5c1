#include "tests/base/scratch.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

int scratch_set_up(void **state) {
	const char *folder = getenv("TMPDIR");
	char *path = malloc(SCRATCH_PATH);
	if (!path)
		return -1;
	snprintf(path, SCRATCH_PATH, "%s/d2v-test-XXXXXX", folder && *folder ? folder : "/tmp");
	*state = path;
	return mkdtemp(path) ? 0 : -1;
}

int scratch_tear_down(void **state) {
	d2v_status status = d2v_file_remove_tree(*state, NULL);
	free(*state);
	return status == D2V_OK ? 0 : -1;
}

const char *scratch_path(void **state, const char *name) {
	static char paths[8][SCRATCH_PATH + 256];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof *paths, "%s/%s", (const char *)*state, name);
	return path;
}
