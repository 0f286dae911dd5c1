// What a d2v_model is made of; for train/model*.c only.
#ifndef D2V_TRAIN_MODEL_INTERNAL_H
#define D2V_TRAIN_MODEL_INTERNAL_H

#include "train/encoder.h"
#include "train/model.h"

struct d2v_model {
	d2v_device *device; // borrowed
	d2v_model_config config;
	d2v_params params;

	// The parts, as places in the list of parameters.
	d2v_encoder encoders[3]; // one a modality
	int encoder_count;
	d2v_blocks trunk;
	int norm_gain, norm_bias; // after the trunk, with layer_norm_first

	// Device memory. The working copies are NULL where the working type is float: then the masters themselves are used.
	float *weights, *gradients, *teacher;
	d2v_real *working, *teacher_working;
	float *slopes; // (H)

	d2v_range *teacher_ranges, *student_ranges; // (params.count) room for ema.c
	bool *touched;
	uint64_t parts; // batches since the gradients were zeroed
	double gradient_scale;

	void *block; // the arena's memory, grown when a batch needs more
	size_t block_size;
	d2v_tape tape;
	d2v_padding padding;
	d2v_token_order token_order; // of the last training step's text
	d2v_profile *profile; // or NULL
	bool watch;
	d2v_memory_options memory;
	d2v_step_view view;
};

// Shared by what runs the model: steps (model_step.c) and features (model_features.c).
const d2v_encoder *d2v_model_encoder(const d2v_model *model, d2v_modality modality); // NULL: it has none
// A pass without gradients, over the student's weights or the teacher's.
d2v_pass d2v_model_pass(d2v_model *model, d2v_arena *arena, bool teacher);
// The norm after the trunk, of layer_norm_first; x itself otherwise.
d2v_real *d2v_model_final_norm(const d2v_model *model, d2v_pass *pass, const d2v_tokens *tokens, d2v_real *x);
// Which keys are padding, from batch->valid.
d2v_status d2v_model_set_padding(d2v_model *model, const d2v_encoder *encoder, const d2v_batch *batch, d2v_error *err);
// The arena over the model's block, grown to `bytes`: what it held before is of no use any more.
d2v_status d2v_model_make_room(d2v_model *model, d2v_arena *arena, size_t bytes, d2v_error *err);

#endif
