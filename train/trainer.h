// The training loop: takes batches from a source, updates the model, saves, and says how it goes.
//
// One update (spec/model.md 1): the teacher moves, the batches of all workers of the run that is imitated are worked
// through one after the other with their gradients added up, the sum is divided by the summed sample sizes, clipped,
// and applied.
//
// What is in save_dir is gone on from: a run that was killed at any moment and started again ends with the bytes of the
// run that never was. A full disk while saving is a warning; the run goes on and tries again at the next save; only the
// last save fails the run. metrics.jsonl and the event files are cut back to the checkpoint that is gone on from.
//
// Life: new (resumes) -> run -> free. The device and the source are borrowed until free; the source stands where the
// run does. One thread calls.
#ifndef D2V_TRAIN_TRAINER_H
#define D2V_TRAIN_TRAINER_H

#include "loaders/source.h"
#include "train/checkpoint.h"
#include "train/config.h"

// Looks at what the model has learnt so far, from outside: the trainer calls it, and says what it found and what it
// cost.
typedef struct d2v_probe_result {
	double accuracy, low, high; // low and high: its 95 % interval
	int64_t count;              // samples it was tried on
} d2v_probe_result;
typedef struct d2v_probe {
	// May run feature passes of the model and nothing else. NULL: there is no probe.
	d2v_status (*look)(void *context, d2v_model *model, d2v_probe_result *result, d2v_error *err);
	void *context;
	uint64_t interval; // updates between two looks; the first is before the first update
} d2v_probe;

typedef struct d2v_trainer_options {
	bool quiet;               // no lines about progress; warnings stay
	bool (*stop_asked)(void); // looked at after every update: true saves and ends with D2V_INTERRUPTED. NULL: never
	double peak_flops;        // matrix products of the device at their best, for the share reached; 0: unknown
	d2v_probe probe;
} d2v_trainer_options;

typedef struct d2v_trainer d2v_trainer;

// config: resolved; copied. D2V_EXISTS when another program trains in save_dir, D2V_INVALID when what lies there is
// another model.
d2v_status d2v_trainer_new(d2v_trainer **trainer, const d2v_config *config, d2v_device *device, d2v_source *source,
	const d2v_trainer_options *options, d2v_error *err);
void d2v_trainer_free(d2v_trainer *trainer); // NULL is allowed
// Until optimization.max_update, max_epoch or stop_time_hours; saves at the end. D2V_INTERRUPTED: asked to stop, saved.
// D2V_DIVERGED: not a number, or collapsed (min_target_var, min_pred_var; then the state was saved).
d2v_status d2v_trainer_run(d2v_trainer *trainer, d2v_error *err);

// For tests and for looking inside.
const d2v_loop_state *d2v_trainer_state(const d2v_trainer *trainer);
d2v_model *d2v_trainer_model(d2v_trainer *trainer);

#endif
