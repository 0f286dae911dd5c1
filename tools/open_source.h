// The data that a configuration names, as sources of batches: the only place that knows both recipes and loaders.
//
// A run on one modality has one source; a joint run has a part for each of its modalities, and a source over them.
// Errors name the key that does not fit the data set.
#ifndef D2V_TOOLS_OPEN_SOURCE_H
#define D2V_TOOLS_OPEN_SOURCE_H

#include "kernels/device.h"
#include "loaders/source.h"
#include "train/config.h"

// The training source; batches are memory that the device reads fast.
d2v_status d2v_open_source(d2v_source **source, const d2v_config *config, d2v_device *device, d2v_error *err);
// The same of one modality alone: a part of a joint run.
d2v_status d2v_open_part(
	d2v_source **source, const d2v_config *config, d2v_modality modality, d2v_device *device, d2v_error *err);

// Whole samples of a data set in order, unmasked and at nobody's random choice: for features.
typedef struct d2v_eval_data {
	const char *data;   // folder of the data set
	const char *split;  // NULL: the only one, or train
	int64_t batch_size; // samples; 0: 64 (speech: at most 60 s of it, longer utterances end there)
	int64_t threads;    // loader threads; 0: 1
} d2v_eval_data;
d2v_status d2v_open_eval_source(d2v_source **source, const d2v_config *config, d2v_modality modality,
	const d2v_eval_data *wanted, d2v_device *device, d2v_error *err);

#endif
