// From local features to tokens: a modality's own extra tokens, ALiBi scale, context norm and blocks, and the shared
// trunk (spec/model.md 3, 4). Knows nothing of what the features are made from.
#ifndef D2V_TRAIN_CONTEXT_H
#define D2V_TRAIN_CONTEXT_H

#include "train/block.h"

typedef struct d2v_blocks { // prenet or trunk
	d2v_block list[D2V_BLOCKS_MAX];
	int count;
	double layerdrop;
	uint64_t first_layer; // keys the layer drop of list[0]
} d2v_blocks;

typedef struct d2v_context {
	const d2v_modality_config *config; // borrowed
	int extra, alibi_scale;            // parameters, -1: none
	bool norm;                         // before the blocks
	int norm_gain, norm_bias;
	double dropout; // after it
	d2v_blocks prenet;
} d2v_context;

// Names "<prefix><i>.norm1.weight" ...
d2v_status d2v_blocks_add(d2v_blocks *blocks, d2v_params *params, const char *prefix, const d2v_model_config *config,
	int64_t count, double first_drop_path, double last_drop_path, bool in_teacher, d2v_error *err);

// The original's order of parameters: the first comes before the local encoder's, the second after them.
// prefix: "modality_encoders.AUDIO." bare: without norm and dropout (text without blocks of its own).
d2v_status d2v_context_add_tokens(d2v_context *context, d2v_params *params, const char *prefix,
	const d2v_model_config *config, const d2v_modality_config *modality, d2v_error *err);
d2v_status d2v_context_add_encoder(d2v_context *context, d2v_params *params, const char *prefix,
	const d2v_model_config *config, bool bare, d2v_error *err);

typedef struct d2v_context_input {
	const d2v_real *local;         // (B, T, D)
	const d2v_real *positions;     // (R, T, D) to be added, or NULL
	const d2v_real *table;         // (T, D) to be added, or NULL
	const int32_t *keep, *restore; // (R, K), (R, T) or NULL: all tokens
	const uint8_t *key_padding;    // (R, E+K) or NULL
	int64_t batch, clones, tokens, kept;
	const float *slope;    // (H)
	d2v_real *d_local;     // (B, T, D), added to
	d2v_real *d_positions; // (R, T, D)
} d2v_context_input;

// What the blocks are given and give, for whoever asks: arrays of D2V_BLOCKS_MAX, or NULL.
typedef struct d2v_block_outputs {
	const d2v_real **block, **target; // NULL entries: the block was dropped
} d2v_block_outputs;

// Fills tokens, whose ALiBi scales are then those of the trunk's first block, and returns their first state (R, E+K,
// D), after context norm and prenet.
d2v_real *d2v_context_forward(const d2v_context *context, d2v_pass *pass, const d2v_model_config *config,
	const d2v_context_input *in, d2v_block_tokens *tokens);
d2v_real *d2v_blocks_forward(const d2v_blocks *blocks, d2v_pass *pass, const d2v_model_config *config,
	const d2v_block_tokens *tokens, d2v_real *x, d2v_block_outputs outputs);

#endif
