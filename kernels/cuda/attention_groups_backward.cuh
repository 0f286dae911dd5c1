// What the warpgroups' way back knows of a head: shared memory, how the work is cut, facts of the queries.
#ifndef D2V_KERNELS_CUDA_ATTENTION_GROUPS_BACKWARD_CUH
#define D2V_KERNELS_CUDA_ATTENTION_GROUPS_BACKWARD_CUH

#include "kernels/cuda/attention_groups.cuh"

#define MOST_GROUPS 3 // warpgroups of a block: 168 registers a thread
#define STEP 32       // queries whose scores a warpgroup has in registers
#define TILE_ELEMENTS (GROUP_TOKENS * SWIZZLED_ROW)
#define AT_ONCE 4

// How a launch cuts the work. Queries go by in tiles of 64.
struct group_plan {
	int rounds, groups; // of keys: `groups` warpgroups of 64 at a time
	int tiles;
	float *d_q, *sums; // scratch of each block for several rounds: tiles of d_q, 2 sums a query
	int ahead;         // the block that will probably follow this one is so many heads further
	float *scales;     // (rows, heads) or NULL
};

// A block's shared memory: matrices of swizzled rows, then numbers.
struct group_memory {
	bf16 *k, *v;     // the round's keys
	bf16 *q, *d_out; // tiles of queries, each in two stages, one after the other
	bf16 *d_s;       // a row a key: dS of a tile's queries; two stages
	float2 *facts;   // of all queries: lse in units of log2, d_out . out
	float *places;   // where they stand
	float *totals;   // one a warp
	float2 *sums;    // per warp and query of the tile, two stages: sums of dS and of P * distance; NULL: not wanted
};

static inline __host__ __device__ size_t lay_out(group_memory &m, unsigned char *bytes, const group_plan &plan) {
	int keys = plan.groups * GROUP_TOKENS, queries = plan.tiles * GROUP_TOKENS, warps = plan.groups * 4;
	m.k = (bf16 *)bytes, m.v = m.k + keys * SWIZZLED_ROW;
	m.q = m.v + keys * SWIZZLED_ROW, m.d_out = m.q + 2 * TILE_ELEMENTS;
	m.d_s = m.d_out + 2 * TILE_ELEMENTS;
	m.facts = (float2 *)(m.d_s + 2 * keys * SWIZZLED_ROW);
	m.places = (float *)(m.facts + queries), m.totals = m.places + queries;
	m.sums = (float2 *)(m.totals + (4 * MOST_GROUPS + 3) / 4 * 4);
	return (size_t)((unsigned char *)(m.sums + (plan.scales ? 2 * warps * GROUP_TOKENS : 0)) - bytes);
}

// Where one row and head are.
struct group_head {
	const bf16 *qkv, *d_out, *out;
	bf16 *d_qkv;
	const float *lse;
	int r, h;
};
static __device__ __forceinline__ group_head find_head(const d2v_attention &op, unsigned n) {
	group_head at;
	at.h = (int)(n % (unsigned)op.heads), at.r = (int)(n / (unsigned)op.heads);
	int64_t token = at.r * op.tokens, channel = at.h * GROUP_SIZE;
	at.qkv = (const bf16 *)op.qkv + token * 3 * op.width + channel;
	at.d_qkv = (bf16 *)op.d_qkv + token * 3 * op.width + channel;
	at.d_out = (const bf16 *)op.d_out + token * op.width + channel;
	at.out = (const bf16 *)op.out + token * op.width + channel;
	at.lse = op.lse + n * op.tokens;
	return at;
}

// Starts the copies of `count` tokens from token `first`; zeros for those beyond `tokens`. All threads of the block.
static __device__ __forceinline__ void fetch_some(
	bf16 *to, const bf16 *from, int64_t pitch, int first, int count, int tokens) {
	for (int i = (int)threadIdx.x; i < count * PACKS; i += (int)blockDim.x) {
		int row = i / PACKS, pack = i % PACKS, token = first + row;
		bool inside = token < tokens;
		copy_async(swizzled_pack(to, row, pack), from + (inside ? token : 0) * pitch + pack * 8, inside);
	}
}

// Has the head that the multiprocessor will turn to next brought into the cache while it is busy with this one.
static __device__ __forceinline__ void announce_head(const d2v_attention &op, unsigned n) {
	if (n >= op.rows * op.heads)
		return;
	group_head at = find_head(op, n);
	for (int i = (int)threadIdx.x; i < 5 * (int)op.tokens; i += (int)blockDim.x) {
		int64_t token = i / 5, part = i % 5;
		prefetch(
			part < 3 ? at.qkv + (token * 3 + part) * op.width : (part == 3 ? at.d_out : at.out) + token * op.width);
	}
}

static __device__ __forceinline__ float inner_product(
	const d2v_bits<bf16, 8> (&a)[2], const d2v_bits<bf16, 8> (&b)[2]) {
	float sum = 0;
#pragma unroll
	for (int pack = 0; pack < 2; pack++) {
		float x[8], y[8];
		unpack(x, a[pack]);
		unpack(y, b[pack]);
#pragma unroll
		for (int e = 0; e < 8; e++)
			sum += x[e] * y[e];
	}
	return sum;
}

// lse, d_out . out and places of all queries; a query that had no key, or is none, gets probabilities of 0. 4 lanes a
// query, AT_ONCE of them whose loads are under way together; whole warps.
static __device__ __forceinline__ void fetch_facts(
	const group_memory &m, const d2v_attention &op, const group_head &at, int tiles, float kept) {
	int count = tiles * GROUP_TOKENS, tokens = (int)op.tokens, apart = (int)blockDim.x / 4;
	float unkept = kept > 0 ? 1.0f / kept : 0.0f;
	for (int first = (int)threadIdx.x / 4; first < count; first += AT_ONCE * apart) {
		d2v_bits<bf16, 8> a[AT_ONCE][2], b[AT_ONCE][2];
		float lse[AT_ONCE];
#pragma unroll
		for (int i = 0; i < AT_ONCE; i++) {
			int query = first + i * apart;
			int64_t token = query < tokens ? query : 0, from = token * op.width + threadIdx.x % 4 * 8;
#pragma unroll
			for (int pack = 0; pack < 2; pack++) {
				a[i][pack] = read_pack<bf16, 8>(at.d_out + from + pack * 32);
				b[i][pack] = read_pack<bf16, 8>(at.out + from + pack * 32);
			}
			lse[i] = query < tokens ? at.lse[query] : -INFINITY;
		}
#pragma unroll
		for (int i = 0; i < AT_ONCE; i++) {
			int query = first + i * apart;
			float sum = row_sum(inner_product(a[i], b[i]));
			bool there = lse[i] != -INFINITY;
			if (threadIdx.x % 4 == 0 && query < count) {
				m.facts[query] = make_float2(there ? lse[i] * LOG2_E : INFINITY, there ? sum * unkept : 0.0f);
				m.places[query] = query < tokens ? place_of(op, at.r, query) : 0.0f;
			}
		}
	}
}

#endif
