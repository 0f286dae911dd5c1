// Convolutions of any dimension up to two; one dimension has height 1.
#ifndef D2V_KERNELS_CUDA_CONV_CUH
#define D2V_KERNELS_CUDA_CONV_CUH

#include "kernels/cuda/launch.cuh"

// x (rows, in_h, in_w, in), y (rows, out_h, out_w, out), w (out, in/groups, kernel_h, kernel_w).
typedef struct conv_shape {
	int64_t rows, in_h, in_w, out_h, out_w, in, out, groups;
	int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
} conv_shape;

static __host__ __device__ inline int64_t conv_taps(const conv_shape &s) {
	return (int64_t)s.kernel_h * s.kernel_w;
}
static __host__ __device__ inline int64_t conv_weight_count(const conv_shape &s) {
	return s.out * (s.in / s.groups) * conv_taps(s);
}
// Where place i of w stands in weights turned to (out, taps, in/groups).
static __device__ __forceinline__ int64_t conv_turned_place(const conv_shape &s, int64_t i) {
	int64_t taps = conv_taps(s), in = s.in / s.groups, o = i / (in * taps), c = i / taps % in, tap = i % taps;
	return (o * taps + tap) * in + c;
}

void d2v_cuda_conv_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias);
void d2v_cuda_conv_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const d2v_real *w, bool accumulate);
void d2v_cuda_conv_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y);

// w to (out, taps, in/groups), or for the way back to (groups, in/groups, taps, out/groups), in the working type.
void d2v_cuda_conv_turn_weights(d2v_device *dev, const conv_shape &s, void *turned, const d2v_real *w, bool back);

// The convolutions for small groups on the tensor cores, for shapes that d2v_cuda_conv_is_grouped. turned: (out, taps, in/groups)
// forward, (groups, in/groups, taps, out/groups) backward. partial (pieces, out, taps, in/groups). (cuda_conv_grouped.cu)
bool d2v_cuda_conv_is_grouped(d2v_device *dev, const conv_shape &s);
void d2v_cuda_conv_grouped_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias);
void d2v_cuda_conv_grouped_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const void *turned, bool accumulate);
int64_t d2v_cuda_conv_grouped_pieces(d2v_device *dev, const conv_shape &s);
void d2v_cuda_conv_grouped_backward_w(
	d2v_device *dev, const conv_shape &s, float *partial, const d2v_real *x, const d2v_real *d_y);

// Forward and backward_x on Hopper's warpgroups (cuda_conv_groups_planes.cu), for those that are grouped and fit.
bool d2v_cuda_conv_fits_groups(d2v_device *dev, const conv_shape &s);
void d2v_cuda_conv_groups_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias);
void d2v_cuda_conv_groups_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const void *turned, bool accumulate);

// And backward_w (cuda_conv_groups_weights.cu).
bool d2v_cuda_conv_fits_groups_weights(d2v_device *dev, const conv_shape &s);
int64_t d2v_cuda_conv_groups_pieces(const conv_shape &s);
void d2v_cuda_conv_groups_backward_w(
	d2v_device *dev, const conv_shape &s, float *partial, const d2v_real *x, const d2v_real *d_y);

// The same through cuDNN (cuda_conv_dense.cu): false when it is not done there.
bool d2v_cuda_conv_dense_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias);
bool d2v_cuda_conv_dense_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const d2v_real *w, bool accumulate);
bool d2v_cuda_conv_dense_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y);

// The same of one channel (cuda_conv_wave.cu): false when it is not done there.
bool d2v_cuda_conv_wave_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias);
bool d2v_cuda_conv_wave_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y);

#endif
