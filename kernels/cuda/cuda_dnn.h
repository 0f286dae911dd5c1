// Dense convolutions through cuDNN, on a GPU that works in bf16 or f16, where libcudnn.so.9 is found when the first one is
// asked for. Otherwise, and for shapes that it refuses, d2v_cuda_dnn_find gives NULL and the tiles of cuda_conv.cu do the
// work; the first time either happens a warning says so.
//
// How a shape is convolved depends on the shape alone, never on a measurement, and only on ways that give the same bytes
// every time, use the tensor cores and sum in f32. What was chosen is kept; when too many shapes have come by, all is forgotten and chosen again.
#ifndef D2V_KERNELS_CUDA_CUDA_DNN_H
#define D2V_KERNELS_CUDA_CUDA_DNN_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum d2v_dnn_way {
	D2V_DNN_FORWARD,    // y = x * w
	D2V_DNN_BACKWARD_X, // d_x = or += what d_y gives through w
	D2V_DNN_BACKWARD_W, // d_w = what d_y and x give
} d2v_dnn_way;

// x and d_x are (rows, in_h, in_w, in), y and d_y (rows, out_h, out_w, out), w and d_w (out, kernel_h, kernel_w, in), all
// of the working type: cuDNN gives no other d_w. in and out are multiples of 8. There are no padding bytes: it is
// compared byte by byte.
typedef struct d2v_dnn_shape {
	int64_t rows, in_h, in_w, out_h, out_w, in, out;
	int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
	int32_t way;
	int32_t accumulate; // d_x += instead of d_x =
	int32_t candidate;  // 0; a benchmark asks for others that the choice could have fallen on: 1, 2, ...
	int32_t unused;
} d2v_dnn_shape;

typedef struct d2v_dnn_plan {
	size_t workspace; // bytes that a run needs
	int64_t engine;   // cuDNN's number for the way it is done
	void *config, *execution;
} d2v_dnn_plan;

// NULL: not through cuDNN. Valid until the next call.
const d2v_dnn_plan *d2v_cuda_dnn_find(d2v_device *dev, const d2v_dnn_shape *shape);
// Pointers are aligned to 16 bytes; what the way writes is written, the rest read.
void d2v_cuda_dnn_run(d2v_device *dev, const d2v_dnn_plan *plan, const void *x, const void *w, const void *y, void *workspace);

void d2v_cuda_dnn_free(struct d2v_cuda_dnn *dnn); // NULL is allowed

#ifdef __cplusplus
}
#endif
#endif
