// bf16 as two bytes.
#ifndef D2V_TESTS_EMULATION_CUDA_BF16_H
#define D2V_TESTS_EMULATION_CUDA_BF16_H

#include "tests/ref/half.h"

struct __nv_bfloat16 {
	uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x) {
	return ref_from_bf16(x.bits);
}

static inline __nv_bfloat16 __float2bfloat16(float f) {
	return __nv_bfloat16{ ref_to_bf16(f) };
}

#endif
