// What the files of the CPU backend share: the device, its scratch memory, and how work is cut.
//
// Cutting: loops run in parallel over pieces whose size depends on the problem alone; each piece is computed by one
// thread, matrix products included, and sums over pieces are added in the pieces' order. So results are the same bytes
// for any number of threads.
#ifndef D2V_KERNELS_CPU_CPU_H
#define D2V_KERNELS_CPU_CPU_H

#include "kernels/backend.h"

typedef struct d2v_cpu {
	d2v_device base; // first: the pointers are the same
	void *scratch;   // grows to what the largest operation needs, and stays
	size_t scratch_size;
} d2v_cpu;

#define D2V_CPU_ALIGN 256
// Floats a piece of scratch is rounded up to, so that pieces start on cache lines of their own.
#define D2V_CPU_LINE 64

// The working type of this backend is float. Arrays in d2v_real are only ever touched through these.
static inline const float *d2v_cpu_in(const d2v_real *p) {
	return (const float *)(const void *)p;
}
static inline float *d2v_cpu_out(d2v_real *p) {
	return (float *)(void *)p;
}

// Scratch of the device: `floats` floats (rounded up), valid until the next call. NULL after leaving the error with the
// device.
float *d2v_cpu_scratch(d2v_device *dev, int64_t floats);

static inline int64_t d2v_cpu_min(int64_t a, int64_t b) {
	return a < b ? a : b;
}
static inline int64_t d2v_cpu_max(int64_t a, int64_t b) {
	return a > b ? a : b;
}
static inline int64_t d2v_cpu_pieces(int64_t count, int64_t size) {
	return (count + size - 1) / size;
}
static inline int64_t d2v_cpu_round(int64_t floats) {
	return (floats + D2V_CPU_LINE - 1) / D2V_CPU_LINE * D2V_CPU_LINE;
}

// sum[i] += the sum over pieces of partial[piece * stride + i], in the pieces' order, in double.
void d2v_cpu_add_partials(float *sum, const float *partial, int64_t pieces, int64_t stride, int64_t count);

// The operations, one file a noun.
#define D2V_CPU_DECLARE(name, type) void d2v_cpu_##name(d2v_device *dev, const type *op);
D2V_STRUCT_OPS(D2V_CPU_DECLARE)
#undef D2V_CPU_DECLARE
void d2v_cpu_attention_bias(d2v_device *dev, const d2v_attention *op, float *bias);
void d2v_cpu_drop(d2v_device *dev, d2v_real *y, const d2v_real *x, d2v_dropout drop, bool accumulate, int64_t count);
void d2v_cpu_add(d2v_device *dev, d2v_real *y, const d2v_real *x, float a, int64_t count);
void d2v_cpu_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count);

#endif
