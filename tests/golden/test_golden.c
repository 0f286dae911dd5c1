// The model against numbers of the original implementation. GOLDEN_CASES="DIR..." names the cases; default: all of
// tests/golden/data/ that are of this kind, and those of features.
#include "tests/golden/golden_features.h"
#include "tests/golden/golden_run.h"

#include "base/memory.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CASES_MAX 256
#define DATA "tests/golden/data/"

static void run_case(const char *folder, const golden_options *options) {
	golden_report report;
	d2v_error err = { 0 };
	d2v_status status = golden_is_features(folder) ? golden_features(folder, &report, &err)
												   : golden_run(folder, options, &report, &err);
	if (status != D2V_OK)
		fail_msg("%s", err.text);
	golden_report_print(&report, folder);
	if (report.out)
		fail_msg("%s: a tensor is out of tolerance", folder);
}

static void test_case(void **folder) {
	run_case(*folder, &(golden_options){ 0 });
}

// Steps that need less memory have the same numbers.
#define FEW 2 // updates
static void test_case_recomputed(void **folder) {
	run_case(*folder, &(golden_options){ .memory.recompute = true, .updates = FEW });
}

static void test_case_in_groups(void **folder) {
	run_case(*folder, &(golden_options){ .memory.clone_groups = 2, .updates = FEW });
}

// One weight that is off by a thousandth is seen; wherever it sits.
static void test_nudged_weight_is_caught(void **state) {
	(void)state;
	static const struct {
		const char *folder, *name;
	} cases[] = {
		{ DATA "audio-tiny", "modality_encoders.AUDIO.local_encoder.conv_layers.0.0.weight" },
		{ DATA "audio-tiny", "modality_encoders.AUDIO.relative_positional_encoder.3.0.weight" },
		{ DATA "audio-tiny", "modality_encoders.AUDIO.alibi_scale" },
		{ DATA "audio-tiny", "modality_encoders.AUDIO.decoder.proj.bias" },
		{ DATA "audio-tiny", "blocks.1.mlp.fc2.bias" },
		{ DATA "audio-branches", "modality_encoders.AUDIO.alibi_scale" },
		{ DATA "image-tiny", "modality_encoders.IMAGE.local_encoder.proj.weight" },
		{ DATA "image-tiny", "modality_encoders.IMAGE.context_encoder.norm.weight" },
		{ DATA "image-tiny", "modality_encoders.IMAGE.decoder.blocks.1.0.weight" },
		{ DATA "image-branches", "modality_encoders.IMAGE.local_encoder.1.weight" },
		{ DATA "text-tiny", "modality_encoders.TEXT.local_encoder.embed_positions.weight" },
		{ DATA "text-branches", "modality_encoders.TEXT.alibi_scale" },
		{ DATA "multi", "modality_encoders.TEXT.local_encoder.layernorm_embedding.weight" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		golden_report report;
		d2v_error err = { 0 };
		if (golden_run(cases[i].folder, &(golden_options){ .nudge = cases[i].name, .updates = 1 }, &report, &err) !=
			D2V_OK)
			fail_msg("%s", err.text);
		if (!report.out)
			fail_msg("%s: a changed %s went unnoticed", cases[i].folder, cases[i].name);
	}
}

static void test_comparison_can_fail(void **state) {
	(void)state;
	const float theirs[] = { 1, -2, 0.5f }, same[] = { 1, -2, 0.5f }, off[] = { 1, -2, 0.50003f };
	const float not_finite[] = { 1, NAN, 0.5f };
	golden_report report = { .count = 0 };
	golden_compare(&report, "out", "same", 0, same, theirs, 3, 1e-5, NULL, 0, 0);
	assert_false(report.out);
	golden_compare(&report, "out", "left out", 0, off, theirs, 3, 1e-5, NULL, 2, 3);
	assert_false(report.out);
	golden_compare(&report, "out", "off", 0, off, theirs, 3, 1e-5, NULL, 0, 0);
	assert_true(report.out);
	report.out = false;
	golden_compare(&report, "out", "not finite", 0, not_finite, theirs, 3, 1e-5, NULL, 0, 0);
	assert_true(report.out);
	report.out = false;
	golden_compare_number(&report, "steps", "lr", 0, NAN, 1, 1);
	assert_true(report.out);
}

// Other folders hold statistics of masks and the like.
static bool is_case(const char *folder) {
	char path[4096];
	int length = snprintf(path, sizeof path, "%s/steps.json", folder);
	return golden_is_features(folder) || (length > 0 && (size_t)length < sizeof path && access(path, R_OK) == 0);
}

static struct CMUnitTest cases[3 * CASES_MAX + 2];
static size_t case_count;

static void add_case(char *folder) {
	size_t length = strlen(folder);
	if (length > 1 && folder[length - 1] == '/')
		folder[length - 1] = 0;
	static const CMUnitTestFunction lean[] = { test_case_recomputed, test_case_in_groups };
	if (case_count + 3 > 3 * CASES_MAX)
		return;
	cases[case_count++] = (struct CMUnitTest){ .name = folder, .test_func = test_case, .initial_state = folder };
	for (size_t i = 0; i < sizeof lean / sizeof *lean && !golden_is_features(folder); i++)
		cases[case_count++] = (struct CMUnitTest){ .name = folder, .test_func = lean[i], .initial_state = folder };
}

int main(void) {
	const char *named = getenv("GOLDEN_CASES");
	char *list = NULL;
	glob_t found = { 0 };
	if (named && named[strspn(named, " \t\n")]) {
		if (d2v_strdup(&list, named, NULL) != D2V_OK)
			return 1;
		for (char *folder = strtok(list, " \t\n"); folder; folder = strtok(NULL, " \t\n"))
			add_case(folder);
	} else if (glob(DATA "*", GLOB_ONLYDIR, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			if (is_case(found.gl_pathv[i]))
				add_case(found.gl_pathv[i]);
	}
	if (case_count == 0) {
		fprintf(stderr, "no golden case found: run from the root of the project, or name some in GOLDEN_CASES\n");
		return 1;
	}
	if (!list) {
		if (strcmp(golden_device(), "cpu") == 0) // where tolerances are the tightest
			cases[case_count++] = (struct CMUnitTest)cmocka_unit_test(test_nudged_weight_is_caught);
		cases[case_count++] = (struct CMUnitTest)cmocka_unit_test(test_comparison_can_fail);
	}
	int failed = _cmocka_run_group_tests("golden", cases, case_count, NULL, NULL);
	globfree(&found);
	d2v_free(list);
	return failed;
}
