// How far numbers are from those of a golden case, as a ratio to what is allowed: above 1 is out.
#ifndef D2V_TESTS_GOLDEN_COMPARE_H
#define D2V_TESTS_GOLDEN_COMPARE_H

#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

#define GOLDEN_GROUPS 16

typedef struct golden_group { // "mid", "out", "loss", "stat", "grad", "param", "ema", and those of steps.json
	char name[32];
	int tensors;
	double worst;    // ratio
	char where[192]; // the tensor, and the update
} golden_group;

typedef struct golden_report {
	golden_group groups[GOLDEN_GROUPS];
	int count;
	bool out; // something was above 1, or not finite, or missing
	double floor;     // no relative tolerance is below this: what the device's arithmetic can keep
	bool losses_only; // of 16 bits: losses within 1 %, everything else is told but not judged
} golden_report;

// The device that cases run on: D2V_TEST_DEVICE, or "cpu".
const char *golden_device(void);
// What a device named so is held to.
void golden_report_init(golden_report *report, const char *device);

// Largest |ours - theirs| against max(relative * largest |theirs|, ten times the noise). noise: a case's table of the
// update, or NULL. Entries [skip_from, skip_to) are left out.
void golden_compare(golden_report *report, const char *group, const char *tensor, int64_t update, const float *ours,
	const float *theirs, int64_t count, double relative, const json_t *noise, int64_t skip_from, int64_t skip_to);
void golden_compare_number(golden_report *report, const char *group, const char *name, int64_t update, double ours,
	double theirs, double tolerance);
void golden_report_failure(golden_report *report, const char *group, const char *what, int64_t update);
void golden_report_print(const golden_report *report, const char *title);

#endif
