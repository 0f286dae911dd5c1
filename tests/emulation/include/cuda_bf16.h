// bf16 as two bytes, rounded to nearest even.
#ifndef D2V_TESTS_EMULATION_CUDA_BF16_H
#define D2V_TESTS_EMULATION_CUDA_BF16_H

#include <stdint.h>
#include <string.h>

struct __nv_bfloat16 {
	uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x) {
	uint32_t bits = (uint32_t)x.bits << 16;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline __nv_bfloat16 __float2bfloat16(float f) {
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	if (f != f)
		return __nv_bfloat16{ 0x7fff };
	return __nv_bfloat16{ (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) };
}

#endif
