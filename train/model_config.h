// What decides a model: fairseq's Data2VecMultiConfig and D2vModalityConfig with their field names (spec/recipes.md 1).
//
// Fields of fairseq that d2v only accepts at one value (recon_loss 0, learned_alibi false, ...) are in the
// table (model_config.c) and refused otherwise; they have no member here.
#ifndef D2V_TRAIN_MODEL_CONFIG_H
#define D2V_TRAIN_MODEL_CONFIG_H

#include "base/modality.h"
#include "train/fields.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct d2v_decoder_config { // modalities.<m>.decoder.*
	int64_t decoder_dim, decoder_groups, decoder_kernel, decoder_layers;
	double input_dropout;
	bool decoder_residual;
	int64_t projection_layers;
	double projection_ratio;
} d2v_decoder_config;

#define D2V_BLOCKS_MAX 64 // of the trunk, and of a modality before it
#define D2V_CONV_LAYERS_MAX 16
typedef struct d2v_conv_spec { // feature_encoder_spec: "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"
	int count;
	struct {
		int64_t channels, kernel, stride;
	} layer[D2V_CONV_LAYERS_MAX];
} d2v_conv_spec;

typedef struct d2v_modality_config { // modalities.audio.*, modalities.image.*, modalities.text.*
	int64_t prenet_depth;
	double prenet_layerdrop, prenet_dropout, start_drop_path_rate, end_drop_path_rate;
	int64_t num_extra_tokens;
	bool init_extra_token_zero;
	double mask_noise_std, mask_prob, mask_prob_adjust, mask_dropout;
	bool inverse_mask;
	int64_t mask_length;
	bool add_masks;
	bool encoder_zero_mask; // of audio; only true is trainable in the original (golden README 19)
	bool ema_local_encoder;
	double local_grad_mult;
	bool use_alibi_encoder;
	double alibi_scale; // 1: the bias is used; the learned scale starts here
	bool learned_alibi_scale, learned_alibi_scale_per_head, learned_alibi_scale_per_layer;
	int64_t num_alibi_heads;
	d2v_decoder_config decoder;
	// audio
	char feature_encoder_spec[D2V_FIELD_TEXT_MAX];
	int64_t conv_pos_width, conv_pos_groups, conv_pos_depth;
	bool conv_pos_pre_ln;
	// image
	int64_t input_size, in_chans, patch_size;
	int64_t embed_dim; // of the patches; where it is not the model's, a linear layer follows
	bool fixed_positions;
	// text
	int64_t vocab_size, max_source_positions;
	double dropout; // of the embeddings, shared by copies and teacher
	bool no_scale_embedding, layernorm_embedding, no_token_positional_embeddings;
} d2v_modality_config;

#define D2V_TEXT_PAD 1 // id of <pad> in fairseq's dictionaries

typedef struct d2v_model_config { // model.*
	int64_t depth, embed_dim, num_heads;
	double mlp_ratio, norm_eps;
	bool norm_affine, layer_norm_first, end_of_block_targets;
	double encoder_dropout, post_mlp_drop, attention_dropout, activation_dropout, dropout_input, layerdrop;
	double start_drop_path_rate, end_drop_path_rate;
	int64_t average_top_k_layers, clone_batch;
	bool batch_norm_target_layer, instance_norm_target_layer, layer_norm_target_layer;
	bool layer_norm_targets, instance_norm_targets;
	double loss_beta, loss_scale; // loss_scale NaN: 1/sqrt(embed_dim)
	double cls_loss, d2v_loss;
	int64_t cls_loss_rows; // 0: those of the batch
	double ema_decay, ema_end_decay;
	int64_t ema_anneal_end_step;
	bool ema_encoder_only;
	double min_target_var, min_pred_var;
	int64_t seed;
	bool mae_init;
	int supported_modality; // a d2v_modality, or one of the sets below
	d2v_modality_config audio, image, text;
} d2v_model_config;

// Values of supported_modality that stand for several: null in fairseq, where the task names them.
enum { D2V_ALL_MODALITIES = 0, D2V_AUDIO_IMAGE = D2V_MODALITY_END, D2V_AUDIO_TEXT, D2V_IMAGE_TEXT };
bool d2v_model_config_has(const d2v_model_config *config, d2v_modality modality);
const d2v_modality_config *d2v_model_config_modality(const d2v_model_config *config, d2v_modality modality);

extern const d2v_field
	d2v_model_fields[]; // paths "model.…", "model.modalities.audio.…"; ends with a row whose path is NULL

// Checks what the table cannot: divisibility, kernel sizes, K <= depth, unknown branches, of those modalities that the
// model has. Names the keys.
d2v_status d2v_model_config_check(const d2v_model_config *config, d2v_error *err);
d2v_status d2v_conv_spec_parse(const char *text, d2v_conv_spec *spec, d2v_error *err);
int64_t d2v_conv_spec_frames(
	const d2v_conv_spec *spec, int64_t samples); // floor((n-k)/s)+1 layer by layer, 0 when too short

#endif
