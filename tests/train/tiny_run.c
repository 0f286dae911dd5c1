#include "tests/train/tiny_run.h"

#include "base/hash.h"
#include "loaders/synthetic_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above first
#include <cmocka.h>
#include <string.h>

#define must(call) \
	do { \
		d2v_error err_ = { 0 }; \
		d2v_error *err = &err_; \
		if ((call) != D2V_OK) \
			fail_msg("%s", err_.text); \
	} while (0)

d2v_model_config tiny_model_config(void) {
	d2v_model_config config;
	memset(&config, 0, sizeof config);
	must(d2v_fields_defaults(d2v_model_fields, &config, err));
	config.depth = 3;
	config.embed_dim = 16;
	config.num_heads = 2;
	config.clone_batch = 2;
	config.average_top_k_layers = 2;
	config.instance_norm_target_layer = true;
	config.layerdrop = 0.3;
	config.norm_eps = 1e-5;
	config.ema_decay = 0.9;
	config.ema_end_decay = 0.99;
	config.ema_anneal_end_step = 10;
	config.ema_encoder_only = false;
	config.seed = 3;
	strcpy(config.audio.feature_encoder_spec, "[(8, 10, 5)] + [(8, 3, 2)] * 2");
	config.audio.prenet_depth = 1;
	config.audio.mask_prob = .5;
	config.audio.mask_length = 3;
	config.audio.conv_pos_depth = 2;
	config.audio.conv_pos_width = 10;
	config.audio.conv_pos_groups = 2;
	config.audio.use_alibi_encoder = true;
	config.audio.learned_alibi_scale = true;
	config.audio.learned_alibi_scale_per_head = true;
	config.audio.decoder = (d2v_decoder_config){ .decoder_dim = 8,
		.decoder_groups = 2,
		.decoder_kernel = 3,
		.decoder_layers = 2,
		.input_dropout = .1,
		.decoder_residual = true,
		.projection_layers = 1,
		.projection_ratio = 2 };
	must(d2v_model_config_check(&config, err));
	return config;
}

d2v_status tiny_source_open(d2v_source **source, const d2v_model_config *config, d2v_error *err) {
	const d2v_synthetic_options options = { .modality = D2V_AUDIO,
		.seed = 5,
		.samples = 2,
		.clones = (int32_t)config->clone_batch,
		.masks = { .mask_prob = config->audio.mask_prob,
			.mask_prob_adjust = config->audio.mask_prob_adjust,
			.mask_length = (int32_t)config->audio.mask_length },
		.length = 800,
		.frames = { { { 10, 5 }, { 3, 2 }, { 3, 2 } }, 3 } };
	return d2v_synthetic_source_open(source, &options, err);
}

void tiny_run_open(tiny_run *run, const d2v_model_config *config) {
	const d2v_optimizer_config adam = {
		.lr = 1e-3, .beta1 = .9, .beta2 = .98, .adam_eps = 1e-6, .weight_decay = .01, .clip_norm = 1, .decay_all = true
	};
	memset(run, 0, sizeof *run);
	must(d2v_device_open(&run->device, "cpu:1", err));
	must(d2v_model_new(&run->model, run->device, config, err));
	must(d2v_model_init(run->model, err));
	must(d2v_optimizer_new(&run->optimizer, run->model, &adam, err));
	must(tiny_source_open(&run->source, config, err));
}

void tiny_run_close(tiny_run *run) {
	d2v_source_close(run->source);
	d2v_optimizer_free(run->optimizer);
	d2v_model_free(run->model);
	d2v_device_close(run->device);
}

void tiny_run_train(tiny_run *run, uint64_t first, int updates, uint64_t *digest) {
	for (uint64_t n = first; n < first + (uint64_t)updates; n++) {
		const d2v_batch *batch;
		d2v_step_result result;
		d2v_optimizer_result step;
		d2v_model_move_teacher(run->model, n);
		d2v_model_zero_gradients(run->model);
		must(d2v_source_next(run->source, &batch, err));
		must(d2v_model_step(run->model, batch, n, &result, err));
		must(d2v_optimizer_update(run->optimizer, (double)result.sample_size, 1e-3, &step, err));
		if (digest)
			*digest = d2v_hash64_chain(*digest, batch->digest);
		d2v_source_give(run->source, batch);
	}
}
