// The special function units' own functions: one instruction each, results good to about 22 bits, denormals are zero.
#ifndef D2V_KERNELS_CUDA_FAST_MATH_CUH
#define D2V_KERNELS_CUDA_FAST_MATH_CUH

#include <math.h>
#include <stdint.h>
#include <string.h>

__device__ __forceinline__ float float_of_bits(uint32_t bits) {
	float x;
	memcpy(&x, &bits, sizeof x);
	return x;
}
__device__ __forceinline__ uint32_t bits_of_float(float x) {
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return bits;
}
// Of a pair of bf16.
__device__ __forceinline__ float low_half(uint32_t pair) {
	return float_of_bits(pair << 16);
}
__device__ __forceinline__ float high_half(uint32_t pair) {
	return float_of_bits(pair & 0xffff0000u);
}

#ifdef D2V_EMULATION
#define D2V_FAST_FUNCTION(name, instruction, plain) \
	static inline float name(float x) { \
		return plain; \
	}
#else
#define D2V_FAST_FUNCTION(name, instruction, plain) \
	__device__ __forceinline__ float name(float x) { \
		float y; \
		asm(instruction ".approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); \
		return y; \
	}
#endif

D2V_FAST_FUNCTION(fast_exp2, "ex2", exp2f(x))
D2V_FAST_FUNCTION(fast_log2, "lg2", log2f(x))
D2V_FAST_FUNCTION(fast_reciprocal, "rcp", 1.0f / x)
D2V_FAST_FUNCTION(fast_root, "sqrt", sqrtf(x))
D2V_FAST_FUNCTION(fast_inverse_root, "rsqrt", 1.0f / sqrtf(x))
D2V_FAST_FUNCTION(fast_cosine, "cos", cosf(x)) // both to 2^-20.5 within [-pi, pi]
D2V_FAST_FUNCTION(fast_sine, "sin", sinf(x))

#undef D2V_FAST_FUNCTION
#endif
