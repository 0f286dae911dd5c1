// Feature vectors with their classes: what the probes learn from and are tried on.
#ifndef D2V_EVAL_LABELLED_H
#define D2V_EVAL_LABELLED_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_labelled { // borrowed arrays
	const float *rows;        // (count, width)
	const int32_t *labels;    // (count), each in [0, classes)
	int64_t count, width;
	int32_t classes;
} d2v_labelled;

// D2V_INVALID unless both have rows, the same width and classes, and every label lies in [0, classes).
d2v_status d2v_labelled_check(const d2v_labelled *train, const d2v_labelled *test, d2v_error *err);

#endif
