// The rows of the configuration outside `model`. Names and defaults are fairseq's; where a default differs, the help
// says so.
#include "train/config.h"

#include <stddef.h>
#include <string.h>

#define AT(member) offsetof(d2v_config, member)
#define BOOL(path, member, standard, help) \
	{ path, D2V_FIELD_BOOL, AT(member), 0, 0, NULL, standard, help }
#define INT(path, member, min, max, standard, help) \
	{ path, D2V_FIELD_INT, AT(member), min, max, NULL, standard, help }
#define REAL(path, member, min, max, standard, help) \
	{ path, D2V_FIELD_REAL, AT(member), min, max, NULL, standard, help }
#define REAL_OR_NULL(path, member, min, max, standard, help) \
	{ path, D2V_FIELD_REAL_OR_NULL, AT(member), min, max, NULL, standard, help }
#define REALS(path, member, min, max, standard, help) \
	{ path, D2V_FIELD_REALS, AT(member), min, max, NULL, standard, help }
#define TEXT(path, member, standard, help) \
	{ path, D2V_FIELD_TEXT, AT(member), 0, 0, NULL, standard, help }
#define FIXED(path, only) \
	{ path, D2V_FIELD_FIXED, 0, 0, 0, only, only, NULL }
#define IGNORED(path) FIXED(path, "*")
// A data set of a joint run.
#define PART(path, member, unit, samples) \
	TEXT(path "data", member.data, "''", "joint run: folder of the data set"), \
		TEXT(path "train_subset", member.train_subset, "''", "its split; empty: dataset.train_subset"), \
		REAL(path "share", member.share, 0, 1e9, "0", \
			"its share of the updates, relative to the others'; all 0: in proportion to their batches"), \
		INT(path "max_tokens", member.max_tokens, 0, 4e12, "0", unit " of its batch; 0: dataset.max_tokens"), \
		INT(path "batch_size", member.batch_size, 0, 65536, "0", samples " of its batch; 0: dataset.batch_size")

#define COUNT_MAX 9e15

static const d2v_field rows[] = {
	INT("common.seed", common.seed, 0, COUNT_MAX, "1", "everything random is drawn from this"),
	INT("common.log_interval", common.log_interval, 1, COUNT_MAX, "100", "updates between two lines of metrics.jsonl"),
	TEXT("common.tensorboard_logdir", common.tensorboard_logdir, "''",
		"folder of TensorBoard event files, below save_dir unless absolute; empty: none"),
	IGNORED("common.fp16"), // what is published in f16 is trained in the device's working type, bf16 unless it is asked for f16
	IGNORED("common.bf16"),
	IGNORED("common.memory_efficient_fp16"),
	IGNORED("common.fp16_no_flatten_grads"),
	REAL("common.fp16_init_scale", common.fp16_init_scale, 0x1p-126, 0x1p126, "128",
		"with scaled gradients (d2v.loss_scaling): the first scale, a power of two"),
	INT("common.fp16_scale_window", common.fp16_scale_window, 0, COUNT_MAX, "0",
		"updates after which the scale is doubled; 0: 16384 over workers and update_freq"),
	REAL("common.min_loss_scale", common.min_loss_scale, 0, 0x1p126, "1e-4", "the run stops where the scale would fall to this"),
	REAL("common.threshold_loss_scale", common.threshold_loss_scale, 0, 0x1p126, "0",
		"the scale is not halved below this, a power of two; 0: it may be"),
	IGNORED("common.log_format"),
	IGNORED("common.log_file"),
	IGNORED("common.no_progress_bar"),
	IGNORED("common.user_dir"),
	IGNORED("common.empty_cache_freq"),
	IGNORED("common.all_gather_list_size"),
	IGNORED("common.wandb_project"),
	IGNORED("common.profile"),

	TEXT("task.data", task.data, "''", "folder of the data set (d2v-ingest makes it)"),
	INT("task.min_sample_size", task.min_sample_size, 0, 4e9, "0", "shorter utterances are left out (audio samples)"),
	INT("task.max_sample_size", task.max_sample_size, 0, 4e9, "0", "longer ones are cropped (audio samples); 0: never"),
	INT("task.sample_rate", task.sample_rate, 1, 1e6, "16000", "audio samples per second the data set must have"),
	BOOL("task.normalize", task.normalize, "false", "mean 0 and variance 1 for every whole utterance"),
	INT("task.input_size", task.input_size, 0, 65536, "0",
		"side of the pictures in pixels; 0: model.modalities.image.input_size, which it must equal"),
	INT("task.tokens_per_sample", task.tokens_per_sample, 0, 1 << 24, "0",
		"tokens of a block of text; 0: model.modalities.text.max_source_positions, which it must not exceed"),
	PART("task.audio.", task.audio, "audio samples", "utterances"),
	PART("task.image.", task.image, "pictures", "pictures"),
	PART("task.text.", task.text, "tokens", "blocks"),
	FIXED("task._name", "audio_pretraining|mae_image_pretraining|masked_lm|multimodal_pretraining"),
	// Masks are always drawn by the loader from the model's own settings, which is what an empty mapping here means.
	FIXED("task.precompute_mask_config.expand_adjacent", "false"),
	FIXED("task.precompute_mask_config.non_overlapping", "false"),
	FIXED("task.enable_padding", "false"),
	FIXED("task.labels", "null"),
	IGNORED("task.num_batch_buckets"),
	IGNORED("task.text_compression_level"),
	IGNORED("task.tpu"),
	IGNORED("task.rebuild_batches"), // always
	IGNORED("task.post_save_script"),
	FIXED("task.subsample", "1"),
	IGNORED("task.seed"),             // an interpolation of common.seed in fairseq
	FIXED("task.multi_data", "null"), // pictures
	FIXED("task.beit_transforms", "false"),
	FIXED("task.target_transform", "false"),
	FIXED("task.no_transform", "false"),
	IGNORED("task.local_cache_path"), // the manifest says what a data set holds
	IGNORED("task.key"),
	IGNORED("task.dataset_type"),
	FIXED("task.sample_break_mode", "none"), // text
	FIXED("task.include_target_tokens", "true"),
	FIXED("task.include_index", "true"),
	FIXED("task.skip_masking", "true"), // the loader draws the masks from the model's settings
	FIXED("task.d2v2_multi", "true"),
	FIXED("task.mask_whole_words", "false"),
	FIXED("task.shorten_method", "none"),
	FIXED("task.multi_corpus_keys", "null"),
	IGNORED("task.mask_prob"), // of the task's own masks, which are skipped
	IGNORED("task.random_token_prob"),
	IGNORED("task.leave_unmasked_prob"),
	IGNORED("task.freq_weighted_replacement"),
	IGNORED("task.mask_multiple_length"),
	IGNORED("task.mask_stdev"),
	IGNORED("task.shorten_data_split_list"),

	INT("dataset.num_workers", dataset.num_workers, 0, 256, "1", "loader threads; they never change the result"),
	INT("dataset.max_tokens", dataset.max_tokens, 0, 4e12, "0",
		"audio samples or tokens of one worker's batch, its count times its longest; 0: no limit"),
	INT("dataset.batch_size", dataset.batch_size, 0, 65536, "0",
		"utterances, pictures or blocks of one worker's batch; 0: no limit"),
	INT("dataset.required_batch_size_multiple", dataset.required_batch_size_multiple, 1, 65536, "8",
		"batch sizes are smaller than this or divisible by it"),
	TEXT("dataset.train_subset", dataset.train_subset, "''",
		"split to train on, or several joined by commas; empty: the only one, or train"),
	FIXED("dataset.disable_validation", "true"),
	IGNORED("dataset.skip_invalid_size_inputs_valid_test"),
	IGNORED("dataset.validate_interval"),
	IGNORED("dataset.validate_interval_updates"),
	IGNORED("dataset.validate_after_updates"),
	IGNORED("dataset.valid_subset"),
	IGNORED("dataset.max_tokens_valid"),
	IGNORED("dataset.batch_size_valid"),
	IGNORED("dataset.ignore_unused_valid_subsets"),
	IGNORED("dataset.data_buffer_size"),
	IGNORED("dataset.dataset_impl"),

	INT("distributed_training.distributed_world_size", world_size, 1, 65536, "1",
		"workers of the run this imitates: an update takes a batch of each, on however many devices there are"),
	IGNORED("distributed_training.ddp_backend"),
	IGNORED("distributed_training.distributed_port"),
	IGNORED("distributed_training.nprocs_per_node"),
	IGNORED("distributed_training.distributed_backend"),
	IGNORED("distributed_training.find_unused_parameters"),

	FIXED("criterion._name", "model"),
	IGNORED("criterion.log_keys"),
	FIXED("criterion.loss_weights", "null"),
	IGNORED("criterion.can_sum"),

	INT("optimization.max_update", optimization.max_update, 0, COUNT_MAX, "0", "updates of the whole run; 0: no end"),
	INT("optimization.max_epoch", optimization.max_epoch, 0, COUNT_MAX, "0", "epochs of the whole run; 0: no end"),
	REAL("optimization.stop_time_hours", optimization.stop_time_hours, 0, 1e6, "0",
		"save and end after so many hours of this process; 0: never"),
	REAL("optimization.clip_norm", optimization.clip_norm, 0, 1e9, "0", "largest norm of the gradient; 0: no limit"),
	REALS("optimization.lr", optimization.lr, 0, 1e3, "0.25", "peak of the learning rate"),
	REALS("optimization.update_freq", optimization.update_freq, 1, 65536, "1",
		"batches of each worker in an update, by epoch"),
	IGNORED("optimization.debug_param_names"),
	IGNORED("optimization.sentence_avg"),
	FIXED("optimization.use_bmuf", "false"),
	FIXED("optimization.skip_remainder_batch", "false"),

	FIXED("optimizer._name", "adam|composite"),
	REALS("optimizer.adam_betas", optimizer.adam_betas, 0, 0.9999999, "(0.9, 0.999)", "decay of Adam's two averages"),
	REAL("optimizer.adam_eps", optimizer.adam_eps, 0, 1, "1e-8", "Adam's epsilon, before bias correction"),
	REAL("optimizer.weight_decay", optimizer.weight_decay, 0, 1e3, "0", "decoupled decay, times the learning rate"),
	IGNORED("optimizer.use_old_adam"), // always computed as that one does
	IGNORED("optimizer.fp16_adam_stats"),
	IGNORED("optimizer.dynamic_groups"),
	IGNORED("optimizer.tpu"),

	{ "lr_scheduler._name", D2V_FIELD_CHOICE, AT(lr_scheduler.kind), 0, 0, "cosine|tri_stage|polynomial_decay|fixed",
		"cosine", "how the learning rate moves" },
	INT("lr_scheduler.warmup_updates", lr_scheduler.warmup_updates, 0, COUNT_MAX, "0", "updates of linear warm-up"),
	REAL_OR_NULL("lr_scheduler.warmup_init_lr", lr_scheduler.warmup_init_lr, -1, 1e3, "null",
		"rate at the start of the warm-up; null or -1: min_lr"),
	REAL("lr_scheduler.min_lr", lr_scheduler.min_lr, 0, 1e3, "0", "cosine: rate at the end"),
	REAL_OR_NULL("lr_scheduler.lr_period_updates", lr_scheduler.lr_period_updates, -1, COUNT_MAX, "null",
		"cosine: updates of a period; null or -1: all after the warm-up"),
	REAL("lr_scheduler.t_mult", lr_scheduler.t_mult, 1, 1e6, "1", "cosine: growth of the next period"),
	REAL("lr_scheduler.lr_shrink", lr_scheduler.lr_shrink, 0, 1, "0.1", "cosine: factor of the next period's peak"),
	REALS("lr_scheduler.phase_ratio", lr_scheduler.phase_ratio, 0, 1, "0",
		"tri_stage: shares of max_update to rise, hold and fall; 0: the steps are given"),
	INT("lr_scheduler.hold_steps", lr_scheduler.hold_steps, 0, COUNT_MAX, "0", "tri_stage: updates at the peak"),
	INT("lr_scheduler.decay_steps", lr_scheduler.decay_steps, 0, COUNT_MAX, "0", "tri_stage: updates of the fall"),
	REAL("lr_scheduler.init_lr_scale", lr_scheduler.init_lr_scale, 0, 1, "0.01", "tri_stage: start over peak"),
	REAL("lr_scheduler.final_lr_scale", lr_scheduler.final_lr_scale, 0, 1, "0.01", "tri_stage: end over peak"),
	REAL("lr_scheduler.end_learning_rate", lr_scheduler.end_learning_rate, 0, 1e3, "0", "polynomial_decay: last rate"),
	REAL("lr_scheduler.power", lr_scheduler.power, 0.01, 100, "1", "polynomial_decay: its power"),
	IGNORED("lr_scheduler.max_update"), // an interpolation of optimization.max_update in fairseq
	IGNORED("lr_scheduler.total_num_update"),

	TEXT("checkpoint.save_dir", checkpoint.save_dir, "checkpoints", "folder of checkpoints, metrics and events"),
	INT("checkpoint.save_interval", checkpoint.save_interval, 0, COUNT_MAX, "1",
		"epochs between two savings of checkpoint_last; 0: never"),
	INT("checkpoint.save_interval_updates", checkpoint.save_interval_updates, 0, COUNT_MAX, "0",
		"updates between two numbered checkpoints; 0: never"),
	INT("checkpoint.keep_interval_updates", checkpoint.keep_interval_updates, -1, COUNT_MAX, "-1",
		"numbered checkpoints kept, the newest; -1: all"),
	BOOL("checkpoint.no_save", checkpoint.no_save, "false", "write no checkpoints"),
	IGNORED("checkpoint.no_epoch_checkpoints"), // there never are any
	IGNORED("checkpoint.no_last_checkpoints"),
	IGNORED("checkpoint.keep_last_epochs"),
	IGNORED("checkpoint.best_checkpoint_metric"),
	IGNORED("checkpoint.maximize_best_checkpoint_metric"),
	IGNORED("checkpoint.write_checkpoints_asynchronously"),

	TEXT("d2v.device", own.device, "auto", "cpu, cuda, cuda:N or auto; cuda:N:f16 works in f16 instead of bf16"),
	{ "d2v.loss_scaling", D2V_FIELD_CHOICE, AT(own.loss_scaling), 0, 0, "auto|always|never", "auto",
		"scale gradients by a power of two that adapts itself (common.fp16_*); auto: where the device works in f16" },
	INT("d2v.threads", own.threads, 0, 1024, "0",
		"compute threads; part of what makes two runs equal; 0: all processors"),
	BOOL("d2v.decay_all", own.decay_all, "true",
		"weight decay of gains, biases and alibi_scale too, as the original does it"),
	INT("d2v.max_damaged", own.max_damaged, 0, COUNT_MAX, "0",
		"damaged records that may be replaced by others before the run stops"),
	REAL("d2v.max_damaged_share", own.max_damaged_share, 0, 1, "0", "the same as a share of all records"),
	BOOL("d2v.recompute", own.recompute, "false",
		"less memory for more time: layers keep their outputs alone, the rest is computed again on the way back; the "
		"result is the same to the byte"),
	INT("d2v.clone_groups", own.clone_groups, 1, D2V_CLONE_GROUPS_MAX, "1",
		"less memory for smaller products: groups of a batch's samples whose masked copies are worked on one after the "
		"other; the recipe stays what it is"),
	BOOL("d2v.cuda_graph", own.cuda_graph, "false",
		"a GPU is given the next step as one graph, made while the step before runs; the result is the same to the "
		"byte"),
	INT("d2v.collapse_interval", own.collapse_interval, 0, COUNT_MAX, "200",
		"updates between two looks for collapse; 0: never"),
	INT("d2v.probe_interval", own.probe_interval, 0, COUNT_MAX, "0",
		"updates between two looks at what the teacher has learnt, by nearest neighbours; 0: never"),
	TEXT("d2v.probe_data", own.probe_data, "''", "labelled data set of these looks; empty: task.data"),
	INT("d2v.probe_samples", own.probe_samples, 2, COUNT_MAX, "2000",
		"samples of each half of these looks at most, the first of a keyed order"),
	INT("d2v.probe_k", own.probe_k, 1, 1024, "20", "neighbours"),
	INT("d2v.probe_layer", own.probe_layer, 0, 128, "0",
		"block whose output is looked at, counted from 1; 0: the mean of all"),
};

#define OWN_ROWS (sizeof rows / sizeof rows[0])
#define ROWS_MAX 512

const d2v_field *d2v_config_fields(void) {
	_Static_assert(offsetof(d2v_config, model) == 0, "the model's rows count from the start of the whole");
	static _Thread_local d2v_field all[ROWS_MAX];
	if (!all[0].path) {
		size_t count = OWN_ROWS;
		memcpy(all, rows, sizeof rows);
		for (const d2v_field *field = d2v_model_fields; field->path; field++) {
			D2V_ASSERT(count + 1 < ROWS_MAX);
			all[count++] = *field;
		}
	}
	return all;
}
