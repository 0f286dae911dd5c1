#include "tests/golden/golden_compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOISE_FACTOR 10

const char *golden_device(void) {
	const char *device = getenv("D2V_TEST_DEVICE");
	return device && *device ? device : "cpu";
}

void golden_report_init(golden_report *report, const char *device) {
	*report = (golden_report){ .count = 0 };
	if (strncmp(device, "cuda", 4) != 0)
		return;
	report->floor = 1e-4; // another order of sums, other functions
	size_t length = strlen(device);
	report->losses_only = length < 4 || strcmp(device + length - 4, ":f32") != 0;
}

static golden_group *group_of(golden_report *report, const char *name) {
	for (int i = 0; i < report->count; i++)
		if (strcmp(report->groups[i].name, name) == 0)
			return &report->groups[i];
	if (report->count == GOLDEN_GROUPS)
		return &report->groups[GOLDEN_GROUPS - 1];
	golden_group *group = &report->groups[report->count++];
	snprintf(group->name, sizeof group->name, "%s", name);
	return group;
}

static void enter(golden_report *report, const char *group_name, const char *what, int64_t update, double ratio) {
	golden_group *group = group_of(report, group_name);
	group->tensors++;
	if (!(ratio <= 1) && (!report->losses_only || strcmp(group_name, "loss") == 0 || ratio == INFINITY)) // NaN is out, too
		report->out = true;
	if (group->tensors > 1 && ratio <= group->worst)
		return;
	group->worst = ratio;
	snprintf(group->where, sizeof group->where, "%s, update %lld", what, (long long)update);
}

static double ratio_of(double difference, double tolerance) {
	if (difference == 0)
		return 0;
	return difference / tolerance; // a tolerance of 0: infinite
}

void golden_compare(golden_report *report, const char *group, const char *tensor, int64_t update, const float *ours,
	const float *theirs, int64_t count, double relative, const json_t *noise, int64_t skip_from, int64_t skip_to) {
	double worst = 0, largest = 0;
	for (int64_t i = 0; i < count; i++) {
		if (i >= skip_from && i < skip_to)
			continue;
		double difference = fabs((double)ours[i] - (double)theirs[i]);
		if (!(difference <= worst)) // keeps NaN
			worst = isnan(difference) ? INFINITY : difference;
		largest = fmax(largest, fabs((double)theirs[i]));
	}
	const json_t *entry = json_array_get(json_object_get(noise, tensor), 0);
	relative = report->losses_only && strcmp(group, "loss") == 0 ? 0.01 : fmax(relative, report->floor);
	double tolerance = fmax(relative * largest, NOISE_FACTOR * json_number_value(entry));
	enter(report, group, tensor, update, ratio_of(worst, tolerance));
}

void golden_compare_number(golden_report *report, const char *group, const char *name, int64_t update, double ours,
	double theirs, double tolerance) {
	double difference = fabs(ours - theirs);
	tolerance = fmax(tolerance, (report->losses_only ? 0.01 : report->floor) * fabs(theirs));
	enter(report, group, name, update, isnan(difference) ? INFINITY : ratio_of(difference, tolerance));
}

void golden_report_failure(golden_report *report, const char *group, const char *what, int64_t update) {
	enter(report, group, what, update, INFINITY);
}

void golden_report_print(const golden_report *report, const char *title) {
	printf("# %s: %s\n#   %-12s %8s  %-9s worst in\n", title, report->out ? "OUT" : "within tolerance", "group",
		"tensors", "of allowed");
	for (int i = 0; i < report->count; i++) {
		const golden_group *group = &report->groups[i];
		printf("#   %-12s %8d  %-9.3g %s\n", group->name, group->tensors, group->worst, group->where);
	}
	fflush(stdout);
}
