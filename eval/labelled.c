#include "eval/labelled.h"

static d2v_status check_labels(const d2v_labelled *set, const char *what, d2v_error *err) {
	for (int64_t i = 0; i < set->count; i++)
		if (set->labels[i] < 0 || set->labels[i] >= set->classes)
			return d2v_fail(err, D2V_INVALID, "%s sample %lld has class %d, of %d classes", what, (long long)i,
				(int)set->labels[i], (int)set->classes);
	return D2V_OK;
}

d2v_status d2v_labelled_check(const d2v_labelled *train, const d2v_labelled *test, d2v_error *err) {
	if (train->count < 1 || test->count < 1)
		return d2v_fail(err, D2V_INVALID, "%lld labelled samples to learn from and %lld to try it on; both are needed",
			(long long)train->count, (long long)test->count);
	if (train->width < 1 || train->width != test->width || train->classes < 1 || train->classes != test->classes)
		return d2v_fail(err, D2V_INVALID, "features of width %lld with %d classes against width %lld with %d classes",
			(long long)train->width, (int)train->classes, (long long)test->width, (int)test->classes);
	D2V_TRY(check_labels(train, "training", err));
	return check_labels(test, "test", err);
}
