// A linear layer with GELU as one kernel on Hopper's warpgroups: in bf16, on GPUs of compute capability 9.x. Not every shape
// fits; for small ones it is no gain.
#ifndef D2V_KERNELS_CUDA_LINEAR_GROUPS_H
#define D2V_KERNELS_CUDA_LINEAR_GROUPS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

bool d2v_cuda_linear_fits_groups(d2v_device *dev, const d2v_linear *op);
void d2v_cuda_linear_groups_forward(d2v_device *dev, const d2v_linear *op);

#ifdef __cplusplus
}
#endif
#endif
