// The data2vec 2.0 pretraining model: student, teacher, targets and losses, forward and backward (spec/model.md).
//
// Written once against kernels/ops.h. The forward pass records the operations it ran (tape.h); the backward pass walks
// the record in reverse. All memory of a step is one arena on the device, planned per batch shape by running the same
// code with a measuring arena while operations are dry. Nothing is cloned in memory: the masked copies are gathered on
// reading, targets are indexed by sample.
//
// Life: new -> init | load -> (step -> optimizer) ... -> free. One thread.
#ifndef D2V_TRAIN_MODEL_H
#define D2V_TRAIN_MODEL_H

#include "kernels/device.h"
#include "kernels/ops.h"
#include "loaders/batch.h"
#include "train/model_config.h"
#include "train/params.h"

typedef struct d2v_model d2v_model;

// config is copied. The device must outlive the model.
d2v_status d2v_model_new(d2v_model **model, d2v_device *device, const d2v_model_config *config, d2v_error *err);
// The same with weights that are never touched, so that on a CPU the memory of a large model is only promised: for
// parameters, d2v_model_step_memory and the like. No steps, no features.
d2v_status d2v_model_outline(d2v_model **model, d2v_device *device, const d2v_model_config *config, d2v_error *err);
void d2v_model_free(d2v_model *model);
const d2v_model_config *d2v_model_configuration(const d2v_model *model);
const d2v_params *d2v_model_params(const d2v_model *model);
d2v_device *d2v_model_device(const d2v_model *model);

// Initial values from config.seed; the teacher becomes a copy of the student.
d2v_status d2v_model_init(d2v_model *model, d2v_error *err);
// Flat arrays in device memory (params.size floats; teacher: params.teacher_size). The optimizer and checkpoints work
// on these.
float *d2v_model_weights(d2v_model *model);
float *d2v_model_gradients(d2v_model *model);
float *d2v_model_teacher(d2v_model *model);
// The weights in the device's working type, kept by whoever changes them; NULL where that is float.
d2v_real *d2v_model_working(d2v_model *model);
// Whether parameter i got a gradient since the gradients were last zeroed (layer drop leaves some out); what was not
// touched the optimizer skips. (params.count)
const bool *d2v_model_touched(const d2v_model *model);
void d2v_model_zero_gradients(d2v_model *model);
// Seconds by stage and operation of the steps to come are added to it; NULL: no profile. Borrowed.
struct d2v_profile;
void d2v_model_set_profile(d2v_model *model, struct d2v_profile *profile);
// What steps do to need less memory. Zeros: nothing.
typedef struct d2v_memory_options {
	// Blocks and convolutional layers keep only their outputs; the rest is computed again on the way back. The bytes of
	// the result are the same.
	bool recompute;
	// Groups of samples whose copies are worked on one group after another, the teacher once for all of them (clone
	// accumulation); no more than the batch has samples. 0: one. The same draws and weights as in one go, so that the
	// result is the same but for the rounding of sums over rows.
	int64_t clone_groups;
} d2v_memory_options;
#define D2V_CLONE_GROUPS_MAX 256
void d2v_model_set_memory(d2v_model *model, d2v_memory_options options);
// The gradients of the steps to come are multiplied by this power of two, 1 to begin with; what steps say of losses is not.
void d2v_model_scale_gradients(d2v_model *model, double scale);
// After weights or teacher were changed from outside (load): refreshes the working copies.
void d2v_model_refresh(d2v_model *model);

// What the host needs to know of a step. Sums are over the local batch.
typedef struct d2v_step_result {
	double loss;            // total, a sum: divide by sample_size
	double loss_regression; // <MODALITY>_regression, of the batch's modality
	double loss_cls;        // cls
	int64_t sample_size;    // masked positions
	double pred_var, target_var;
	double masked_pct; // 1 - K/T
	double flops;      // of this step, by the counts of spec/gpu.md 3
	d2v_modality modality;
} d2v_step_result;

// Optional views of the inside of a step, for golden cases and collapse watch: device pointers valid until the next
// step. With more than one clone group those of the encoder are NULL.
typedef struct d2v_step_view {
	const d2v_real *local_features; // (B, T, D)
	const d2v_real *encoder_in;     // (R, E+K, D)
	// (R, E+K, D) outputs of the trunk blocks; NULL beyond depth or when dropped. The last one and encoder_in are dropped
	// in place when the recipe has such a dropout.
	const d2v_real *block[D2V_BLOCKS_MAX];
	const d2v_real *encoder_out; // (R, E+K, D)
	const d2v_real *decoder_out; // (R, T, D)
	// Only after d2v_model_watch:
	const d2v_real *teacher_in;                     // (B, E+T, D)
	const d2v_real *teacher_target[D2V_BLOCKS_MAX]; // (B, E+T, D) what teacher block i hands to the targets
	const float *encoder_bias;                      // (H, E+K, E+K) of row 0
	const float *target;                            // (B, T, D)
	int64_t batch, clones, tokens, kept, extra;
} d2v_step_view;

// Forward, losses and backward of one batch; gradients are ADDED to the gradient array (d(loss)/d(parameter), not yet
// divided by the sample size): d2v_model_zero_gradients first unless accumulating. `update` is the number of updates
// done: it keys dropout, noise and layer drop together with config.seed. Fails with D2V_INVALID for shapes the model
// cannot take, D2V_NO_MEMORY when the step's arena does not fit.
d2v_status d2v_model_step(
	d2v_model *model, const d2v_batch *batch, uint64_t update, d2v_step_result *result, d2v_error *err);
// The same in two halves, for the host to have its hands free while a GPU works: begin asks for everything, end waits.
// The batch stays until the end. Whatever else uses the device may be asked for in between, but no other step or
// feature pass.
d2v_status d2v_model_step_begin(d2v_model *model, const d2v_batch *batch, uint64_t update, d2v_error *err);
d2v_status d2v_model_step_end(d2v_model *model, d2v_step_result *result, d2v_error *err);
// Which training step comes next, said between the halves: its batch is uploaded beside what runs, and a device with
// graphs is prepared for it. The batch must stay as it is until that step, or another one, has begun. Nothing depends
// on it but time: a step that was not said is done all the same. Where it cannot be done nothing happens.
void d2v_model_step_ahead(d2v_model *model, const d2v_batch *batch, uint64_t update);
// The step without gradients and dropouts; for validation.
d2v_status d2v_model_evaluate(d2v_model *model, const d2v_batch *batch, d2v_step_result *result, d2v_error *err);
const d2v_step_view *d2v_model_view(const d2v_model *model);
// The teacher's inside is kept for the view until the end of the step, and the attention's bias is worked out for it.
void d2v_model_watch(d2v_model *model, bool on);

// ---- features

// What a feature pass gives (the original's extract_features): whole samples, no mask, no dropout, no decoder. Device
// pointers, valid until the model's next step or feature pass; d2v_device_to_float and d2v_device_download bring them
// to the host.
typedef struct d2v_features {
	const d2v_real *x; // (B, E+T, D) output of the last block, after the final norm where there is one
	// (B, E+T, D) what trunk block i hands to targets: its MLP's output (the block's with model.end_of_block_targets);
	// NULL from depth on.
	const d2v_real *layer[D2V_BLOCKS_MAX];
	const d2v_real *local;  // (B, T, D) local features, before positions
	const uint8_t *padding; // on the host: (B, E+T), 1 = padding; NULL: the batch came without batch->valid
	int64_t batch, tokens, extra, width; // B, T, E (extra tokens, first in every row), D
} d2v_features;

// Of a batch only modality, samples, valid and the input are read. teacher: with the teacher's weights, and the
// student's where the teacher has none. Fails as a step does.
d2v_status d2v_model_features(
	d2v_model *model, const d2v_batch *batch, bool teacher, d2v_features *features, d2v_error *err);
// Tokens T that the model makes of an input of this length (audio samples, tokens of text; pictures: any); 0: too
// short.
int64_t d2v_model_tokens(const d2v_model *model, d2v_modality modality, int64_t length);

// ---- cost

typedef struct d2v_step_shape {
	d2v_modality modality;
	int64_t batch, clones, length; // length: audio samples of a row; not looked at for others
	int64_t tokens, kept;          // of a row
} d2v_step_shape;

// Bytes of device memory a step of this shape takes beyond parameters: what --plan prints.
d2v_status d2v_model_step_memory(d2v_model *model, const d2v_step_shape *shape, size_t *bytes, d2v_error *err);
// FLOPs of a step by the counts of spec/gpu.md 3 (a multiply-add is 2; trained parts three times forward, teacher
// once).
double d2v_model_step_flops(const d2v_model_config *config, const d2v_step_shape *shape);
// What d2v_memory_options.recompute adds to that.
double d2v_model_recompute_flops(const d2v_model_config *config, const d2v_step_shape *shape);

// ---- teacher

// Moves the teacher (spec/model.md 8): called at the beginning of the step that performs update n+1, with n = updates
// done; nothing for n = 0 or decay 1. Returns the decay used.
double d2v_model_move_teacher(d2v_model *model, uint64_t updates_done);
double d2v_ema_decay(const d2v_model_config *config, uint64_t updates_done);

#endif
