// What is particular to pictures: the patch embedding and fixed positions (spec/model.md 2.1).
#ifndef D2V_TRAIN_IMAGE_ENCODER_H
#define D2V_TRAIN_IMAGE_ENCODER_H

#include "train/device_batch.h"
#include "train/model_config.h"

typedef struct d2v_image_encoder {
	const d2v_modality_config *config; // borrowed
	int64_t width, side;               // D; patches along a side
	int patch, patch_bias;
	int project, project_bias; // -1: patches are as wide as the model
	int positions;             // or -1
} d2v_image_encoder;

d2v_status d2v_image_encoder_add(
	d2v_image_encoder *encoder, d2v_params *params, const char *prefix, const d2v_model_config *config, d2v_error *err);

// Pictures to local features (B, T, D). d_local: their gradient, NULL when nothing is recorded.
d2v_real *d2v_image_local(
	const d2v_image_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local);

#endif
