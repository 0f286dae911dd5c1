// gelu(x) = x Phi(x) and its derivative Phi(x) + x phi(x), the exact form. cuBLASLt's GELU epilogue is the tanh
// approximation, which the original does not use.
//
// erff alone takes more instructions than an element may cost that is to pass at the memory's speed. With T of 16 bits
//     Phi(-|x|) = exp2(A(|x|)),   Phi(-|x|) - |x| phi(x) = exp(-x^2/2) B(|x|),
// polynomials of degree seven. A is fitted for the relative error of the result, within 2^-17.8 where |gelu(x)| > 1e-9, a
// four hundredth of half a unit in the last place of bf16 and a fiftieth of that of f16; B for the derivative's, within 2^-13.7 or 3e-7, the larger
// (tests/kernels/test_linear.c holds both against erfc for every bf16). One special function each, instead of two.
//
// In f32 the tail is
//     Phi(-|x|) = exp(-x^2/2) P(t),  t = 1/(1 + 0.28 |x|),
// the form of Abramowitz and Stegun 7.1.26, of degree six, fitted for |error| <= 2e-7 (Phi(-|x|) + 0.001): that of f32
// arithmetic. Both functions share the exponential.
#ifndef D2V_KERNELS_CUDA_GELU_CUH
#define D2V_KERNELS_CUDA_GELU_CUH

#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/launch.cuh"

__device__ __forceinline__ float gelu_exponential(float x) {
	return fast_exp2(-0.72134752044448170368f * x * x); // log2(e)/2
}

// ---- f32

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

// ---- 16 bits

__device__ __forceinline__ float gelu_short_tail(float x) {
	float a = fabsf(x), p = -1.77839058e-06f;
	p = fmaf(p, a, 6.03841982e-05f);
	p = fmaf(p, a, -0.000920197112f);
	p = fmaf(p, a, 0.00846380927f);
	p = fmaf(p, a, -0.0538612381f);
	p = fmaf(p, a, -0.4585751f);
	p = fmaf(p, a, -1.15119863f);
	p = fmaf(p, a, -1.00000191f);
	return fast_exp2(p);
}

// Half of the range less the derivative at -|x|; by symmetry what the derivative at |x| is above the half. Beyond 16 the
// exponential is zero, and the polynomial has to be a number.
__device__ __forceinline__ float gelu_short_rise(float x) {
	float a = fminf(fabsf(x), 16.0f), p = -8.85549307e-05f;
	p = fmaf(p, a, 0.00145743554f);
	p = fmaf(p, a, -0.0103403879f);
	p = fmaf(p, a, 0.0426308066f);
	p = fmaf(p, a, -0.118146785f);
	p = fmaf(p, a, 0.243991286f);
	p = fmaf(p, a, -0.796828985f);
	p = fmaf(p, a, 0.499963105f);
	return fmaf(-p, gelu_exponential(x), 0.5f); // never below zero
}

// ---- as T can tell it apart

template <class T> __device__ __forceinline__ float gelu(float x) {
	float tail = sizeof(T) == 2 ? gelu_short_tail(x) : gelu_tail(x, gelu_exponential(x));
	return fmaf(-fabsf(x), tail, fmaxf(x, 0.0f));
}

template <class T> __device__ __forceinline__ float gelu_derivative(float x) {
	if constexpr (sizeof(T) == 2) {
		return 0.5f + copysignf(gelu_short_rise(x), x);
	} else {
		float exponential = gelu_exponential(x), tail = gelu_tail(x, exponential);
		return fmaf(0.39894228040143267794f * x, exponential, x < 0 ? tail : 1.0f - tail);
	}
}

#endif
