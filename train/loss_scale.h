// Dynamic loss scaling, for a working type with too little range for gradients (f16), as the original does it (spec/recipes.md
// 2.6).
//
// What the backward pass starts from is multiplied by the scale, and what reaches the optimizer divided by it, so that small
// gradients are numbers of the working type. When the gradient's norm is not finite, the scale was too large: it is halved, and
// the update does not happen. After `window` updates without that it is doubled. Scales are powers of two, so the scale alone
// changes no bit of a number that fits; losses are told without it.
//
// An attempt whose update did not happen leaves weights, moments, schedule and the number of updates as they were. Its batches
// are used up, and the next ones are tried at once with the same teacher, which has moved already: only whole updates are ever
// saved, so a run that is killed in between goes on as if it had not been.
#ifndef D2V_TRAIN_LOSS_SCALE_H
#define D2V_TRAIN_LOSS_SCALE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum d2v_loss_scaling { // d2v.loss_scaling
	D2V_LOSS_SCALING_AUTO,      // where the working type is f16
	D2V_LOSS_SCALING_ALWAYS,
	D2V_LOSS_SCALING_NEVER,
} d2v_loss_scaling;

typedef struct d2v_loss_scale_config { // common.*
	double init;      // a power of two
	double minimum;   // where the scale would fall to this, the run stops
	double threshold; // a power of two: the scale is not halved below this; 0: it may be
	uint64_t window;  // updates between two doublings
} d2v_loss_scale_config;

typedef struct d2v_loss_scale { // part of the loop's state
	double scale;               // 0: gradients are not scaled
	uint64_t good;              // updates since it last changed, or a window was full
	uint64_t skipped;           // attempts of the whole run that came to nothing
} d2v_loss_scale;

// After an update that happened.
void d2v_loss_scale_grow(d2v_loss_scale *state, const d2v_loss_scale_config *config);
// After one that did not: lowers the scale. D2V_DIVERGED when it cannot be lowered any more; then nothing is changed.
d2v_status d2v_loss_scale_shrink(d2v_loss_scale *state, const d2v_loss_scale_config *config, d2v_error *err);

#endif
