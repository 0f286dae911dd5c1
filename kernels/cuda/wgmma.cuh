// Hopper's asynchronous products of a warpgroup, the four warps from a multiple of four on (sm_90a only): d += a b with d
// 64 x N in f32, a 64 x 16 and b 16 x N in bf16. b lies in shared memory; a does too, or is in registers. (PTX ISA,
// "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions".)
//
//     products_fence();                             // what was in d's and a's registers so far is done with
//     multiply<64, ROWS>(s, q[0], keys, false);     // d = a b; with true d += a b. Any number of them
//     products_commit();                            // closes the group
//     products_wait<0>();                           // before anybody looks at d, or writes to what was read
//
// All four warps must come by with the same arguments. Shared memory is read through the asynchronous proxy: whoever
// wrote to it by ordinary stores or cp.async calls shared_fence() before the barrier that tells the readers.
//
// Warp w has rows 16 w to 16 w + 15 of d and a, and of those a lane has what mma.cuh says.
//
// Matrices in shared memory are rows of 64 elements, 128 bytes, whose eight packs of 16 bytes are swizzled: pack p of row
// r is where pack p ^ (r % 8) would be. Row 0 is at a multiple of 1024 bytes. A row is a column of b or a row of a, along
// which k goes (ROWS), or it is a row of b or a column of a, for one k (COLUMNS).
//
// Or they are loose: packs of 16 bytes, eight elements of a row, of which those of 8 rows follow each other, 128 bytes in a row of their
// own; how far it is to the next 8 rows and to the next 8 elements is free. So a matrix may begin at any row (pack) of another.
#ifndef D2V_KERNELS_CUDA_WGMMA_CUH
#define D2V_KERNELS_CUDA_WGMMA_CUH

#include "kernels/cuda/mma.cuh"

#ifdef D2V_EMULATION
#include <emulated_wgmma.h>
#endif

#define SWIZZLED_ROW 64 // elements
enum matrix_order { ROWS = 0, COLUMNS = 1 };

// The warp's number in its block, known to the compiler as the same for all lanes: what depends on it does not diverge.
static __device__ __forceinline__ int warp_number() {
	return __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0);
}

static __device__ __forceinline__ bf16 *swizzled_pack(bf16 *matrix, int row, int pack) {
	return matrix + row * SWIZZLED_ROW + (pack ^ row % 8) * 8;
}

// A matrix's descriptor, the lower half of which says where. Bits 0 to 13: address / 16; 16 to 29: the leading offset, of
// no concern to 64 elements; 32 to 45: from 8 rows to the next 8, / 16; 62 to 63: 1 for the swizzle of 128 bytes.
typedef uint32_t shared_matrix;
static __device__ __forceinline__ uint64_t descriptor_of(shared_matrix matrix) {
	return (uint64_t)(1u << 30 | 1024 >> 4) << 32 | matrix;
}
static __device__ __forceinline__ shared_matrix find_matrix(const bf16 *elements) {
#ifdef D2V_EMULATION
	unsigned address = d2v_emulate_shared_address(elements);
#else
	unsigned address = (unsigned)__cvta_generic_to_shared(elements);
#endif
	return 1u << 16 | (address >> 4 & 0x3fff);
}
// The same matrix from a row on, a multiple of 8, or from an element of its rows on, a multiple of 16.
static __device__ __forceinline__ shared_matrix from_row(shared_matrix matrix, int row) {
	return matrix + (unsigned)(row * SWIZZLED_ROW * 2 >> 4);
}
static __device__ __forceinline__ shared_matrix from_element(shared_matrix matrix, int element) {
	return matrix + (unsigned)(element * 2 >> 4);
}

// A loose matrix: where it is, in packs, and in bits 16 to 29 the one offset; the other offset. (The upper half's other bits: 0, no swizzle.)
typedef struct loose_matrix {
	uint32_t where, other;
} loose_matrix;
static __device__ __forceinline__ uint64_t descriptor_of(loose_matrix matrix) {
	return (uint64_t)matrix.other << 32 | matrix.where;
}
// Offsets in packs: from 8 of k to the next 8, and from 8 rows of a or columns of b to the next 8. Of the two that go over shared memory's
// rows 8 are 8 packs. (The descriptor calls the offset along k the leading one, in either order, as long as nothing is swizzled.)
static __device__ __forceinline__ loose_matrix find_loose_matrix(const bf16 *elements, int along_k, int across_k) {
	return { (uint32_t)along_k << 16 | (find_matrix(elements) & 0x3fff), (uint32_t)across_k };
}
// The same matrix from another pack on, and with the next 8 of k elsewhere.
static __device__ __forceinline__ loose_matrix from_pack(loose_matrix matrix, int pack) {
	return { matrix.where + (uint32_t)pack, matrix.other };
}
static __device__ __forceinline__ loose_matrix going_on_after(loose_matrix matrix, int along_k) {
	return { (uint32_t)along_k << 16 | (matrix.where & 0x3fff), matrix.other };
}

#ifdef D2V_EMULATION
#define D2V_SHARED_MATRICES(name) unsigned char *name = d2v_emulate_shared()
static inline void products_fence() {
	d2v_emulate_products_fence();
}
static inline void products_commit() {
	d2v_emulate_products_commit();
}
template <int PENDING> static inline void products_wait() {
	d2v_emulate_products_wait(PENDING);
}
template <int BLOCKS> static inline void hold_sums(float (&)[BLOCKS][4]) {}
static inline void shared_fence() {
	d2v_emulate_shared_fence();
}
static inline void store_shared(uint32_t *to, uint32_t word) {
	*to = word;
	d2v_emulate_shared_store(to, sizeof word);
}
template <int N, matrix_order B, class Matrix>
static inline void multiply(float (&d)[N / 8][4], const uint32_t (&a)[4], Matrix b, bool add) {
	d2v_emulate_products(&d[0][0], N, a, 0, ROWS, descriptor_of(b), B, add);
}
template <int N, matrix_order A, matrix_order B, class MatrixA, class MatrixB>
static inline void multiply(float (&d)[N / 8][4], MatrixA a, MatrixB b, bool add) {
	d2v_emulate_products(&d[0][0], N, NULL, descriptor_of(a), A, descriptor_of(b), B, add);
}
#else
// A block's shared memory, aligned for matrices.
#define D2V_SHARED_MATRICES(name) extern __shared__ __align__(1024) unsigned char name[]
__device__ __forceinline__ void products_fence() {
	asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_commit() {
	asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// All groups but the last PENDING have ended.
template <int PENDING> __device__ __forceinline__ void products_wait() {
	asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// After a wait: sums are not looked at before it, nor is what is computed from them computed. (To the compiler they are there
// when the products were asked for; what it moved in among products that are under way would make those wait instead.)
template <int BLOCKS> __device__ __forceinline__ void hold_sums(float (&d)[BLOCKS][4]) {
#pragma unroll
	for (int j = 0; j < BLOCKS; j++)
		asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
}
__device__ __forceinline__ void shared_fence() {
	asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// An ordinary store, of which the emulation takes note.
__device__ __forceinline__ void store_shared(uint32_t *to, uint32_t word) {
	*to = word;
}

#define SUMS_4(d) "+f"((d)[0]), "+f"((d)[1]), "+f"((d)[2]), "+f"((d)[3])
#define SUMS_8(d) SUMS_4((d)[0]), SUMS_4((d)[1])
#define SUMS_12(d) SUMS_8(d), SUMS_4((d)[2])
#define SUMS_16(d) SUMS_12(d), SUMS_4((d)[3])
#define SUMS_24(d) SUMS_16(d), SUMS_4((d)[4]), SUMS_4((d)[5])
#define SUMS_32(d) SUMS_24(d), SUMS_4((d)[6]), SUMS_4((d)[7])
#define SUMS_64(d) \
	SUMS_32(d), SUMS_4((d)[8]), SUMS_4((d)[9]), SUMS_4((d)[10]), SUMS_4((d)[11]), SUMS_4((d)[12]), SUMS_4((d)[13]), \
		SUMS_4((d)[14]), SUMS_4((d)[15])
#define NEW_4(d) "=f"((d)[0]), "=f"((d)[1]), "=f"((d)[2]), "=f"((d)[3])
#define NEW_8(d) NEW_4((d)[0]), NEW_4((d)[1])
#define NEW_16(d) NEW_8(d), NEW_4((d)[2]), NEW_4((d)[3])
#define NEW_32(d) NEW_16(d), NEW_4((d)[4]), NEW_4((d)[5]), NEW_4((d)[6]), NEW_4((d)[7])
#define NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define NAMES_12 NAMES_8 ",%8,%9,%10,%11"
#define NAMES_16 NAMES_12 ",%12,%13,%14,%15"
#define NAMES_24 NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define NAMES_32 NAMES_24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES_64 \
	NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
			 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// For a number of columns and of a lane's sums: a in registers, whose numbers among the operands are given, and a in
// shared memory.
#define PRODUCTS_OF_REGISTERS(columns, sums, a0, a1, a2, a3, matrix, flag, order) \
	asm volatile("{ .reg .pred add; setp.ne.b32 add, %" #flag ", 0;\n" \
				 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" NAMES_##sums "}, " \
				 "{%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 "}, %" #matrix ", add, 1, 1, %" #order "; }" \
				 : SUMS_##sums(d) \
				 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(descriptor_of(b)), "r"((int)add), "n"((int)B))
#define PRODUCTS_OF_MATRICES(columns, sums, first, second, flag, order_a, order_b) \
	asm volatile("{ .reg .pred add; setp.ne.b32 add, %" #flag ", 0;\n" \
				 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" NAMES_##sums "}, " \
				 "%" #first ", %" #second ", add, 1, 1, %" #order_a ", %" #order_b "; }" \
				 : SUMS_##sums(d) \
				 : "l"(descriptor_of(a)), "l"(descriptor_of(b)), "r"((int)add), "n"((int)A), "n"((int)B))

// The same without what is in d.
#define NEW_PRODUCTS(columns, sums, first, second, order_a, order_b) \
	asm volatile("{ .reg .pred add; setp.ne.b32 add, 0, 0;\n" \
				 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" NAMES_##sums "}, " \
				 "%" #first ", %" #second ", add, 1, 1, %" #order_a ", %" #order_b "; }" \
				 : NEW_##sums(d) \
				 : "l"(descriptor_of(a)), "l"(descriptor_of(b)), "n"((int)A), "n"((int)B))

template <int N, matrix_order B, class Matrix>
__device__ __forceinline__ void multiply(float (&d)[N / 8][4], const uint32_t (&a)[4], Matrix b, bool add) {
	static_assert(N == 16 || N == 24 || N == 32 || N == 48 || N == 64, "write it down");
	if constexpr (N == 64)
		PRODUCTS_OF_REGISTERS(64, 32, 32, 33, 34, 35, 36, 37, 38);
	else if constexpr (N == 48)
		PRODUCTS_OF_REGISTERS(48, 24, 24, 25, 26, 27, 28, 29, 30);
	else if constexpr (N == 32)
		PRODUCTS_OF_REGISTERS(32, 16, 16, 17, 18, 19, 20, 21, 22);
	else if constexpr (N == 24)
		PRODUCTS_OF_REGISTERS(24, 12, 12, 13, 14, 15, 16, 17, 18);
	else
		PRODUCTS_OF_REGISTERS(16, 8, 8, 9, 10, 11, 12, 13, 14);
}
template <int N, matrix_order A, matrix_order B, class MatrixA, class MatrixB>
__device__ __forceinline__ void multiply(float (&d)[N / 8][4], MatrixA a, MatrixB b, bool add) {
	static_assert(N == 16 || N == 24 || N == 32 || N == 48 || N == 64 || N == 128, "write it down");
	if constexpr (N == 128)
		PRODUCTS_OF_MATRICES(128, 64, 64, 65, 66, 67, 68);
	else if constexpr (N == 64)
		PRODUCTS_OF_MATRICES(64, 32, 32, 33, 34, 35, 36);
	else if constexpr (N == 48)
		PRODUCTS_OF_MATRICES(48, 24, 24, 25, 26, 27, 28);
	else if constexpr (N == 32)
		PRODUCTS_OF_MATRICES(32, 16, 16, 17, 18, 19, 20);
	else if constexpr (N == 24)
		PRODUCTS_OF_MATRICES(24, 12, 12, 13, 14, 15, 16);
	else
		PRODUCTS_OF_MATRICES(16, 8, 8, 9, 10, 11, 12);
}
#endif

// d = a b, and nothing of what d was before is looked at: its registers may be others, which somebody may have written to
// while products before these were under way.
template <int N, matrix_order A, matrix_order B, class Matrix>
static __device__ __forceinline__ void multiply_anew(float (&d)[N / 8][4], Matrix a, Matrix b) {
	static_assert(N == 16 || N == 32 || N == 64, "write it down");
#ifdef D2V_EMULATION
	multiply<N, A, B>(d, a, b, false);
#else
	if constexpr (N == 64)
		NEW_PRODUCTS(64, 32, 32, 33, 34, 35);
	else if constexpr (N == 32)
		NEW_PRODUCTS(32, 16, 16, 17, 18, 19);
	else
		NEW_PRODUCTS(16, 8, 8, 9, 10, 11);
#endif
}

#endif
