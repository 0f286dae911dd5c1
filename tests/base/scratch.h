// An empty folder for a test, and the four headers that cmocka wants before its own.
#ifndef D2V_TESTS_BASE_SCRATCH_H
#define D2V_TESTS_BASE_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

#define SCRATCH_PATH 512

// cmocka set-up and tear-down: *state is the folder's path (char *), removed with all that is in it.
int scratch_set_up(void **state);
int scratch_tear_down(void **state);
// folder/name in one of a few static buffers.
const char *scratch_path(void **state, const char *name);

// Fails the test with the error's text.
#define assert_ok(call) \
	do { \
		d2v_status assert_ok_status_ = (call); \
		if (assert_ok_status_ != D2V_OK) \
			fail_msg("%s: %s: %s", #call, d2v_status_name(assert_ok_status_), err.text); \
	} while (0)

#endif
