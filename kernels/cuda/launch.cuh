// Launching kernels, and the working type inside of them.
//
//     template <class T> __global__ void scale(T *y, float a, int64_t count) { ... }
//     D2V_BY_TYPE(dev, D2V_LAUNCH(dev, scale<T>, d2v_blocks(count, 256), 256, 0, (T *)y, a, count));
//
// The same source compiles with nvcc and, for the tests, with a C++ compiler over tests/emulation/.
#ifndef D2V_KERNELS_CUDA_LAUNCH_CUH
#define D2V_KERNELS_CUDA_LAUNCH_CUH

#include "kernels/cuda/cuda.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <string.h>
#include <type_traits>

#ifdef D2V_EMULATION
#define D2V_LAUNCH(dev, kernel, grid, block, shared, ...) \
	d2v_emulate_launch(d2v_cuda_of(dev)->stream, grid, block, shared, kernel, __VA_ARGS__)
#define D2V_SHARED(type, name) type *name = (type *)d2v_emulate_shared()
template <class Kernel> static inline void d2v_allow_shared(d2v_device *, Kernel, size_t) {}
#else
// More than 48 KB of shared memory must be asked for, of which no more than 16 are what a kernel declares; asking again
// costs little.
template <class Kernel> static inline void d2v_allow_shared(d2v_device *dev, Kernel kernel, size_t bytes) {
	if (bytes > 32 * 1024)
		d2v_cuda_check(dev, cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
			"shared memory of a block");
}
#define D2V_LAUNCH(dev, kernel, grid, block, shared, ...) \
	do { \
		d2v_allow_shared(dev, kernel, shared); \
		kernel<<<grid, block, shared, d2v_cuda_of(dev)->stream>>>(__VA_ARGS__); \
		d2v_cuda_check(dev, cudaGetLastError(), "launching"); \
	} while (0)
#define D2V_SHARED(type, name) \
	extern __shared__ __align__(16) unsigned char d2v_shared_bytes[]; \
	type *name = (type *)d2v_shared_bytes
#endif

typedef __nv_bfloat16 bf16;
typedef __half f16;

// Runs the statement with T as the device's working type, of 16 bits.
#define D2V_BY_16_BIT_TYPE(dev, ...) \
	do { \
		if (d2v_cuda_of(dev)->precision == D2V_PRECISION_F16) { \
			typedef f16 T; \
			__VA_ARGS__; \
		} else { \
			typedef bf16 T; \
			__VA_ARGS__; \
		} \
	} while (0)
// The same with T of any size.
#define D2V_BY_TYPE(dev, ...) \
	do { \
		if (d2v_cuda_is_16_bit(dev)) { \
			D2V_BY_16_BIT_TYPE(dev, __VA_ARGS__); \
		} else { \
			typedef float T; \
			__VA_ARGS__; \
		} \
	} while (0)

// Blocks of `size` items that cover count; a grid is never empty (kernels check their bounds) nor beyond what x may be.
static inline unsigned d2v_blocks(int64_t count, int64_t size) {
	int64_t blocks = (count + size - 1) / size;
	return (unsigned)(blocks < 1 ? 1 : blocks > INT32_MAX ? INT32_MAX : blocks);
}

__device__ __forceinline__ float to_float(float x) {
	return x;
}
__device__ __forceinline__ float to_float(bf16 x) {
	return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(f16 x) {
	return __half2float(x);
}
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) {
	return x;
}
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
	return __float2bfloat16(x);
}
template <> __device__ __forceinline__ f16 from_float<f16>(float x) {
	return __float2half(x);
}

// Two numbers as T, of 16 bits each, the first in the low half of the word. Alone each would go through the special function
// units.
template <class T> __device__ __forceinline__ uint32_t round_pair(float low, float high) {
	uint32_t word;
#ifdef D2V_EMULATION
	T pair[2] = { from_float<T>(low), from_float<T>(high) };
	memcpy(&word, pair, sizeof word);
#else
	if constexpr (std::is_same<T, f16>::value)
		asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
	else
		asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
#endif
	return word;
}

// N elements that lie together, N * sizeof(T) a power of two of at most 16: one load, one store.
template <class T, int N> struct alignas(sizeof(T) * N) d2v_pack {
	T at[N];
};
// The same as words, in which it is loaded and stored at once: by its members the compiler would move each on its own, and
// would take the words of what it copies apart.
template <int BYTES> struct d2v_words {
	typedef uint32_t type;
};
template <> struct d2v_words<2> {
	typedef uint16_t type;
};
template <> struct d2v_words<8> {
	typedef uint2 type;
};
template <> struct d2v_words<16> {
	typedef uint4 type;
};
template <class T, int N> struct d2v_bits {
	typename d2v_words<sizeof(T) * N>::type words;
};
template <class T, int N> __device__ __forceinline__ d2v_bits<T, N> read_pack(const T *from) {
	d2v_bits<T, N> bits;
	bits.words = *(const decltype(bits.words) *)from;
	return bits;
}
// The same, not kept in the L1 cache: what is read once, where others want the cache for longer.
template <class T, int N> __device__ __forceinline__ d2v_bits<T, N> read_pack_once(const T *from) {
	d2v_bits<T, N> bits;
	bits.words = __ldcg((const decltype(bits.words) *)from);
	return bits;
}
// 16 bytes as one number: four words the compiler would store one by one wherever it lost sight of their being neighbours.
template <class T, int N> __device__ __forceinline__ void write_pack(T *to, const d2v_bits<T, N> &bits) {
	if constexpr (sizeof bits == 16) {
		unsigned __int128 all;
		memcpy(&all, &bits, sizeof all);
		*(unsigned __int128 *)to = all;
	} else if constexpr (sizeof bits == 8) {
		uint64_t all;
		memcpy(&all, &bits, sizeof all);
		*(uint64_t *)to = all;
	} else {
		*(decltype(d2v_bits<T, N>::words) *)to = bits.words;
	}
}
// Keeps a pack as it is in registers: what is computed from it afterwards is unpacked again, instead of being kept unpacked
// since the last time, in twice the registers.
template <class T, int N> __device__ __forceinline__ void hold_pack(d2v_bits<T, N> &bits) {
#ifndef D2V_EMULATION
	if constexpr (sizeof bits == 16)
		asm volatile("" : "+r"(bits.words.x), "+r"(bits.words.y), "+r"(bits.words.z), "+r"(bits.words.w));
#else
	(void)bits;
#endif
}
// The compiler takes it for a new number: what is computed from it is computed here, instead of being kept from before.
__device__ __forceinline__ void hold_number(int &x) {
#ifndef D2V_EMULATION
	asm volatile("" : "+r"(x));
#else
	(void)x;
#endif
}
template <class T, int N> __device__ __forceinline__ void unpack(float (&out)[N], const d2v_bits<T, N> &bits) {
	if constexpr (std::is_same<T, bf16>::value && N % 2 == 0) { // the upper half of an f32: one instruction an element
		uint32_t words[N / 2], wide[N];
		memcpy(words, &bits, sizeof words);
#pragma unroll
		for (int i = 0; i < N / 2; i++) {
			wide[2 * i] = words[i] << 16;
			wide[2 * i + 1] = words[i] & 0xffff0000u;
		}
		memcpy(out, wide, sizeof out);
	} else {
		T values[N];
		memcpy(values, &bits, sizeof values);
#pragma unroll
		for (int i = 0; i < N; i++)
			out[i] = to_float(values[i]);
	}
}
template <class T, int N> __device__ __forceinline__ void load_pack(float (&out)[N], const T *from) {
	unpack(out, read_pack<T, N>(from));
}
template <class T, int N> __device__ __forceinline__ d2v_bits<T, N> make_pack(const float (&values)[N]) {
	d2v_bits<T, N> bits;
	if constexpr (sizeof(T) == 2 && N % 2 == 0) {
		uint32_t words[N / 2];
#pragma unroll
		for (int i = 0; i < N / 2; i++)
			words[i] = round_pair<T>(values[2 * i], values[2 * i + 1]);
		memcpy(&bits, words, sizeof bits);
	} else {
		T rounded[N];
#pragma unroll
		for (int i = 0; i < N; i++)
			rounded[i] = from_float<T>(values[i]);
		memcpy(&bits, rounded, sizeof bits);
	}
	return bits;
}
template <class T, int N> __device__ __forceinline__ void store_pack(T *to, const float (&values)[N]) {
	write_pack(to, make_pack<T, N>(values));
}

// The same result in every lane, added in the same order on every run.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
	for (int distance = 16; distance; distance /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, distance);
	return x;
}
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
	for (int distance = 16; distance; distance /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, distance);
	return x;
}

// The same over a block of COUNT threads in one dimension, all of which call it. warps: COUNT / 32 places of shared memory.
template <int COUNT, class X> __device__ __forceinline__ X block_sum(X x, X *warps) {
	x = warp_sum(x);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = x;
	__syncthreads();
	X total = 0;
	for (int i = 0; i < COUNT / 32; i++)
		total += warps[i];
	__syncthreads(); // it may be called again
	return total;
}

// The same over a block of any whole number of warps.
template <class X> __device__ __forceinline__ X block_sum_of(X x, X *warps) {
	x = warp_sum(x);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = x;
	__syncthreads();
	X total = 0;
	for (unsigned i = 0; i < blockDim.x / 32; i++)
		total += warps[i];
	__syncthreads();
	return total;
}

// Global index of the thread and number of threads, for loops over elements.
__device__ __forceinline__ int64_t thread_number() {
	return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t thread_count() {
	return (int64_t)gridDim.x * blockDim.x;
}

// sum (columns) += the column sums of x (rows, columns). (cuda_linear.cu)
void d2v_cuda_add_column_sums(d2v_device *dev, float *sum, const d2v_real *x, int64_t rows, int64_t columns);

// Where up to three arrays of as many sums go; NULL: not wanted.
typedef struct d2v_cuda_sums {
	float *of[3];
} d2v_cuda_sums;
// Adds up partial sums (pieces, arrays, count), in an order that the sizes give, in double:
// sums.of[a][i] += (float)(sum over pieces of partial[piece, a, i]). (cuda_reduce.cu)
void d2v_cuda_add_partials(
	d2v_device *dev, d2v_cuda_sums sums, int arrays, const float *partial, int64_t pieces, int64_t count);

#endif
