// f16 as two bytes.
#ifndef D2V_TESTS_EMULATION_CUDA_FP16_H
#define D2V_TESTS_EMULATION_CUDA_FP16_H

#include "tests/ref/half.h"

struct __half {
	uint16_t bits;
};

static inline float __half2float(__half x) {
	return ref_from_f16(x.bits);
}

static inline __half __float2half(float f) {
	return __half{ ref_to_f16(f) };
}

#endif
