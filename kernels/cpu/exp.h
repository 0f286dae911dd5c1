// e^x as a branch-free inline function, so that loops over it become vector code (libm's expf would stay scalar).
#ifndef D2V_KERNELS_CPU_EXP_H
#define D2V_KERNELS_CPU_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float d2v_float_from_bits(int32_t bits) {
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

// Relative error about 1e-7. x below -87 gives exactly 0 (so e^-inf = 0), above 88 infinity; NaN stays NaN.
static inline float d2v_expf(float x) {
	float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x; // false for NaN, which so survives
	float n = rintf(clamped * 1.44269504f);
	float r = fmaf(n, -0.693359375f, clamped); // ln 2 in two parts: the first has few bits, n times it is exact
	r = fmaf(n, 2.12194440e-4f, r);
	// (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, minimax
	float p = 0.001392625083f;
	p = fmaf(p, r, 0.008363232884f);
	p = fmaf(p, r, 0.04166655421f);
	p = fmaf(p, r, 0.1666657667f);
	p = fmaf(p, r, 0.5f);
	p = fmaf(p, r * r, r) + 1.0f;
	// NaN to int is undefined, so its exponent is taken from a number.
	int32_t exponent = (int32_t)(n == n ? n : 0.0f);
	float y = p * d2v_float_from_bits((int32_t)((uint32_t)(exponent + 127) << 23));
	return x < -87.0f ? 0.0f : x > 88.0f ? INFINITY : y;
}

#endif
