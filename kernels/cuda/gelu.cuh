// gelu(x) = x Phi(x) and its derivative Phi(x) + x phi(x), the exact form. cuBLASLt's GELU epilogue is the tanh
// approximation, which the original does not use.
#ifndef D2V_KERNELS_CUDA_GELU_CUH
#define D2V_KERNELS_CUDA_GELU_CUH

#include "kernels/cuda/launch.cuh"

__device__ __forceinline__ float gelu(float x) {
	return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
}

__device__ __forceinline__ float gelu_derivative(float x) {
	float distribution = 0.5f * (1.0f + erff(x * 0.70710678118654752440f));
	return distribution + x * 0.39894228040143267794f * __expf(-0.5f * x * x);
}

#endif
