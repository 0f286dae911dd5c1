// Attention on Hopper's warpgroups: for heads of 64 channels in bf16, on GPUs of compute capability 9.x.
#ifndef D2V_KERNELS_CUDA_ATTENTION_GROUPS_H
#define D2V_KERNELS_CUDA_ATTENTION_GROUPS_H

#include "kernels/cuda/cuda.h"

// The tokens' vectors fit a block's shared memory, forward; of the device, and both ways.
bool d2v_cuda_attention_groups_forward_fits(const d2v_attention *op);
bool d2v_cuda_attention_fits_groups(d2v_device *dev, const d2v_attention *op);
void d2v_cuda_attention_groups_forward(d2v_device *dev, const d2v_attention *op);
void d2v_cuda_attention_groups_backward(d2v_device *dev, const d2v_attention *op);

#endif
