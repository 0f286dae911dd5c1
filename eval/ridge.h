// A linear probe in closed form: ridge regression from standardised features to one column per class (1 for the class,
// 0 otherwise, both centred), solved by Cholesky in double. The class of a sample is the column with the largest value.
//
//     W = (X'X + lambda n I)^-1 X'Y        X (n, width) standardised by the training set, Y (n, classes) centred
//
// lambda is the one of a grid of powers of ten that is right most often on a fifth of the training set that a keyed
// draw holds back (the larger one when equal); the probe is then fitted to all of it. Channels that never vary are left
// out. Sums are cut by columns, not by threads, so the answer does not depend on their number.
#ifndef D2V_EVAL_RIDGE_H
#define D2V_EVAL_RIDGE_H

#include "eval/labelled.h"

typedef struct d2v_ridge_options {
	uint64_t seed; // of the part held back
	double lambda; // 0: chosen
} d2v_ridge_options;

// predicted: (test->count) classes. *lambda: what was used; may be NULL.
d2v_status d2v_ridge_classify(const d2v_labelled *train, const d2v_labelled *test, const d2v_ridge_options *options,
	int32_t *predicted, double *lambda, d2v_error *err);

#endif
