#include "tests/bench/work_folder.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

int work_in_folder(
	const char *program, d2v_status (*work)(void *context, const char *folder, d2v_error *err), void *context) {
	const char *parent = getenv("TMPDIR");
	char folder[512];
	d2v_error err = { 0 };
	snprintf(folder, sizeof folder, "%.400s/d2v-bench-XXXXXX", parent && *parent ? parent : "/tmp");
	if (!mkdtemp(folder))
		return perror(folder), 1;
	d2v_status status = work(context, folder, &err);
	if (status != D2V_OK)
		fprintf(stderr, "%s: %s\n", program, err.text);
	d2v_file_remove_tree(folder, NULL);
	return d2v_status_exit_code(status);
}
