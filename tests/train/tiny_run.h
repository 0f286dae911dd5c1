// A speech model of a few thousand parameters and batches made up for it, for tests of everything around the model.
#ifndef D2V_TESTS_TRAIN_TINY_RUN_H
#define D2V_TESTS_TRAIN_TINY_RUN_H

#include "loaders/source.h"
#include "train/model.h"
#include "train/optimizer.h"

typedef struct tiny_run {
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	d2v_source *source;
} tiny_run;

d2v_model_config tiny_model_config(void);
// Synthetic batches of 2 utterances of `length` audio samples that suit the model.
d2v_status tiny_source_open(d2v_source **source, const d2v_model_config *config, d2v_error *err);
// All of it, initialised; fails the test when it cannot.
void tiny_run_open(tiny_run *run, const d2v_model_config *config);
void tiny_run_close(tiny_run *run);
// Updates from `first` (updates done) on; *digest (may be NULL) takes the batches' digests in.
void tiny_run_train(tiny_run *run, uint64_t first, int updates, uint64_t *digest);

#endif
