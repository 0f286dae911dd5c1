// A golden case: a folder with a configuration, initial weights, batches and what the original implementation made of
// them.
#ifndef D2V_TESTS_GOLDEN_CASE_H
#define D2V_TESTS_GOLDEN_CASE_H

#include "loaders/batch.h"
#include "train/model.h"
#include "train/optimizer.h"
#include "train/safetensors.h"

typedef struct golden_case {
	const char *folder; // borrowed
	json_t *config, *steps, *noise;
	d2v_model_config model;
	d2v_optimizer_config optimizer;
	d2v_schedule_config schedule;
	int64_t step_count;
} golden_case;

// D2V_UNSUPPORTED with a sentence for a modality or kind of case that d2v does not build yet. Released in every case.
d2v_status golden_case_open(golden_case *golden, const char *folder, d2v_error *err);
// The model alone: config.json without optimizer and updates, as cases of features have it.
d2v_status golden_case_open_model(golden_case *golden, const char *folder, d2v_error *err);
void golden_case_release(golden_case *golden);
d2v_modality golden_case_modality(const golden_case *golden, int64_t update); // 0: none that d2v knows
// "<folder>/<kind>_<update>.safetensors", or "<folder>/<kind>.safetensors" for a negative update.
d2v_status golden_case_tensors(
	const golden_case *golden, const char *kind, int64_t update, d2v_safetensors **file, d2v_error *err);
// Puts init.safetensors into the model; the teacher becomes a copy. Names that do not match are an error; a case of
// features may lack the decoders.
d2v_status golden_case_load(const golden_case *golden, d2v_model *model, d2v_error *err);

typedef struct golden_batch {
	d2v_batch batch;
	d2v_safetensors *file;
	int32_t *text, *keep, *restore, *masked, *valid;
} golden_batch;
// "batch_<update>", or only the input of "<kind>_<number>".
d2v_status golden_batch_open_input(
	golden_batch *out, const golden_case *golden, const char *kind, int64_t number, d2v_error *err);
d2v_status golden_batch_open(golden_batch *out, const golden_case *golden, int64_t update, d2v_error *err);
void golden_batch_release(golden_batch *batch);

#endif
