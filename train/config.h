// The configuration of a training run, in fairseq's sections and with its field names, plus a `d2v` section for what
// fairseq lacks.
//
// Life: defaults -> a YAML (or several) -> `key=value`s -> d2v_config_resolve -> read-only. A plain value; copy it
// freely. fairseq's own YAMLs load as they are: keys that make no difference here are accepted (config_table.c),
// the composite optimizer is understood when its groups are equal (config_fairseq.c). The device, the number of
// threads, and where things lie on disk never reach a checkpoint: d2v_config_stored leaves them out.
#ifndef D2V_TRAIN_CONFIG_H
#define D2V_TRAIN_CONFIG_H

#include "train/loss_scale.h"
#include "train/model_config.h"
#include "train/optimizer.h"

typedef struct d2v_common_config {
	int64_t seed, log_interval;
	char tensorboard_logdir[D2V_FIELD_TEXT_MAX]; // relative: below save_dir; empty: none
	double fp16_init_scale, min_loss_scale, threshold_loss_scale; // threshold 0: none
	int64_t fp16_scale_window;                                    // 0: from the number of workers
} d2v_common_config;

// One data set of a joint run. Zeros and empty texts mean what dataset.* says.
typedef struct d2v_task_part {
	char data[D2V_FIELD_TEXT_MAX];
	char train_subset[D2V_FIELD_TEXT_MAX];
	double share; // of the updates; all 0: in proportion to the numbers of batches
	int64_t max_tokens, batch_size;
} d2v_task_part;

typedef struct d2v_task_config {
	char data[D2V_FIELD_TEXT_MAX]; // of a run on one data set
	int64_t min_sample_size, max_sample_size, sample_rate;
	bool normalize;
	int64_t input_size;               // pictures; resolved to the model's
	int64_t tokens_per_sample;        // text; resolved to the model's
	d2v_task_part audio, image, text; // of a joint run
} d2v_task_config;

typedef struct d2v_dataset_config {
	int64_t num_workers, max_tokens, batch_size, required_batch_size_multiple;
	char train_subset[D2V_FIELD_TEXT_MAX]; // empty: the only split, or "train"
} d2v_dataset_config;

typedef struct d2v_optimization_config {
	int64_t max_update, max_epoch; // 0: no limit
	double stop_time_hours;        // 0: no limit
	double clip_norm;
	d2v_field_reals lr;          // one value
	d2v_field_reals update_freq; // by epoch, the last one goes on
} d2v_optimization_config;

typedef struct d2v_adam_config {
	d2v_field_reals adam_betas;
	double adam_eps, weight_decay;
} d2v_adam_config;

typedef struct d2v_lr_config {
	int kind; // d2v_schedule_kind
	int64_t warmup_updates, hold_steps, decay_steps;
	double warmup_init_lr, min_lr, lr_period_updates, t_mult, lr_shrink;
	double init_lr_scale, final_lr_scale, end_learning_rate, power;
	d2v_field_reals phase_ratio; // three shares of max_update, or 0: the steps above
} d2v_lr_config;

typedef struct d2v_saving_config {
	char save_dir[D2V_FIELD_TEXT_MAX];
	int64_t save_interval;         // epochs between two checkpoint_last; 0: never
	int64_t save_interval_updates; // updates between two numbered checkpoints; 0: never
	int64_t keep_interval_updates; // numbered ones kept; -1: all
	bool no_save;
} d2v_saving_config;

typedef struct d2v_own_config {
	char device[D2V_FIELD_TEXT_MAX];
	int64_t threads; // compute threads; 0: all processors
	int loss_scaling; // d2v_loss_scaling
	bool decay_all;
	bool cuda_graph;
	int64_t max_damaged;
	double max_damaged_share;
	int64_t collapse_interval;           // updates between two looks; 0: never
	int64_t probe_interval;              // updates between two probes of the teacher; 0: never
	char probe_data[D2V_FIELD_TEXT_MAX]; // empty: task.data
	int64_t probe_samples, probe_k, probe_layer;
	bool recompute;
	int64_t clone_groups;
} d2v_own_config;

typedef struct d2v_config {
	d2v_model_config model; // first: the rows of d2v_model_fields count from its start
	d2v_common_config common;
	d2v_task_config task;
	d2v_dataset_config dataset;
	int64_t world_size; // distributed_training.distributed_world_size: workers of the run this imitates
	d2v_optimization_config optimization;
	d2v_adam_config optimizer;
	d2v_lr_config lr_scheduler;
	d2v_saving_config checkpoint;
	d2v_own_config own;
} d2v_config;

// All rows: those of config_table.c and d2v_model_fields. Ends with a row whose path is NULL.
const d2v_field *d2v_config_fields(void);

d2v_status d2v_config_defaults(d2v_config *config, d2v_error *err);
// Over what is there already. `where` is the file's name for messages.
d2v_status d2v_config_read_yaml(d2v_config *config, const char *text, size_t size, const char *where, d2v_error *err);
// One `key=value`. The keys of a composite optimizer's group are not known here, the plain ones are.
d2v_status d2v_config_override(d2v_config *config, const char *assignment, d2v_error *err);
// Values that stand for others are replaced by them (model.seed -1, ema_anneal_end_step -1), and everything that the
// table cannot say is checked. Doing it twice changes nothing.
d2v_status d2v_config_resolve(d2v_config *config, d2v_error *err);

// YAML of everything, each field with what it means, which reads back as the same (--print-config). d2v_free.
d2v_status d2v_config_print(const d2v_config *config, char **text, d2v_error *err);
// YAML of what decides a run, for checkpoints. d2v_free.
d2v_status d2v_config_stored(const d2v_config *config, char **text, d2v_error *err);
// What differs from such a text of an earlier run.
typedef struct d2v_config_difference {
	char model_key[256];  // the first of `model`, "" when none: weights cannot be carried over
	char other_keys[512]; // all others, separated by commas
} d2v_config_difference;
d2v_status d2v_config_compare(
	const d2v_config *config, const char *stored, const char *where, d2v_config_difference *difference, d2v_error *err);

d2v_optimizer_config d2v_config_optimizer(const d2v_config *config);
d2v_schedule_config d2v_config_schedule(const d2v_config *config);
d2v_loss_scale_config d2v_config_loss_scale(const d2v_config *config);
d2v_memory_options d2v_config_memory(const d2v_config *config);
// The data set of a modality: of a joint run the modality's own, of others task.data; with dataset.* where it says
// nothing.
d2v_task_part d2v_config_part(const d2v_config *config, d2v_modality modality);
// Whether the model has more than one modality.
bool d2v_config_is_joint(const d2v_config *config);
// Batches that one update takes on one device, in an epoch counted from 1.
int64_t d2v_config_batches_per_update(const d2v_config *config, uint64_t epoch);

// A fairseq tree in our shape, changed in place (config_fairseq.c): "lr_scheduler: pass_through" and the equal groups
// of a composite optimizer become the plain sections, and what the tasks of a joint run say of their modality becomes
// task.*.
d2v_status d2v_config_from_fairseq(json_t *tree, const char *where, d2v_error *err);

#endif
