// One transformer block (fairseq's AltBlock), post-norm or layer_norm_first (spec/model.md 6.1, 6.2).
#ifndef D2V_TRAIN_BLOCK_H
#define D2V_TRAIN_BLOCK_H

#include "train/model_config.h"
#include "train/pass.h"

typedef struct d2v_block { // places in the list of parameters; -1: norm without gain
	int norm1_gain, norm1_bias, qkv, qkv_bias, proj, proj_bias;
	int norm2_gain, norm2_bias, fc1, fc1_bias, fc2, fc2_bias;
	double drop_path;
} d2v_block;

// Parameters "<prefix>.norm1.weight" ... in the original's order.
d2v_status d2v_block_add(d2v_block *block, d2v_params *params, const char *prefix, const d2v_model_config *config,
	double drop_path, bool in_teacher, d2v_error *err);

// The tokens a sequence of blocks works on, and what their attention knows of them.
typedef struct d2v_block_tokens {
	int64_t rows, count, extra; // R, N = E + kept, E
	const int32_t *positions;   // (R, N-E) or NULL: 0, 1, 2, ...
	const uint8_t *key_padding; // (R, N) or NULL
	const float *slope;         // (H) or NULL: no ALiBi
	const float *scale;         // (H)
	float *d_scale;             // (H) or NULL
	int64_t scale_step;         // from a block's scales to the next block's: H, or 0 where all have the same
	// Shared by all blocks. branch, narrow: (R, N, D); wide: (R, N, max(3D, hidden)); both passes use them as scratch.
	// stream: (R, N, D), the gradient of the tokens on their way back; NULL when nothing is recorded.
	d2v_real *stream, *branch, *narrow, *wide;
} d2v_block_tokens;
// Takes the scratch; rows, count must be set.
void d2v_block_take_scratch(d2v_block_tokens *tokens, d2v_pass *pass, const d2v_model_config *config);

// Tokens x (R, N, D) to the returned (R, N, D). *target, when asked for: what a teacher block hands to the targets.
// The backward pass turns tokens->stream from the gradient of the result into that of x.
d2v_real *d2v_block_forward(const d2v_block *block, d2v_pass *pass, const d2v_model_config *config,
	const d2v_block_tokens *tokens, const d2v_real *x, const d2v_real **target);

int64_t d2v_mlp_width(const d2v_model_config *config); // of a block: int(embed_dim * mlp_ratio)

#endif
