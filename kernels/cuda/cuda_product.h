// Matrix products through cuBLASLt: plans are made once per shape and kept.
#ifndef D2V_KERNELS_CUDA_CUDA_PRODUCT_H
#define D2V_KERNELS_CUDA_CUDA_PRODUCT_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

// c (m, n) = or += op(a) op(b), row-major and dense: op(a) is (m, k), a itself (k, m) with trans_a; op(b) is (k, n), b
// itself (n, k) with trans_b. a and b are of the working type; c too, or float with `float_out`. Sums are in f32.
typedef struct d2v_cuda_product {
	int64_t m, n, k;
	const d2v_real *a, *b;
	bool trans_a, trans_b;
	void *c;
	bool float_out;
	bool accumulate;
	const d2v_real *bias; // (n), added to every row, or NULL; not with float_out
	int candidate; // 0: as the backend chooses; a benchmark asks for each of cuBLASLt's proposals: 1, 2, ...
} d2v_cuda_product;

void d2v_cuda_multiply(d2v_device *dev, const d2v_cuda_product *op);

// What cuBLASLt says of the algorithm that a product is given, in its own numbers; false: there is no such candidate.
typedef struct d2v_cuda_algorithm {
	int id, tile, stages, inner_shape, cluster, split_k, reduction, swizzle, custom;
	float waves; // of blocks over the GPU
	size_t workspace;
} d2v_cuda_algorithm;
bool d2v_cuda_product_algorithm(d2v_device *dev, const d2v_cuda_product *op, d2v_cuda_algorithm *algorithm);

d2v_status d2v_cuda_products_new(
	struct d2v_cuda_products **products, d2v_precision precision, cudaStream_t stream, d2v_error *err);
void d2v_cuda_products_free(struct d2v_cuda_products *products); // NULL is allowed

#ifdef __cplusplus
}
#endif
#endif
