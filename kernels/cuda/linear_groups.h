// A linear layer's product with GELU, or GELU's derivative, on its way to memory, on Hopper's warpgroups: in bf16, on
// GPUs of compute capability 9.x. Not every shape fits; for small ones it is no gain.
#ifndef D2V_KERNELS_CUDA_LINEAR_GROUPS_H
#define D2V_KERNELS_CUDA_LINEAR_GROUPS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct d2v_gelu_product {
	int64_t m, n, k;
	const d2v_real *a; // (m, k)
	const d2v_real *b; // (n, k), or backward (k, n)
	bool backward;
	const d2v_real *bias; // (n); forward
	d2v_real *pre;        // (m, n); forward: a b' + bias, or NULL: not wanted; backward: read
	d2v_real *y;          // (m, n) gelu(pre); backward: a b times gelu'(pre)
	float *sum;           // (n) += the column sums of y, as they were before y was rounded; backward, NULL: not wanted
	int cluster;          // blocks that share what they read, 1 or 2
} d2v_gelu_product;

bool d2v_cuda_fits_gelu_product(d2v_device *dev, const d2v_gelu_product *op);
void d2v_cuda_multiply_gelu(d2v_device *dev, const d2v_gelu_product *op);

#ifdef __cplusplus
}
#endif
#endif
