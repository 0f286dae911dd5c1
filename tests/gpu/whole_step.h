// Whole training steps of a recipe on synthetic batches of one shape, one after the other as the trainer makes them:
// what one takes on average, by the clock, when nothing waits for data.
//
// The time of a step is the mean over the counted updates, not the best of them: updates differ (layer drop leaves out
// work, clocks move), and a run is made of all of them.
#ifndef D2V_TESTS_GPU_WHOLE_STEP_H
#define D2V_TESTS_GPU_WHOLE_STEP_H

#include "kernels/device.h"
#include "train/model.h"

typedef struct whole_step {
	const char *recipe;
	int32_t samples, length, tokens; // of a batch: B; audio samples of each, or tokens of each
	d2v_memory_options memory;
	// As the recipe says. Without it no layer of the student is left out, and the FLOPs counted are FLOPs done.
	bool layer_drop;
	int updates; // counted, after those that warm up; 0: 10
} whole_step;

typedef struct whole_step_times {
	double mean, median; // seconds of an update
} whole_step_times;

typedef struct whole_step_result {
	whole_step_times plain, as_graph;
	double flops;            // of a step, as if all layers had run
	double taken, planned;   // bytes of device memory; planned: as `d2v-train --plan` says
	d2v_graph_counts graphs; // of the device so far
} whole_step_result;

d2v_status whole_step_measure(
	d2v_device *device, const whole_step *step, double peak_flops, whole_step_result *result, d2v_error *err);

#endif
