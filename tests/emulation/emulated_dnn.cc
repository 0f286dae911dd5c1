// kernels/cuda/cuda_dnn.c without cuDNN: plain loops, f32 sums. Kernels of even width are refused, so that the way without
// cuDNN is walked too.
#include "kernels/cuda/cuda_dnn.h"

#include <cuda_runtime.h>

#include "tests/ref/half.h"

#include <vector>

static d2v_dnn_shape current;
static const d2v_dnn_plan loops = {};

const d2v_dnn_plan *d2v_cuda_dnn_find(d2v_device *, const d2v_dnn_shape *shape) {
	current = *shape;
	return shape->kernel_w % 2 ? &loops : nullptr;
}

// Calls pair(x's place, w's place, y's place) for every product that a convolution adds up.
template <class Pair> static void for_each_product(const d2v_dnn_shape &s, const Pair &pair) {
	for (int64_t p = 0; p < s.rows * s.out_h * s.out_w; p++)
		for (int64_t tap = 0; tap < s.kernel_h * s.kernel_w; tap++) {
			int64_t a = p / s.out_w % s.out_h * s.stride_h + tap / s.kernel_w - s.pad_h;
			int64_t b = p % s.out_w * s.stride_w + tap % s.kernel_w - s.pad_w;
			if (a < 0 || a >= s.in_h || b < 0 || b >= s.in_w)
				continue;
			int64_t from = (p / (s.out_h * s.out_w) * s.in_h + a) * s.in_w + b;
			for (int64_t o = 0; o < s.out; o++)
				for (int64_t c = 0; c < s.in; c++)
					pair(from * s.in + c, (o * s.kernel_h * s.kernel_w + tap) * s.in + c, p * s.out + o);
		}
}

static void convolve(const d2v_dnn_shape &s, bool is_f16, const void *x, const void *w, const void *y) {
	d2v_emulated_access access;
	uint16_t *px = (uint16_t *)x, *pw = (uint16_t *)w, *py = (uint16_t *)y;
	auto value = [&](uint16_t bits) { return is_f16 ? ref_from_f16(bits) : ref_from_bf16(bits); };
	int64_t count = s.way == D2V_DNN_FORWARD ? s.rows * s.out_h * s.out_w * s.out
		: s.way == D2V_DNN_BACKWARD_X	   ? s.rows * s.in_h * s.in_w * s.in
										   : s.out * s.kernel_h * s.kernel_w * s.in;
	std::vector<float> sums((size_t)count);
	uint16_t *to = s.way == D2V_DNN_FORWARD ? py : s.way == D2V_DNN_BACKWARD_X ? px : pw;
	for_each_product(s, [&](int64_t ix, int64_t iw, int64_t iy) {
		if (s.way == D2V_DNN_FORWARD)
			sums[iy] += value(px[ix]) * value(pw[iw]);
		else if (s.way == D2V_DNN_BACKWARD_X)
			sums[ix] += value(py[iy]) * value(pw[iw]);
		else
			sums[iw] += value(px[ix]) * value(py[iy]);
	});
	for (int64_t i = 0; i < count; i++) {
		float sum = s.accumulate ? value(to[i]) + sums[i] : sums[i];
		to[i] = is_f16 ? ref_to_f16(sum) : ref_to_bf16(sum);
	}
}

void d2v_cuda_dnn_run(d2v_device *dev, const d2v_dnn_plan *, const void *x, const void *w, const void *y, void *) {
	d2v_dnn_shape shape = current;
	bool is_f16 = d2v_cuda_of(dev)->precision == D2V_PRECISION_F16;
	d2v_emulate_enqueue(d2v_cuda_of(dev)->stream, D2V_EMULATED_LIBRARY, [=] { convolve(shape, is_f16, x, w, y); });
}

void d2v_cuda_dnn_free(struct d2v_cuda_dnn *) {}
