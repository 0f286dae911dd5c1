// The model of a checkpoint, with the configuration it was made with; or the same model as it was before training.
#ifndef D2V_TOOLS_TRAINED_MODEL_H
#define D2V_TOOLS_TRAINED_MODEL_H

#include "train/config.h"
#include "train/model.h"

typedef struct d2v_trained_model {
	d2v_config config;
	d2v_model *model;
	uint64_t updates; // that the checkpoint was made after
} d2v_trained_model;

// path: a checkpoint, or a folder of them, whose newest is taken.
d2v_status d2v_trained_model_open(d2v_trained_model *trained, const char *path, d2v_device *device, d2v_error *err);
// An untrained model of the same configuration, with the initial values of `seed`.
d2v_status d2v_trained_model_untrained(
	d2v_trained_model *untrained, const d2v_config *config, int64_t seed, d2v_device *device, d2v_error *err);
void d2v_trained_model_close(d2v_trained_model *trained); // also after a failure

#endif
