// A case as it is gone through: what golden_run.c moves from update to update, and what the others read of it.
#ifndef D2V_TESTS_GOLDEN_STATE_H
#define D2V_TESTS_GOLDEN_STATE_H

#include "tests/golden/golden_case.h"
#include "tests/golden/golden_compare.h"

typedef struct golden_state {
	golden_case golden;
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	golden_report *report;
	double scale; // of gradients
	int64_t update;
	const d2v_batch *batch;
	const d2v_step_result *result;
	const d2v_optimizer_result *optimized;
	const json_t *noise; // of this update
	int64_t *fetched;    // elements of what was fetched last
	d2v_error *err;
} golden_state;

#endif
