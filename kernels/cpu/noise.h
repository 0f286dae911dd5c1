// Normal noise as a function of the element's index: Box-Muller over Philox blocks, as d2v_restore describes.
#ifndef D2V_KERNELS_CPU_NOISE_H
#define D2V_KERNELS_CPU_NOISE_H

#include "kernels/ops.h"

// Floats the buffer for `count` elements must have.
static inline int64_t d2v_cpu_noise_room(int64_t count) {
	return count + 128;
}

// out[i] = std * normal(first + i).
void d2v_cpu_noise(float *out, d2v_random_key key, float std, int64_t first, int64_t count, float *buffer);

#endif
