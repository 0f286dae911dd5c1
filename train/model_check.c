// What the table of a model's fields cannot say: which values fit together.
#include "train/model_config.h"

#include <stdio.h>

// A modality's configuration, and how its keys begin.
typedef struct checked {
	const d2v_model_config *model;
	const d2v_modality_config *own;
	const char *keys; // "model.modalities.audio."
} checked;

// `part_key` may be one of the modality's.
static d2v_status check_divides(
	const char *whole_key, int64_t whole, const char *prefix, const char *part_key, int64_t part, d2v_error *err) {
	if (part >= 1 && whole % part == 0)
		return D2V_OK;
	return d2v_fail(err, D2V_INVALID, "%s (%lld) must be a multiple of %s%s (%lld)", whole_key, (long long)whole,
		prefix, part_key, (long long)part);
}

static d2v_status check_decoder(const checked *modality, d2v_error *err) {
	const d2v_decoder_config *decoder = &modality->own->decoder;
	D2V_TRY(check_divides("model.embed_dim", modality->model->embed_dim, modality->keys, "decoder.decoder_groups",
		decoder->decoder_groups, err));
	D2V_TRY(check_divides("decoder.decoder_dim", decoder->decoder_dim, modality->keys, "decoder.decoder_groups",
		decoder->decoder_groups, err));
	if ((int64_t)((double)decoder->decoder_dim * decoder->projection_ratio) < 1)
		return d2v_fail(err, D2V_INVALID, "%sdecoder.projection_ratio leaves no channel", modality->keys);
	return D2V_OK;
}

static d2v_status check_modality(const checked *modality, d2v_error *err) {
	const d2v_modality_config *own = modality->own;
	int64_t heads = modality->model->num_heads;
	if (own->num_alibi_heads != 0 && own->num_alibi_heads != heads)
		return d2v_fail(err, D2V_INVALID, "%snum_alibi_heads (%lld) must equal model.num_heads (%lld)", modality->keys,
			(long long)own->num_alibi_heads, (long long)heads);
	if (modality->model->cls_loss > 0 && own->num_extra_tokens < 1)
		return d2v_fail(err, D2V_INVALID, "model.cls_loss needs %snum_extra_tokens of 1 or more", modality->keys);
	return check_decoder(modality, err);
}

static d2v_status check_audio(const checked *audio, d2v_error *err) {
	d2v_conv_spec spec;
	D2V_TRY(d2v_conv_spec_parse(audio->own->feature_encoder_spec, &spec, err));
	D2V_TRY(check_divides(
		"model.embed_dim", audio->model->embed_dim, audio->keys, "conv_pos_groups", audio->own->conv_pos_groups, err));
	if (!audio->own->encoder_zero_mask)
		return d2v_fail(err, D2V_UNSUPPORTED, "%sencoder_zero_mask: only true is trainable, here and in the original",
			audio->keys);
	return check_modality(audio, err);
}

static d2v_status check_image(const checked *image, d2v_error *err) {
	const d2v_modality_config *own = image->own;
	D2V_TRY(check_divides("input_size", own->input_size, image->keys, "patch_size", own->patch_size, err));
	if (own->fixed_positions && image->model->embed_dim % 4 != 0)
		return d2v_fail(err, D2V_INVALID, "%sfixed_positions needs a model.embed_dim (%lld) that is a multiple of 4",
			image->keys, (long long)image->model->embed_dim);
	if (own->use_alibi_encoder)
		return d2v_fail(
			err, D2V_UNSUPPORTED, "%suse_alibi_encoder: distances in the plane are not supported", image->keys);
	return check_modality(image, err);
}

d2v_status d2v_model_config_check(const d2v_model_config *config, d2v_error *err) {
	D2V_TRY(check_divides("model.embed_dim", config->embed_dim, "", "model.num_heads", config->num_heads, err));
	if ((int64_t)((double)config->embed_dim * config->mlp_ratio) < 1)
		return d2v_fail(err, D2V_INVALID, "model.mlp_ratio leaves no channel");
	if (config->cls_loss <= 0 && config->d2v_loss <= 0)
		return d2v_fail(err, D2V_INVALID, "model.d2v_loss and model.cls_loss are both 0: there is nothing to learn");
	if (d2v_model_config_has(config, D2V_AUDIO))
		D2V_TRY(check_audio(&(checked){ config, &config->audio, "model.modalities.audio." }, err));
	if (d2v_model_config_has(config, D2V_IMAGE))
		D2V_TRY(check_image(&(checked){ config, &config->image, "model.modalities.image." }, err));
	if (d2v_model_config_has(config, D2V_TEXT))
		D2V_TRY(check_modality(&(checked){ config, &config->text, "model.modalities.text." }, err));
	return D2V_OK;
}
