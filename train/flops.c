// The FLOPs of a step by the counts of spec/gpu.md 3: a multiply-add is 2; what the student trains counts three times
// its forward pass, the teacher once; nothing is counted for norms, activations and softmax.
#include "train/audio_encoder.h"
#include "train/block.h"
#include "train/decoder_1d.h"
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
	spec.count = (int)layers;
	return sum + (double)d2v_conv_spec_frames(&spec, length) * linear(in, config->embed_dim);
}

static double positions(const d2v_model_config *config) { // per frame
	const d2v_modality_config *audio = &config->audio;
	return (double)audio->conv_pos_depth *
		   conv(config->embed_dim, config->embed_dim, d2v_audio_position_kernel(audio), audio->conv_pos_groups);
}

static double decoder(const d2v_decoder_config *config, int64_t width) { // per frame
	double sum = conv(width, config->decoder_dim, config->decoder_kernel, config->decoder_groups);
	sum += (double)(config->decoder_layers - 1) *
		   conv(config->decoder_dim, config->decoder_dim, config->decoder_kernel, config->decoder_groups);
	int64_t in = config->decoder_dim;
	for (int64_t i = 0; i < config->projection_layers; i++) {
		bool last = i + 1 == config->projection_layers;
		int64_t out = last ? width : i == 0 ? d2v_decoder_1d_projection_width(config) : in;
		sum += linear(in, out);
		in = out;
	}
	return sum;
}

double d2v_model_step_flops(
	const d2v_model_config *config, int64_t batch, int64_t clones, int64_t length, int64_t tokens, int64_t kept) {
	const d2v_modality_config *modality = &config->audio;
	int64_t extra = modality->num_extra_tokens, depth = modality->prenet_depth + config->depth;
	double samples = (double)batch, rows = samples * (double)clones;
	double student = samples * extractor(config, length) + rows * (double)tokens * positions(config) +
					 rows * (double)(extra + kept) * blocks(config, depth, extra + kept) +
					 rows * (double)tokens * decoder(&modality->decoder, config->embed_dim);
	double teacher = samples * (double)tokens * positions(config) +
					 samples * (double)(extra + tokens) * blocks(config, depth, extra + tokens);
	if (modality->ema_local_encoder && !config->ema_encoder_only)
		teacher += samples * extractor(config, length);
	return 3 * student + teacher;
}
