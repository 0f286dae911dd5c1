// Runs all updates of a golden case and compares everything it has numbers for.
#ifndef D2V_TESTS_GOLDEN_RUN_H
#define D2V_TESTS_GOLDEN_RUN_H

#include "tests/golden/golden_case.h"
#include "tests/golden/golden_compare.h"

typedef struct golden_options {
	const char *nudge; // a parameter whose first element is moved by one part in a thousand: the report must be out
	int64_t updates;   // the first ones of the case; 0: all
	d2v_memory_options memory;
} golden_options;

d2v_status golden_run(const char *folder, const golden_options *options, golden_report *report, d2v_error *err);

#endif
