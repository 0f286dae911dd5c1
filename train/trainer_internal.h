// What the files of the trainer share: trainer.c (life and loop), trainer_update.c, trainer_save.c, trainer_report.c.
#ifndef D2V_TRAIN_TRAINER_INTERNAL_H
#define D2V_TRAIN_TRAINER_INTERNAL_H

#include "base/progress.h"
#include "train/metrics.h"
#include "train/tensorboard.h"
#include "train/trainer.h"

// What one update gave.
typedef struct d2v_update {
	uint64_t epoch;
	d2v_modality modality;
	double loss, loss_regression, loss_cls; // sums
	double sample_size;
	double pred_var, target_var, masked_pct; // mean over its batches
	double lr, ema_decay, grad_norm, clip_coef;
	double flops;
	uint64_t samples, audio_samples, text_tokens;
	double seconds;
	double waited;        // for the source; a GPU may have been at work meanwhile: the most that data cost
	uint64_t epoch_ended; // the epoch that ended with it; 0: none
	double loss_scale;    // of its gradients; 0: they were not scaled
	bool done;            // false: the last epoch ended with attempts that came to nothing (train/loss_scale.h)
} d2v_update;

// Sums over the updates since the last line.
typedef struct d2v_interval {
	uint64_t updates, clipped;
	d2v_update sum;
	struct {
		uint64_t updates;
		d2v_update sum;
	} part[D2V_MODALITY_END]; // by modality
} d2v_interval;

// A batch that the source has handed out, and where it stood then.
typedef struct d2v_taken {
	const d2v_batch *batch; // NULL: nothing was taken, or it failed
	d2v_source_position position;
	bool epoch_ended; // with this batch
	d2v_status status;
	d2v_error error;
} d2v_taken;

struct d2v_trainer {
	d2v_config config;
	d2v_trainer_options options;
	d2v_device *device;
	d2v_source *source;
	bool is_ahead;   // the next batch was taken already:
	d2v_taken ahead; // its failure, if it is one, belongs to the update that wants it
	d2v_model *model;
	d2v_optimizer *optimizer;
	d2v_schedule_config schedule;
	d2v_loss_scale_config scaling; // looked at when state.loss_scale is on
	char *stored_config;
	d2v_loop_state state;
	int lock;
	uint64_t saved; // updates of the newest checkpoint_last
	bool has_saved;
	double started; // of this process, d2v_clock
	uint64_t first; // updates done then
	d2v_metrics *metrics;
	d2v_tensorboard *board;
	d2v_progress *progress;
	d2v_interval interval;
	struct {
		bool fresh; // not in metrics.jsonl yet
		uint64_t update;
		d2v_probe_result result;
		double seconds, seconds_all; // of this look, and of all of this process
	} probed;
	bool terminal;
};

// Which collapse watch of the state looks at a modality.
static inline int d2v_trainer_watch(const d2v_trainer *trainer, d2v_modality modality) {
	return d2v_config_is_joint(&trainer->config) ? (int)modality : 0;
}

// Why the run is over in this state, or NULL.
const char *d2v_trainer_end_reason(const d2v_trainer *trainer, const d2v_loop_state *state);

// trainer_update.c: one update. On failure neither the weights nor the counters have moved.
d2v_status d2v_trainer_update(d2v_trainer *trainer, d2v_update *update, d2v_error *err);
// Gives back what was taken ahead, so that the source stands where the run does.
d2v_status d2v_trainer_give_back(d2v_trainer *trainer, d2v_error *err);

// trainer_save.c
d2v_status d2v_trainer_resume(d2v_trainer *trainer, d2v_error *err); // initial values, or those of save_dir
d2v_status d2v_trainer_save_if_due(d2v_trainer *trainer, const d2v_update *update, d2v_error *err);
d2v_status d2v_trainer_save_last(d2v_trainer *trainer, d2v_error *err); // unless it has been

// trainer_probe.c: looks when it is time to.
d2v_status d2v_trainer_probe_if_due(d2v_trainer *trainer, d2v_error *err);

// trainer_report.c
d2v_status d2v_trainer_open_reports(d2v_trainer *trainer, d2v_error *err);
d2v_status d2v_trainer_report(d2v_trainer *trainer, const d2v_update *update, bool last, d2v_error *err);

#endif
