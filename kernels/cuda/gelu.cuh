// gelu(x) = x Phi(x) and its derivative Phi(x) + x phi(x), the exact form. cuBLASLt's GELU epilogue is the tanh
// approximation, which the original does not use.
//
// erff alone takes more instructions than an element may cost that is to pass at the memory's speed, so the tail is
//     Phi(-|x|) = exp(-x^2/2) P(t),  t = 1/(1 + 0.28 |x|),
// the form of Abramowitz and Stegun 7.1.26, of degree six, fitted for |error| <= 2e-7 (Phi(-|x|) + 0.001): that of f32
// arithmetic. Both functions share the exponential.
#ifndef D2V_KERNELS_CUDA_GELU_CUH
#define D2V_KERNELS_CUDA_GELU_CUH

#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/launch.cuh"

// Phi(-|x|), given exp(-x^2/2).
__device__ __forceinline__ float gelu_tail(float x, float exponential) {
	float t = fast_reciprocal(fmaf(0.28f, fabsf(x), 1.0f)), p = -0.105366516f;
	p = fmaf(p, t, 0.388580063f);
	p = fmaf(p, t, -0.235721355f);
	p = fmaf(p, t, 0.268548121f);
	p = fmaf(p, t, 0.0673795342f);
	p = fmaf(p, t, 0.116580251f);
	return p * t * exponential;
}

__device__ __forceinline__ float gelu_exponential(float x) {
	return fast_exp2(-0.72134752044448170368f * x * x); // log2(e)/2
}

__device__ __forceinline__ float gelu(float x) {
	return fmaf(-fabsf(x), gelu_tail(x, gelu_exponential(x)), fmaxf(x, 0.0f));
}

__device__ __forceinline__ float gelu_derivative(float x) {
	float exponential = gelu_exponential(x), tail = gelu_tail(x, exponential);
	return fmaf(0.39894228040143267794f * x, exponential, x < 0 ? tail : 1.0f - tail);
}

#endif
