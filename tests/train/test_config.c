// The configuration: fairseq's names and files, bounds, the nearest known name, overrides, printing and reading back.
#include "base/memory.h"
#include "tests/base/scratch.h"
#include "train/config.h"
#include "train/recipe.h"

#include <math.h>
#include <string.h>

static d2v_config config, again;

static void read_text(const char *yaml) {
	d2v_error err;
	assert_ok(d2v_config_defaults(&config, &err));
	assert_ok(d2v_config_read_yaml(&config, yaml, strlen(yaml), "test.yaml", &err));
}

// What a bad YAML is answered with.
static const char *refusal(const char *yaml) {
	static d2v_error err;
	d2v_error_clear(&err);
	assert_int_equal(d2v_config_defaults(&config, &err), D2V_OK);
	d2v_status status = d2v_config_read_yaml(&config, yaml, strlen(yaml), "test.yaml", &err);
	if (status == D2V_OK)
		status = d2v_config_resolve(&config, &err);
	assert_int_not_equal(status, D2V_OK);
	return err.text;
}

#define assert_says(text, part) \
	do { \
		if (!strstr(text, part)) \
			fail_msg("'%s' is not in '%s'", part, text); \
	} while (0)

static void test_defaults(void **state) {
	(void)state;
	read_text("{}");
	assert_int_equal(config.common.seed, 1);
	assert_int_equal(config.model.depth, 8);
	assert_int_equal(config.world_size, 1);
	assert_int_equal(config.dataset.required_batch_size_multiple, 8);
	assert_true(isnan(config.lr_scheduler.warmup_init_lr));
	assert_string_equal(config.own.device, "auto");
	assert_int_equal(config.optimizer.adam_betas.count, 2);
}

static void test_unknown_keys(void **state) {
	(void)state;
	assert_says(refusal("model: {ema_decy: 0.5}"), "unknown key model.ema_decy; did you mean model.ema_decay?");
	assert_says(refusal("optimisation: {max_update: 5}"), "unknown key optimisation");
	assert_says(refusal("optimization: {max_updates: 5}"), "did you mean optimization.max_update?");
	assert_says(refusal("lr: 5"), "did you mean optimization.lr?");
	assert_says(refusal("batch_size: 5"), "did you mean dataset.batch_size?");
	assert_says(refusal("optimization: {warmup_updates: 5}"), "did you mean lr_scheduler.warmup_updates?");
	assert_says(refusal("model: {modalities: {audio: {decoder: {decoder_dims: 3}}}}"),
		"did you mean model.modalities.audio.decoder.decoder_dim?");
	d2v_error err;
	assert_int_equal(d2v_config_override(&config, "chekpoint.save_dir=x", &err), D2V_INVALID);
	assert_says(err.text, "did you mean checkpoint.save_dir?");
	assert_int_equal(d2v_config_override(&config, "task.adio.data=x", &err), D2V_INVALID);
	assert_says(err.text, "did you mean task.audio.data?");
	assert_int_equal(d2v_config_override(&config, "nothing", &err), D2V_INVALID);
	assert_says(err.text, "key=value");
}

static void test_types_and_bounds(void **state) {
	(void)state;
	assert_says(refusal("dataset: {num_workers: 4x}"), "test.yaml: dataset.num_workers: expected a whole number");
	assert_says(refusal("dataset: {num_workers: 1.5}"), "dataset.num_workers");
	assert_says(refusal("model: {depth: 0}"), "test.yaml: model.depth: 0 is outside");
	assert_says(refusal("model: {encoder_dropout: 1.5}"), "model.encoder_dropout");
	assert_says(refusal("task: {normalize: 1}"), "task.normalize: expected true or false");
	assert_says(refusal("lr_scheduler: {_name: cosinus}"), "lr_scheduler._name");
	assert_says(refusal("criterion: {_name: wav2vec}"), "criterion._name");
	assert_says(refusal("task: {enable_padding: true}"), "task.enable_padding");
	assert_says(refusal("optimizer: {adam_betas: [0.9]}\ndataset: {max_tokens: 5}"), "adam_betas: expected 2 values");
	assert_says(refusal("- a list"), "test.yaml");
	assert_says(refusal("common: 5"), "common");
}

static void test_checks_across_keys(void **state) {
	(void)state;
	assert_says(refusal("optimization: {max_update: 10}"), "dataset.max_tokens and dataset.batch_size");
	assert_says(
		refusal("dataset: {max_tokens: 9}\noptimization: {max_update: 0}"), "cosine needs optimization.max_update");
	assert_says(refusal("dataset: {max_tokens: 9}\noptimization: {max_update: 10}\nlr_scheduler: {warmup_updates: 10}"),
		"must be below optimization.max_update");
	assert_says(
		refusal("dataset: {max_tokens: 9}\noptimization: {max_update: 10}\nmodel: {embed_dim: 100, num_heads: 12}"),
		"model.num_heads");
	assert_says(refusal("dataset: {max_tokens: 9}\noptimization: {max_update: 10}\n"
						"lr_scheduler: {_name: tri_stage, phase_ratio: [0.1, 0.4, 0.4]}"),
		"must sum to 1");
	assert_says(refusal("dataset: {max_tokens: 9}\noptimization: {max_update: 10, update_freq: [1.5]}"), "update_freq");
}

static void test_overrides(void **state) {
	(void)state;
	d2v_error err;
	read_text("dataset: {max_tokens: 100}");
	assert_ok(d2v_config_override(&config, "model.ema_decay=0.5", &err));
	assert_ok(d2v_config_override(&config, "optimization.lr=[2e-3]", &err));
	assert_ok(d2v_config_override(&config, "optimization.max_update=1e3", &err));
	assert_ok(d2v_config_override(&config, "task.data=0123", &err)); // text stays text
	assert_ok(d2v_config_override(&config, "optimizer.adam_betas=(0.8,0.9)", &err));
	assert_true(config.model.ema_decay == 0.5 && config.optimization.lr.value[0] == 2e-3);
	assert_int_equal(config.optimization.max_update, 1000);
	assert_string_equal(config.task.data, "0123");
	assert_true(config.optimizer.adam_betas.value[0] == 0.8);
	assert_int_equal(d2v_config_override(&config, "model.depth=-3", &err), D2V_INVALID);
	assert_says(err.text, "command line: model.depth");
}

static const char published[] =
	"# @package _group_\n"
	"common: {fp16: true, log_format: json, log_interval: 200, tensorboard_logdir: tb, min_loss_scale: 1e-6,\n"
	"  fp16_no_flatten_grads: false, user_dir: '${env:PWD}/examples/data2vec'}\n"
	"checkpoint: {save_interval: 1, save_interval_updates: 25000, keep_interval_updates: 1, no_epoch_checkpoints: "
	"true}\n"
	"task: {_name: audio_pretraining, data: /somewhere/librispeech, max_sample_size: 320000, min_sample_size: 32000,\n"
	"  normalize: true, precompute_mask_config: {}}\n"
	"dataset: {num_workers: 6, max_tokens: 1000000, skip_invalid_size_inputs_valid_test: true, validate_interval: 5,\n"
	"  required_batch_size_multiple: 1, disable_validation: true, batch_size: null}\n"
	"distributed_training: {distributed_world_size: 8, ddp_backend: legacy_ddp}\n"
	"criterion:\n  _name: model\n  log_keys:\n    - ema_decay\n    - target_var\n";

static void test_fairseq_plain_adam(void **state) {
	(void)state;
	d2v_error err;
	char yaml[4096];
	snprintf(yaml, sizeof yaml, "%s%s", published,
		"optimization: {max_update: 400000, lr: [0.00075], debug_param_names: true}\n"
		"optimizer: {_name: adam, adam_betas: '(0.9,0.98)', adam_eps: 1e-06, weight_decay: 0.01}\n"
		"lr_scheduler: {_name: cosine, warmup_updates: 8000}\n"
		"model: {_name: data2vec_multi, depth: 12, supported_modality: AUDIO, loss_scale: null}\n");
	read_text(yaml);
	assert_ok(d2v_config_resolve(&config, &err));
	assert_int_equal(config.dataset.max_tokens, 1000000);
	assert_true(config.optimization.lr.value[0] == 0.00075);
	assert_true(config.optimizer.adam_betas.value[1] == 0.98);
	assert_int_equal(config.model.supported_modality, D2V_AUDIO);
	assert_int_equal(config.model.seed, 1);
	assert_int_equal(config.model.ema_anneal_end_step, 400000);
	assert_int_equal(d2v_config_batches_per_update(&config, 1), 8);
}

static void test_fairseq_composite(void **state) {
	(void)state;
	d2v_error err;
	char yaml[4096];
	snprintf(yaml, sizeof yaml, "%s%s", published,
		"optimization: {max_update: 600000, clip_norm: 1, update_freq: [2, 3]}\n"
		"optimizer:\n  _name: composite\n  dynamic_groups: true\n  groups:\n    default:\n      lr_float: 0.0004\n"
		"      optimizer: {_name: adam, adam_betas: [0.9,0.98], adam_eps: 1e-06, weight_decay: 0.01}\n"
		"      lr_scheduler: {_name: cosine, warmup_updates: 10000}\n"
		"lr_scheduler: pass_through\n"
		"model: {depth: 16, embed_dim: 1024, num_heads: 16, supported_modality: AUDIO}\n");
	read_text(yaml);
	assert_ok(d2v_config_resolve(&config, &err));
	d2v_optimizer_config optimizer = d2v_config_optimizer(&config);
	d2v_schedule_config schedule = d2v_config_schedule(&config);
	assert_true(
		optimizer.lr == 0.0004 && optimizer.beta2 == 0.98 && optimizer.adam_eps == 1e-6 && optimizer.clip_norm == 1);
	assert_true(optimizer.weight_decay == 0.01 && optimizer.decay_all);
	assert_true(schedule.lr == 0.0004 && schedule.kind == D2V_SCHEDULE_COSINE);
	assert_int_equal(schedule.warmup_updates, 10000);
	assert_int_equal(schedule.max_update, 600000);
	assert_int_equal(d2v_config_batches_per_update(&config, 1), 16);
	assert_int_equal(d2v_config_batches_per_update(&config, 2), 24);
	assert_int_equal(d2v_config_batches_per_update(&config, 9), 24);
	assert_says(refusal("lr_scheduler: pass_through"), "pass_through needs");
	assert_says(refusal("optimizer: {groups: {a: {}, b: {lr: 1}}}"), "one group");
	assert_says(refusal("optimizer: {groups: {a: {lrs: 1}}}"), "unknown key lrs");
}

// fairseq's files for pictures, text and all three, in what is particular to them.
static void test_fairseq_other_tasks(void **state) {
	(void)state;
	d2v_error err;
	static const char head[] =
		"common: {fp16: true, log_format: json, min_loss_scale: 1e-6, fp16_no_flatten_grads: true, "
		"user_dir: '${env:PWD}'}\n"
		"distributed_training: {distributed_world_size: 16, ddp_backend: c10d}\n"
		"optimization: {max_update: 375300, lr: [0.001], debug_param_names: true, clip_norm: 4}\n"
		"lr_scheduler: pass_through\n";
	static const char group[] = "{lr_float: 1e-3, optimizer: {_name: adam, adam_betas: [0.9,0.95], weight_decay: 0.05},"
								" lr_scheduler: {_name: cosine, warmup_updates: 50040}}";
	static const char picture_task[] = "_name: mae_image_pretraining, data: /pictures, rebuild_batches: true, "
									   "local_cache_path: /scratch, key: source, precompute_mask_config: {}";
	static const char text_task[] = "_name: masked_lm, data: /text, sample_break_mode: none, tokens_per_sample: 256, "
									"include_target_tokens: true, random_token_prob: 0, leave_unmasked_prob: 0, "
									"include_index: True, skip_masking: True, d2v2_multi: True";
	char yaml[8192];
	snprintf(yaml, sizeof yaml,
		"%sdataset: {batch_size: 16, skip_invalid_size_inputs_valid_test: true}\n"
		"optimizer: {_name: composite, dynamic_groups: true, groups: {default: %s}}\ntask: {%s}\n"
		"model: {supported_modality: IMAGE, cls_loss: 0.01, modalities: {image: {patch_size: 14, inverse_mask: true, "
		"num_extra_tokens: 1, decoder: {decoder_dim: 768, final_layer_norm: false, "
		"decoder_groups: 16}}}}\n",
		head, group, picture_task);
	read_text(yaml);
	assert_ok(d2v_config_resolve(&config, &err));
	assert_int_equal(config.model.supported_modality, D2V_IMAGE);
	assert_int_equal(config.task.input_size, 224);
	assert_string_equal(config.task.data, "/pictures");
	assert_false(d2v_config_is_joint(&config));
	assert_string_equal(d2v_config_part(&config, D2V_IMAGE).data, "/pictures");

	snprintf(yaml, sizeof yaml,
		"%sdataset: {batch_size: 4, ignore_unused_valid_subsets: true}\n"
		"optimizer: {_name: composite, groups: {default: %s, decoder: %s}}\ntask: {%s}\n"
		"model: {supported_modality: TEXT, decoder_group: true, loss_beta: 4, loss_scale: 1, modalities: {text: "
		"{mask_prob: 0.48, "
		"mask_length: 1, decoder: {decoder_groups: 1}}}}\n",
		head, group, group, text_task);
	read_text(yaml);
	assert_ok(d2v_config_resolve(&config, &err));
	assert_int_equal(config.task.tokens_per_sample, 256);
	assert_int_equal(config.model.text.max_source_positions, 256); // an interpolation there
	assert_true(config.optimizer.weight_decay == .05);

	snprintf(yaml, sizeof yaml,
		"%sdataset: {batch_size: 16}\noptimizer: {_name: composite, groups: {default: %s}}\n"
		"task: {_name: multimodal_pretraining, image: {%s}, text: {%s}, audio: {_name: audio_pretraining, "
		"data: /speech, max_sample_size: 320000, min_sample_size: 32000, normalize: true, share: 2, batch_size: 8}}\n"
		"model: {modalities: {text: {decoder: {decoder_groups: 1}}}}\n",
		head, group, picture_task, text_task);
	read_text(yaml);
	assert_ok(d2v_config_resolve(&config, &err));
	assert_true(d2v_config_is_joint(&config));
	assert_int_equal(config.task.max_sample_size, 320000);
	assert_int_equal(config.task.tokens_per_sample, 256);
	assert_string_equal(d2v_config_part(&config, D2V_TEXT).data, "/text");
	assert_int_equal(d2v_config_part(&config, D2V_TEXT).batch_size, 16);
	assert_int_equal(d2v_config_part(&config, D2V_AUDIO).batch_size, 8);
	assert_true(d2v_config_part(&config, D2V_AUDIO).share == 2);
	assert_says(refusal("task: {audio: {dat: x}}"), "unknown key task.dat");
	assert_says(refusal("task: {image: 5}"), "task.image: expected a mapping");
	assert_says(refusal("task: {sample_break_mode: complete}"), "task.sample_break_mode");
	assert_says(refusal("dataset: {batch_size: 4}\noptimization: {max_update: 10}\ntask: {input_size: 96}\n"
						"model: {supported_modality: image, modalities: {image: {decoder: {decoder_groups: 1}}}}"),
		"task.input_size (96) is not model.modalities.image.input_size (224)");
	assert_says(refusal("dataset: {batch_size: 4}\noptimization: {max_update: 10}\ntask: {tokens_per_sample: 600}\n"
						"model: {supported_modality: text}"),
		"task.tokens_per_sample (600) is above");
}

static void test_print_reads_back(void **state) {
	(void)state;
	d2v_error err;
	char *text, *text_again;
	read_text("dataset: {max_tokens: 12345}\noptimization: {max_update: 77, lr: 1e-3}\ntask: {data: 'a b: c'}\n"
			  "model: {loss_scale: null, ema_decay: 0.12345678901234567}\nlr_scheduler: {warmup_updates: 3}");
	assert_ok(d2v_config_resolve(&config, &err));
	assert_ok(d2v_config_print(&config, &text, &err));
	assert_ok(d2v_config_defaults(&again, &err));
	assert_ok(d2v_config_read_yaml(&again, text, strlen(text), "printed", &err));
	assert_ok(d2v_config_resolve(&again, &err));
	assert_ok(d2v_config_print(&again, &text_again, &err));
	assert_string_equal(text, text_again);
	assert_true(again.model.ema_decay == config.model.ema_decay);
	assert_string_equal(again.task.data, "a b: c");
	for (const d2v_field *field = d2v_config_fields(); field->path; field++)
		if (field->kind != D2V_FIELD_FIXED && !strstr(text, field->help))
			fail_msg("%s is printed without what it means", field->path);
	assert_non_null(strstr(text, " [1..64]"));
	assert_non_null(strstr(text, " (cosine|tri_stage|polynomial_decay|fixed)"));
	d2v_free(text);
	d2v_free(text_again);
}

static void test_stored_leaves_the_machine_out(void **state) {
	(void)state;
	d2v_error err;
	char *stored, *other;
	read_text("dataset: {max_tokens: 5, num_workers: 2}\noptimization: {max_update: 77}\ntask: {data: /here}");
	assert_ok(d2v_config_resolve(&config, &err));
	assert_ok(d2v_config_stored(&config, &stored, &err));
	assert_null(strstr(stored, "/here"));
	assert_null(strstr(stored, "save_dir"));
	const char *const harmless[] = { "dataset.num_workers=7", "task.data=/there", "checkpoint.save_dir=/tmp/x",
		"d2v.threads=3", "d2v.device=cpu", "common.log_interval=3", "checkpoint.save_interval_updates=9",
		"d2v.recompute=true" };
	for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
		assert_ok(d2v_config_override(&config, harmless[i], &err));
	assert_ok(d2v_config_stored(&config, &other, &err));
	assert_string_equal(stored, other);
	d2v_free(other);

	d2v_config_difference difference;
	assert_ok(d2v_config_compare(&config, stored, "checkpoint", &difference, &err));
	assert_string_equal(difference.model_key, "");
	assert_string_equal(difference.other_keys, "");
	assert_ok(d2v_config_override(&config, "model.modalities.audio.mask_length=7", &err));
	assert_ok(d2v_config_override(&config, "optimization.lr=7e-3", &err));
	assert_ok(d2v_config_compare(&config, stored, "checkpoint", &difference, &err));
	assert_string_equal(difference.model_key, "model.modalities.audio.mask_length");
	assert_string_equal(difference.other_keys, "optimization.lr");
	d2v_free(stored);
}

// A text from before a key existed: the key had its default then, also one that stands for another value.
static void test_older_text(void **state) {
	(void)state;
	d2v_config_difference difference;
	d2v_error err = { 0 };
	char *stored, *line;
	assert_ok(d2v_recipe_load(&config, "audio-tiny", NULL, 0, &err));
	assert_ok(d2v_config_stored(&config, &stored, &err));
	int removed = 0;
	for (; (line = strstr(stored, "num_alibi_heads:")); removed++) {
		char *start = line, *end = strchr(line, '\n');
		while (start > stored && start[-1] != '\n')
			start--;
		memmove(start, end + 1, strlen(end + 1) + 1);
	}
	assert_true(removed > 0);
	assert_ok(d2v_config_compare(&config, stored, "checkpoint", &difference, &err));
	assert_string_equal(difference.model_key, "");
	assert_string_equal(difference.other_keys, "");
	d2v_free(stored);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_older_text),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_unknown_keys),
		cmocka_unit_test(test_types_and_bounds),
		cmocka_unit_test(test_checks_across_keys),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_fairseq_plain_adam),
		cmocka_unit_test(test_fairseq_composite),
		cmocka_unit_test(test_fairseq_other_tasks),
		cmocka_unit_test(test_print_reads_back),
		cmocka_unit_test(test_stored_leaves_the_machine_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
