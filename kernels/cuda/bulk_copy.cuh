// Hopper's copies of whole boxes of a matrix to shared memory (cp.async.bulk.tensor), which one thread asks for, and
// the barriers in shared memory that say when they arrived (mbarrier; PTX ISA; sm_90a only):
//
//     barrier_init(&full, 1);                    // by one thread, then barriers_are_made() and a barrier of the block
//     barrier_expect(&full, bytes);              // the one arrival, and what is to be copied
//     fetch_box(to, &map, column, row, &full);   // any number of them, `bytes` together
//     barrier_wait(&full, 0);                    // whoever reads: the first time the barrier opens, then 1, 0, 1, ...
//
// and back, in groups of the thread that asks, who must have seen the last one's end before the block ends:
//
//     store_stack_box(&map, column, row, which, from); // after the writers' shared_fence() and a barrier
//     stores_commit();                                 // closes the group
//     stores_wait<0>();                                // all groups have been read: there may be written again
//
// A box is 64 columns wide, its rows are swizzled as wgmma.cuh has them; it begins at a multiple of 1024 bytes. What of
// it lies outside of the matrix is zeros, and is not stored. Copies go through the asynchronous proxy: products need no
// fence after them.
#ifndef D2V_KERNELS_CUDA_BULK_COPY_CUH
#define D2V_KERNELS_CUDA_BULK_COPY_CUH

#include "kernels/cuda/wgmma.cuh"

#ifdef D2V_EMULATION
#include <emulated_bulk_copy.h>
typedef d2v_emulated_map matrix_map;
#else
#include <cuda.h>
typedef CUtensorMap matrix_map;
#endif

// A stack of `count` matrices of bf16, of `rows` rows of `columns`, that lie one behind the other, columns a multiple of 8,
// its place of 16 bytes; boxes of `box_rows`, at most 256, of one of them. rank: 2 is for a matrix by itself, as fetch_box
// takes it. False: the driver does not know how.
static inline bool make_stack_map(
	matrix_map *map, const void *matrices, int64_t count, int64_t rows, int64_t columns, int box_rows, int rank = 3) {
#ifdef D2V_EMULATION
	(void)rank;
	*map = d2v_emulated_map{ matrices, rows, columns, box_rows, count };
	return true;
#else
	typedef decltype(&cuTensorMapEncodeTiled) encode_function;
	static encode_function encode = NULL; // the same for whoever asks
	if (!encode) {
		void *found = NULL;
		cudaDriverEntryPointQueryResult result;
		if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result) !=
				cudaSuccess ||
			result != cudaDriverEntryPointSuccess)
			return false;
		encode = (encode_function)found;
	}
	cuuint64_t row = (cuuint64_t)columns * sizeof(bf16), strides[] = { row, row * (cuuint64_t)rows };
	cuuint64_t sizes[] = { (cuuint64_t)columns, (cuuint64_t)rows, (cuuint64_t)count };
	cuuint32_t box[] = { SWIZZLED_ROW, (cuuint32_t)box_rows, 1 }, steps[] = { 1, 1, 1 };
	return encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, (cuuint32_t)rank, (void *)(uintptr_t)matrices, sizes, strides,
			   box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
			   CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
#endif
}
// The same of one matrix.
static inline bool make_map(matrix_map *map, const void *matrix, int64_t rows, int64_t columns, int box_rows) {
	return make_stack_map(map, matrix, 1, rows, columns, box_rows, 2);
}

// What is said when it does not.
static inline void say_no_map(d2v_device *dev) {
	d2v_device_set_error(dev, D2V_IO, "the driver does not know how to describe a matrix; is it older than CUDA 12?");
}

#ifdef D2V_EMULATION
static inline void barrier_init(uint64_t *barrier, unsigned count) {
	d2v_emulate_barrier_init(barrier, count);
}
static inline void barriers_are_made() {
	d2v_emulate_shared_fence();
}
static inline void barrier_expect(uint64_t *barrier, unsigned bytes) {
	d2v_emulate_barrier_arrive(barrier, bytes);
}
static inline void barrier_arrive(uint64_t *barrier) {
	d2v_emulate_barrier_arrive(barrier, 0);
}
static inline void barrier_wait(uint64_t *barrier, unsigned parity) {
	d2v_emulate_barrier_wait(barrier, parity);
}
static inline void fetch_box(bf16 *to, const matrix_map *map, int column, int row, uint64_t *barrier) {
	d2v_emulate_fetch_box(to, map, column, row, 0, barrier);
}
static inline void fetch_stack_box(bf16 *to, const matrix_map *map, int column, int row, int which, uint64_t *barrier) {
	d2v_emulate_fetch_box(to, map, column, row, which, barrier);
}
static inline void store_stack_box(const matrix_map *map, int column, int row, int which, const bf16 *from) {
	d2v_emulate_store_box(map, column, row, which, from);
}
static inline void stores_commit() {
	d2v_emulate_stores_commit();
}
template <int PENDING> static inline void stores_wait() {
	d2v_emulate_stores_wait(PENDING);
}
static inline void meet(int number, int threads) {
	d2v_emulate_group_barrier(number, (size_t)threads);
}
template <int COUNT> static inline void give_registers() {}
template <int COUNT> static inline void take_registers() {}
#else
__device__ __forceinline__ unsigned barrier_address(const uint64_t *barrier) {
	return (unsigned)__cvta_generic_to_shared(barrier);
}
// Opens when `count` have arrived and all bytes that were announced.
__device__ __forceinline__ void barrier_init(uint64_t *barrier, unsigned count) {
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier_address(barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void barriers_are_made() {
	asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
	asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_expect(uint64_t *barrier, unsigned bytes) {
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier_address(barrier)), "r"(bytes)
				 : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t *barrier) {
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier_address(barrier)) : "memory");
}
__device__ __forceinline__ void barrier_wait(uint64_t *barrier, unsigned parity) {
	unsigned open;
	do
		asm volatile(
			"{ .reg .pred open; mbarrier.try_wait.parity.shared::cta.b64 open, [%1], %2; selp.u32 %0, 1, 0, open; }"
			: "=r"(open)
			: "r"(barrier_address(barrier)), "r"(parity)
			: "memory");
	while (!open);
}
__device__ __forceinline__ void fetch_box(bf16 *to, const matrix_map *map, int column, int row, uint64_t *barrier) {
	asm volatile(
		"cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
			(unsigned)__cvta_generic_to_shared(to)),
		"l"(map), "r"(column), "r"(row), "r"(barrier_address(barrier))
		: "memory");
}
// The same of matrix `which` of a stack.
__device__ __forceinline__ void fetch_stack_box(
	bf16 *to, const matrix_map *map, int column, int row, int which, uint64_t *barrier) {
	asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
					 (unsigned)__cvta_generic_to_shared(to)),
		"l"(map), "r"(column), "r"(row), "r"(which), "r"(barrier_address(barrier))
		: "memory");
}
__device__ __forceinline__ void store_stack_box(
	const matrix_map *map, int column, int row, int which, const bf16 *from) {
	asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map), "r"(column),
		"r"(row), "r"(which), "r"((unsigned)__cvta_generic_to_shared(from))
		: "memory");
}
__device__ __forceinline__ void stores_commit() {
	asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void stores_wait() {
	asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(PENDING) : "memory");
}
// Waits for `threads` threads of the block, whole warps, to come to its barrier `number`, 1 to 15.
__device__ __forceinline__ void meet(int number, int threads) {
	asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// What a warpgroup leaves to others of the block's registers, and what it takes: so many a thread, a multiple of 8.
template <int COUNT> __device__ __forceinline__ void give_registers() {
	asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT> __device__ __forceinline__ void take_registers() {
	asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}
#endif

// The one arrival of a warp, whose lanes have come together.
static __device__ __forceinline__ void arrive_as_warp(uint64_t *barrier) {
	if (threadIdx.x % 32 == 0)
		barrier_arrive(barrier);
}

#endif
