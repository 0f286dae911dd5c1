// Adam as the original does it, gradient scale and clipping (spec/recipes.md 2), and learning-rate schedules.
//
// Every trainable parameter is decayed, gains and biases included, as in the original; `decay_all` false exempts
// one-dimensional parameters, biases and alibi_scale (what the original's tags meant to do). Parameters without a
// gradient in an update (layer-dropped blocks in f32, golden README 26) are skipped by Adam: the model says which
// (d2v_model_touched), and step counters are per parameter.
#ifndef D2V_TRAIN_OPTIMIZER_H
#define D2V_TRAIN_OPTIMIZER_H

#include "train/model.h"

typedef struct d2v_optimizer_config { // optimizer.*, optimization.*
	double lr, beta1, beta2, adam_eps, weight_decay, clip_norm;
	bool decay_all;
} d2v_optimizer_config;

typedef struct d2v_optimizer d2v_optimizer; // borrows the model

d2v_status d2v_optimizer_new(
	d2v_optimizer **optimizer, d2v_model *model, const d2v_optimizer_config *config, d2v_error *err);
void d2v_optimizer_free(d2v_optimizer *optimizer);
// First and second moments: flat device arrays of params.size floats; steps: host array, one counter per parameter.
float *d2v_optimizer_m(d2v_optimizer *optimizer);
float *d2v_optimizer_v(d2v_optimizer *optimizer);
int64_t *d2v_optimizer_steps(d2v_optimizer *optimizer);

typedef struct d2v_optimizer_result {
	double grad_norm; // after the division, before clipping
	double clip_coef; // 1: not clipped
} d2v_optimizer_result;
// Divides the model's gradients by `divisor` (the sample size, times what they were scaled by; 0: by 1), clips (min(1, clip/(norm+1e-6)) when clip > 0), updates,
// working copies too. A non-finite norm: D2V_DIVERGED, nothing was changed.
d2v_status d2v_optimizer_update(
	d2v_optimizer *optimizer, double divisor, double lr, d2v_optimizer_result *result, d2v_error *err);

typedef enum d2v_schedule_kind {
	D2V_SCHEDULE_COSINE,
	D2V_SCHEDULE_TRI_STAGE,
	D2V_SCHEDULE_POLYNOMIAL,
	D2V_SCHEDULE_FIXED
} d2v_schedule_kind;
typedef struct d2v_schedule_config { // lr_scheduler.*
	d2v_schedule_kind kind;
	double lr, min_lr, warmup_init_lr; // warmup_init_lr NaN: min_lr
	int64_t warmup_updates, max_update;
	double lr_period_updates, t_mult, lr_shrink; // cosine; lr_period_updates NaN: max_update - warmup
	double init_lr_scale, final_lr_scale;        // tri_stage
	double phase_ratio[3];                       // tri_stage; all 0: steps below are used
	int64_t hold_steps, decay_steps;
	double end_learning_rate, power; // polynomial_decay
} d2v_schedule_config;
// The rate of the update that is made when `updates_done` are done (recipes.md 2.7).
double d2v_schedule_lr(const d2v_schedule_config *config, uint64_t updates_done);

#endif
