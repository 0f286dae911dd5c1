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

// Of 16 bits, of one kind or the other.
struct Numbers {
	bool is_f16;
	float value(uint16_t bits) const {
		return is_f16 ? ref_from_f16(bits) : ref_from_bf16(bits);
	}
	std::vector<float> values(const uint16_t *from, int64_t count) const {
		std::vector<float> all((size_t)count);
		for (int64_t i = 0; i < count; i++)
			all[(size_t)i] = value(from[i]);
		return all;
	}
	void put(uint16_t *to, const std::vector<float> &sums, bool accumulate) const {
		for (size_t i = 0; i < sums.size(); i++) {
			float sum = accumulate ? value(to[i]) + sums[i] : sums[i];
			to[i] = is_f16 ? ref_to_f16(sum) : ref_to_bf16(sum);
		}
	}
};

static void convolve(const d2v_dnn_shape &s, Numbers numbers, uint16_t *x, uint16_t *w, uint16_t *y) {
	d2v_emulated_access access;
	const int64_t in = s.rows * s.in_h * s.in_w * s.in, out = s.rows * s.out_h * s.out_w * s.out;
	const int64_t weights = s.out * s.kernel_h * s.kernel_w * s.in;
	const bool forward = s.way == D2V_DNN_FORWARD, to_x = s.way == D2V_DNN_BACKWARD_X;
	const std::vector<float> left = numbers.values(to_x ? y : x, to_x ? out : in);
	const std::vector<float> right = numbers.values(forward || to_x ? w : y, forward || to_x ? weights : out);
	std::vector<float> sums((size_t)(forward ? out : to_x ? in : weights));
	if (forward)
		for_each_product(s, [&](int64_t ix, int64_t iw, int64_t iy) { sums[iy] += left[ix] * right[iw]; });
	else if (to_x)
		for_each_product(s, [&](int64_t ix, int64_t iw, int64_t iy) { sums[ix] += left[iy] * right[iw]; });
	else
		for_each_product(s, [&](int64_t ix, int64_t iw, int64_t iy) { sums[iw] += left[ix] * right[iy]; });
	numbers.put(forward ? y : to_x ? x : w, sums, s.accumulate);
}

void d2v_cuda_dnn_run(d2v_device *dev, const d2v_dnn_plan *, const void *x, const void *w, const void *y, void *) {
	d2v_dnn_shape shape = current;
	Numbers numbers = { d2v_cuda_of(dev)->precision == D2V_PRECISION_F16 };
	d2v_emulate_enqueue(d2v_cuda_of(dev)->stream, D2V_EMULATED_LIBRARY,
		[=] { convolve(shape, numbers, (uint16_t *)x, (uint16_t *)w, (uint16_t *)y); });
}

void d2v_cuda_dnn_free(struct d2v_cuda_dnn *) {}
