// Pieces of attention on Hopper's warpgroups (wgmma.cuh), for heads of 64 channels: a head's vectors in shared memory
// as swizzled rows, a token a row, and what is known of the tokens beside them.
//
// A block takes one head after another. A warpgroup of its own, the filler, keeps a ring of stages full, each with two
// matrices of the head; the warpgroups take the head's tiles of 64 tokens in turns, each against all of the stage, and
// have their tile's vectors to themselves. Nobody waits for a barrier of the whole block: the ring tells when a stage
// is there (full) and when it is done with (empty), so warpgroups drift apart, and one's exponentials run under
// another's products.
//
// A head that fits is one fill, and the turns go on from head to head: five tiles leave none of four warpgroups idle. A
// longer one goes by in batches, once for as many tiles as there are warpgroups (a visit).
//
// A warpgroup meets the tokens of a stage in steps of 64; if a length leaves over no more than 16, the last step is one
// of 16. And as a tile they are a tail (attention_tail.cuh), which costs a quarter of a tile and is dealt apart.
#ifndef D2V_KERNELS_CUDA_ATTENTION_GROUPS_CUH
#define D2V_KERNELS_CUDA_ATTENTION_GROUPS_CUH

#include "kernels/cuda/attention_groups.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/fast_math.cuh"

#define GROUP_SIZE 64   // channels of a head
#define GROUP_TOKENS 64 // of a tile
#define GROUP_THREADS 128
#define PACKS (GROUP_SIZE / 8) // of a token's vector, 16 bytes each
#define TILE_ELEMENTS (GROUP_TOKENS * SWIZZLED_ROW)
#define MOST_STAGES 8
#define MOST_GROUPS 4 // beside the filler
#define COLUMN_SUMS (3 * GROUP_SIZE)
#define TAIL_TOKENS 16 // at most
#define TAIL_PAIRS (GROUP_TOKENS * TAIL_TOKENS)
#define TAIL_ELEMENTS(passes) ((passes) > 1 ? 4 * TAIL_PAIRS : 2 * TAIL_PAIRS + 256) // what a warpgroup has for a tail

// How many of a batch of `most` tokens are gone over where `left` remain; their vectors must be there, be it as zeros.
// (What lies between them and the next whole 64 may be read for scores that nobody looks at.)
static inline __host__ __device__ int covered_tokens(int left, int most) {
	int rest = left % GROUP_TOKENS, whole = left - rest;
	int count = whole + (rest > 16 ? GROUP_TOKENS : (rest + 15) / 16 * 16);
	return count < most ? count : most;
}

// How a launch goes over its heads.
struct ring_plan {
	unsigned heads; // of all rows
	int tokens, tiles;
	int rows, batches;  // of a stage's matrices; fills that have all tokens
	int stages, places; // heads whose places and facts are kept
	int slots, visit;   // turns of a head: its tiles, in whole visits
	int tail;           // 1: the last tile is one, and dealt apart; else 0
	int groups;         // warpgroups
	int passes;         // over a head: one forward; two on the way back, where a tile has two matrices to itself
};

// A block's shared memory.
struct ring_memory {
	float *columns; // backward: (warps, 3, GROUP_SIZE) sums over columns of d_q, d_k and d_v; whole kilobytes
	bf16 *stages, *own, *tails;
	float2 *facts;              // of the queries, backward: lse in units of log2, d_out . out
	float *key_places, *places; // of tokens as keys, and as queries
	uint64_t *full, *empty;     // one a stage
	uint64_t *own_full;         // one a warpgroup
};

static inline __host__ __device__ size_t lay_out(ring_memory &m, unsigned char *bytes, const ring_plan &plan) {
	int all = plan.places * plan.rows * plan.batches;
	m.columns = (float *)bytes;
	m.stages = (bf16 *)(m.columns + (plan.passes > 1 ? plan.groups * 4 * COLUMN_SUMS : 0));
	m.own = m.stages + plan.stages * 2 * plan.rows * SWIZZLED_ROW;
	m.tails = m.own + plan.groups * plan.passes * TILE_ELEMENTS;
	m.full = (uint64_t *)(m.tails + plan.tail * plan.groups * TAIL_ELEMENTS(plan.passes));
	m.empty = m.full + MOST_STAGES, m.own_full = m.empty + MOST_STAGES;
	m.facts = (float2 *)(m.own_full + MOST_GROUPS);
	m.key_places = (float *)(m.facts + (plan.passes > 1 ? all : 0)), m.places = m.key_places + all;
	return (size_t)((unsigned char *)(m.places + all) - bytes);
}

// With that many stages, does it fit? When the filler comes to a head, the slowest warpgroup may be `stages` fills
// behind, and must be done with the head whose places are overwritten.
static inline bool give_stages(ring_plan &plan, int stages) {
	ring_memory m;
	int fills = plan.passes * plan.batches * (plan.slots / plan.visit); // of a head
	plan.stages = stages, plan.places = (stages + 2 * fills - 2) / fills;
	return lay_out(m, NULL, plan) <= most_shared();
}

// Has a head a tail, if it fits? (With a bias it would be rows that its scale's sums are of, and they are columns.)
static inline bool has_tail(const d2v_attention *op) {
	int64_t rest = op->tokens % GROUP_TOKENS;
	return !op->slope && op->tokens > GROUP_TOKENS && rest > 0 && rest <= TAIL_TOKENS;
}

// Batches as few as leave room for two stages; of a head that does not fit at once, of no more than `most` tokens.
// False: there is no room for it, or less than a tile for each warpgroup to take in every round. (Backward reads 64 rows
// of both matrices at a time, which must be theirs. Forward does so with the first one only, behind which the second lies.)
static inline bool plan_ring(ring_plan &plan, const d2v_attention *op, int groups, int passes, int most) {
	plan.heads = (unsigned)(op->rows * op->heads);
	plan.tokens = (int)op->tokens, plan.tiles = (plan.tokens + GROUP_TOKENS - 1) / GROUP_TOKENS;
	plan.groups = groups, plan.passes = passes;
	plan.batches = 1, plan.rows = plan.tiles * GROUP_TOKENS;
	plan.slots = plan.visit = plan.tiles;
	plan.tail = has_tail(op);
	if (plan.tail && passes == 1)
		plan.rows = covered_tokens(plan.tokens, plan.rows);
	if (!give_stages(plan, 2)) {
		plan.tail = 0, plan.rows = plan.tiles * GROUP_TOKENS;
		while (!give_stages(plan, 2) && plan.rows > GROUP_TOKENS) {
			plan.rows = min(plan.rows - GROUP_TOKENS, most), plan.batches = (plan.tokens + plan.rows - 1) / plan.rows;
			plan.visit = groups, plan.slots = (plan.tiles + groups - 1) / groups * groups;
		}
		plan.rows = (plan.tiles + plan.batches - 1) / plan.batches * GROUP_TOKENS; // as equal as can be
	}
	int stages = MOST_STAGES;
	while (stages > 2 && !give_stages(plan, stages))
		stages--;
	return give_stages(plan, stages) && (plan.batches == 1 || plan.tiles >= groups);
}

static inline unsigned ring_blocks(const ring_plan &plan) {
	return min(plan.heads, (unsigned)gpu_property(cudaDevAttrMultiProcessorCount, 1));
}

// All threads, before anything else.
static __device__ __forceinline__ void start_ring(const ring_memory &m, const ring_plan &plan) {
	if (threadIdx.x == 0) {
		for (int stage = 0; stage < plan.stages; stage++) {
			barrier_init(m.full + stage, GROUP_THREADS + 1);
			barrier_init(m.empty + stage, (unsigned)plan.groups * 4);
		}
		for (int group = 0; group < plan.groups; group++)
			barrier_init(m.own_full + group, 1);
		barriers_are_made();
	}
	__syncthreads();
}

// Where the filler, or a warpgroup, is in the ring.
struct ring_place {
	int stage;
	unsigned parity;
	__device__ __forceinline__ void advance(const ring_plan &plan) {
		bool around = ++stage == plan.stages;
		stage = around ? 0 : stage, parity ^= around;
	}
};

// Which of the heads' places come after these.
static __device__ __forceinline__ int next_turn(const ring_plan &plan, int turn) {
	return turn + 1 == plan.places ? 0 : turn + 1;
}

static __device__ __forceinline__ bf16 *stage_matrix(
	const ring_memory &m, const ring_plan &plan, int stage, int which) {
	return m.stages + (2 * stage + which) * plan.rows * SWIZZLED_ROW;
}

// A warp is done with a stage.
static __device__ __forceinline__ void leave_stage(const ring_memory &m, const ring_place &ring) {
	__syncwarp();
	arrive_as_warp(m.empty + ring.stage);
}

// ---- vectors

// What is fetched from: for the copy engine, a sample's tokens are a matrix. d_out: backward only.
struct ring_maps {
	matrix_map qkv, d_out;
	matrix_map ends; // qkv in boxes of a tail's tokens: forward only
};
static inline bool make_maps(d2v_device *dev, ring_maps &maps, const d2v_attention *op, bool backward) {
	bool known = make_stack_map(&maps.qkv, op->qkv, op->rows, op->tokens, 3 * op->width, GROUP_TOKENS);
	if (backward)
		known = known && make_stack_map(&maps.d_out, op->d_out, op->rows, op->tokens, op->width, GROUP_TOKENS);
	else
		known = known && make_stack_map(&maps.ends, op->qkv, op->rows, op->tokens, 3 * op->width, TAIL_TOKENS);
	if (!known)
		say_no_map(dev);
	return known;
}

// A head's vectors.
enum ring_vectors { QUERIES, KEYS, VALUES, OUTPUT_GRADIENTS };

// Starts the copy of tile `tile` of head n's vectors, by one thread; zeros for tokens that do not exist. end: no more
// than a tail's tokens of it.
static __device__ __forceinline__ void fetch_tile(bf16 *to, const ring_maps &maps, const d2v_attention &op, unsigned n,
	ring_vectors which, int tile, uint64_t *barrier, bool end = false) {
	int r = (int)(n / (unsigned)op.heads), column = (int)(n % (unsigned)op.heads) * GROUP_SIZE;
	if (which == OUTPUT_GRADIENTS)
		fetch_stack_box(to, &maps.d_out, column, tile * GROUP_TOKENS, r, barrier);
	else
		fetch_stack_box(
			to, end ? &maps.ends : &maps.qkv, (int)which * (int)op.width + column, tile * GROUP_TOKENS, r, barrier);
}

// Of results for 64 of a stage's tokens, those for the first N.
template <int N> static __device__ __forceinline__ float (&first_columns(float (&s)[GROUP_TOKENS / 8][4]))[N / 8][4] {
	return *(float(*)[N / 8][4]) & s;
}

// ---- keys that are none

// The place of a key that is padded, or beyond the last token: a NaN, so that its distances are 0 as an extra token's.
#define OUTSIDE_BITS 0x7fffffffu
static __device__ __forceinline__ bool is_outside(float place) {
	return bits_of_float(place) == OUTSIDE_BITS;
}

// Scores of N keys become -infinity where there is no key. places: of the keys. (Rare, and so apart: not a word about
// it is in the steps that all have.)
template <int N> static __device__ __forceinline__ void mask_keys(float (&s)[8][4], const float *places) {
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float2 two = *(const float2 *)&places[n * 8 + threadIdx.x % 4 * 2];
#pragma unroll
		for (int i = 0; i < 4; i++)
			s[n][i] = is_outside(i % 2 ? two.y : two.x) ? -INFINITY : s[n][i];
	}
}

// ---- the filler

// What is known of a head's tokens, as keys and as queries.
template <bool BIAS>
static __device__ __forceinline__ void fill_places(
	const ring_memory &m, const ring_plan &plan, const d2v_attention &op, int r, int turn) {
	int all = plan.rows * plan.batches;
	for (int token = (int)threadIdx.x % GROUP_THREADS; token < all; token += GROUP_THREADS) {
		bool there = token < plan.tokens, outside = !there;
		int position = token - (int)op.extra;
		if (BIAS && op.positions && there && position >= 0)
			position = op.positions[r * (op.tokens - op.extra) + position];
		if (op.key_padding && there)
			outside = op.key_padding[r * op.tokens + token];
		float place = !BIAS || !there ? 0.0f : token < op.extra ? NAN : (float)position;
		m.key_places[turn * all + token] = outside ? float_of_bits(OUTSIDE_BITS) : place;
		m.places[turn * all + token] = place;
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

// lse and d_out . out of a head's queries; one that had no key, or is none, gets probabilities of 0. 4 lanes a query.
static __device__ __forceinline__ void fill_facts(
	const ring_memory &m, const ring_plan &plan, const d2v_attention &op, unsigned n, int turn, float kept) {
	int all = plan.rows * plan.batches;
	int64_t head = (n / (unsigned)op.heads) * op.tokens * op.width + (n % (unsigned)op.heads) * GROUP_SIZE;
	const bf16 *d_out = (const bf16 *)op.d_out + head, *out = (const bf16 *)op.out + head;
	float unkept = kept > 0 ? 1.0f / kept : 0.0f;
	for (int query = (int)threadIdx.x % GROUP_THREADS / 4; query < all; query += GROUP_THREADS / 4) {
		int from = (query < plan.tokens ? query : 0) * (int)op.width + (int)threadIdx.x % 4 * 8;
		float lse = query < plan.tokens ? op.lse[(int64_t)n * op.tokens + query] : -INFINITY;
		d2v_bits<bf16, 8> a[2], b[2];
#pragma unroll
		for (int pack = 0; pack < 2; pack++) {
			a[pack] = read_pack_once<bf16, 8>(d_out + from + pack * 32); // the cache is for what the others spill
			b[pack] = read_pack_once<bf16, 8>(out + from + pack * 32);
		}
		float sum = row_sum(inner_product(a, b));
		bool there = lse != -INFINITY;
		if (threadIdx.x % 4 == 0)
			m.facts[turn * all + query] = make_float2(there ? lse * LOG2_E : INFINITY, there ? sum * unkept : 0.0f);
	}
}

// Starts the copies of a stage's two matrices, those of the tokens from tile `tile` on. One thread.
static __device__ __forceinline__ void fill_stage(const ring_memory &m, const ring_plan &plan, const ring_maps &maps,
	const d2v_attention &op, int stage, unsigned n, int pass, int tile) {
	int rows = min(plan.rows, (plan.tiles - tile) * GROUP_TOKENS);
	barrier_expect(m.full + stage, (unsigned)(2 * rows * SWIZZLED_ROW) * sizeof(bf16));
	for (int row = 0; row < rows; row += GROUP_TOKENS, tile++)
		for (int i = 0; i < 2; i++) {
			ring_vectors which = pass ? (i ? OUTPUT_GRADIENTS : QUERIES) : (i ? VALUES : KEYS);
			bf16 *to = stage_matrix(m, plan, stage, i) + row * SWIZZLED_ROW;
			fetch_tile(to, maps, op, n, which, tile, m.full + stage, rows - row < GROUP_TOKENS);
		}
}

// The filler's whole work: for each head PASSES passes over its tokens, the first with keys and values, the second with
// queries and d_out. Places and facts come with a head's first fill.
template <int PASSES, bool BIAS>
static __device__ __forceinline__ void fill_ring(
	const ring_memory &m, const ring_plan &plan, const ring_maps &maps, const d2v_attention &op, float kept) {
	ring_place ring = { 0, 1 };
	int turn = 0;
	for (unsigned n = blockIdx.x; n < plan.heads; n += gridDim.x, turn = next_turn(plan, turn))
		for (int pass = 0; pass < PASSES; pass++)
			for (int slot = 0; slot < plan.slots; slot += plan.visit)
				for (int batch = 0; batch < plan.batches; batch++, ring.advance(plan)) {
					barrier_wait(m.empty + ring.stage, ring.parity);
					if (threadIdx.x % GROUP_THREADS == 0)
						fill_stage(m, plan, maps, op, ring.stage, n, pass, batch * plan.rows / GROUP_TOKENS);
					if (pass == 0 && slot == 0 && batch == 0) {
						fill_places<BIAS>(m, plan, op, (int)(n / (unsigned)op.heads), turn);
						if (PASSES > 1)
							fill_facts(m, plan, op, n, turn, kept);
					}
					barrier_arrive(m.full + ring.stage);
				}
}

// ---- tiles

// A warpgroup's turn: which tile of which pass over which head it has. Whole tiles go round from pass to pass; so do
// tails, but the other way, so that who gets a whole tile less gets the tail.
template <int PASSES> struct ring_turn {
	unsigned n;
	int pass, slot;
	int next;     // of the pass's slots the next that is this one's, if there are so many
	int distance; // passes until a tail is
	__device__ __forceinline__ void advance(const ring_plan &plan) {
		int whole = plan.slots - plan.tail;
		for (;;) {
			if (next < whole) {
				slot = next, next += plan.groups;
				if (slot < plan.tiles)
					return;
			} else if (plan.tail && distance == 0) {
				slot = whole, distance = plan.groups;
				return;
			} else {
				next -= whole, distance--;
				if (++pass == PASSES)
					pass = 0, n += gridDim.x;
			}
		}
	}
	// The first turn of warpgroup `group`.
	__device__ __forceinline__ void start(const ring_plan &plan, int group) {
		n = blockIdx.x, pass = 0, next = group, distance = plan.groups - 1 - group;
		advance(plan);
	}
};

// Is a turn's tile a tail?
template <int PASSES>
static __device__ __forceinline__ bool is_tail(const ring_plan &plan, const ring_turn<PASSES> &at) {
	return plan.tail && at.slot + 1 == plan.tiles;
}

// The warpgroup's barrier.
static __device__ __forceinline__ void meet_group(int group) {
	meet(1 + group, GROUP_THREADS);
}

// Starts the copies of a tile's own vectors: in the first pass a query's, in the second a key's.
template <int PASSES>
static __device__ __forceinline__ void fetch_own(const ring_memory &m, const ring_plan &plan, const ring_maps &maps,
	const d2v_attention &op, const ring_turn<PASSES> &at, int group) {
	if (threadIdx.x % GROUP_THREADS != 0 || at.n >= plan.heads)
		return;
	bf16 *own = m.own + group * PASSES * TILE_ELEMENTS;
	barrier_expect(m.own_full + group, (unsigned)(PASSES * TILE_ELEMENTS) * sizeof(bf16));
	fetch_tile(own, maps, op, at.n, at.pass ? KEYS : QUERIES, at.slot, m.own_full + group);
	if (PASSES > 1)
		fetch_tile(
			own + TILE_ELEMENTS, maps, op, at.n, at.pass ? VALUES : OUTPUT_GRADIENTS, at.slot, m.own_full + group);
}

#endif
