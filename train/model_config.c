#include "train/model_config.h"

#include <stddef.h>

#define MODEL "model."
#define AUDIO "model.modalities.audio."
#define IMAGE "model.modalities.image."
#define TEXT "model.modalities.text."
#define AT(member) offsetof(d2v_model_config, member)

#define BOOL(path, member, standard, help) \
	{ path, D2V_FIELD_BOOL, AT(member), 0, 0, NULL, standard, help }
#define INT(path, member, min, max, standard, help) \
	{ path, D2V_FIELD_INT, AT(member), min, max, NULL, standard, help }
#define REAL(path, member, min, max, standard, help) \
	{ path, D2V_FIELD_REAL, AT(member), min, max, NULL, standard, help }
#define FIXED(path, only) \
	{ path, D2V_FIELD_FIXED, 0, 0, 0, only, only, NULL }
#define IGNORED(path) FIXED(path, "*")

// Names and defaults of fairseq's D2vModalityConfig and D2vDecoderConfig, for the modality m.
#define MODALITY_ROWS(M, m) \
	INT(M "prenet_depth", m.prenet_depth, 0, D2V_BLOCKS_MAX, "4", "blocks of the modality's own before the trunk"), \
		REAL(M "prenet_layerdrop", m.prenet_layerdrop, 0, 1, "0", "probability of leaving out a prenet block"), \
		REAL(M "prenet_dropout", m.prenet_dropout, 0, 0.999, "0", "dropout after the context norm"), \
		REAL(M "start_drop_path_rate", m.start_drop_path_rate, 0, 0.999, "0", "stochastic depth, first prenet block"), \
		REAL(M "end_drop_path_rate", m.end_drop_path_rate, 0, 0.999, "0", "stochastic depth, last prenet block"), \
		INT(M "num_extra_tokens", m.num_extra_tokens, 0, 1024, "0", "learned tokens put before the sequence"), \
		BOOL(M "init_extra_token_zero", m.init_extra_token_zero, "true", "the first extra token starts at zero"), \
		REAL(M "mask_noise_std", m.mask_noise_std, 0, 1e9, "0.01", "spread of the noise at masked positions"), \
		REAL(M "mask_prob", m.mask_prob, 0, 1, "0.7", "share of masked positions"), \
		REAL(M "mask_prob_adjust", m.mask_prob_adjust, -1, 1, "0", "added to mask_prob when span centres are drawn"), \
		REAL(M "mask_dropout", m.mask_dropout, 0, 1, "0", "share of masked positions unmasked again"), \
		BOOL(M "inverse_mask", m.inverse_mask, "false", "spans are kept instead of masked"), \
		INT(M "mask_length", m.mask_length, 1, 65536, "5", "length of a masked span, side of a masked block"), \
		BOOL(M "add_masks", m.add_masks, "false", "rows with few masked positions get more instead of others fewer"), \
		BOOL( \
			M "encoder_zero_mask", m.encoder_zero_mask, "true", "masked frames are zeroed before positions' network"), \
		BOOL(M "ema_local_encoder", m.ema_local_encoder, "false", "the teacher has its own local encoder"), \
		REAL( \
			M "local_grad_mult", m.local_grad_mult, 0, 1e9, "1", "factor of the local encoder's gradient; 0: frozen"), \
		BOOL(M "use_alibi_encoder", m.use_alibi_encoder, "false", "ALiBi distances in the attention"), \
		REAL(M "alibi_scale", m.alibi_scale, -1e9, 1e9, "1", "initial scale of the ALiBi bias"), \
		BOOL(M "learned_alibi_scale", m.learned_alibi_scale, "false", "the scale is trained"), \
		BOOL(M "learned_alibi_scale_per_head", m.learned_alibi_scale_per_head, "false", "one scale per head"), \
		BOOL(M "learned_alibi_scale_per_layer", m.learned_alibi_scale_per_layer, "false", "one scale per block"), \
		INT(M "num_alibi_heads", m.num_alibi_heads, 0, 1024, "0", "0: model.num_heads; otherwise it must equal it"), \
		FIXED(M "mask_prob_min", "null"), FIXED(M "keep_masked_pct", "0"), FIXED(M "remove_masks", "false"), \
		FIXED(M "mask_channel_prob", "0"), FIXED(M "learned_alibi", "false"), FIXED(M "type", #m), \
		IGNORED(M "mask_channel_length"), /* without mask_channel_prob nothing reads it */ \
		IGNORED(M "alibi_max_pos"),       /* without learned_alibi nothing reads it */ \
		IGNORED(M "model_depth"),         /* an interpolation of model.depth in fairseq */ \
		INT(M "decoder.decoder_dim", m.decoder.decoder_dim, 1, 65536, "384", "width of the decoder"), \
		INT(M "decoder.decoder_groups", m.decoder.decoder_groups, 1, 65536, "16", "groups of its convolutions"), \
		INT(M "decoder.decoder_kernel", m.decoder.decoder_kernel, 1, 65536, "5", "kernel of its convolutions"), \
		INT(M "decoder.decoder_layers", m.decoder.decoder_layers, 1, 64, "5", "number of its convolutions"), \
		REAL(M "decoder.input_dropout", m.decoder.input_dropout, 0, 0.999, "0.1", "dropout of its input"), \
		BOOL(M "decoder.decoder_residual", m.decoder.decoder_residual, "true", "residuals where widths agree"), \
		INT(M "decoder.projection_layers", m.decoder.projection_layers, 1, 8, "1", "linear layers after them"), \
		REAL(M "decoder.projection_ratio", m.decoder.projection_ratio, 0.01, 64, "2", "width of the middle ones"), \
		FIXED(M "decoder.add_positions_masked", "false"), FIXED(M "decoder.add_positions_all", "false"), \
		FIXED(M "decoder.final_layer_norm", "false")

// Names and defaults of fairseq's Data2VecMultiConfig, D2vAudioConfig, D2vImageConfig and D2vTextConfig.
const d2v_field d2v_model_fields[] = {
	INT(MODEL "depth", depth, 1, D2V_BLOCKS_MAX, "8", "transformer blocks of the shared trunk"),
	INT(MODEL "embed_dim", embed_dim, 1, 65536, "768", "width D of the model"),
	INT(MODEL "num_heads", num_heads, 1, 1024, "12", "attention heads"),
	REAL(MODEL "mlp_ratio", mlp_ratio, 0.01, 64, "4", "width of a block's MLP over embed_dim"),
	REAL(MODEL "norm_eps", norm_eps, 0, 1, "1e-6", "epsilon of the blocks' and the context norm"),
	BOOL(MODEL "norm_affine", norm_affine, "true", "gains and biases in the blocks' norms"),
	BOOL(MODEL "layer_norm_first", layer_norm_first, "false",
		"norms before the sub-layers, as the original computes it"),
	BOOL(MODEL "end_of_block_targets", end_of_block_targets, "false",
		"targets are block outputs instead of MLP outputs"),
	REAL(MODEL "encoder_dropout", encoder_dropout, 0, 0.999, "0.1", "dropout after the attention's projection"),
	REAL(MODEL "post_mlp_drop", post_mlp_drop, 0, 0.999, "0.1", "dropout after the MLP"),
	REAL(MODEL "attention_dropout", attention_dropout, 0, 0.999, "0.1", "dropout of attention probabilities"),
	REAL(MODEL "activation_dropout", activation_dropout, 0, 0.999, "0",
		"dropout inside the MLP (twice, as timm does it)"),
	REAL(MODEL "dropout_input", dropout_input, 0, 0.999, "0", "dropout before the trunk"),
	REAL(MODEL "layerdrop", layerdrop, 0, 1, "0", "probability of leaving out a trunk block"),
	REAL(
		MODEL "start_drop_path_rate", start_drop_path_rate, 0, 0.999, "0", "stochastic depth of the first trunk block"),
	REAL(MODEL "end_drop_path_rate", end_drop_path_rate, 0, 0.999, "0", "stochastic depth of the last trunk block"),
	INT(MODEL "average_top_k_layers", average_top_k_layers, 1, 1024, "8", "last K teacher blocks that make the target"),
	INT(MODEL "clone_batch", clone_batch, 1, 1024, "1", "masked copies M of each sample"),
	BOOL(MODEL "layer_norm_target_layer", layer_norm_target_layer, "false", "layer norm of each layer's target"),
	BOOL(MODEL "batch_norm_target_layer", batch_norm_target_layer, "false",
		"batch norm of each layer's target, before the others"),
	BOOL(MODEL "instance_norm_target_layer", instance_norm_target_layer, "false",
		"instance norm of each layer's target"),
	BOOL(MODEL "instance_norm_targets", instance_norm_targets, "false", "instance norm of the averaged target"),
	BOOL(MODEL "layer_norm_targets", layer_norm_targets, "false", "layer norm of the averaged target"),
	REAL(MODEL "loss_beta", loss_beta, 0, 1e9, "0", "0: squared error; else smooth L1 with this beta"),
	{ MODEL "loss_scale", D2V_FIELD_REAL_OR_NULL, AT(loss_scale), 0, 0, NULL, "null",
		"factor of the loss; null: 1/sqrt(embed_dim)" },
	REAL(MODEL "cls_loss", cls_loss, 0, 1e9, "0", "weight of the extra token's loss (needs num_extra_tokens >= 1)"),
	INT(MODEL "cls_loss_rows", cls_loss_rows, 0, 9e15, "0",
		"masked copies in a batch that cls_loss was published for: it keeps its effect with any other number; "
		"0: it grows with the batch, as in the original"),
	REAL(MODEL "d2v_loss", d2v_loss, 0, 1e9, "1", "weight of the regression loss"),
	REAL(MODEL "ema_decay", ema_decay, 0, 1, "0.999", "teacher decay at the start"),
	REAL(MODEL "ema_end_decay", ema_end_decay, 0, 1, "0.9999", "teacher decay from ema_anneal_end_step on"),
	INT(MODEL "ema_anneal_end_step", ema_anneal_end_step, -1, 9e15, "-1",
		"updates until ema_end_decay is reached; -1: optimization.max_update"),
	BOOL(MODEL "ema_encoder_only", ema_encoder_only, "true", "the teacher consists of the trunk blocks only"),
	REAL(MODEL "min_target_var", min_target_var, 0, 1e9, "0.1",
		"after 5000 updates stop when the targets' spread is below"),
	REAL(MODEL "min_pred_var", min_pred_var, 0, 1e9, "0.01",
		"after 5000 updates stop when the predictions' spread is below"),
	INT(MODEL "seed", seed, -1, 9e15, "-1", "seed of initial values, dropout and noise; -1: common.seed"),
	BOOL(MODEL "mae_init", mae_init, "false", "linear layers start by Xavier's rule instead of BERT's"),
	{ MODEL "supported_modality", D2V_FIELD_CHOICE, AT(supported_modality), 0, 0,
		"null|audio|image|text|audio+image|audio+text|image+text", "audio", "what the model is for; null: all three" },
	FIXED(MODEL "recon_loss", "0"),
	IGNORED(MODEL "decoder_group"), // puts the decoder in a group of the optimizer, and those must be equal
	FIXED(MODEL "skip_ema", "false"),
	FIXED(MODEL "shared_decoder", "null"),
	FIXED(MODEL "_name", "data2vec_multi"),
	IGNORED(MODEL "ema_same_dtype"), // the teacher always works in the student's type
	IGNORED(MODEL "log_norms"),
	IGNORED(MODEL "max_update"), // an interpolation of optimization.max_update in fairseq

	MODALITY_ROWS(AUDIO, audio),
	{ AUDIO "feature_encoder_spec", D2V_FIELD_TEXT, AT(audio.feature_encoder_spec), 0, 0, NULL,
		"'[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] + [(512, 2, 2)]'",
		"(channels, kernel, stride) of the extractor's convolutions" },
	INT(AUDIO "conv_pos_width", audio.conv_pos_width, 1, 65536, "95", "summed width of the positional convolutions"),
	INT(AUDIO "conv_pos_groups", audio.conv_pos_groups, 1, 65536, "16", "their groups"),
	INT(AUDIO "conv_pos_depth", audio.conv_pos_depth, 1, 64, "5", "their number"),
	BOOL(AUDIO "conv_pos_pre_ln", audio.conv_pos_pre_ln, "false", "a layer norm before them"),
	FIXED(AUDIO "extractor_mode", "layer_norm"),

	MODALITY_ROWS(IMAGE, image),
	INT(IMAGE "input_size", image.input_size, 1, 65536, "224", "side of the pictures in pixels"),
	INT(IMAGE "in_chans", image.in_chans, 1, 1024, "3", "channels of a pixel"),
	INT(IMAGE "patch_size", image.patch_size, 1, 65536, "16", "side of a patch in pixels"),
	INT(IMAGE "embed_dim", image.embed_dim, 1, 65536, "768",
		"width of the patch embedding; a linear layer follows where it is not model.embed_dim"),
	BOOL(IMAGE "fixed_positions", image.fixed_positions, "true", "sines and cosines of row and column are added"),
	FIXED(IMAGE "transformer_decoder", "false"),
	FIXED(IMAGE "enc_dec_transformer", "false"),
	IGNORED(IMAGE "alibi_dims"), // without use_alibi_encoder nothing reads these
	IGNORED(IMAGE "alibi_distance"),

	MODALITY_ROWS(TEXT, text),
	INT(TEXT "vocab_size", text.vocab_size, 4, INT32_MAX, "50265", "entries of the dictionary, special ones included"),
	INT(TEXT "max_source_positions", text.max_source_positions, 1, 1 << 24, "512", "tokens of the longest row"),
	REAL(TEXT "dropout", text.dropout, 0, 0.999, "0.1", "dropout of the embeddings"),
	BOOL(
		TEXT "no_scale_embedding", text.no_scale_embedding, "true", "embeddings are not multiplied by sqrt(embed_dim)"),
	BOOL(TEXT "layernorm_embedding", text.layernorm_embedding, "true", "a layer norm after the embeddings"),
	BOOL(TEXT "no_token_positional_embeddings", text.no_token_positional_embeddings, "false", "no positions are added"),
	FIXED(TEXT "learned_pos", "true"),
	{ 0 },
};

bool d2v_model_config_has(const d2v_model_config *config, d2v_modality modality) {
	switch (config->supported_modality) {
	case D2V_ALL_MODALITIES:
		return true;
	case D2V_AUDIO_IMAGE:
		return modality != D2V_TEXT;
	case D2V_AUDIO_TEXT:
		return modality != D2V_IMAGE;
	case D2V_IMAGE_TEXT:
		return modality != D2V_AUDIO;
	default:
		return config->supported_modality == (int)modality;
	}
}

const d2v_modality_config *d2v_model_config_modality(const d2v_model_config *config, d2v_modality modality) {
	return modality == D2V_AUDIO ? &config->audio : modality == D2V_IMAGE ? &config->image : &config->text;
}
