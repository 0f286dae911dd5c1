// Matrix products on the CPU: oneDNN's dnnl_sgemm, and the only file that names it.
#ifndef D2V_KERNELS_CPU_GEMM_H
#define D2V_KERNELS_CPU_GEMM_H

#include "kernels/cpu/cpu.h"

// c = alpha * a b + (accumulate ? c : 0); all row-major. trans_a: a is stored (k, m), else (m, k); trans_b: b is stored
// (n, k), else (k, n). lda, ldb, ldc: floats from one stored row to the next.
typedef struct d2v_gemm {
	int64_t m, n, k;
	const float *a, *b;
	float *c;
	int64_t lda, ldb, ldc;
	bool trans_a, trans_b, accumulate;
	float alpha; // 0 means 1
} d2v_gemm;

// Inside a parallel region: one thread's product. Outside: as many threads as the device has, and the result may depend
// on how many. False: oneDNN refused; the caller reports with d2v_cpu_gemm_failed, outside of parallel regions.
bool d2v_cpu_gemm(const d2v_gemm *op);
void d2v_cpu_gemm_failed(d2v_device *dev);

#endif
