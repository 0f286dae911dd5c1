// Holds an update against what its case expects of it: every difference goes into the report, and no difference is an
// error.
#ifndef D2V_TESTS_GOLDEN_EXPECTED_H
#define D2V_TESTS_GOLDEN_EXPECTED_H

#include "tests/golden/golden_state.h"

void golden_expected_names(const golden_state *state); // of parameters, before the first update
// The update's tensors (expect_N.safetensors); its row of steps.json, with the rate and the teacher's decay that it
// had.
d2v_status golden_expected_tensors(golden_state *state);
d2v_status golden_expected_row(const golden_state *state, double lr, double decay);

#endif
