// gelu(x) = x Phi(x) and its derivative Phi(x) + x phi(x), Phi and phi being the normal distribution and density (the
// exact form, with erf). Branch-free, for vector code.
//
// The tail is Phi(-u) = e^(-u^2/2) w P(1 - w), w = 8/(u + 4), for u >= 0: P is a minimax polynomial in a variable that
// maps [0, 14] to [-1, 5/9]; beyond, e^(-u^2/2) is 0. Absolute error of Phi about 6e-8, one rounding.
#ifndef D2V_KERNELS_CPU_GELU_H
#define D2V_KERNELS_CPU_GELU_H

#include "kernels/cpu/exp.h"

typedef struct d2v_gelu_parts {
	float distribution; // Phi(x)
	float bell;         // e^(-x^2/2), sqrt(2 pi) times the density
} d2v_gelu_parts;

static inline d2v_gelu_parts d2v_gelu_split(float x) {
	float u = fabsf(x);
	float bell = d2v_expf(-0.5f * u * u);
	float w = 8.0f / (u + 4.0f);
	float s = 1.0f - w;
	float p = -1.502305014e-5f;
	p = fmaf(p, s, 2.515771629e-5f);
	p = fmaf(p, s, 1.965397349e-4f);
	p = fmaf(p, s, -4.407729625e-4f);
	p = fmaf(p, s, -9.411563379e-4f);
	p = fmaf(p, s, 7.550836091e-3f);
	p = fmaf(p, s, -2.331533561e-2f);
	p = fmaf(p, s, 4.839208551e-2f);
	p = fmaf(p, s, -7.598707729e-2f);
	p = fmaf(p, s, 9.441064229e-2f);
	float tail = bell * (w * p);
	return (d2v_gelu_parts){ x < 0.0f ? tail : 1.0f - tail, bell };
}

// -inf gives NaN (0 times infinity), as the formula does.
static inline float d2v_gelu(float x) {
	return x * d2v_gelu_split(x).distribution;
}

static inline float d2v_gelu_derivative(float x) {
	d2v_gelu_parts parts = d2v_gelu_split(x);
	return fmaf(x * parts.bell, 0.39894228040143267794f, parts.distribution);
}

#endif
