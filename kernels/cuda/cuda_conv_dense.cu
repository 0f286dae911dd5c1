// Convolutions without groups through cuDNN, and what stands around them: weights are turned to its order and gradients
// back from it, the bias is added.
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/cuda_dnn.h"

#define THREADS 256
#define PACK 8 // channels of 16 bits in 16 bytes

template <class T> static __global__ void add_turned(float *d_w, const T *turned, conv_shape s, int64_t count) {
	for (int64_t i = thread_number(); i < count; i += thread_count())
		d_w[i] += to_float(turned[conv_turned_place(s, i)]);
}

template <class T> static __global__ void add_bias(T *y, const T *bias, int64_t channels, int64_t packs) {
	for (int64_t p = thread_number(); p < packs; p += thread_count()) {
		float v[PACK], b[PACK];
		load_pack(v, y + p * PACK);
		load_pack(b, bias + p * PACK % channels);
#pragma unroll
		for (int i = 0; i < PACK; i++)
			v[i] += b[i];
		store_pack(y + p * PACK, v);
	}
}

// NULL: it is not done here.
static const d2v_dnn_plan *plan_for(d2v_device *dev, const conv_shape &s, d2v_dnn_way way, bool accumulate) {
	if (!d2v_cuda_is_16_bit(dev) || s.groups != 1 || s.in % PACK || s.out % PACK || conv_weight_count(s) == 0 ||
		s.rows * s.in_h * s.in_w * s.out_h * s.out_w == 0)
		return NULL;
	d2v_dnn_shape shape = {};
	shape.rows = s.rows, shape.in_h = s.in_h, shape.in_w = s.in_w, shape.out_h = s.out_h, shape.out_w = s.out_w;
	shape.in = s.in, shape.out = s.out, shape.kernel_h = s.kernel_h, shape.kernel_w = s.kernel_w;
	shape.stride_h = s.stride_h, shape.stride_w = s.stride_w, shape.pad_h = s.pad_h, shape.pad_w = s.pad_w;
	shape.way = way, shape.accumulate = accumulate;
	return d2v_cuda_dnn_find(dev, &shape);
}

// Scratch for weights in cuDNN's order, and behind them what it works in. NULL: the device has the error.
static void *take_weights(d2v_device *dev, const conv_shape &s, const d2v_dnn_plan *plan, void **workspace) {
	size_t bytes = d2v_cuda_round((size_t)conv_weight_count(s) * dev->real_size);
	char *scratch = (char *)d2v_cuda_scratch(dev, bytes + plan->workspace);
	*workspace = scratch + bytes;
	return scratch;
}

// The ways that read the weights: x and y, or their gradients.
static bool multiply(d2v_device *dev, const conv_shape &s, d2v_dnn_way way, const d2v_real *x, const d2v_real *y,
	const d2v_real *w, bool accumulate) {
	const d2v_dnn_plan *plan = plan_for(dev, s, way, accumulate);
	if (!plan)
		return false;
	void *workspace;
	void *turned = take_weights(dev, s, plan, &workspace);
	if (!turned)
		return true;
	d2v_cuda_conv_turn_weights(dev, s, turned, w, false);
	d2v_cuda_dnn_run(dev, plan, x, turned, y, workspace);
	return true;
}

bool d2v_cuda_conv_dense_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias) {
	if (!multiply(dev, s, D2V_DNN_FORWARD, x, y, w, false))
		return false;
	int64_t packs = s.rows * s.out_h * s.out_w * s.out / PACK;
	if (bias)
		D2V_BY_16_BIT_TYPE(dev, D2V_LAUNCH(dev, add_bias<T>, d2v_blocks(packs, THREADS), THREADS, 0, (T *)y, (const T *)bias,
			s.out, packs));
	return true;
}

bool d2v_cuda_conv_dense_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const d2v_real *w, bool accumulate) {
	return multiply(dev, s, D2V_DNN_BACKWARD_X, d_x, d_y, w, accumulate);
}

bool d2v_cuda_conv_dense_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y) {
	const d2v_dnn_plan *plan = plan_for(dev, s, D2V_DNN_BACKWARD_W, false);
	if (!plan)
		return false;
	void *workspace;
	void *turned = take_weights(dev, s, plan, &workspace);
	if (!turned)
		return true;
	d2v_cuda_dnn_run(dev, plan, x, turned, d_y, workspace);
	D2V_BY_16_BIT_TYPE(dev, D2V_LAUNCH(dev, add_turned<T>, d2v_blocks(conv_weight_count(s), THREADS), THREADS, 0, d_w,
		(const T *)turned, s, conv_weight_count(s)));
	return true;
}
