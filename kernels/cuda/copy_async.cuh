// Copies from device to shared memory that run while the thread goes on (cp.async): 16 bytes each, in groups.
//
//     copy_async(&tile.a[row][k], from, inside);   // any number of them
//     copy_commit();                               // closes the group
//     copy_wait<1>();                              // all groups but the last one have arrived, of this thread
//     __syncthreads();                             // and of all others
#ifndef D2V_KERNELS_CUDA_COPY_ASYNC_CUH
#define D2V_KERNELS_CUDA_COPY_ASYNC_CUH

#include "kernels/cuda/launch.cuh"

// to: shared memory; both addresses multiples of 16. Not `inside`: zeros, and from is not read (it must still be an
// address in device memory).
#ifdef D2V_EMULATION
static inline void copy_async(void *to, const void *from, bool inside = true) {
	d2v_emulate_copy_async(to, from, inside ? 16 : 0, inside ? 0 : 16);
}
static inline void copy_async_float(float *to, const float *from, bool inside) {
	d2v_emulate_copy_async(to, from, inside ? 4 : 0, inside ? 0 : 4);
}
static inline void copy_commit() {
	d2v_emulate_copy_commit();
}
template <int PENDING> static inline void copy_wait() {
	d2v_emulate_copy_wait(PENDING);
}
static inline void prefetch(const void *) {}
#else
__device__ __forceinline__ void copy_async(void *to, const void *from, bool inside = true) {
	unsigned address = (unsigned)__cvta_generic_to_shared(to);
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
// The same of one number.
__device__ __forceinline__ void copy_async_float(float *to, const float *from, bool inside) {
	unsigned address = (unsigned)__cvta_generic_to_shared(to);
	asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(inside ? 4 : 0) : "memory");
}
__device__ __forceinline__ void copy_commit() {
	asm volatile("cp.async.commit_group;" ::: "memory");
}
// Asks for the 128 bytes around an address in device memory to be in the L2 cache.
__device__ __forceinline__ void prefetch(const void *from) {
	asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}
template <int PENDING> __device__ __forceinline__ void copy_wait() {
	asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

#endif
