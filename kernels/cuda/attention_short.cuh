// What a warp has to itself that goes over short heads (cuda_attention_short_backward.cu): its shared memory, where a
// lane finds its rows in it, what it asks the copy engine for, and what is known of the tokens.
#ifndef D2V_KERNELS_CUDA_ATTENTION_SHORT_CUH
#define D2V_KERNELS_CUDA_ATTENTION_SHORT_CUH

#include "kernels/cuda/attention_short.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/bulk_copy.cuh"

#define CHANNELS 64 // of a head
#define PARTS (CHANNELS / 16)
#define OCTET 8
#define OCTET_BYTES (OCTET * CHANNELS * (int)sizeof(bf16))
#define MOST_OCTETS 8
#define SUMS (3 * CHANNELS)     // over columns of d_q, d_k and d_v
#define MOST_BYTES (227 * 1024) // of a block's shared memory

enum short_matrix { QUERIES, KEYS, VALUES, OUTPUT_GRADIENTS, RESULTS, MATRICES };

// Heads of as many octets.
template <int OCTETS> struct short_shape {
	static constexpr int tokens = OCTETS * OCTET, matrix_bytes = OCTETS * OCTET_BYTES;
	static constexpr int head_bytes = MATRICES * matrix_bytes;
	static constexpr int warp_bytes = head_bytes + (tokens + SUMS) * (int)sizeof(float) + (int)sizeof(uint64_t);
	// With three warps in each of a multiprocessor's four parts a lane has 168 registers, with two 255.
	static constexpr int most = OCTETS <= 3 ? 12 : 8, fitting = MOST_BYTES / warp_bytes;
	static constexpr int warps = fitting < most ? fitting : most;
	// What there are registers for: octets of queries whose scores are f32 at a time, parts of results.
	static constexpr int queries = OCTETS <= 5 ? OCTETS : 4, parts = OCTETS <= 5 ? PARTS : PARTS / 2;
};

struct short_maps {
	matrix_map qkv, d_out, d_qkv; // a sample's tokens are a matrix
};

// A warp's shared memory.
struct short_memory {
	unsigned char *matrices;
	float *lse;     // of the queries, in units of log2; of one that had no key, or is none, infinite
	float *columns; // (3, CHANNELS): the sums over all of the warp's heads; NULL: not wanted
	uint64_t *full; // opens when a head's four matrices are there
};
template <int OCTETS> static __device__ __forceinline__ short_memory find_memory(unsigned char *bytes, int warp) {
	typedef short_shape<OCTETS> shape;
	short_memory m;
	uint64_t *barriers = (uint64_t *)(bytes + shape::warps * shape::head_bytes);
	m.matrices = bytes + warp * shape::head_bytes;
	m.full = barriers + warp;
	m.lse = (float *)(barriers + shape::warps) + warp * (shape::tokens + SUMS);
	m.columns = m.lse + shape::tokens;
	return m;
}
template <int OCTETS>
static __device__ __forceinline__ unsigned char *matrix_of(const short_memory &m, short_matrix which) {
	return m.matrices + which * short_shape<OCTETS>::matrix_bytes;
}

// The bytes from a matrix's begin to the row whose address a lane gives load_matrices and its kind (swizzled_pack): of
// two octets and their packs 2 part, 2 part + 1 in the order that a takes rows in and b columns, and by octets first,
// as b takes rows and a columns; of one octet and its packs 4 half to 4 half + 3.
struct short_lane {
	int packs_last[PARTS], packs_first[PARTS], one[PARTS / 2];
};
static __device__ __forceinline__ short_lane find_lane() {
	int lane = (int)threadIdx.x % 32, row = lane % 8, low = lane / 8 % 2, high = lane / 16;
	short_lane at;
#pragma unroll
	for (int part = 0; part < PARTS; part++) {
		at.packs_last[part] = low * OCTET_BYTES + row * 128 + ((2 * part + high) ^ row) * 16;
		at.packs_first[part] = high * OCTET_BYTES + row * 128 + ((2 * part + low) ^ row) * 16;
	}
#pragma unroll
	for (int half = 0; half < PARTS / 2; half++)
		at.one[half] = row * 128 + ((4 * half + lane / 8) ^ row) * 16;
	return at;
}

// ---- copies, by the warp's first lane

static __device__ __forceinline__ bool is_first_lane() {
	return threadIdx.x % 32 == 0;
}

// Of qkv.
static __device__ __forceinline__ int third_of(short_matrix which) {
	return which == QUERIES ? 0 : which == KEYS ? 1 : 2;
}

// Head n of all rows; `there` if it exists.
struct short_head {
	unsigned n;
	int r, column; // in matrices of `width` columns
	bool there;
};
static __device__ __forceinline__ short_head find_head(const d2v_attention &op, unsigned n, unsigned heads) {
	unsigned each = (unsigned)op.heads;
	return { n, (int)(n / each), (int)(n % each) * CHANNELS, n < heads };
}

// Starts the copy of one of a head's matrices. That of v, the first, announces them all.
template <int OCTETS, short_matrix WHICH>
static __device__ __forceinline__ void fetch_matrix(
	const short_memory &m, const short_maps &maps, const d2v_attention &op, const short_head &head) {
	if (!is_first_lane() || !head.there)
		return;
	bf16 *to = (bf16 *)matrix_of<OCTETS>(m, WHICH);
	if (WHICH == VALUES)
		barrier_expect(m.full, 4 * short_shape<OCTETS>::matrix_bytes);
	if (WHICH == OUTPUT_GRADIENTS)
		fetch_stack_box(to, &maps.d_out, head.column, 0, head.r, m.full);
	else
		fetch_stack_box(to, &maps.qkv, third_of(WHICH) * (int)op.width + head.column, 0, head.r, m.full);
}

// ---- what is known of the tokens

// Of tokens `lane` and `lane` + 32, asked for before their head's turn comes.
struct short_facts {
	float lse[2];
	bool outside[2]; // no keys
};
template <int OCTETS, bool MASK>
static __device__ __forceinline__ void ask_facts(short_facts &facts, const d2v_attention &op, const short_head &head) {
#pragma unroll
	for (int i = 0; i < (OCTETS + 3) / 4; i++) {
		int token = (int)threadIdx.x % 32 + i * 32;
		bool there = head.there && token < op.tokens;
		facts.lse[i] = there ? op.lse[(int64_t)head.n * op.tokens + token] : -INFINITY;
		if (MASK)
			facts.outside[i] = !there || (op.key_padding && op.key_padding[(int64_t)head.r * op.tokens + token]);
	}
}

// Puts lse where all lanes find it. Returns which of the lane's keys are none: key g of octet i is bit 8 i.
template <int OCTETS, bool MASK>
static __device__ __forceinline__ uint64_t put_facts(const short_memory &m, const short_facts &facts) {
	uint64_t outside = 0;
#pragma unroll
	for (int i = 0; i < (OCTETS + 3) / 4; i++) {
		int token = (int)threadIdx.x % 32 + i * 32;
		if (token < OCTETS * OCTET)
			m.lse[token] = facts.lse[i] == -INFINITY ? INFINITY : facts.lse[i] * LOG2_E;
		if (MASK)
			outside |= (uint64_t)__ballot_sync(0xffffffffu, facts.outside[i]) << (32 * i);
	}
	__syncwarp();
	return outside >> (threadIdx.x % 32 / 4);
}

#endif
