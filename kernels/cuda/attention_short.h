// Attention's backward pass over short heads: up to 64 tokens of 64 channels in bf16, without bias and dropout, as
// pictures have them; on GPUs of compute capability 9.x.
#ifndef D2V_KERNELS_CUDA_ATTENTION_SHORT_H
#define D2V_KERNELS_CUDA_ATTENTION_SHORT_H

#include "kernels/cuda/cuda.h"

bool d2v_cuda_attention_fits_short(d2v_device *dev, const d2v_attention *op);
void d2v_cuda_attention_short_backward(d2v_device *dev, const d2v_attention *op);

#endif
