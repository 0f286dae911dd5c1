// kernels/cuda/cuda_product.c without cuBLASLt: plain loops, f32 sums.
#include "kernels/cuda/cuda_product.h"

#include <cuda_runtime.h>

#include "tests/ref/half.h"

#include <algorithm>
#include <vector>

static float read_real(d2v_device *dev, const d2v_real *p, int64_t i) {
	if (!d2v_cuda_is_16_bit(dev))
		return ((const float *)p)[i];
	uint16_t bits = ((const uint16_t *)p)[i];
	return d2v_cuda_of(dev)->precision == D2V_PRECISION_F16 ? ref_from_f16(bits) : ref_from_bf16(bits);
}

static void store(d2v_device *dev, const d2v_cuda_product *op, int64_t i, float value) {
	if (op->float_out || !d2v_cuda_is_16_bit(dev)) {
		float *c = (float *)op->c;
		c[i] = op->accumulate ? c[i] + value : value;
	} else {
		value = op->accumulate ? read_real(dev, (const d2v_real *)op->c, i) + value : value;
		((uint16_t *)op->c)[i] = d2v_cuda_of(dev)->precision == D2V_PRECISION_F16 ? ref_to_f16(value) : ref_to_bf16(value);
	}
}

// (rows, columns) of a matrix that may lie transposed.
static std::vector<float> read_matrix(d2v_device *dev, const d2v_real *from, int64_t rows, int64_t columns, bool transposed) {
	std::vector<float> matrix((size_t)(rows * columns));
	for (int64_t i = 0; i < rows; i++)
		for (int64_t j = 0; j < columns; j++)
			matrix[(size_t)(i * columns + j)] = read_real(dev, from, transposed ? j * rows + i : i * columns + j);
	return matrix;
}

// Each sum in the order of t.
static void multiply(d2v_device *dev, const d2v_cuda_product *op) {
	d2v_emulated_access access;
	const std::vector<float> a = read_matrix(dev, op->a, op->m, op->k, op->trans_a);
	const std::vector<float> b = read_matrix(dev, op->b, op->k, op->n, op->trans_b);
	std::vector<float> sums((size_t)op->n);
	for (int64_t i = 0; i < op->m; i++) {
		std::fill(sums.begin(), sums.end(), 0.f);
		for (int64_t t = 0; t < op->k; t++) {
			const float factor = a[(size_t)(i * op->k + t)], *row = b.data() + t * op->n;
			for (int64_t j = 0; j < op->n; j++)
				sums[(size_t)j] += factor * row[j];
		}
		for (int64_t j = 0; j < op->n; j++)
			store(dev, op, i * op->n + j, op->bias ? sums[(size_t)j] + read_real(dev, op->bias, j) : sums[(size_t)j]);
	}
}

void d2v_cuda_multiply(d2v_device *dev, const d2v_cuda_product *op) {
	d2v_cuda_product kept = *op;
	d2v_emulate_enqueue(d2v_cuda_of(dev)->stream, D2V_EMULATED_LIBRARY, [=] { multiply(dev, &kept); });
}

d2v_status d2v_cuda_products_new(struct d2v_cuda_products **products, d2v_precision, cudaStream_t, d2v_error *) {
	*products = nullptr;
	return D2V_OK;
}
void d2v_cuda_products_free(struct d2v_cuda_products *) {}
