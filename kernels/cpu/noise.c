#include "kernels/cpu/noise.h"

#include "base/philox.h"

#include <math.h>

#define TWO_PI 6.28318530717958647692f

static void pair(float out[2], uint32_t a, uint32_t b, float std) {
	float u = ((float)a + 1.0f) * 0x1p-32f, v = (float)b * 0x1p-32f;
	float radius = std * sqrtf(-2.0f * logf(u));
	out[0] = radius * cosf(TWO_PI * v);
	out[1] = radius * sinf(TWO_PI * v);
}

void d2v_cpu_noise(float *out, d2v_random_key key, float std, int64_t first, int64_t count, float *buffer) {
	int64_t lead = first % 4;
	for (int64_t at = 0; at < lead + count; at += 4) {
		d2v_philox block = d2v_philox_block(key.word[0], key.word[1], (uint64_t)(first / 4 + at / 4), 1);
		pair(buffer + at, block.word[0], block.word[1], std);
		pair(buffer + at + 2, block.word[2], block.word[3], std);
	}
	for (int64_t i = 0; i < count; i++)
		out[i] = buffer[lead + i];
}
