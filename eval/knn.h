// Nearest neighbours by cosine: the class of a sample is voted by the k training samples most alike, each with weight
// exp(similarity / temperature).
//
// Equal similarities go to the training sample that comes first, equal votes to the lower class, so the answer does not
// depend on the number of threads. Vectors of zeros are alike to nothing (similarity 0). The sums run over blocks of
// test samples side by side, which is what lets them use the processor's vectors without reordering a sum.
#ifndef D2V_EVAL_KNN_H
#define D2V_EVAL_KNN_H

#include "eval/labelled.h"

#define D2V_KNN_K_MAX 1024

typedef struct d2v_knn_options {
	int64_t k;          // 0: 20; more than there are training samples means all
	double temperature; // 0: 0.07
} d2v_knn_options;

// predicted: (test->count) classes.
d2v_status d2v_knn_classify(const d2v_labelled *train, const d2v_labelled *test, const d2v_knn_options *options,
	int32_t *predicted, d2v_error *err);

#endif
