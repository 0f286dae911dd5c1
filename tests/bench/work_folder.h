// What a benchmark's main is made of: an empty folder to work in, and an exit code.
#ifndef D2V_TESTS_BENCH_WORK_FOLDER_H
#define D2V_TESTS_BENCH_WORK_FOLDER_H

#include "base/error.h"

// Does the work in an empty folder below TMPDIR, which is removed with all that is in it, and says what failed. Returns
// the process's exit code.
int work_in_folder(
	const char *program, d2v_status (*work)(void *context, const char *folder, d2v_error *err), void *context);

#endif
