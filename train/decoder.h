// Decoder1d: convolutions over time with norms and residuals, then a projection (spec/model.md 6.4).
#ifndef D2V_TRAIN_DECODER_1D_H
#define D2V_TRAIN_DECODER_1D_H

#include "train/model_config.h"
#include "train/pass.h"

#define D2V_DECODER_LAYERS_MAX 64
#define D2V_PROJECTIONS_MAX 8

typedef struct d2v_decoder_1d {
	const d2v_decoder_config *config; // borrowed
	int64_t width;                    // D: of its input and its output
	int conv[D2V_DECODER_LAYERS_MAX], conv_bias[D2V_DECODER_LAYERS_MAX];
	int proj[D2V_PROJECTIONS_MAX], proj_bias[D2V_PROJECTIONS_MAX];
} d2v_decoder_1d;

// prefix: "modality_encoders.AUDIO.decoder."
d2v_status d2v_decoder_1d_add(d2v_decoder_1d *decoder, d2v_params *params, const char *prefix, int64_t width,
	const d2v_decoder_config *config, d2v_error *err);
int64_t d2v_decoder_1d_widest(const d2v_decoder_config *config, int64_t width); // channels of its widest array
int64_t d2v_decoder_1d_projection_width(const d2v_decoder_config *config);      // between the projections

// In which of two buffers the gradient of the input arrives when that of the output starts in frames[0].
int d2v_decoder_1d_input_frame(const d2v_decoder_1d *decoder);
// x (R, T, D) to the returned (R, T, D). frames: two buffers of (R, T, widest).
d2v_real *d2v_decoder_1d_forward(const d2v_decoder_1d *decoder, d2v_pass *pass, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2]);

#endif
