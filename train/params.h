// The parameters of a model: names, shapes and places in flat arrays.
//
// Names are fairseq's (spec/model.md 10), so public checkpoints map one to one. All trainable parameters lie in one
// flat f32 array, each at a 64-element aligned offset (the gaps are zero and stay zero); gradients, Adam's moments and
// the working copy have the same layout. The teacher has a flat array of its own, of those parameters that it has.
// Order is the original's model order.
#ifndef D2V_TRAIN_PARAMS_H
#define D2V_TRAIN_PARAMS_H

#include "base/error.h"

#include <stdint.h>

#define D2V_PARAM_NAME 128
#define D2V_PARAM_RANK 5

typedef enum d2v_init_rule { // spec/model.md 9
	D2V_INIT_ZERO,
	D2V_INIT_ONE,
	D2V_INIT_NORMAL,    // N(0, scale^2)
	D2V_INIT_UNIFORM,   // U(-scale, scale)
	D2V_INIT_FIXED,     // every element = scale
	D2V_INIT_EMBEDDING, // N(0, scale^2), but row 1, that of <pad>, is zero
	D2V_INIT_SINCOS,    // fixed positions (1, n*n, D) in a plane (spec/model.md 2.1)
	D2V_INIT_EXTRA,     // extra tokens (1, E, D) that start at zero: the first is 0, the others N(0, 1)
} d2v_init_rule;

typedef struct d2v_param {
	char name[D2V_PARAM_NAME];
	int64_t shape[D2V_PARAM_RANK];
	int rank;
	int64_t count;          // product of shape
	int64_t offset;         // in the flat arrays
	int64_t teacher_offset; // in the teacher's, -1: the teacher has none
	d2v_init_rule init;
	double scale;
	bool frozen; // has a place in the arrays and in checkpoints, but no gradient; the teacher copies it
} d2v_param;

typedef struct d2v_params {
	d2v_param *list;
	int count, capacity;
	int64_t size; // elements of the flat arrays, gaps included
	int64_t teacher_size;
} d2v_params;

void d2v_params_init(d2v_params *params);
void d2v_params_release(d2v_params *params);
// *index: position in the list, for the model's structs. D2V_EXISTS for a name used before.
d2v_status d2v_params_add(d2v_params *params, const char *name, int rank, const int64_t *shape, d2v_init_rule init,
	double scale, bool in_teacher, int *index, d2v_error *err);
#define D2V_BERT_SPREAD 0.02 // of the normal values that most of a model starts with
// How the linear layers of blocks, (out, in), start: as BERT's do, or by Xavier's rule with mae_init.
typedef struct d2v_linear_start {
	d2v_init_rule init;
	double scale;
} d2v_linear_start;
d2v_linear_start d2v_params_linear_start(bool mae_init, int64_t out, int64_t in);
const d2v_param *d2v_params_find(const d2v_params *params, const char *name);
int64_t d2v_params_trainable(const d2v_params *params); // sum of counts, without gaps and frozen ones
// Draws parameter `i` from (seed, name): independent of the order and of the other parameters.
void d2v_params_draw(const d2v_params *params, int index, uint64_t seed, float *out);

#endif
