#include "tests/train/tiny_model.h"

#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

static void must(d2v_status status) {
	D2V_ASSERT(status == D2V_OK);
}

void tiny_config(d2v_model_config *config) {
	must(d2v_fields_defaults(d2v_model_fields, config, NULL));
	config->depth = 2, config->embed_dim = 24, config->num_heads = 3;
	config->norm_eps = 1e-5, config->average_top_k_layers = 2, config->clone_batch = 2;
	config->encoder_dropout = config->post_mlp_drop = config->attention_dropout = 0;
	config->instance_norm_target_layer = true;
	config->ema_encoder_only = false, config->ema_anneal_end_step = 100, config->seed = 5;
	d2v_modality_config *audio = &config->audio;
	audio->prenet_depth = 0;
	audio->use_alibi_encoder = audio->learned_alibi_scale = audio->learned_alibi_scale_per_head = true;
	audio->decoder.input_dropout = 0;
	audio->decoder.decoder_dim = 12, audio->decoder.decoder_groups = 2;
	audio->decoder.decoder_kernel = 3, audio->decoder.decoder_layers = 2;
	strcpy(audio->feature_encoder_spec, "[(16, 5, 4)] + [(16, 3, 2)]");
	audio->conv_pos_depth = 2, audio->conv_pos_width = 10, audio->conv_pos_groups = 4;
	d2v_modality_config *image = &config->image, *text = &config->text;
	image->decoder = text->decoder = audio->decoder;
	image->input_size = 12, image->patch_size = 4, image->embed_dim = 24, image->prenet_depth = 1;
	image->ema_local_encoder = true;
	text->vocab_size = 23, text->max_source_positions = 40, text->dropout = 0, text->prenet_depth = 0;
	text->decoder.projection_layers = 2, text->decoder.decoder_residual = false;
}

void tiny_weights(d2v_model *model, double spread, uint64_t seed) {
	must(d2v_model_init(model, NULL));
	const d2v_params *params = d2v_model_params(model);
	d2v_device *device = d2v_model_device(model);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, 1, 0));
	for (int i = 0; i < params->count; i++) {
		const d2v_param *param = &params->list[i];
		float *values;
		size_t bytes = (size_t)param->count * sizeof *values;
		must(d2v_alloc(&values, (size_t)param->count, sizeof *values, NULL));
		d2v_device_download(device, values, d2v_model_weights(model) + param->offset, bytes);
		for (int64_t k = 0; k < param->count; k++)
			values[k] += (float)(spread * d2v_random_normal(&random));
		d2v_device_upload(device, d2v_model_weights(model) + param->offset, values, bytes);
		must(d2v_device_sync(device, NULL));
		d2v_free(values);
	}
	d2v_model_refresh(model);
}

static void fill_normal(d2v_random *random, float *out, int64_t count, double spread) {
	for (int64_t i = 0; i < count; i++)
		out[i] = (float)(spread * d2v_random_normal(random));
}

// Keeps `kept` positions of each row, drawn one after another with what is left.
static void draw_masks(tiny_batch *out, d2v_random *random) {
	d2v_batch *batch = &out->batch;
	for (int32_t r = 0; r < batch->samples * batch->clones; r++) {
		int32_t kept = 0, hidden = 0;
		for (int32_t t = 0; t < batch->tokens; t++) {
			int32_t left = batch->tokens - t, wanted = batch->kept - kept;
			bool keep = (int32_t)d2v_random_below(random, (uint32_t)left) < wanted;
			out->mask[r * batch->tokens + t] = !keep;
			out->restore[r * batch->tokens + t] = keep ? kept : batch->kept + hidden;
			if (keep)
				out->keep[r * batch->kept + kept++] = t;
			else
				out->masked[batch->masked_count++] = r * batch->tokens + t;
			hidden += !keep;
		}
	}
}

static void draw_text(tiny_batch *out, const d2v_model_config *config, bool padded, d2v_random *random) {
	d2v_batch *batch = &out->batch;
	int32_t count = batch->samples * batch->tokens;
	must(d2v_alloc(&out->text, (size_t)count, sizeof *out->text, NULL));
	for (int32_t i = 0; i < count; i++)
		out->text[i] = 2 + (int32_t)d2v_random_below(random, (uint32_t)config->text.vocab_size - 2);
	for (int32_t i = out->valid[batch->samples - 1]; padded && i < batch->tokens; i++)
		out->text[count - batch->tokens + i] = D2V_TEXT_PAD;
	batch->text = out->text;
}

static void draw_pixels(tiny_batch *out, const d2v_model_config *config, d2v_random *random) {
	d2v_batch *batch = &out->batch;
	int64_t side = config->image.input_size, count = batch->samples * config->image.in_chans * side * side;
	must(d2v_alloc(&out->pixels, (size_t)count, sizeof *out->pixels, NULL));
	fill_normal(random, out->pixels, count, 1);
	batch->pixels = out->pixels, batch->height = batch->width = (int32_t)side;
}

static void draw_wave(tiny_batch *out, d2v_random *random) {
	int64_t count = (int64_t)out->batch.samples * out->batch.length;
	must(d2v_alloc(&out->wave, (size_t)count, sizeof *out->wave, NULL));
	fill_normal(random, out->wave, count, 1);
	out->batch.wave = out->wave;
}

static int32_t tokens_of(const d2v_model_config *config, d2v_modality modality, int length) {
	d2v_conv_spec spec;
	int64_t side = config->image.input_size / config->image.patch_size;
	must(d2v_conv_spec_parse(config->audio.feature_encoder_spec, &spec, NULL));
	return modality == D2V_TEXT    ? length
		   : modality == D2V_IMAGE ? (int32_t)(side * side)
								   : (int32_t)d2v_conv_spec_frames(&spec, length);
}

void tiny_batch_make_of(tiny_batch *out, const d2v_model_config *config, d2v_modality modality, int samples, int length,
	bool padded, uint64_t seed) {
	*out = (tiny_batch){ .wave = NULL };
	d2v_batch *batch = &out->batch;
	batch->modality = modality, batch->samples = samples, batch->clones = (int32_t)config->clone_batch;
	batch->length = modality == D2V_AUDIO ? length : 0, batch->tokens = tokens_of(config, modality, length);
	batch->kept = (batch->tokens + 1) / 2;
	size_t rows = (size_t)samples * (size_t)batch->clones, tokens = (size_t)batch->tokens, kept = (size_t)batch->kept;
	size_t noise = rows * (tokens - kept) * (size_t)config->embed_dim;
	must(d2v_alloc(&out->noise, noise, sizeof *out->noise, NULL));
	must(d2v_alloc(&out->mask, rows * tokens, sizeof *out->mask, NULL));
	must(d2v_alloc(&out->keep, rows * kept, sizeof *out->keep, NULL));
	must(d2v_alloc(&out->restore, rows * tokens, sizeof *out->restore, NULL));
	must(d2v_alloc(&out->masked, rows * tokens, sizeof *out->masked, NULL));
	must(d2v_alloc(&out->valid, (size_t)samples, sizeof *out->valid, NULL));
	for (int b = 0; b < samples; b++)
		out->valid[b] = b + 1 == samples ? length - length / 3 : length;
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, 2, 0));
	if (modality == D2V_AUDIO)
		draw_wave(out, &random);
	else if (modality == D2V_IMAGE)
		draw_pixels(out, config, &random);
	else
		draw_text(out, config, padded, &random);
	fill_normal(&random, out->noise, (int64_t)noise, 0.1);
	draw_masks(out, &random);
	batch->noise = out->noise, batch->mask = out->mask, batch->keep = out->keep;
	batch->restore = out->restore, batch->masked = out->masked, batch->valid = padded ? out->valid : NULL;
}

void tiny_batch_make(
	tiny_batch *out, const d2v_model_config *config, int samples, int length, bool padded, uint64_t seed) {
	tiny_batch_make_of(out, config, D2V_AUDIO, samples, length, padded, seed);
}

void tiny_batch_release(tiny_batch *batch) {
	d2v_free(batch->wave);
	d2v_free(batch->pixels);
	d2v_free(batch->text);
	d2v_free(batch->noise);
	d2v_free(batch->mask);
	d2v_free(batch->keep);
	d2v_free(batch->restore);
	d2v_free(batch->masked);
	d2v_free(batch->valid);
}
