#include "tools/feature_choice.h"

#include <stdlib.h>
#include <string.h>

d2v_status d2v_feature_choice_settings(
	const d2v_feature_choice *choice, d2v_feature_settings *settings, d2v_error *err) {
	const char *layer = choice->layer ? choice->layer : "last";
	char *end = NULL;
	*settings = (d2v_feature_settings){ .teacher = choice->weights == 1, .pooling = (d2v_pooling)choice->pooling };
	if (strcmp(layer, "last") == 0)
		settings->layer = D2V_LAYER_LAST;
	else if (strcmp(layer, "mean") == 0)
		settings->layer = D2V_LAYER_MEAN;
	else {
		settings->layer = strtol(layer, &end, 10);
		if (*end || end == layer || settings->layer < 1)
			return d2v_fail(err, D2V_INVALID, "--layer %s: last, mean, or the number of a block from 1 on", layer);
	}
	return D2V_OK;
}
