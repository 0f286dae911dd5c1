// What the GPU in use has.
#ifndef D2V_KERNELS_CUDA_CARD_CUH
#define D2V_KERNELS_CUDA_CARD_CUH

#include <cuda_runtime.h>
#include <stddef.h>

// `otherwise` if it does not say.
static inline int gpu_property(enum cudaDeviceAttr which, int otherwise) {
	int value = 0, device = 0;
	bool known = cudaGetDevice(&device) == cudaSuccess && cudaDeviceGetAttribute(&value, which, device) == cudaSuccess;
	return known && value > 0 ? value : otherwise;
}
static inline size_t most_shared() { // of a block
	return (size_t)gpu_property(cudaDevAttrMaxSharedMemoryPerBlockOptin, 48 * 1024);
}

#endif
