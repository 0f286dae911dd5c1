// The decoder: convolutions over time (fairseq's Decoder1d) or over the plane of patches (Decoder2d) with norms and
// residuals, then a projection (spec/model.md 6.4).
#ifndef D2V_TRAIN_CONV_DECODER_H
#define D2V_TRAIN_CONV_DECODER_H

#include "train/model_config.h"
#include "train/pass.h"

#define D2V_DECODER_LAYERS_MAX 64
#define D2V_PROJECTIONS_MAX 8

typedef struct d2v_conv_decoder {
	const d2v_decoder_config *config; // borrowed
	int64_t width;                    // D: of its input and its output
	int64_t side;                     // of a plane of side * side positions; 0: positions are in a row
	int64_t projections;              // linear layers; one in a plane, whatever projection_layers says
	int conv[D2V_DECODER_LAYERS_MAX], conv_bias[D2V_DECODER_LAYERS_MAX];
	int proj[D2V_PROJECTIONS_MAX], proj_bias[D2V_PROJECTIONS_MAX];
} d2v_conv_decoder;

typedef struct d2v_conv_decoder_shape {
	int64_t width, side;   // as above
	bool block_projection; // the linear layers start as those of the blocks do, not as PyTorch's
	bool mae_init;         // and how those do
} d2v_conv_decoder_shape;
// prefix: "modality_encoders.AUDIO.decoder."
d2v_status d2v_conv_decoder_add(d2v_conv_decoder *decoder, d2v_params *params, const char *prefix,
	d2v_conv_decoder_shape shape, const d2v_decoder_config *config, d2v_error *err);
int64_t d2v_conv_decoder_widest(const d2v_conv_decoder *decoder);            // channels of its widest array
int64_t d2v_conv_decoder_projection_width(const d2v_decoder_config *config); // between the projections

// In which of two buffers the gradient of the input arrives when that of the output starts in frames[0].
int d2v_conv_decoder_input_frame(const d2v_conv_decoder *decoder);
// x (R, T, D) to y (R, T, D). frames: two buffers of (R, T, widest).
void d2v_conv_decoder_forward(const d2v_conv_decoder *decoder, d2v_pass *pass, const d2v_real *x, int64_t rows,
	int64_t tokens, d2v_real *const frames[2], d2v_real *y);

#endif
