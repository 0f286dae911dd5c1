// Runs the feature passes of a golden case and compares what comes out.
#ifndef D2V_TESTS_GOLDEN_FEATURES_H
#define D2V_TESTS_GOLDEN_FEATURES_H

#include "tests/golden/golden_case.h"
#include "tests/golden/golden_compare.h"

bool golden_is_features(const char *folder); // it has an input_0
d2v_status golden_features(const char *folder, golden_report *report, d2v_error *err);

#endif
