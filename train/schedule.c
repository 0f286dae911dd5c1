// Learning-rate schedules as fairseq's lr_scheduler package computes them.
#include "train/optimizer.h"

#include <math.h>

static double cosine(const d2v_schedule_config *config, double updates) {
	double warmup = (double)config->warmup_updates, least = fmin(config->min_lr, config->lr);
	double start = isnan(config->warmup_init_lr) || config->warmup_init_lr < 0 ? least : config->warmup_init_lr;
	if (updates < warmup)
		return start + updates * (config->lr - start) / warmup;
	double period = config->lr_period_updates;
	if (isnan(period) || period <= 0)
		period = (double)(config->max_update - config->warmup_updates);
	if (!(period > 0))
		return config->lr;
	double since = updates - warmup, mult = config->t_mult;
	double round, length = period, into;
	if (mult != 1) {
		round = floor(log(1 - since / period * (1 - mult)) / log(mult));
		length = pow(mult, round) * period;
		into = since - (1 - pow(mult, round)) / (1 - mult) * period;
	} else {
		round = floor(since / period);
		into = since - period * round;
	}
	double shrink = pow(config->lr_shrink, round);
	double low = least * shrink, high = config->lr * shrink;
	return low + 0.5 * (high - low) * (1 + cos(M_PI * into / length));
}

static double tri_stage(const d2v_schedule_config *config, double updates) {
	double warmup = (double)config->warmup_updates, hold = (double)config->hold_steps;
	double decay = (double)config->decay_steps;
	const double *ratio = config->phase_ratio;
	if (ratio[0] != 0 || ratio[1] != 0 || ratio[2] != 0) {
		warmup = trunc((double)config->max_update * ratio[0]);
		hold = trunc((double)config->max_update * ratio[1]);
		decay = trunc((double)config->max_update * ratio[2]);
	}
	double start = config->init_lr_scale * config->lr;
	if (updates < warmup)
		return start + (config->lr - start) / warmup * updates;
	if (updates < warmup + hold)
		return config->lr;
	double into = updates - warmup - hold;
	if (decay > 0 && into <= decay)
		return config->lr * exp(log(config->final_lr_scale) / decay * into);
	return config->lr * config->final_lr_scale;
}

static double polynomial(const d2v_schedule_config *config, double updates) {
	double warmup = (double)config->warmup_updates, total = (double)config->max_update;
	if (warmup > 0 && updates <= warmup)
		return config->lr * (updates / warmup);
	if (updates >= total)
		return config->end_learning_rate;
	double left = 1 - (updates - warmup) / (total - warmup);
	return (config->lr - config->end_learning_rate) * pow(left, config->power) + config->end_learning_rate;
}

// Its warm-up counts the update that is made, unlike those of the others.
static double fixed(const d2v_schedule_config *config, double updates) {
	double warmup = (double)config->warmup_updates;
	return updates < warmup ? config->lr * ((updates + 1) / warmup) : config->lr;
}

double d2v_schedule_lr(const d2v_schedule_config *config, uint64_t updates_done) {
	double updates = (double)updates_done;
	switch (config->kind) {
	case D2V_SCHEDULE_COSINE:
		return cosine(config, updates);
	case D2V_SCHEDULE_TRI_STAGE:
		return tri_stage(config, updates);
	case D2V_SCHEDULE_POLYNOMIAL:
		return polynomial(config, updates);
	case D2V_SCHEDULE_FIXED:
		return fixed(config, updates);
	}
	return config->lr;
}
