// What a case has numbers of, from the model: found by the case's names, in its layout.
#ifndef D2V_TESTS_GOLDEN_FETCH_H
#define D2V_TESTS_GOLDEN_FETCH_H

#include "tests/golden/golden_state.h"

// Fills *out with floats of the caller's, as many as *state->fetched says then. D2V_NOT_FOUND: nothing here has that
// name. Of the step: "mid/..." and "out/...".
d2v_status golden_fetch_named(const golden_state *state, const char *name, float **out);
// Of a parameter, group: "param", "ema" (the teacher's), or "grad" (as the original has it: of a sample, unscaled).
d2v_status golden_fetch_parameter(const golden_state *state, const char *group, const char *name, float **out);

#endif
