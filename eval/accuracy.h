// How often a classifier is right, how sure that is, and whether one is better than another on the same samples.
//
// The 95 % interval of an accuracy is Wilson's score interval. Two classifiers are compared pair by pair: only samples
// that exactly one of them gets right say anything. The 95 % interval of the difference is Agresti and Min's (2005:
// half a sample is added to each of the four cells, then the normal interval of paired shares), and `p` is McNemar's
// test in its exact, two-sided form. Plain functions.
#ifndef D2V_EVAL_ACCURACY_H
#define D2V_EVAL_ACCURACY_H

#include <stdint.h>

typedef struct d2v_accuracy {
	int64_t right, count;
	double share, low, high; // low and high bound the 95 % interval
} d2v_accuracy;

typedef struct d2v_accuracy_difference {
	int64_t only_first, only_second; // samples that only this one got right
	double share, low, high;         // first minus second
	double p;
} d2v_accuracy_difference;

d2v_accuracy d2v_accuracy_of(const int32_t *predicted, const int32_t *labels, int64_t count);
d2v_accuracy d2v_accuracy_count(int64_t right, int64_t count);
d2v_accuracy_difference d2v_accuracy_compare(
	const int32_t *first, const int32_t *second, const int32_t *labels, int64_t count);
d2v_accuracy_difference d2v_accuracy_pairs(int64_t only_first, int64_t only_second, int64_t count);

#endif
