// A pass: what every part of a model needs while it runs. The student's pass records on a tape; the teacher's and an
// evaluation's do not, and then parts give back the memory they only needed inside (d2v_pass_begin / d2v_pass_end).
#ifndef D2V_TRAIN_PASS_H
#define D2V_TRAIN_PASS_H

#include "base/arena.h"
#include "train/op_kinds.h"
#include "train/params.h"

typedef struct d2v_pass {
	d2v_device *device;
	d2v_arena *arena;
	d2v_arena *insides; // where layers that are computed again on the way back have their insides; NULL: none is
	d2v_tape *tape; // NULL: nothing is recorded
	const d2v_params *params;
	bool teacher;            // weights are the teacher's
	const d2v_real *weights; // flat, in the working type
	const float *masters;    // flat, f32
	float *gradients;        // flat, the student's
	bool *touched;           // (params.count) set for parameters that get a gradient
	bool training;           // dropouts and layer drop are on
	uint64_t seed, update;   // key of every draw, together with
	uint64_t part;           // the batch's number within the update (gradient accumulation)
	uint64_t site;           // and the place of the draw within the pass: counted up by d2v_pass_key
	int64_t first_row;       // of the batch's rows: elements are counted through the whole batch in every draw
	const char *stage;       // for the profile
	d2v_profile *profile;    // or NULL
} d2v_pass;

// index < 0, a parameter that this configuration lacks: NULL.
const d2v_real *d2v_pass_weight(const d2v_pass *pass, int index);
const float *d2v_pass_master(const d2v_pass *pass, int index);
// Where its gradient is added; NULL when nothing is recorded or the parameter is frozen. Marks it as touched.
float *d2v_pass_gradient(d2v_pass *pass, int index);

d2v_real *d2v_pass_reals(d2v_pass *pass, int64_t count);
// For buffers only the backward pass writes: NULL when nothing is recorded.
d2v_real *d2v_pass_gradient_reals(d2v_pass *pass, int64_t count);
float *d2v_pass_floats(d2v_pass *pass, int64_t count);
// For what the forward pass leaves for the backward pass alone: NULL when nothing is recorded, or of no bytes.
void *d2v_pass_kept(d2v_pass *pass, size_t bytes);

// Memory taken between the two is given back when nothing is recorded; what is taken inside must not be used after
// `end`.
size_t d2v_pass_begin(const d2v_pass *pass);
void d2v_pass_end(d2v_pass *pass, size_t mark);

// The same around a layer, whose output is taken before and which reads nothing but its input and weights. When recording
// with `insides`, all layers have the same memory for what they take inside, and what it held is computed again on the
// way back (train/tape.h). They do not nest.
size_t d2v_pass_begin_layer(d2v_pass *pass);
void d2v_pass_end_layer(d2v_pass *pass, size_t mark);

// Runs an operation, and records it.
void d2v_pass_run(d2v_pass *pass, const d2v_op_kind *kind, const void *op);

d2v_random_key d2v_pass_key(d2v_pass *pass, d2v_random_purpose purpose);
// Off (p = 0) when not training. span: see d2v_dropout; row: elements of a row.
d2v_dropout d2v_pass_dropout(d2v_pass *pass, double p, int64_t span, int64_t row);

#endif
