// The kinds of operations a step records: those of kernels/ops.h, and a few small ones made of them.
#ifndef D2V_TRAIN_OP_KINDS_H
#define D2V_TRAIN_OP_KINDS_H

#include "kernels/ops.h"
#include "train/tape.h"

// Argument: the struct of the same name in kernels/ops.h.
extern const d2v_op_kind d2v_op_wave, d2v_op_patches; // forward only
extern const d2v_op_kind d2v_op_embedding;
extern const d2v_op_kind d2v_op_linear, d2v_op_norm, d2v_op_conv1d, d2v_op_conv2d, d2v_op_attention;
extern const d2v_op_kind d2v_op_mask_rows, d2v_op_gather, d2v_op_restore;
extern const d2v_op_kind d2v_op_target, d2v_op_regression; // forward only
extern const d2v_op_kind d2v_op_cls; // runs in the backward pass: it adds to a gradient that must be there already

// Dropout in place: x = drop(x); d_x = drop(d_x).
typedef struct d2v_drop_in_place {
	d2v_real *x, *d_x;
	d2v_dropout drop;
	int64_t count;
} d2v_drop_in_place;
extern const d2v_op_kind d2v_op_drop;

// y = x + path(drop(x)), the second half of a block with layer_norm_first. scratch holds `count` elements when both are
// on.
typedef struct d2v_twice {
	const d2v_real *x;
	d2v_real *y, *scratch;
	d2v_dropout drop, path;
	int64_t count;
	const d2v_real *d_y;
	d2v_real *d_x;
} d2v_twice;
extern const d2v_op_kind d2v_op_twice;

// A scale that all heads share, (1), copied to (heads); backward: the gradients of the copies are summed into d_one.
typedef struct d2v_spread_scale {
	const float *one;
	float *each;
	int64_t heads;
	float *d_one, *d_each;
} d2v_spread_scale;
extern const d2v_op_kind d2v_op_spread_scale;

// Nothing in the forward pass; d_x = factor * d_y (another buffer).
typedef struct d2v_scale_gradient {
	const d2v_real *d_y;
	d2v_real *d_x;
	float factor;
	int64_t count;
} d2v_scale_gradient;
extern const d2v_op_kind d2v_op_scale_gradient;

#endif
