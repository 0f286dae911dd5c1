#include "train/encoder.h"

#include <ctype.h>
#include <stdio.h>

// ---- parameters

// "modality_encoders.AUDIO."
static void name_prefix(char *out, size_t size, d2v_modality modality) {
	char upper[16] = "";
	const char *name = d2v_modality_name(modality);
	for (size_t i = 0; name[i] && i + 1 < sizeof upper; i++)
		upper[i] = (char)toupper((unsigned char)name[i]);
	snprintf(out, size, "modality_encoders.%s.", upper);
}

static d2v_status add_local(
	d2v_encoder *encoder, d2v_params *params, const char *prefix, const d2v_model_config *config, d2v_error *err) {
	switch (encoder->modality) {
	case D2V_AUDIO:
		return d2v_audio_encoder_add(&encoder->audio, params, prefix, config, err);
	case D2V_IMAGE:
		return d2v_image_encoder_add(&encoder->image, params, prefix, config, err);
	case D2V_TEXT:
		return d2v_text_encoder_add(&encoder->text, params, prefix, config, err);
	}
	return D2V_OK;
}

d2v_status d2v_encoder_add(
	d2v_encoder *encoder, d2v_params *params, const d2v_model_config *config, d2v_modality modality, d2v_error *err) {
	char prefix[64], decoder[80];
	name_prefix(prefix, sizeof prefix, modality);
	snprintf(decoder, sizeof decoder, "%sdecoder.", prefix);
	*encoder = (d2v_encoder){ .modality = modality, .width = config->embed_dim };
	encoder->config = d2v_model_config_modality(config, modality);
	D2V_TRY(d2v_context_add_tokens(&encoder->context, params, prefix, config, encoder->config, err));
	D2V_TRY(add_local(encoder, params, prefix, config, err));
	bool bare = modality == D2V_TEXT && encoder->config->prenet_depth == 0;
	D2V_TRY(d2v_context_add_encoder(&encoder->context, params, prefix, config, bare, err));
	d2v_conv_decoder_shape shape = { .width = config->embed_dim, .block_projection = modality == D2V_TEXT };
	shape.mae_init = config->mae_init;
	shape.side = modality == D2V_IMAGE ? encoder->image.side : 0;
	return d2v_conv_decoder_add(&encoder->decoder, params, decoder, shape, &encoder->config->decoder, err);
}

// ---- batches

static d2v_status check_audio(const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err) {
	int64_t frames = d2v_conv_spec_frames(&encoder->audio.spec, batch->length);
	if (frames < 1 || frames != batch->tokens)
		return d2v_fail(err, D2V_INVALID, "%d samples make %lld frames, the batch says %d", batch->length,
			(long long)frames, batch->tokens);
	if (!batch->wave && !batch->audio)
		return d2v_fail(err, D2V_INVALID, "a batch of speech without a waveform");
	return D2V_OK;
}

static d2v_status check_image(const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err) {
	const d2v_modality_config *config = encoder->config;
	int64_t side = encoder->image.side;
	if (batch->height != config->input_size || batch->width != config->input_size || batch->tokens != side * side)
		return d2v_fail(err, D2V_INVALID,
			"pictures of %d x %d in %d patches for a model of %lld x %lld in %lld: the loader's size and "
			"modalities.image.input_size must agree",
			batch->width, batch->height, batch->tokens, (long long)config->input_size, (long long)config->input_size,
			(long long)(side * side));
	if (!batch->pixels && !(batch->image && config->in_chans == 3))
		return d2v_fail(err, D2V_INVALID, "a batch of pictures without pixels, or with another number of channels");
	return D2V_OK;
}

static d2v_status check_text(const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err) {
	const d2v_modality_config *config = encoder->config;
	if (!batch->text)
		return d2v_fail(err, D2V_INVALID, "a batch of text without tokens");
	if (batch->tokens < 1 || (encoder->text.positions >= 0 && batch->tokens > config->max_source_positions))
		return d2v_fail(err, D2V_INVALID, "rows of %d tokens, modalities.text.max_source_positions is %lld",
			batch->tokens, (long long)config->max_source_positions);
	for (int64_t i = 0; i < (int64_t)batch->samples * batch->tokens; i++)
		if (batch->text[i] < 0 || batch->text[i] >= config->vocab_size)
			return d2v_fail(err, D2V_INVALID, "token %d is not in a vocabulary of %lld: modalities.text.vocab_size",
				batch->text[i], (long long)config->vocab_size);
	return D2V_OK;
}

int64_t d2v_encoder_tokens(const d2v_encoder *encoder, int64_t length) {
	switch (encoder->modality) {
	case D2V_AUDIO:
		return d2v_conv_spec_frames(&encoder->audio.spec, length);
	case D2V_IMAGE:
		return encoder->image.side * encoder->image.side;
	case D2V_TEXT:
		return length;
	}
	return 0;
}

d2v_status d2v_encoder_check(const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err) {
	switch (encoder->modality) {
	case D2V_AUDIO:
		return check_audio(encoder, batch, err);
	case D2V_IMAGE:
		return check_image(encoder, batch, err);
	case D2V_TEXT:
		return check_text(encoder, batch, err);
	}
	return D2V_OK;
}

// Speech of which not even one frame is whole counts as not padded, as in the original (its index -1 is the last
// frame).
int64_t d2v_encoder_valid_tokens(const d2v_encoder *encoder, const d2v_batch *batch, int64_t b) {
	if (encoder->modality != D2V_AUDIO)
		return batch->valid[b];
	int64_t frames = d2v_conv_spec_frames(&encoder->audio.spec, batch->valid[b]);
	return frames < 1 ? batch->tokens : frames;
}

int64_t d2v_encoder_widest(const d2v_encoder *encoder) {
	return d2v_conv_decoder_widest(&encoder->decoder);
}

// ---- forward

// Of pictures and text: the gradient scaled by local_grad_mult, or not recorded when that is 0. Speech has its
// projection after the extractor and scales between the two.
static d2v_real *scaled_local(
	const d2v_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local) {
	double multiplier = encoder->config->local_grad_mult;
	int64_t count = batch->samples * batch->tokens * encoder->width;
	d2v_pass inner = *pass;
	d2v_real *d_inner = multiplier == 1 ? d_local : d2v_pass_gradient_reals(pass, count);
	if (multiplier == 0)
		inner.tape = NULL;
	d2v_real *local = encoder->modality == D2V_IMAGE ? d2v_image_local(&encoder->image, &inner, batch, d_inner)
													 : d2v_text_local(&encoder->text, &inner, batch, d_inner);
	pass->site = inner.site;
	if (multiplier != 1 && multiplier != 0)
		d2v_pass_run(pass, &d2v_op_scale_gradient,
			&(d2v_scale_gradient){ .d_y = d_local, .d_x = d_inner, .factor = (float)multiplier, .count = count });
	return local;
}

d2v_real *d2v_encoder_local(
	const d2v_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, d2v_real *d_local) {
	if (encoder->modality == D2V_AUDIO)
		return d2v_audio_local(&encoder->audio, pass, batch->wave, batch->samples, batch->length, d_local);
	return scaled_local(encoder, pass, batch, d_local);
}

void d2v_encoder_positions(const d2v_encoder *encoder, d2v_pass *pass, const d2v_device_batch *batch, bool masked,
	d2v_real *const frames[2], d2v_context_input *in) {
	static d2v_real *const none[2] = { NULL, NULL };
	if (encoder->modality == D2V_IMAGE)
		in->table = d2v_pass_weight(pass, encoder->image.positions);
	if (encoder->modality != D2V_AUDIO)
		return;
	in->positions = masked ? d2v_audio_masked_positions(&encoder->audio, pass, batch, in->local, in->d_local, frames)
						   : d2v_audio_positions(&encoder->audio, pass, in->local, batch->samples, batch->tokens, none);
	in->d_positions = masked ? frames[0] : NULL;
}
