// The options with which programs choose features: whose weights, which layer, how a sample's tokens become one vector.
#ifndef D2V_TOOLS_FEATURE_CHOICE_H
#define D2V_TOOLS_FEATURE_CHOICE_H

#include "base/options.h"
#include "eval/feature_reader.h"

typedef struct d2v_feature_choice {
	const char *layer; // "last", "mean", "1", "2", ...
	int pooling;       // d2v_pooling
	int weights;       // 0 student, 1 teacher
} d2v_feature_choice;

// Rows for a table of options, in braces.
#define D2V_FEATURE_OPTIONS(choice) \
	{ .name = "layer", \
		.letter = 'l', \
		.kind = D2V_OPTION_TEXT, \
		.into = &(choice).layer, \
		.value = "L", \
		.help = \
			"last: the output of the last block (default); 1, 2, ...: what that trunk block hands to the targets; " \
			"mean: the mean of all those" }, \
		{ .name = "pool", \
			.letter = 'p', \
			.kind = D2V_OPTION_CHOICE, \
			.into = &(choice).pooling, \
			.choices = "mean|cls|none", \
			.help = "mean over a sample's tokens (default), its extra token, or a row for every token" }, \
	{ \
		.name = "weights", .letter = 'w', .kind = D2V_OPTION_CHOICE, .into = &(choice).weights, \
		.choices = "student|teacher", .help = "whose weights (default student)" \
	}

d2v_status d2v_feature_choice_settings(
	const d2v_feature_choice *choice, d2v_feature_settings *settings, d2v_error *err);

#endif
