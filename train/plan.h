// What a run would cost, before it is made: parameters, work, memory, disk, time.
//
// All numbers but the time are counted; the time is work divided by a measured speed of matrix products times an
// assumed share of it that training reaches. The plan's data is what the caller knows of the batches; train/ does not
// look at data sets.
#ifndef D2V_TRAIN_PLAN_H
#define D2V_TRAIN_PLAN_H

#include "base/json.h"
#include "train/config.h"
#include "train/model.h"

// A batch's shape, and how many batches of an epoch have it.
typedef struct d2v_plan_shape {
	d2v_modality modality;
	int64_t batch;  // utterances, pictures, blocks of text
	int64_t length; // of each: audio samples, or tokens of text; pictures: not looked at
	double count;
} d2v_plan_shape;

typedef struct d2v_plan_data {
	const d2v_plan_shape *shapes; // at least one; borrowed
	int count;
	bool assumed;         // no data set was given: one shape stands for all, and there is no epoch
	double updates_epoch; // 0: unknown
	double bytes_epoch;   // read from the data set in an epoch; 0: unknown
} d2v_plan_data;

// What the trainer is expected to reach (docs/performance.md): of products measured, and of a data sheet.
#define D2V_PLAN_EFFICIENCY 0.6
#define D2V_PLAN_MFU 0.4
#define D2V_PLAN_MEMORY 0.97 // of the device's: the rest is its driver's, its libraries' and small change

#define D2V_PLAN_GROUP_TOKENS 8192 // of a clone group at least, for its products to keep a GPU as busy as larger ones

// The memory of a step with and without the two options that save some.
enum { D2V_PLAN_PLAIN, D2V_PLAN_GROUPS, D2V_PLAN_RECOMPUTE, D2V_PLAN_BOTH, D2V_PLAN_WAYS };
typedef struct d2v_plan_way {
	// With as few clone groups as the device needs; where it needs none, two, and where none are enough, one a sample.
	d2v_memory_options memory;
	double step_bytes;
	bool fits;
} d2v_plan_way;

typedef struct d2v_plan {
	int64_t parameters, teacher_parameters;
	double batches_update, samples_update; // means
	double audio_seconds_update, pictures_update, text_tokens_update;
	double flops_update;
	double weight_bytes, optimizer_bytes,
		step_bytes; // weights, gradients and teacher; moments; the largest batch's activations
	double checkpoint_bytes;
	double device_bytes;   // all memory of the device
	int64_t fitting_batch; // of the largest batch that fits, when step_bytes do not; 0: they do. -1: not even one
						   // sample fits
	d2v_plan_way ways[D2V_PLAN_WAYS];
	int way;                                   // the one of these that fits and costs the least time; -1: none fits
	double recompute_share;                    // of flops_update, that recomputation adds
	double updates_epoch, epochs, audio_hours; // 0: unknown; of the whole run
	double peak_flops, efficiency, updates_hour, hours; // efficiency: the share of the peak that is assumed
	// What the loader must deliver for that; bytes 0: unknown.
	double loader_times_real, loader_pictures_second, loader_tokens_second, loader_bytes_second;
	bool assumed;
} d2v_plan;

// Matrix products of the device at their best, in FLOP/s: by the data sheet of a GPU that is known, otherwise measured
// in about a tenth of a second.
d2v_status d2v_plan_measure_peak(d2v_device *device, double *flops, d2v_error *err);
// peak_flops 0: not known, and nothing is said of time.
d2v_status d2v_plan_make(d2v_plan *plan, const d2v_config *config, d2v_device *device, const d2v_plan_data *data,
	double peak_flops, d2v_error *err);
// plan_text.c: the plan as a tree (--json) and in words. Owned by the caller; d2v_free.
d2v_status d2v_plan_tree(const d2v_plan *plan, json_t **tree, d2v_error *err);
d2v_status d2v_plan_text(const d2v_plan *plan, const d2v_config *config, char **text, d2v_error *err);

#endif
