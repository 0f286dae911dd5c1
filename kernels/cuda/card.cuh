// What the GPU in use has.
#ifndef D2V_KERNELS_CUDA_CARD_CUH
#define D2V_KERNELS_CUDA_CARD_CUH

#include "kernels/cuda/launch.cuh"

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

// Blocks of a kernel that the GPU runs at the same time.
template <class Kernel> static inline int64_t blocks_at_a_time(d2v_device *dev, Kernel kernel, int threads, size_t shared) {
	int each = 0;
	d2v_allow_shared(dev, kernel, shared);
	d2v_cuda_check(dev, cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, shared), "counting a kernel's blocks");
	return (int64_t)gpu_property(cudaDevAttrMultiProcessorCount, 1) * (each > 0 ? each : 1);
}

#endif
