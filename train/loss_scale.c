#include "train/loss_scale.h"

#define FACTOR 2.0
#define LARGEST 0x1p126 // its double is a float still

void d2v_loss_scale_grow(d2v_loss_scale *state, const d2v_loss_scale_config *config) {
	state->good++;
	if (state->good < config->window)
		return;
	state->good = 0;
	if (state->scale <= LARGEST)
		state->scale *= FACTOR;
}

d2v_status d2v_loss_scale_shrink(d2v_loss_scale *state, const d2v_loss_scale_config *config, d2v_error *err) {
	double scale = state->scale / FACTOR;
	if (scale < config->threshold)
		scale = config->threshold;
	if (!(scale > config->minimum))
		return d2v_fail(err, D2V_DIVERGED,
			"the gradients are not finite even when they are scaled by %g, and common.min_loss_scale is %g: nothing was "
			"updated; train in bf16, which has the range of f32 (--device cuda:0), or go on from an earlier checkpoint with a lower "
			"optimization.lr or with optimization.clip_norm",
			state->scale, config->minimum);
	state->scale = scale;
	state->good = 0;
	state->skipped++;
	return D2V_OK;
}
