// Mean and spread of an utterance, from exact integer sums: the same for any order of summation and any machine.
#ifndef D2V_LOADERS_MOMENTS_H
#define D2V_LOADERS_MOMENTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_moments {
	float mean; // in units of full scale 1 (sample / 32768)
	float rstd; // 1 / sqrt(biased variance + 1e-5); finite for silence
} d2v_moments;

// count >= 1 and below 2^31.
d2v_moments d2v_moments_of(const int16_t *samples, size_t count);

#endif
