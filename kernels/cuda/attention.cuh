// What the two attentions share: the bias, and who takes which case.
#ifndef D2V_KERNELS_CUDA_ATTENTION_CUH
#define D2V_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/launch.cuh"

// The symmetric ALiBi bias of a head is factor * alibi_distance, factor = max(scale, 0) * slope.
struct alibi {
	float slope, factor;
};
static __device__ __forceinline__ alibi make_alibi(const d2v_attention &op, int64_t head) {
	alibi a = { 0, 0 };
	if (op.slope) {
		a.slope = op.slope[head];
		a.factor = op.scale ? fmaxf(op.scale[head], 0.0f) * a.slope : a.slope;
	}
	return a;
}

// -|pos_i - pos_j|; 0 where an extra token is concerned, or where there is no bias.
static __device__ __forceinline__ float alibi_distance(const d2v_attention &op, int64_t r, int64_t i, int64_t j) {
	if (!op.slope || i < op.extra || j < op.extra)
		return 0;
	i -= op.extra, j -= op.extra;
	if (op.positions) {
		const int32_t *at = op.positions + r * (op.tokens - op.extra);
		i = at[i], j = at[j];
	}
	return -(float)(i < j ? j - i : i - j);
}

// A query's part of the gradient of its head's scale is slope times the sum over keys of dS * distance. `out` was rounded
// to the working type, so d_out . out is off by some e, and every dS by -P e: their sum, 0 in exact arithmetic, becomes -e,
// and the sum of products is off by -e times the mean distance, which does not average out. So it is taken back:
// products - gradients * distances.
struct scale_sums {
	float gradients, distances, products; // sums of dS, of P * distance, of dS * distance
	__device__ __forceinline__ void add(float probability, float d_s, float distance) {
		gradients += d_s;
		distances += probability * distance;
		products += d_s * distance;
	}
};

// d_scale += sums of scales (rows, heads, per_row) over rows and per_row.
void d2v_cuda_add_attention_scales(d2v_device *dev, const d2v_attention *op, const float *scales, int64_t per_row);

// d_qkv_bias, if it is wanted, += the column sums of d_qkv: a pass over it, behind kernels that do not sum what they write.
void d2v_cuda_add_qkv_columns(d2v_device *dev, const d2v_attention *op);

bool d2v_cuda_attention_is_tensor(d2v_device *dev, const d2v_attention *op);
void d2v_cuda_attention_tensor_forward(d2v_device *dev, const d2v_attention *op);
void d2v_cuda_attention_tensor_backward(d2v_device *dev, const d2v_attention *op);

#endif
