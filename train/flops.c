// The FLOPs of a step by the counts of spec/gpu.md 3: a multiply-add is 2; what the student trains counts three times
// its forward pass, the teacher once; nothing is counted for norms, activations and softmax.
#include "train/audio_encoder.h"
#include "train/block.h"
#include "train/conv_decoder.h"
#include "train/model.h"

static double conv(int64_t in, int64_t out, int64_t kernel, int64_t groups) {
	return 2.0 * (double)out * (double)(in / groups) * (double)kernel;
}

static double linear(int64_t in, int64_t out) {
	return 2.0 * (double)in * (double)out;
}

// Of `depth` blocks, per token of a sequence of `tokens`.
static double blocks(const d2v_model_config *config, int64_t depth, int64_t tokens) {
	int64_t width = config->embed_dim;
	double one =
		4 * linear(width, width) + 2 * linear(width, d2v_mlp_width(config)) + 4.0 * (double)tokens * (double)width;
	return (double)depth * one;
}

static double extractor(const d2v_model_config *config, int64_t length) {
	d2v_conv_spec spec;
	if (d2v_conv_spec_parse(config->audio.feature_encoder_spec, &spec, NULL) != D2V_OK)
		return 0;
	double sum = 0;
	int64_t in = 1, layers = spec.count;
	for (spec.count = 1; spec.count <= layers; spec.count++) {
		int64_t out = spec.layer[spec.count - 1].channels;
		sum += (double)d2v_conv_spec_frames(&spec, length) * conv(in, out, spec.layer[spec.count - 1].kernel, 1);
		in = out;
	}
	return sum;
}

static double projection(const d2v_model_config *config, int64_t length) { // of the extractor's features
	d2v_conv_spec spec;
	if (d2v_conv_spec_parse(config->audio.feature_encoder_spec, &spec, NULL) != D2V_OK)
		return 0;
	return (double)d2v_conv_spec_frames(&spec, length) * linear(spec.layer[spec.count - 1].channels, config->embed_dim);
}

static double patches(const d2v_model_config *config, int64_t tokens) {
	const d2v_modality_config *image = &config->image;
	double sum = linear(image->in_chans * image->patch_size * image->patch_size, image->embed_dim);
	if (image->embed_dim != config->embed_dim)
		sum += linear(image->embed_dim, config->embed_dim);
	return (double)tokens * sum;
}

static double positions(const d2v_model_config *config) { // per frame
	const d2v_modality_config *audio = &config->audio;
	return (double)audio->conv_pos_depth *
		   conv(config->embed_dim, config->embed_dim, d2v_audio_position_kernel(audio), audio->conv_pos_groups);
}

static double decoder_layers(const d2v_decoder_config *config, bool plane, int64_t width) { // per position
	int64_t taps = plane ? config->decoder_kernel * config->decoder_kernel : config->decoder_kernel;
	return conv(width, config->decoder_dim, taps, config->decoder_groups) +
		   (double)(config->decoder_layers - 1) *
			   conv(config->decoder_dim, config->decoder_dim, taps, config->decoder_groups);
}

static double decoder(const d2v_decoder_config *config, bool plane, int64_t width) { // per position
	double sum = decoder_layers(config, plane, width);
	int64_t in = config->decoder_dim, layers = plane ? 1 : config->projection_layers;
	for (int64_t i = 0; i < layers; i++) {
		int64_t out = i + 1 == layers ? width : i == 0 ? d2v_conv_decoder_projection_width(config) : in;
		sum += linear(in, out);
		in = out;
	}
	return sum;
}

// Of the local encoder, for a sample; nothing is multiplied for text. *trained: how often it counts in a training step,
// twice for pictures, which have no gradient of their own.
static double local(const d2v_model_config *config, const d2v_step_shape *shape, double *trained) {
	*trained = shape->modality == D2V_IMAGE ? 2 : 3;
	return shape->modality == D2V_AUDIO   ? extractor(config, shape->length) + projection(config, shape->length)
		   : shape->modality == D2V_IMAGE ? patches(config, shape->tokens)
										  : 0;
}

double d2v_model_step_flops(const d2v_model_config *config, const d2v_step_shape *shape) {
	const d2v_modality_config *modality = d2v_model_config_modality(config, shape->modality);
	int64_t extra = modality->num_extra_tokens, depth = modality->prenet_depth + config->depth;
	int64_t kept = extra + shape->kept, all = extra + shape->tokens;
	double samples = (double)shape->batch, rows = samples * (double)shape->clones, tokens = (double)shape->tokens;
	double frame = shape->modality == D2V_AUDIO ? positions(config) : 0, trained;
	double input = samples * local(config, shape, &trained);
	double student = rows * tokens * frame + rows * (double)kept * blocks(config, depth, kept) +
					 rows * tokens * decoder(&modality->decoder, shape->modality == D2V_IMAGE, config->embed_dim);
	double teacher = samples * tokens * frame + samples * (double)all * blocks(config, depth, all);
	if (modality->ema_local_encoder && !config->ema_encoder_only)
		teacher += input;
	return trained * input + 3 * student + teacher;
}

double d2v_model_recompute_flops(const d2v_model_config *config, const d2v_step_shape *shape) {
	const d2v_modality_config *modality = d2v_model_config_modality(config, shape->modality);
	int64_t depth = modality->prenet_depth + config->depth, kept = modality->num_extra_tokens + shape->kept;
	bool speech = shape->modality == D2V_AUDIO;
	double rows = (double)(shape->batch * shape->clones), tokens = (double)shape->tokens;
	double position = speech ? positions(config) : 0;
	position += decoder_layers(&modality->decoder, shape->modality == D2V_IMAGE, config->embed_dim);
	double input = speech && modality->local_grad_mult > 0 ? extractor(config, shape->length) : 0;
	return rows * ((double)kept * blocks(config, depth, kept) + tokens * position) + (double)shape->batch * input;
}
