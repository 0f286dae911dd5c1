// A small matrix product for operands that oneDNN does not take or would copy for longer than it computes: b's rows may
// overlap (windows of a convolution), a may be read along either direction, n is a few dozen. Nothing is packed; a tile
// of results (8 x 48 where the processor has AVX-512) stays in registers while the sum runs. One thread.
#ifndef D2V_KERNELS_CPU_TILE_GEMM_H
#define D2V_KERNELS_CPU_TILE_GEMM_H

#include <stdbool.h>
#include <stdint.h>

// Floats of the widest vector the processor has: a wider one would live in memory.
#if defined(__AVX512F__)
#define D2V_TILE_LANES 16
#elif defined(__AVX__)
#define D2V_TILE_LANES 8
#else
#define D2V_TILE_LANES 4
#endif

// c[i * ldc + j] (+)= alpha * sum over t < k of a[i * a_row + t * a_step] * b[t * b_step + j].
// In a plane rows do not follow one another at one distance. With `wrap` row i of a starts at
// i / wrap * a_wrap + i % wrap * a_row; with `runs` the sum goes on from a + a_run and b + b_run, that many times.
// Each row of b must be readable (anything but a signalling trap may stand there) up to n rounded up to D2V_TILE_LANES.
typedef struct d2v_tile_gemm {
	int64_t m, n, k;
	const float *a;
	int64_t a_row, a_step;
	int64_t wrap, a_wrap; // wrap 0: all rows
	const float *b;
	int64_t b_step;
	int64_t runs, a_run, b_run; // runs 0 means 1
	float *c;
	int64_t ldc;
	bool accumulate;
	float alpha; // 0 means 1
} d2v_tile_gemm;

void d2v_cpu_tile_gemm(const d2v_tile_gemm *op);

static inline int64_t d2v_tile_round(int64_t n) {
	return (n + D2V_TILE_LANES - 1) / D2V_TILE_LANES * D2V_TILE_LANES;
}

#endif
