// Dropout's factors, 0 or that of a kept element, as a function of the element's index: made where they are used, never
// stored.
#ifndef D2V_KERNELS_CPU_DROPOUT_H
#define D2V_KERNELS_CPU_DROPOUT_H

#include "kernels/ops.h"

// Floats that a buffer for `count` factors must have.
#define D2V_CPU_DROPOUT_ROOM(count) ((count) + 136)
static inline int64_t d2v_cpu_dropout_room(int64_t count) {
	return D2V_CPU_DROPOUT_ROOM(count);
}

static inline bool d2v_cpu_dropout_on(const d2v_dropout *drop) {
	return drop->p > 0;
}

// The factors of elements first, ..., first + count - 1, somewhere in `buffer`.
const float *d2v_cpu_dropout_factors(float *buffer, const d2v_dropout *drop, int64_t first, int64_t count);

#endif
