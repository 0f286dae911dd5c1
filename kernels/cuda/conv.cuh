// Convolutions of any dimension up to two; one dimension has height 1.
#ifndef D2V_KERNELS_CUDA_CONV_CUH
#define D2V_KERNELS_CUDA_CONV_CUH

#include "kernels/cuda/launch.cuh"

// x (rows, in_h, in_w, in), y (rows, out_h, out_w, out), w (out, in/groups, kernel_h, kernel_w).
typedef struct conv_shape {
	int64_t rows, in_h, in_w, out_h, out_w, in, out, groups;
	int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
} conv_shape;

void d2v_cuda_conv_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias);
void d2v_cuda_conv_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const d2v_real *w, bool accumulate);
void d2v_cuda_conv_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y);

// The same for small groups on the tensor cores, for shapes that d2v_cuda_conv_is_grouped. turned: (out, taps, in/groups)
// forward, (groups, in/groups, taps, out/groups) backward. partial (pieces, out, taps, in/groups). (cuda_conv_grouped.cu)
bool d2v_cuda_conv_is_grouped(d2v_device *dev, const conv_shape &s);
void d2v_cuda_conv_grouped_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias);
void d2v_cuda_conv_grouped_backward_x(
	d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const void *turned, bool accumulate);
int64_t d2v_cuda_conv_grouped_pieces(const conv_shape &s);
void d2v_cuda_conv_grouped_backward_w(
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
