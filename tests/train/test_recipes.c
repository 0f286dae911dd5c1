// The recipes against the published tables (spec/recipes.md 1 and its last section), number by number.
#include "tests/base/scratch.h"
#include "train/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static d2v_config config;

static void load(const char *name, const char *const *overrides, int count) {
	d2v_error err;
	assert_ok(d2v_recipe_load(&config, name, overrides, count, &err));
}

// One line of the tables, for those recipes that it speaks of.
#define RECIPES 4
typedef struct row {
	const char *key;
	double value[RECIPES]; // NAN: null
} row;

static const char *const audio_names[] = { "audio-base", "audio-large", "audio-small", NULL };
static const row audio_rows[] = {
	{ "model.depth", { 12, 16, 6 } },
	{ "model.modalities.audio.prenet_depth", { 0, 8, 0 } },
	{ "model.embed_dim", { 768, 1024, 384 } },
	{ "model.num_heads", { 12, 16, 6 } },
	{ "model.average_top_k_layers", { 8, 16, 4 } },
	{ "model.clone_batch", { 8, 12, 4 } },
	{ "model.ema_decay", { .999, .9997, .999 } },
	{ "model.ema_end_decay", { .99999, 1, .99999 } },
	{ "model.ema_anneal_end_step", { 75000, 300000, 75000 } },
	{ "model.ema_encoder_only", { 0, 0, 0 } },
	{ "model.modalities.audio.ema_local_encoder", { 0, 0, 0 } },
	{ "model.instance_norm_target_layer", { 1, 1, 1 } },
	{ "model.layer_norm_target_layer", { 0, 0, 0 } },
	{ "model.layer_norm_targets", { 0, 0, 0 } },
	{ "model.instance_norm_targets", { 0, 0, 0 } },
	{ "model.loss_beta", { 0, 0, 0 } },
	{ "model.loss_scale", { NAN, NAN, NAN } },
	{ "model.cls_loss", { 0, 0, 0 } },
	{ "model.min_target_var", { .1, .1, .1 } },
	{ "model.min_pred_var", { .01, .01, .01 } },
	{ "model.norm_eps", { 1e-5, 1e-5, 1e-5 } },
	{ "model.layer_norm_first", { 0, 0, 0 } },
	{ "model.encoder_dropout", { .1, .1, .1 } },
	{ "model.post_mlp_drop", { .1, .1, .1 } },
	{ "model.attention_dropout", { .1, .1, .1 } },
	{ "model.activation_dropout", { 0, 0, 0 } },
	{ "model.dropout_input", { 0, 0, 0 } },
	{ "model.end_drop_path_rate", { 0, 0, 0 } },
	{ "model.layerdrop", { .05, 0, 0 } },
	{ "model.modalities.audio.prenet_layerdrop", { .05, 0, 0 } },
	{ "model.modalities.audio.prenet_dropout", { .1, .1, .1 } },
	{ "model.modalities.audio.num_extra_tokens", { 0, 0, 0 } },
	{ "model.modalities.audio.inverse_mask", { 0, 0, 0 } },
	{ "model.modalities.audio.mask_prob", { .5, .55, .5 } },
	{ "model.modalities.audio.mask_prob_adjust", { .05, .1, .05 } },
	{ "model.modalities.audio.mask_length", { 5, 5, 5 } },
	{ "model.modalities.audio.mask_noise_std", { .01, .01, .01 } },
	{ "model.modalities.audio.mask_dropout", { 0, 0, 0 } },
	{ "model.modalities.audio.add_masks", { 0, 0, 0 } },
	{ "model.modalities.audio.decoder.decoder_dim", { 384, 768, 192 } },
	{ "model.modalities.audio.decoder.decoder_groups", { 16, 16, 4 } },
	{ "model.modalities.audio.decoder.decoder_kernel", { 7, 7, 7 } },
	{ "model.modalities.audio.decoder.decoder_layers", { 4, 4, 4 } },
	{ "model.modalities.audio.decoder.input_dropout", { .1, .1, .1 } },
	{ "model.modalities.audio.decoder.decoder_residual", { 1, 1, 1 } },
	{ "model.modalities.audio.decoder.projection_layers", { 1, 1, 1 } },
	{ "model.modalities.audio.conv_pos_width", { 95, 95, 95 } },
	{ "model.modalities.audio.conv_pos_depth", { 5, 5, 5 } },
	{ "model.modalities.audio.conv_pos_groups", { 16, 16, 16 } },
	{ "model.modalities.audio.use_alibi_encoder", { 1, 1, 1 } },
	{ "model.modalities.audio.learned_alibi_scale", { 1, 1, 1 } },
	{ "model.modalities.audio.learned_alibi_scale_per_head", { 1, 1, 1 } },
	{ "optimization.lr", { 7.5e-4, 4e-4, 7.5e-4 } },
	{ "optimization.max_update", { 400000, 600000, 400000 } },
	{ "optimization.clip_norm", { 0, 1, 0 } },
	{ "optimization.update_freq", { 1, 1, 1 } },
	{ "optimizer.adam_eps", { 1e-6, 1e-6, 1e-6 } },
	{ "optimizer.weight_decay", { .01, .01, .01 } },
	{ "lr_scheduler.warmup_updates", { 8000, 10000, 8000 } },
	{ "lr_scheduler.min_lr", { 0, 0, 0 } },
	{ "distributed_training.distributed_world_size", { 8, 48, 1 } },
	{ "dataset.max_tokens", { 1000000, 320000, 960000 } }, // small: 6 x 10 s
	{ "dataset.required_batch_size_multiple", { 1, 1, 1 } },
	{ "dataset.num_workers", { 6, 8, 1 } },
	{ "task.min_sample_size", { 32000, 32000, 32000 } },
	{ "task.max_sample_size", { 320000, 320000, 160000 } },
	{ "task.normalize", { 1, 1, 1 } },
	{ "optimizer.adam_betas", { .9, .9, .9 } }, // the first of two
	{ "common.seed", { 1, 1, 1 } },
	{ "common.min_loss_scale", { 1e-6, 1e-6, 1e-6 } },
	{ 0 },
};

#define IMAGE "model.modalities.image."
static const char *const image_names[] = { "image-base", "image-large", "image-huge14", "image-small", NULL };
static const row image_rows[] = {
	{ "common.min_loss_scale", { 1e-6, 1e-6, 1e-6, 1e-6 } },
	{ "model.depth", { 10, 24, 32, 4 } },
	{ IMAGE "prenet_depth", { 2, 0, 0, 2 } },
	{ "model.embed_dim", { 768, 1024, 1280, 384 } },
	{ IMAGE "embed_dim", { 768, 1024, 1280, 384 } },
	{ "model.num_heads", { 12, 16, 16, 6 } },
	{ IMAGE "patch_size", { 16, 16, 14, 8 } },
	{ IMAGE "input_size", { 224, 224, 224, 112 } },
	{ "task.input_size", { 224, 224, 224, 112 } },
	{ "model.average_top_k_layers", { 10, 18, 24, 4 } },
	{ "model.clone_batch", { 16, 16, 16, 8 } },
	{ "model.ema_decay", { .9998, .9998, .9998, .9998 } },
	{ "model.ema_end_decay", { .99999, .99999, 1, .99999 } },
	{ "model.ema_anneal_end_step", { 100000, 150000, 300000, 100000 } },
	{ "model.ema_encoder_only", { 0, 0, 0, 0 } },
	{ IMAGE "ema_local_encoder", { 1, 1, 1, 1 } },
	{ "model.instance_norm_target_layer", { 1, 1, 1, 1 } },
	{ "model.layer_norm_target_layer", { 0, 0, 0, 0 } },
	{ "model.layer_norm_targets", { 1, 1, 1, 1 } },
	{ "model.instance_norm_targets", { 0, 0, 0, 0 } },
	{ "model.loss_beta", { 0, 0, 0, 0 } },
	{ "model.loss_scale", { NAN, NAN, NAN, NAN } },
	{ "model.cls_loss", { .01, .01, .01, .01 } },
	{ "model.min_target_var", { 0, 0, 0, 0 } },
	{ "model.min_pred_var", { 0, 0, 0, 0 } },
	{ "model.norm_eps", { 1e-6, 1e-6, 1e-6, 1e-6 } },
	{ "model.encoder_dropout", { 0, 0, 0, 0 } },
	{ "model.post_mlp_drop", { 0, 0, 0, 0 } },
	{ "model.attention_dropout", { 0, 0, 0, 0 } },
	{ "model.activation_dropout", { 0, 0, 0, 0 } },
	{ "model.dropout_input", { 0, 0, 0, 0 } },
	{ "model.layerdrop", { 0, 0, 0, 0 } },
	{ IMAGE "prenet_layerdrop", { 0, 0, 0, 0 } },
	{ IMAGE "prenet_dropout", { 0, 0, 0, 0 } },
	{ IMAGE "num_extra_tokens", { 1, 1, 1, 1 } },
	{ IMAGE "init_extra_token_zero", { 0, 0, 0, 0 } },
	{ IMAGE "use_alibi_encoder", { 0, 0, 0, 0 } },
	{ IMAGE "inverse_mask", { 1, 1, 1, 1 } },
	{ IMAGE "mask_prob", { .8, .75, .75, .8 } },
	{ IMAGE "mask_prob_adjust", { .07, .1, .1, .07 } },
	{ IMAGE "mask_length", { 3, 3, 3, 3 } },
	{ IMAGE "mask_noise_std", { .01, .01, .01, .01 } },
	{ IMAGE "mask_dropout", { 0, 0, 0, 0 } },
	{ IMAGE "decoder.decoder_dim", { 768, 1024, 1024, 384 } },
	{ IMAGE "decoder.decoder_groups", { 16, 16, 16, 8 } },
	{ IMAGE "decoder.decoder_kernel", { 3, 5, 5, 3 } },
	{ IMAGE "decoder.decoder_layers", { 6, 3, 3, 4 } },
	{ IMAGE "decoder.input_dropout", { 0, 0, 0, 0 } },
	{ IMAGE "decoder.decoder_residual", { 1, 1, 1, 1 } },
	{ IMAGE "decoder.projection_layers", { 1, 1, 1, 1 } },
	{ "optimization.lr", { 1e-3, 4e-4, 4e-4, 1e-3 } },
	{ "optimization.max_update", { 375300, 375300, 500000, 375300 } },
	{ "optimization.clip_norm", { 4, 4, 4, 4 } },
	{ "optimizer.adam_betas", { .9, .9, .9, .9 } },
	{ "optimizer.adam_eps", { 1e-8, 1e-8, 1e-8, 1e-8 } },
	{ "optimizer.weight_decay", { .05, .05, .05, .05 } },
	{ "lr_scheduler.warmup_updates", { 50040, 50040, 50040, 50040 } },
	{ "lr_scheduler.min_lr", { 0, 0, 0, 0 } },
	{ "distributed_training.distributed_world_size", { 16, 16, 32, 1 } },
	{ "dataset.batch_size", { 16, 8, 8, 32 } },
	{ "dataset.max_tokens", { 0, 0, 0, 0 } },
	{ "dataset.required_batch_size_multiple", { 1, 1, 1, 1 } },
	{ 0 },
};

#define TEXT "model.modalities.text."
static const char *const text_names[] = { "text-base", "text-large", "text-small", NULL };
static const row text_rows[] = {
	{ "common.min_loss_scale", { 1e-4, 1e-6, 1e-4 } },
	{ "model.depth", { 12, 24, 6 } },
	{ TEXT "prenet_depth", { 0, 0, 0 } },
	{ "model.embed_dim", { 768, 1024, 384 } },
	{ "model.num_heads", { 12, 16, 6 } },
	{ TEXT "vocab_size", { 50265, 50265, 50265 } },
	{ TEXT "max_source_positions", { 512, 512, 512 } },
	{ "task.tokens_per_sample", { 512, 512, 256 } },
	{ "model.average_top_k_layers", { 12, 24, 6 } },
	{ "model.clone_batch", { 8, 8, 4 } },
	{ "model.ema_decay", { .9999, .9999, .9999 } },
	{ "model.ema_end_decay", { .99999, .99999, .99999 } },
	{ "model.ema_anneal_end_step", { 100000, 100000, 100000 } },
	{ "model.ema_encoder_only", { 1, 1, 1 } },
	{ TEXT "ema_local_encoder", { 0, 0, 0 } },
	{ "model.instance_norm_target_layer", { 1, 0, 1 } },
	{ "model.layer_norm_target_layer", { 0, 1, 0 } },
	{ "model.layer_norm_targets", { 0, 0, 0 } },
	{ "model.instance_norm_targets", { 0, 1, 0 } },
	{ "model.loss_beta", { 0, 0, 0 } },
	{ "model.loss_scale", { 1, 1, 1 } },
	{ "model.cls_loss", { 0, 0, 0 } },
	{ "model.min_target_var", { .1, .1, .1 } },
	{ "model.min_pred_var", { .01, .01, .01 } },
	{ "model.norm_eps", { 1e-5, 1e-5, 1e-5 } },
	{ "model.encoder_dropout", { .1, .1, .1 } },
	{ "model.post_mlp_drop", { .1, .1, .1 } },
	{ "model.attention_dropout", { .1, .1, .1 } },
	{ "model.activation_dropout", { 0, 0, 0 } },
	{ "model.layerdrop", { 0, 0, 0 } },
	{ TEXT "prenet_dropout", { 0, 0, 0 } },
	{ TEXT "dropout", { .1, .1, .1 } },
	{ TEXT "num_extra_tokens", { 0, 0, 0 } },
	{ TEXT "inverse_mask", { 0, 0, 0 } },
	{ TEXT "mask_prob", { .48, .5, .48 } },
	{ TEXT "mask_prob_adjust", { 0, 0, 0 } },
	{ TEXT "mask_length", { 1, 1, 1 } },
	{ TEXT "mask_noise_std", { .01, .01, .01 } },
	{ TEXT "decoder.decoder_dim", { 768, 768, 384 } },
	{ TEXT "decoder.decoder_groups", { 1, 1, 1 } },
	{ TEXT "decoder.decoder_kernel", { 9, 9, 9 } },
	{ TEXT "decoder.decoder_layers", { 5, 5, 3 } },
	{ TEXT "decoder.input_dropout", { .1, .1, .1 } },
	{ TEXT "decoder.decoder_residual", { 0, 0, 0 } },
	{ TEXT "decoder.projection_layers", { 2, 2, 2 } },
	{ TEXT "decoder.projection_ratio", { 2, 2, 2 } },
	{ "optimization.lr", { 2e-4, 1e-4, 2e-4 } },
	{ "optimization.max_update", { 1000000, 600000, 1000000 } },
	{ "optimization.clip_norm", { 1, 1, 1 } },
	{ "optimizer.adam_betas", { .9, .9, .9 } },
	{ "optimizer.adam_eps", { 1e-6, 1e-6, 1e-6 } },
	{ "optimizer.weight_decay", { .01, .01, .01 } },
	{ "lr_scheduler.warmup_updates", { 4000, 4000, 4000 } },
	{ "distributed_training.distributed_world_size", { 16, 32, 1 } },
	{ "dataset.batch_size", { 4, 2, 8 } },
	{ "dataset.required_batch_size_multiple", { 8, 8, 8 } },
	{ 0 },
};

#define AUDIO "model.modalities.audio."
static const char *const joint_names[] = { "joint-base", NULL };
static const row joint_rows[] = {
	{ "common.min_loss_scale", { 1e-6 } },
	{ "model.depth", { 10 } },
	{ IMAGE "prenet_depth", { 2 } },
	{ AUDIO "prenet_depth", { 0 } },
	{ TEXT "prenet_depth", { 0 } },
	{ "model.embed_dim", { 768 } },
	{ "model.num_heads", { 12 } },
	{ IMAGE "patch_size", { 16 } },
	{ "model.average_top_k_layers", { 10 } },
	{ "model.clone_batch", { 16 } },
	{ "model.ema_decay", { .9998 } },
	{ "model.ema_end_decay", { .99999 } },
	{ "model.ema_anneal_end_step", { 100000 } },
	{ "model.ema_encoder_only", { 0 } },
	{ IMAGE "ema_local_encoder", { 1 } },
	{ AUDIO "ema_local_encoder", { 0 } },
	{ TEXT "ema_local_encoder", { 0 } },
	{ "model.instance_norm_target_layer", { 1 } },
	{ "model.layer_norm_targets", { 1 } },
	{ "model.loss_scale", { NAN } },
	{ "model.cls_loss", { .01 } },
	{ "model.min_target_var", { 0 } },
	{ "model.norm_eps", { 1e-6 } },
	{ "model.encoder_dropout", { 0 } },
	{ "model.post_mlp_drop", { 0 } },
	{ "model.attention_dropout", { 0 } },
	{ "model.layerdrop", { 0 } },
	{ AUDIO "prenet_layerdrop", { .05 } },
	{ AUDIO "prenet_dropout", { .1 } },
	{ TEXT "dropout", { .1 } },
	{ IMAGE "num_extra_tokens", { 1 } },
	{ AUDIO "num_extra_tokens", { 1 } },
	{ TEXT "num_extra_tokens", { 1 } },
	{ IMAGE "init_extra_token_zero", { 0 } },
	{ AUDIO "init_extra_token_zero", { 1 } },
	{ TEXT "init_extra_token_zero", { 1 } },
	{ IMAGE "inverse_mask", { 1 } },
	{ IMAGE "mask_prob", { .8 } },
	{ IMAGE "mask_prob_adjust", { .07 } },
	{ IMAGE "mask_length", { 3 } },
	{ AUDIO "mask_prob", { .5 } },
	{ AUDIO "mask_prob_adjust", { .05 } },
	{ AUDIO "mask_length", { 5 } },
	{ TEXT "mask_prob", { .48 } },
	{ TEXT "mask_length", { 1 } },
	{ IMAGE "decoder.decoder_dim", { 768 } },
	{ AUDIO "decoder.decoder_dim", { 384 } },
	{ TEXT "decoder.decoder_dim", { 768 } },
	{ IMAGE "decoder.decoder_groups", { 16 } },
	{ AUDIO "decoder.decoder_groups", { 16 } },
	{ TEXT "decoder.decoder_groups", { 1 } },
	{ IMAGE "decoder.decoder_kernel", { 3 } },
	{ AUDIO "decoder.decoder_kernel", { 7 } },
	{ TEXT "decoder.decoder_kernel", { 9 } },
	{ IMAGE "decoder.decoder_layers", { 6 } },
	{ AUDIO "decoder.decoder_layers", { 4 } },
	{ TEXT "decoder.decoder_layers", { 5 } },
	{ IMAGE "decoder.input_dropout", { 0 } },
	{ AUDIO "decoder.input_dropout", { .1 } },
	{ TEXT "decoder.input_dropout", { .1 } },
	{ IMAGE "decoder.decoder_residual", { 1 } },
	{ AUDIO "decoder.decoder_residual", { 1 } },
	{ TEXT "decoder.decoder_residual", { 0 } },
	{ TEXT "decoder.projection_layers", { 2 } },
	{ AUDIO "use_alibi_encoder", { 1 } },
	{ "optimization.lr", { 1e-3 } },
	{ "optimization.max_update", { 375300 } },
	{ "optimization.clip_norm", { 4 } },
	{ "optimizer.adam_betas", { .9 } },
	{ "optimizer.adam_eps", { 1e-8 } },
	{ "optimizer.weight_decay", { .05 } },
	{ "lr_scheduler.warmup_updates", { 50040 } },
	{ "distributed_training.distributed_world_size", { 16 } },
	{ "dataset.batch_size", { 16 } },
	{ "dataset.max_tokens", { 0 } },
	{ "task.max_sample_size", { 320000 } },
	{ "task.min_sample_size", { 32000 } },
	{ "task.normalize", { 1 } },
	{ "task.tokens_per_sample", { 512 } },
	{ 0 },
};

static double number_at(const json_t *tree, const char *path) {
	char key[128];
	const json_t *at = tree;
	for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
		snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
		at = json_object_get(at, key);
	}
	at = json_object_get(at, path);
	if (json_is_array(at))
		at = json_array_get(at, 0);
	if (!at)
		fail_msg("there is no %s", path);
	return json_is_null(at) ? (double)NAN : json_is_boolean(at) ? json_is_true(at) : json_number_value(at);
}

static void check_table(const char *const *names, const row *rows, double second_beta) {
	for (int r = 0; names[r]; r++) {
		d2v_error err;
		json_t *tree;
		load(names[r], NULL, 0);
		assert_ok(d2v_fields_tree(d2v_config_fields(), &config, &tree, &err));
		for (const row *line = rows; line->key; line++) {
			double found = number_at(tree, line->key), wanted = line->value[r];
			if (!(found == wanted || (isnan(found) && isnan(wanted))))
				fail_msg("%s: %s is %.9g, published %.9g", names[r], line->key, found, wanted);
		}
		json_decref(tree);
		assert_true(config.optimizer.adam_betas.value[1] == second_beta);
		assert_int_equal(config.lr_scheduler.kind, D2V_SCHEDULE_COSINE);
	}
}

static void test_published_numbers(void **state) {
	(void)state;
	check_table(audio_names, audio_rows, .98);
	check_table(image_names, image_rows, .95);
	check_table(text_names, text_rows, .98);
	check_table(joint_names, joint_rows, .95);
	load("joint-base", NULL, 0);
	assert_true(d2v_config_is_joint(&config));
}

static void test_extractors(void **state) {
	(void)state;
	for (int r = 0; audio_names[r]; r++) {
		d2v_error err;
		d2v_conv_spec spec;
		static const int64_t kernels[] = { 10, 3, 3, 3, 3, 2, 2 }, strides[] = { 5, 2, 2, 2, 2, 2, 2 };
		load(audio_names[r], NULL, 0);
		assert_ok(d2v_conv_spec_parse(config.model.audio.feature_encoder_spec, &spec, &err));
		assert_int_equal(spec.count, 7);
		for (int i = 0; i < 7; i++) {
			assert_int_equal(spec.layer[i].channels, r == 2 ? 256 : 512);
			assert_int_equal(spec.layer[i].kernel, kernels[i]);
			assert_int_equal(spec.layer[i].stride, strides[i]);
		}
	}
}

static void test_every_recipe_loads(void **state) {
	(void)state;
	int tiny = 0;
	for (const d2v_recipe_text *recipe = d2v_recipes_embedded; recipe->name; recipe++) {
		char summary[512];
		load(recipe->name, NULL, 0);
		assert_true(strlen(d2v_recipe_summary(recipe, summary, sizeof summary)) > 20);
		tiny += strstr(recipe->name, "-tiny") != NULL;
	}
	assert_int_equal(tiny, 4);
}

static void test_overrides_and_names(void **state) {
	(void)state;
	const char *const overrides[] = { "model.depth=3", "model.average_top_k_layers=3" };
	load("audio-small", overrides, 2);
	assert_int_equal(config.model.depth, 3);
	d2v_error err;
	assert_int_equal(d2v_recipe_load(&config, "audio-bse", NULL, 0, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "did you mean audio-base?"));
	assert_int_equal(d2v_recipe_load(&config, "nonsense", NULL, 0, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "audio-tiny"));
	assert_int_equal(d2v_recipe_load(&config, "./absent.yaml", NULL, 0, &err), D2V_NOT_FOUND);
	const char *const bad[] = { "model.num_heads=7" };
	assert_int_equal(d2v_recipe_load(&config, "audio-small", bad, 1, &err), D2V_INVALID);
	assert_non_null(strstr(err.text, "audio-small"));
}

static void test_file(void **state) {
	const char *path = scratch_path(state, "mine.yaml");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(d2v_recipe_find("audio-tiny")->yaml, file);
	fclose(file);
	load("audio-tiny", NULL, 0);
	d2v_config tiny = config;
	load(path, NULL, 0);
	assert_memory_equal(&tiny, &config, sizeof config);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_numbers),
		cmocka_unit_test(test_extractors),
		cmocka_unit_test(test_every_recipe_loads),
		cmocka_unit_test(test_overrides_and_names),
		cmocka_unit_test_setup_teardown(test_file, scratch_set_up, scratch_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
