// What a d2v_model is made of; for train/model*.c only.
#ifndef D2V_TRAIN_MODEL_INTERNAL_H
#define D2V_TRAIN_MODEL_INTERNAL_H

#include "train/encoder.h"
#include "train/model.h"

// What a step is asked for with.
typedef struct d2v_step_wish {
	const d2v_batch *host;
	const d2v_batch_place *place; // where it is
	bool gradients;               // a training step; otherwise an evaluation
	bool *touched;                // (params.count) what gets a gradient is marked
	uint64_t update, part;        // part: the batch's number within the update
} d2v_step_wish;

// A step that was asked for and not waited for.
typedef struct d2v_step_running {
	const d2v_batch *batch; // NULL: there is none
	const double *sums;     // on the device, as model_step.c knows them; NULL: of an empty batch
	int64_t groups;
	d2v_step_view view;
} d2v_step_running;

// What was done for the next training step while one ran: its batch is in the other place, and maybe its operations are
// kept by the device. They are only good for what they were asked for with.
typedef struct d2v_step_ahead {
	d2v_step_running running; // as it will be; batch NULL: nothing was done
	uint64_t index, digest;   // of the batch
	bool kept;
	uint64_t update, part;
	const void *block; // the arena's memory then
	bool *touched;     // (params.count) what they do to model->touched
} d2v_step_ahead;

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
	d2v_batch_place places[2];
	int place; // the last step's or feature pass's; the other one is for the batch that comes next
	d2v_step_running running;
	d2v_step_ahead ahead;
	uint64_t last_update; // of the last training step
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
d2v_real *d2v_model_final_norm(const d2v_model *model, d2v_pass *pass, const d2v_block_tokens *tokens, d2v_real *x);
// Brings a batch to one of the places, beside what runs; no operation that still runs may read that place. What is
// asked for after d2v_device_await_uploads may. masks: false for whole samples; training: with what only the way back
// needs.
d2v_status d2v_model_place_batch(d2v_model *model, d2v_batch_place *place, const d2v_encoder *encoder,
	const d2v_batch *batch, bool masks, bool training, d2v_error *err);
d2v_batch_parts d2v_model_batch_parts(
	const d2v_encoder *encoder, const d2v_batch_place *place, bool masks, bool training, int64_t width);
// Asks for all operations of a step (model_step.c). in_room: fails rather than taking more memory.
d2v_status d2v_model_run_step(
	d2v_model *model, const d2v_step_wish *wish, bool in_room, d2v_step_running *running, d2v_error *err);
d2v_status d2v_model_await_step(
	d2v_model *model, const d2v_step_running *running, d2v_step_result *result, d2v_error *err);
// The arena over the model's block, grown to `bytes`: what it held before is of no use any more.
d2v_status d2v_model_make_room(d2v_model *model, d2v_arena *arena, size_t bytes, d2v_error *err);

#endif
