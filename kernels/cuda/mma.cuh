// The tensor cores' m16n8k16 product of bf16 or f16 (T) with f32 sums, for one warp: d += a b.
//
// With g = lane / 4 and t = lane % 4 a lane holds, of a (16 x 16, row-major): rows g and g + 8, columns 2t, 2t+1 and 2t+8,
// 2t+9; of b (16 x 8): column g, rows 2t, 2t+1 and 2t+8, 2t+9; of d (16 x 8): rows g and g + 8, columns 2t, 2t+1. (PTX
// ISA, "Matrix fragments for mma.m16n8k16".) m16n8k8 is the same without the columns of a and rows of b from 8 on.
#ifndef D2V_KERNELS_CUDA_MMA_CUH
#define D2V_KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/launch.cuh"

#ifdef D2V_EMULATION
#include <emulated_wgmma.h>

template <class T> static inline float mma_element(uint16_t bits) {
	T x = { bits };
	return to_float(x);
}

template <class T, int K> static inline void mma_emulated(float (&d)[4], const uint32_t *a, const uint32_t *b) {
	uint32_t words[K / 8 * 3];
	memcpy(words, a, K / 8 * 2 * sizeof *a);
	memcpy(words + K / 8 * 2, b, K / 8 * sizeof *b);
	const float(*sums)[8] = d2v_emulate_multiply(d2v_emulate_exchange(words, K / 8 * 3), K, mma_element<T>);
	int g = d2v_emulate_lane() / 4, t = d2v_emulate_lane() % 4;
	for (int i = 0; i < 4; i++)
		d[i] += sums[g + i / 2 * 8][2 * t + i % 2];
}
template <class T> static inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
	mma_emulated<T, 16>(d, a, b);
}
template <class T> static inline void mma_1688(float (&d)[4], const uint32_t (&a)[2], uint32_t b) {
	mma_emulated<T, 8>(d, a, &b);
}
#else
#define D2V_MMA_16816(type) \
	asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
template <class T> __device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
	if constexpr (std::is_same<T, f16>::value)
		D2V_MMA_16816("f16");
	else
		D2V_MMA_16816("bf16");
}
#define D2V_MMA_1688(type) \
	asm("mma.sync.aligned.m16n8k8.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};" \
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
		: "r"(a[0]), "r"(a[1]), "r"(b))
template <class T> __device__ __forceinline__ void mma_1688(float (&d)[4], const uint32_t (&a)[2], uint32_t b) {
	if constexpr (std::is_same<T, f16>::value)
		D2V_MMA_1688("f16");
	else
		D2V_MMA_1688("bf16");
}
#undef D2V_MMA_1688
#undef D2V_MMA_16816
#endif

// Four 8 x 8 matrices of 16 bits an element, transposed on the way: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes of shared
// memory, aligned); of each matrix m a lane gets in words[m] the elements (2t, g) and (2t + 1, g). So b's fragments come
// from an array whose rows are k.
#ifdef D2V_EMULATION
static inline void load_transposed(uint32_t (&words)[4], const void *row) {
	uint32_t post[2];
	memcpy(post, &row, sizeof row);
	const uint32_t(*lanes)[8] = d2v_emulate_exchange(post, 2);
	int g = d2v_emulate_lane() / 4, t = d2v_emulate_lane() % 4;
	for (int m = 0; m < 4; m++) {
		const uint16_t *rows[2];
		for (int i = 0; i < 2; i++)
			memcpy(&rows[i], lanes[8 * m + 2 * t + i], sizeof rows[i]);
		words[m] = (uint32_t)rows[0][g] | (uint32_t)rows[1][g] << 16;
	}
}
#else
__device__ __forceinline__ void load_transposed(uint32_t (&words)[4], const void *row) {
	unsigned address = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
				 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
				 : "r"(address)
				 : "memory");
}
#endif

// The same without transposing: of each matrix a lane gets the elements (g, 2t) and (g, 2t + 1). a's fragments come from
// rows of k as matrices (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15), (rows 8-15, k 8-15); b's from rows that
// are its columns.
#ifdef D2V_EMULATION
static inline void load_matrices(uint32_t (&words)[4], const void *row) {
	uint32_t post[2];
	memcpy(post, &row, sizeof row);
	const uint32_t(*lanes)[8] = d2v_emulate_exchange(post, 2);
	int g = d2v_emulate_lane() / 4, t = d2v_emulate_lane() % 4;
	for (int m = 0; m < 4; m++) {
		const uint16_t *from;
		memcpy(&from, lanes[8 * m + g], sizeof from);
		words[m] = (uint32_t)from[2 * t] | (uint32_t)from[2 * t + 1] << 16;
	}
}
#else
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void *row) {
	unsigned address = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
				 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
				 : "r"(address)
				 : "memory");
}
#endif

// The way back, transposed (sm_90): lane l gives the address of row l % 8 of matrix l / 8, and of each matrix m in words[m] the
// elements (2t, g) and (2t + 1, g), as products leave them whose columns are the matrix's rows.
#ifdef D2V_EMULATION
static inline void store_transposed(void *row, const uint32_t (&words)[4]) {
	const uint32_t(*lanes)[8] = d2v_emulate_exchange(words, 4);
	int lane = d2v_emulate_lane(), matrix = lane / 8, at = lane % 8;
	for (int i = 0; i < 8; i++) {
		uint16_t element = (uint16_t)(lanes[4 * i + at / 2][matrix] >> (at % 2 * 16));
		memcpy((uint16_t *)row + i, &element, sizeof element);
	}
	d2v_emulate_shared_store(row, 16);
}
#else
__device__ __forceinline__ void store_transposed(void *row, const uint32_t (&words)[4]) {
	unsigned address = (unsigned)__cvta_generic_to_shared(row);
	asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(words[0]), "r"(words[1]),
				 "r"(words[2]), "r"(words[3])
				 : "memory");
}
#endif

// An 8 x 8 matrix of 16 bits an element, of which a lane has (g, 2t) and (g, 2t + 1), transposed: afterwards it has (2t, g) and
// (2t + 1, g).
#ifdef D2V_EMULATION
static inline uint32_t transpose_matrix(uint32_t word) {
	const uint32_t(*lanes)[8] = d2v_emulate_exchange(&word, 1);
	int g = d2v_emulate_lane() / 4, t = d2v_emulate_lane() % 4, shift = g % 2 * 16;
	return (lanes[8 * t + g / 2][0] >> shift & 0xffff) | lanes[8 * t + 4 + g / 2][0] >> shift << 16;
}
#else
__device__ __forceinline__ uint32_t transpose_matrix(uint32_t word) {
	uint32_t transposed;
	asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(word));
	return transposed;
}
#endif

// Two neighbours of 16 bits as one word, the first in the low half.
__device__ __forceinline__ uint32_t read_pair(const void *p) {
	return *(const uint32_t *)p;
}

#endif
