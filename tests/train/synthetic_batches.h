// Synthetic batches for a recipe's model (loaders/synthetic_source.h): masked as it says, in memory that the device
// reads fast; two of them, drawn when opening, go round.
#ifndef D2V_TESTS_TRAIN_SYNTHETIC_BATCHES_H
#define D2V_TESTS_TRAIN_SYNTHETIC_BATCHES_H

#include "kernels/device.h"
#include "loaders/source.h"
#include "train/config.h"

typedef struct synthetic_shape {
	int32_t samples;
	int32_t length; // speech: audio samples of each
	int32_t tokens; // text: of each
} synthetic_shape;

d2v_status synthetic_batches_open(
	d2v_source **source, const d2v_config *config, synthetic_shape shape, d2v_device *device, d2v_error *err);

#endif
