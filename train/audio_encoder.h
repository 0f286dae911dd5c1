// What is particular to speech: the convolutional extractor, the projection of its features, and the positional
// convolutions (spec/model.md 2.2).
#ifndef D2V_TRAIN_AUDIO_ENCODER_H
#define D2V_TRAIN_AUDIO_ENCODER_H

#include "train/device_batch.h"
#include "train/model_config.h"

#define D2V_POSITIONS_MAX 64

typedef struct d2v_audio_encoder {
	const d2v_modality_config *config; // borrowed
	int64_t width;
	d2v_conv_spec spec;
	int conv[D2V_CONV_LAYERS_MAX], gain[D2V_CONV_LAYERS_MAX], bias[D2V_CONV_LAYERS_MAX];
	int project_gain, project_bias, project, project_offset; // layer norm, linear
	int before_gain, before_bias;                            // conv_pos_pre_ln, or -1
	int position[D2V_POSITIONS_MAX], position_bias[D2V_POSITIONS_MAX];
} d2v_audio_encoder;

d2v_status d2v_audio_encoder_add(
	d2v_audio_encoder *encoder, d2v_params *params, const char *prefix, const d2v_model_config *config, d2v_error *err);
int64_t d2v_audio_position_kernel(const d2v_modality_config *config); // max(3, width / depth)

// wave (B, L) to local features (B, T, D). d_local: their gradient, NULL when nothing is recorded.
d2v_real *d2v_audio_local(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_real *wave, int64_t batch,
	int64_t length, d2v_real *d_local);

// The student's: masked frames of local (B, T, D) are zeroed, then as below, for every copy. The gradient of local is
// added to d_local.
d2v_real *d2v_audio_masked_positions(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch,
	const d2v_real *local, d2v_real *d_local, d2v_real *const frames[2]);
// x (rows, T, D) to positions (rows, T, D). The gradient of the result is in frames[0]; that of x arrives in
// frames[d2v_audio_input_frame]. frames: two buffers of (rows, T, D).
d2v_real *d2v_audio_positions(const d2v_audio_encoder *encoder, d2v_pass *pass, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2]);
int d2v_audio_input_frame(const d2v_audio_encoder *encoder);

#endif
