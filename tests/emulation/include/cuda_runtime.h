// What CUDA C adds to C++, as far as kernels/cuda/ uses it, on one processor thread: the threads of a block are fibers
// that run until they meet a barrier, a shuffle or a matrix instruction; blocks run one after another. So the very
// source of the kernels is checked against the plain references on machines without a GPU: indices, barriers, the layout
// of fragments, and with emulated_races.h races. What it cannot show: the hardware's rounding inside matrix instructions, speed.
#ifndef D2V_TESTS_EMULATION_CUDA_RUNTIME_H
#define D2V_TESTS_EMULATION_CUDA_RUNTIME_H

#include <cuda_runtime_api.h>

#include <functional>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define __CUDACC__ 1
#define D2V_EMULATION 1
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#define __align__(n) alignas(n)
#define __expf expf // libm has a function of this name of its own

struct dim3 {
	unsigned x, y, z;
	dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct uint2 {
	uint32_t x, y;
};
struct alignas(16) uint4 {
	uint32_t x, y, z, w;
};
struct alignas(8) float2 {
	float x, y;
};
struct alignas(16) float4 {
	float x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
	return float2{ x, y };
}
static inline float4 make_float4(float x, float y, float z, float w) {
	return float4{ x, y, z, w };
}
static inline uint2 make_uint2(uint32_t x, uint32_t y) {
	return uint2{ x, y };
}
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
	return uint4{ x, y, z, w };
}

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

void d2v_emulate_block_barrier(void);
void d2v_emulate_group_barrier(int number, size_t threads); // of whole warps
// Every lane of the warp posts `count` words and gets a pointer to all lanes' posts, [32][8] words, valid until its next
// call. Lanes that have ended left what they posted last. No words: a barrier of the warp, __syncwarp(); with words it says
// nothing of what others have written.
const uint32_t (*d2v_emulate_exchange(const uint32_t *words, int count))[8];
// The product, 16 x 8, of the fragments that were exchanged: of a, depth / 4 words of each lane, and of b, depth / 8 behind them;
// depth: 8 or 16. Computed once for a warp.
const float (*d2v_emulate_multiply(const uint32_t (*lanes)[8], int depth, float (*element)(uint16_t bits)))[8];
unsigned char *d2v_emulate_shared(void);
// Asynchronous copies of a thread: nothing arrives before the wait that covers it.
void d2v_emulate_copy_async(void *to, const void *from, size_t bytes, size_t zeros);
void d2v_emulate_copy_commit(void);
void d2v_emulate_copy_wait(size_t pending);
// Where device memory is: so many bytes, or nowhere yet.
#define D2V_EMULATED_ARENA_BYTES ((size_t)4 << 30)
const void *d2v_emulate_arena(void);
bool d2v_emulate_is_pinned(const void *at); // memory of the host that kernels may touch
// While one lives, device memory may be touched.
struct d2v_emulated_access {
	d2v_emulated_access();
	~d2v_emulated_access();
};
// What a stream is asked for; its arguments are in `run`, by value. Done when its turn comes, or kept in a graph.
enum d2v_emulated_kind {
	D2V_EMULATED_KERNEL,
	D2V_EMULATED_UPLOAD,
	D2V_EMULATED_COPY,
	D2V_EMULATED_MEMSET,
	D2V_EMULATED_LIBRARY,
	D2V_EMULATED_EVENT,
	D2V_EMULATED_WAIT,
	D2V_EMULATED_GRAPH
};
void d2v_emulate_enqueue(cudaStream_t stream, d2v_emulated_kind kind, std::function<void()> run);
void d2v_emulate_wait_for_all(void); // every stream's work is done
typedef void (*d2v_emulated_thread)(void *context);
void d2v_emulate_grid(d2v_emulated_thread thread, void *context, dim3 grid, dim3 block, size_t shared);
// The kernel's arguments are taken when it is launched, by value.
template <class T> struct d2v_emulated_type { typedef T type; };
template <class... Parameters>
static inline void d2v_emulate_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared,
	void (*kernel)(Parameters...), typename d2v_emulated_type<Parameters>::type... arguments) {
	auto thread = [=] { kernel(arguments...); };
	d2v_emulate_enqueue(stream, D2V_EMULATED_KERNEL, [=] {
		d2v_emulate_grid([](void *context) { (*(decltype(thread) *)context)(); }, (void *)&thread, grid, block, shared);
	});
}
template <class Kernel> static inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Kernel, int, size_t) {
	*blocks = 3;
	return cudaSuccess;
}

static inline void __syncthreads() {
	d2v_emulate_block_barrier();
}
static inline void __syncwarp(unsigned = 0xffffffffu) {
	uint32_t none = 0;
	d2v_emulate_exchange(&none, 0);
}
static inline int d2v_emulate_lane() {
	return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}
template <class T> static inline T d2v_emulate_from(T value, int lane) {
	uint32_t words[2] = { 0, 0 };
	static_assert(sizeof value <= sizeof words, "");
	memcpy(words, &value, sizeof value);
	const uint32_t(*all)[8] = d2v_emulate_exchange(words, 2);
	memcpy(&value, all[lane & 31], sizeof value);
	return value;
}
template <class T> static inline T __shfl_sync(unsigned, T value, int lane) {
	return d2v_emulate_from(value, lane);
}
template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask) {
	return d2v_emulate_from(value, d2v_emulate_lane() ^ mask);
}
static inline int __any_sync(unsigned, int value) {
	uint32_t word = value != 0;
	const uint32_t(*all)[8] = d2v_emulate_exchange(&word, 1);
	for (int lane = 0; lane < 32; lane++)
		if (all[lane][0])
			return 1;
	return 0;
}
static inline unsigned __ballot_sync(unsigned, int value) {
	uint32_t word = value != 0;
	const uint32_t(*all)[8] = d2v_emulate_exchange(&word, 1);
	unsigned bits = 0;
	for (int lane = 0; lane < 32; lane++)
		bits |= (unsigned)all[lane][0] << lane;
	return bits;
}
static inline int __popc(unsigned bits) {
	return __builtin_popcount(bits);
}
template <class T> static inline T __ldg(const T *p) {
	return *p;
}
template <class T> static inline T __ldcg(const T *p) {
	return *p;
}
static inline float __fmul_rn(float a, float b) {
	volatile float product = a * b; // not to be fused with what follows
	return product;
}
static inline float __fadd_rn(float a, float b) {
	return a + b;
}
static inline float __uint_as_float(unsigned word) {
	float x;
	memcpy(&x, &word, sizeof x);
	return x;
}
void __threadfence();
unsigned atomicAdd(unsigned *p, unsigned more); // blocks run one after another
template <class T> static inline T min(T a, T b) {
	return a < b ? a : b;
}
template <class T> static inline T max(T a, T b) {
	return a > b ? a : b;
}

#endif
