// What is wanted of a measurement, and whether it was reached. Marks are an H200's (docs/performance.md).
//
// Besides the row that a benchmark prints for its measurement there is a JSON line of each mark, from which
// bench_gpu.sh makes the table at the end.
#ifndef D2V_TESTS_GPU_MARK_H
#define D2V_TESTS_GPU_MARK_H

#include <stdbool.h>

typedef struct mark {
	const char *name; // of the measurement
	const char *unit;
	double reached, wanted; // in this unit
	bool at_most;           // no more than wanted; otherwise no less
} mark;

bool mark_is_met(const mark *m); // not by NaN
// For the end of a row: ", wanted 75" or ", wanted at most 5: MISSED". Until the next call.
const char *mark_text(const mark *m);
void mark_print_json(const mark *m);

#endif
