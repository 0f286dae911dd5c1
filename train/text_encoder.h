// What is particular to text: embeddings of tokens and of their positions (spec/model.md 2.3).
#ifndef D2V_TRAIN_TEXT_ENCODER_H
#define D2V_TRAIN_TEXT_ENCODER_H

#include "train/device_batch.h"
#include "train/model_config.h"

typedef struct d2v_text_encoder {
	const d2v_modality_config *config; // borrowed
	int64_t width;
	int tokens, positions;    // positions -1: none
	int norm_gain, norm_bias; // -1: no norm
} d2v_text_encoder;

d2v_status d2v_text_encoder_add(
	d2v_text_encoder *encoder, d2v_params *params, const char *prefix, const d2v_model_config *config, d2v_error *err);

// Tokens to local features (B, T, D). d_local: their gradient, overwritten on the way back; NULL when nothing is
// recorded.
d2v_real *d2v_text_local(
	const d2v_text_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local);

#endif
