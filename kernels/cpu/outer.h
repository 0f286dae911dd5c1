// Gradients of weights: sums of outer products over very many rows, c (m, n) += sum over rows of a_row^T b_row.
//
// The rows are cut into parts by size, each part is one thread's matrix product into a partial sum of its own, and the
// partial sums are added in order.
#ifndef D2V_KERNELS_CPU_OUTER_H
#define D2V_KERNELS_CPU_OUTER_H

#include "kernels/cpu/cpu.h"

// a (rows, m) and b (rows, n), dense. Scratch: what d2v_cpu_outer_room says. False as with d2v_cpu_gemm.
int64_t d2v_cpu_outer_room(int64_t m, int64_t n, int64_t rows);
bool d2v_cpu_outer(float *c, const float *a, const float *b, int64_t m, int64_t n, int64_t rows, float *scratch);

// sum[i] += the sum over rows of x[row, i]; x (rows, count).
int64_t d2v_cpu_column_sums_room(int64_t rows, int64_t count);
void d2v_cpu_column_sums(float *sum, const float *x, int64_t rows, int64_t count, float *scratch);

#endif
