#include "train/model_config.h"

#include <stddef.h>

#define MODEL "model."
#define AUDIO "model.modalities.audio."
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

// Names and defaults of fairseq's Data2VecMultiConfig, D2vModalityConfig, D2vDecoderConfig and D2vAudioConfig.
const d2v_field d2v_model_fields[] = {
	INT(MODEL "depth", depth, 1, 64, "8", "transformer blocks of the shared trunk"),
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
	BOOL(MODEL "instance_norm_target_layer", instance_norm_target_layer, "false",
		"instance norm of each layer's target"),
	BOOL(MODEL "instance_norm_targets", instance_norm_targets, "false", "instance norm of the averaged target"),
	BOOL(MODEL "layer_norm_targets", layer_norm_targets, "false", "layer norm of the averaged target"),
	REAL(MODEL "loss_beta", loss_beta, 0, 1e9, "0", "0: squared error; else smooth L1 with this beta"),
	{ MODEL "loss_scale", D2V_FIELD_REAL_OR_NULL, AT(loss_scale), 0, 0, NULL, "null",
		"factor of the loss; null: 1/sqrt(embed_dim)" },
	REAL(MODEL "cls_loss", cls_loss, 0, 1e9, "0", "weight of the extra token's loss (needs num_extra_tokens >= 1)"),
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
	{ MODEL "supported_modality", D2V_FIELD_CHOICE, AT(supported_modality), 0, 0, "null|audio|image|text", "audio",
		"the model's modality" },
	FIXED(MODEL "recon_loss", "0"),
	FIXED(MODEL "batch_norm_target_layer", "false"),
	FIXED(MODEL "mae_init", "false"),
	FIXED(MODEL "decoder_group", "false"),
	FIXED(MODEL "skip_ema", "false"),
	FIXED(MODEL "shared_decoder", "null"),
	FIXED(MODEL "_name", "data2vec_multi"),
	IGNORED(MODEL "ema_same_dtype"), // the teacher always works in the student's type
	IGNORED(MODEL "log_norms"),
	IGNORED(MODEL "max_update"), // an interpolation of optimization.max_update in fairseq

	INT(AUDIO "prenet_depth", audio.prenet_depth, 0, 64, "4", "blocks of the modality's own before the trunk"),
	REAL(AUDIO "prenet_layerdrop", audio.prenet_layerdrop, 0, 1, "0", "probability of leaving out a prenet block"),
	REAL(AUDIO "prenet_dropout", audio.prenet_dropout, 0, 0.999, "0", "dropout after the context norm"),
	REAL(AUDIO "start_drop_path_rate", audio.start_drop_path_rate, 0, 0.999, "0",
		"stochastic depth, first prenet block"),
	REAL(AUDIO "end_drop_path_rate", audio.end_drop_path_rate, 0, 0.999, "0", "stochastic depth, last prenet block"),
	INT(AUDIO "num_extra_tokens", audio.num_extra_tokens, 0, 1024, "0", "learned tokens put before the sequence"),
	BOOL(AUDIO "init_extra_token_zero", audio.init_extra_token_zero, "true", "the first extra token starts at zero"),
	REAL(AUDIO "mask_noise_std", audio.mask_noise_std, 0, 1e9, "0.01", "spread of the noise at masked positions"),
	REAL(AUDIO "mask_prob", audio.mask_prob, 0, 1, "0.7", "share of masked positions"),
	REAL(
		AUDIO "mask_prob_adjust", audio.mask_prob_adjust, -1, 1, "0", "added to mask_prob when span centres are drawn"),
	REAL(AUDIO "mask_dropout", audio.mask_dropout, 0, 1, "0", "share of masked positions unmasked again"),
	BOOL(AUDIO "inverse_mask", audio.inverse_mask, "false", "spans are kept instead of masked"),
	INT(AUDIO "mask_length", audio.mask_length, 1, 65536, "5", "length of a masked span"),
	BOOL(
		AUDIO "add_masks", audio.add_masks, "false", "rows with few masked positions get more instead of others fewer"),
	BOOL(AUDIO "encoder_zero_mask", audio.encoder_zero_mask, "true",
		"masked frames are zeroed before the positions' network"),
	BOOL(AUDIO "ema_local_encoder", audio.ema_local_encoder, "false", "the teacher has its own local encoder"),
	REAL(AUDIO "local_grad_mult", audio.local_grad_mult, 0, 1e9, "1", "factor of the extractor's gradient; 0: frozen"),
	BOOL(AUDIO "use_alibi_encoder", audio.use_alibi_encoder, "false", "ALiBi distances in the attention"),
	REAL(AUDIO "alibi_scale", audio.alibi_scale, -1e9, 1e9, "1", "initial scale of the ALiBi bias"),
	BOOL(AUDIO "learned_alibi_scale", audio.learned_alibi_scale, "false", "the scale is trained"),
	BOOL(AUDIO "learned_alibi_scale_per_head", audio.learned_alibi_scale_per_head, "false", "one scale per head"),
	BOOL(AUDIO "learned_alibi_scale_per_layer", audio.learned_alibi_scale_per_layer, "false", "one scale per block"),
	INT(AUDIO "num_alibi_heads", audio.num_alibi_heads, 0, 1024, "0",
		"0: model.num_heads; anything else must equal it"),
	FIXED(AUDIO "mask_prob_min", "null"),
	FIXED(AUDIO "keep_masked_pct", "0"),
	FIXED(AUDIO "remove_masks", "false"),
	FIXED(AUDIO "mask_channel_prob", "0"),
	FIXED(AUDIO "learned_alibi", "false"),
	FIXED(AUDIO "extractor_mode", "layer_norm"),
	FIXED(AUDIO "type", "audio"),
	IGNORED(AUDIO "mask_channel_length"), // without mask_channel_prob nothing reads it
	IGNORED(AUDIO "alibi_max_pos"),       // without learned_alibi nothing reads it
	IGNORED(AUDIO "model_depth"),         // an interpolation of model.depth in fairseq
	{ AUDIO "feature_encoder_spec", D2V_FIELD_TEXT, AT(audio.feature_encoder_spec), 0, 0, NULL,
		"'[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] + [(512, 2, 2)]'",
		"(channels, kernel, stride) of the extractor's convolutions" },
	INT(AUDIO "conv_pos_width", audio.conv_pos_width, 1, 65536, "95", "summed width of the positional convolutions"),
	INT(AUDIO "conv_pos_groups", audio.conv_pos_groups, 1, 65536, "16", "their groups"),
	INT(AUDIO "conv_pos_depth", audio.conv_pos_depth, 1, 64, "5", "their number"),
	BOOL(AUDIO "conv_pos_pre_ln", audio.conv_pos_pre_ln, "false", "a layer norm before them"),

	INT(AUDIO "decoder.decoder_dim", audio.decoder.decoder_dim, 1, 65536, "384", "width of the decoder"),
	INT(AUDIO "decoder.decoder_groups", audio.decoder.decoder_groups, 1, 65536, "16", "groups of its convolutions"),
	INT(AUDIO "decoder.decoder_kernel", audio.decoder.decoder_kernel, 1, 65536, "5", "kernel of its convolutions"),
	INT(AUDIO "decoder.decoder_layers", audio.decoder.decoder_layers, 1, 64, "5", "number of its convolutions"),
	REAL(AUDIO "decoder.input_dropout", audio.decoder.input_dropout, 0, 0.999, "0.1", "dropout of its input"),
	BOOL(AUDIO "decoder.decoder_residual", audio.decoder.decoder_residual, "true", "residuals where widths agree"),
	INT(AUDIO "decoder.projection_layers", audio.decoder.projection_layers, 1, 8, "1", "linear layers after them"),
	REAL(AUDIO "decoder.projection_ratio", audio.decoder.projection_ratio, 0.01, 64, "2", "width of the middle ones"),
	FIXED(AUDIO "decoder.add_positions_masked", "false"),
	FIXED(AUDIO "decoder.add_positions_all", "false"),
	{ 0 },
};

// ---- what the table cannot say
// ---------------------------------------------------------------------------------------

static d2v_status check_divides(
	const char *whole_key, int64_t whole, const char *part_key, int64_t part, d2v_error *err) {
	if (part >= 1 && whole % part == 0)
		return D2V_OK;
	return d2v_fail(err, D2V_INVALID, "%s (%lld) must be a multiple of %s (%lld)", whole_key, (long long)whole,
		part_key, (long long)part);
}

static d2v_status check_decoder(const d2v_model_config *config, const d2v_decoder_config *decoder, d2v_error *err) {
	D2V_TRY(
		check_divides(MODEL "embed_dim", config->embed_dim, "decoder.decoder_groups", decoder->decoder_groups, err));
	D2V_TRY(check_divides(
		"decoder.decoder_dim", decoder->decoder_dim, "decoder.decoder_groups", decoder->decoder_groups, err));
	if ((int64_t)((double)decoder->decoder_dim * decoder->projection_ratio) < 1)
		return d2v_fail(err, D2V_INVALID, "decoder.projection_ratio leaves no channel");
	return D2V_OK;
}

static d2v_status check_modality(const d2v_model_config *config, const d2v_modality_config *modality, d2v_error *err) {
	if (!modality->encoder_zero_mask)
		return d2v_fail(err, D2V_UNSUPPORTED, "encoder_zero_mask: only true is trainable, here and in the original");
	if (modality->learned_alibi_scale_per_layer)
		return d2v_fail(err, D2V_UNSUPPORTED, "learned_alibi_scale_per_layer: only false is supported");
	if (modality->num_alibi_heads != 0 && modality->num_alibi_heads != config->num_heads)
		return d2v_fail(err, D2V_INVALID, "num_alibi_heads (%lld) must equal model.num_heads (%lld)",
			(long long)modality->num_alibi_heads, (long long)config->num_heads);
	if (config->cls_loss > 0 && modality->num_extra_tokens < 1)
		return d2v_fail(err, D2V_INVALID, "model.cls_loss needs num_extra_tokens of 1 or more");
	return check_decoder(config, &modality->decoder, err);
}

static d2v_status check_audio(const d2v_model_config *config, d2v_error *err) {
	const d2v_modality_config *audio = &config->audio;
	d2v_conv_spec spec;
	D2V_TRY(d2v_conv_spec_parse(audio->feature_encoder_spec, &spec, err));
	D2V_TRY(check_divides(MODEL "embed_dim", config->embed_dim, AUDIO "conv_pos_groups", audio->conv_pos_groups, err));
	return check_modality(config, audio, err);
}

d2v_status d2v_model_config_check(const d2v_model_config *config, d2v_error *err) {
	D2V_TRY(check_divides(MODEL "embed_dim", config->embed_dim, MODEL "num_heads", config->num_heads, err));
	if ((int64_t)((double)config->embed_dim * config->mlp_ratio) < 1)
		return d2v_fail(err, D2V_INVALID, "model.mlp_ratio leaves no channel");
	if (config->cls_loss <= 0 && config->d2v_loss <= 0)
		return d2v_fail(err, D2V_INVALID, "model.d2v_loss and model.cls_loss are both 0: there is nothing to learn");
	if (config->supported_modality != D2V_AUDIO)
		return d2v_fail(err, D2V_UNSUPPORTED, "model.supported_modality: only audio is built yet");
	return check_audio(config, err);
}
