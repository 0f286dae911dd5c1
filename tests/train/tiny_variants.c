#include "tests/train/tiny_variants.h"

#include <stddef.h>

static void plain(d2v_model_config *config) {
	(void)config;
}

static void norm_first(d2v_model_config *config) {
	config->layer_norm_first = true;
	config->audio.prenet_depth = 1;
	config->audio.num_extra_tokens = 2;
	config->cls_loss = 0.02;
	config->end_of_block_targets = true;
	config->layer_norm_targets = true;
}

static void prenet_and_cls(d2v_model_config *config) {
	config->audio.prenet_depth = 2;
	config->audio.num_extra_tokens = 1;
	config->cls_loss = 0.05;
	config->layer_norm_target_layer = true;
	config->instance_norm_targets = true;
	config->loss_scale = 0.7;
}

static void even_kernels(d2v_model_config *config) {
	config->num_heads = 6;
	config->loss_beta = 1.5;
	config->audio.conv_pos_width = 13, config->audio.conv_pos_depth = 3; // kernel 4
	config->audio.conv_pos_pre_ln = true;
	config->audio.decoder.decoder_kernel = 4;
	config->audio.decoder.decoder_layers = 3;
	config->audio.decoder.projection_layers = 2;
	config->mlp_ratio = 2.5;
}

static void all_dropouts(d2v_model_config *config) {
	config->encoder_dropout = 0.1, config->post_mlp_drop = 0.2, config->attention_dropout = 0.15;
	config->activation_dropout = 0.1, config->dropout_input = 0.1;
	config->start_drop_path_rate = 0.1, config->end_drop_path_rate = 0.3;
	config->audio.prenet_depth = 1, config->audio.prenet_dropout = 0.1;
	config->audio.start_drop_path_rate = config->audio.end_drop_path_rate = 0.2;
	config->audio.num_extra_tokens = 2, config->cls_loss = 0.1;
	config->audio.decoder.input_dropout = 0.2;
}

static void recipe_dropouts(d2v_model_config *config) {
	config->encoder_dropout = config->post_mlp_drop = config->attention_dropout = 0.1;
	config->audio.prenet_dropout = config->audio.decoder.input_dropout = 0.1;
}

static void all_dropouts_norm_first(d2v_model_config *config) {
	all_dropouts(config);
	config->layer_norm_first = true;
}

static void drop_path_alone(d2v_model_config *config) {
	config->start_drop_path_rate = config->end_drop_path_rate = 0.4;
	config->clone_batch = 4;
}

// Between the last layer of the MLP and the norm that takes it.
static void activation_dropout_alone(d2v_model_config *config) {
	config->activation_dropout = 0.2;
}

static void uncommon(d2v_model_config *config) {
	config->norm_affine = false;
	config->d2v_loss = 0.5;
	config->audio.learned_alibi_scale_per_head = false;
	config->audio.local_grad_mult = 0.5;
	config->audio.decoder.decoder_residual = false;
	config->audio.decoder.decoder_dim = 24;
	config->audio.decoder.projection_layers = 3, config->audio.decoder.projection_ratio = 1.5;
}

static void wide_decoder(d2v_model_config *config) { // a residual in the first layer too
	config->audio.decoder.decoder_dim = 24;
	config->audio.decoder.decoder_layers = 3;
	config->clone_batch = 1;
	config->audio.use_alibi_encoder = false;
	config->audio.conv_pos_depth = 1;
}

static void frozen_scale(d2v_model_config *config) {
	config->audio.learned_alibi_scale = false;
	config->audio.alibi_scale = 0.5;
}

static void frozen_extractor(d2v_model_config *config) {
	config->audio.local_grad_mult = 0;
}

static void cls_alone(d2v_model_config *config) {
	config->d2v_loss = 0, config->cls_loss = 0.1;
	config->audio.num_extra_tokens = 1;
}

static void image(d2v_model_config *config) {
	config->supported_modality = D2V_IMAGE;
	config->image.num_extra_tokens = 1, config->cls_loss = 0.05;
}

static void uncommon_image(d2v_model_config *config) {
	config->supported_modality = D2V_IMAGE;
	config->image.embed_dim = 10, config->image.in_chans = 2; // with a projection
	config->image.local_grad_mult = 0.5;
	config->image.decoder.decoder_dim = 24, config->image.decoder.decoder_kernel = 4;
	config->image.decoder.projection_layers = 2; // which the decoder of a plane ignores
}

static void frozen_patches(d2v_model_config *config) {
	config->supported_modality = D2V_IMAGE;
	config->image.local_grad_mult = 0;
	config->image.fixed_positions = false;
}

static void text(d2v_model_config *config) {
	config->supported_modality = D2V_TEXT;
	config->text.dropout = 0.2;
}

static void uncommon_text(d2v_model_config *config) {
	config->supported_modality = D2V_TEXT;
	config->text.layernorm_embedding = config->text.no_scale_embedding = false;
	config->text.dropout = 0.2, config->text.local_grad_mult = 0.5;
	config->text.prenet_depth = 1, config->text.prenet_dropout = 0.1;
	config->text.num_extra_tokens = 2, config->cls_loss = 0.05;
	config->text.use_alibi_encoder = config->text.learned_alibi_scale = true;
}

static void text_without_positions(d2v_model_config *config) {
	config->supported_modality = D2V_TEXT;
	config->text.no_token_positional_embeddings = true;
}

static void joint(d2v_model_config *config) {
	config->supported_modality = D2V_ALL_MODALITIES;
	config->audio.num_extra_tokens = config->image.num_extra_tokens = config->text.num_extra_tokens = 1;
	config->cls_loss = 0.05;
}

static void audio_and_text(d2v_model_config *config) {
	config->supported_modality = D2V_AUDIO_TEXT;
}

tiny_variant tiny_variants[] = {
	{ "plain", plain, true, 1, NULL, 0 },
	{ "layer_norm_first", norm_first, true, 1, NULL, 0 },
	{ "prenet and cls", prenet_and_cls, true, 1, NULL, 0 },
	{ "even kernels", even_kernels, true, 1, NULL, 0 },
	{ "all dropouts", all_dropouts, false, 1, NULL, 0 },
	{ "dropouts of the recipes", recipe_dropouts, false, 1, NULL, 0 },
	{ "all dropouts, layer_norm_first", all_dropouts_norm_first, false, 1, NULL, 0 },
	{ "stochastic depth alone", drop_path_alone, false, 1, NULL, 0 },
	{ "dropout of activations alone", activation_dropout_alone, false, 1, NULL, 0 },
	{ "uncommon settings", uncommon, false, 0.5, NULL, 0 },
	{ "residual in every decoder layer", wide_decoder, false, 1, NULL, 0 },
	{ "frozen ALiBi scale", frozen_scale, true, 1, NULL, 0 },
	{ "frozen extractor", frozen_extractor, false, 1, "modality_encoders.AUDIO.local_encoder.", 0 },
	{ "cls alone", cls_alone, false, 1, "modality_encoders.AUDIO.decoder.", 0 },
	{ "pictures", image, false, 1, NULL, D2V_IMAGE },
	{ "uncommon settings of pictures", uncommon_image, false, 0.5, NULL, D2V_IMAGE },
	{ "frozen patches", frozen_patches, false, 1, "modality_encoders.IMAGE.local_encoder.", D2V_IMAGE },
	{ "text", text, false, 1, NULL, D2V_TEXT },
	{ "uncommon settings of text", uncommon_text, false, 0.5, NULL, D2V_TEXT },
	{ "text without positions", text_without_positions, false, 1, NULL, D2V_TEXT },
	{ "joint, speech", joint, true, 1, NULL, D2V_AUDIO },
	{ "joint, pictures", joint, false, 1, NULL, D2V_IMAGE },
	{ "joint, text", joint, false, 1, NULL, D2V_TEXT },
	{ "two of three", audio_and_text, false, 1, NULL, D2V_TEXT },
	{ 0 },
};
