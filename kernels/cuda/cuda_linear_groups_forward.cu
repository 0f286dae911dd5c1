// Linear layers with GELU in bf16, forward, on Hopper's warpgroups: the product's results meet bias and GELU in registers.
//
// A block has three warpgroups and a multiprocessor to itself. One thread of the first has boxes of x and w copied to
// shared memory, STAGES steps of 64 terms ahead. The other two take the block's tiles, of 128 rows and columns, in turn:
// while one sums up its tile, the other has its own go through GELU and to memory. Stages are filled tile after tile:
// whose turn it is to sum up finds its first terms there.
//
// Tiles beside each other in a row of tiles are worked on at the same time: they share the rows of x, and w is small
// enough to stay in the L2 cache. (Blocks in pairs that fetch w for each other were no faster on an H200, nor were tiles
// of 192 columns; nor was, backward, a product that multiplies with GELU's derivative.)
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/linear_groups.h"

#define TILE 128 // rows and columns
#define STEP 64  // terms
#define STAGES 6
#define CONSUMERS 2
#define GROUP_THREADS 128
#define THREADS (GROUP_THREADS * (1 + CONSUMERS))
#define BOX (TILE * STEP) // elements of one of a stage's two boxes
#define STAGE_BYTES (2 * BOX * sizeof(bf16))
#define SHARED (STAGES * STAGE_BYTES + (2 * STAGES + CONSUMERS) * sizeof(uint64_t))

typedef struct gelu_work {
	matrix_map x, w;
	const bf16 *bias;
	bf16 *pre, *y;
	int64_t rows;
	int out, steps, across; // across: tiles side by side
	unsigned tiles;
} gelu_work;

// A block's stages and their barriers: full opens when a stage is there, empty when the warpgroup has read it. turn, of
// each warpgroup, opens when the other has seen the last stage of its tile there: a barrier tells one opening from the
// next only to who has seen all before.
struct block_stages {
	bf16 *elements;
	uint64_t *full, *empty, *turn;
};
static __device__ __forceinline__ block_stages find_stages(unsigned char *bytes) {
	block_stages s;
	s.elements = (bf16 *)bytes;
	s.full = (uint64_t *)(bytes + STAGES * STAGE_BYTES);
	s.empty = s.full + STAGES;
	s.turn = s.empty + STAGES;
	return s;
}
static __device__ __forceinline__ bf16 *find_stage(const block_stages &s, unsigned stage) {
	return s.elements + stage * 2 * BOX;
}

// The block's n-th tile: the first of its rows and columns. False: there are no more.
struct tile_place {
	int row, column;
};
static __device__ __forceinline__ bool find_tile(tile_place &at, const gelu_work &work, unsigned n) {
	unsigned number = blockIdx.x + n * gridDim.x;
	at.row = (int)(number / (unsigned)work.across) * TILE, at.column = (int)(number % (unsigned)work.across) * TILE;
	return number < work.tiles;
}

// ---- the thread that copies

static __device__ __forceinline__ void copy_stages(const gelu_work &work, const block_stages &s) {
	unsigned step = 0; // of all tiles
	tile_place at;
	for (unsigned n = 0; find_tile(at, work, n); n++)
		for (int k = 0; k < work.steps; k++, step++) {
			unsigned stage = step % STAGES;
			bf16 *x = find_stage(s, stage);
			barrier_wait(&s.empty[stage], step / STAGES % 2 ^ 1); // the first time round there is nobody to wait for
			barrier_expect(&s.full[stage], STAGE_BYTES);
			fetch_box(x, &work.x, k * STEP, at.row, &s.full[stage]);
			fetch_box(x + BOX, &work.w, k * STEP, at.column, &s.full[stage]);
		}
}

// ---- the warpgroups that multiply

// A thread's sums: of its warp's 16 rows in both halves of the tile, as wgmma.cuh has them.
struct tile_sums {
	float at[TILE / 64][TILE / 8][4];
};

static __device__ __forceinline__ void add_stage(tile_sums &sums, const bf16 *elements, bool add) {
	shared_matrix x = find_matrix(elements), w = find_matrix(elements + BOX);
	products_fence();
#pragma unroll
	for (int k = 0; k < STEP; k += 16)
#pragma unroll
		for (int half = 0; half < TILE / 64; half++)
			multiply<TILE, ROWS, ROWS>(
				sums.at[half], from_element(from_row(x, half * 64), k), from_element(w, k), add || k > 0);
	products_commit();
}

// The tile's sums, from the stages that begin with `step`. A stage is given back when the products after it are under
// way.
static __device__ __forceinline__ void sum_tile(
	tile_sums &sums, const block_stages &s, unsigned step, int steps, uint64_t *next_turn) {
	for (int k = 0; k < steps; k++, step++) {
		unsigned stage = step % STAGES;
		barrier_wait(&s.full[stage], step / STAGES % 2);
		add_stage(sums, find_stage(s, stage), k > 0);
		products_wait<1>();
		if (k > 0)
			arrive_as_warp(&s.empty[(step - 1) % STAGES]);
	}
	arrive_as_warp(next_turn);
	products_wait<0>();
	arrive_as_warp(&s.empty[(step - 1) % STAGES]);
}

// ---- on the way to memory
//
// Of 32 columns a lane has the pairs 8 j + 2 t, j = 0 to 3, of a row: four lanes exchange them so that each has the
// eight columns of one j, 16 bytes, and the four together 64 that lie side by side. All of a tile is one stretch without
// a branch: so the compiler has one row's exchange run under another's polynomials.

// words[j] of lane t becomes words[t] of lane j, for four lanes in a row.
static __device__ __forceinline__ void transpose_words(uint32_t (&words)[4]) {
	bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
	uint32_t first = __shfl_xor_sync(0xffffffffu, odd ? words[0] : words[1], 1);
	uint32_t second = __shfl_xor_sync(0xffffffffu, odd ? words[2] : words[3], 1);
	words[0] = odd ? first : words[0], words[1] = odd ? words[1] : first;
	words[2] = odd ? second : words[2], words[3] = odd ? words[3] : second;
	first = __shfl_xor_sync(0xffffffffu, high ? words[0] : words[2], 2);
	second = __shfl_xor_sync(0xffffffffu, high ? words[1] : words[3], 2);
	words[0] = high ? first : words[0], words[1] = high ? second : words[1];
	words[2] = high ? words[2] : first, words[3] = high ? words[3] : second;
}

// Where a lane's 16 bytes of a row go.
static __device__ __forceinline__ void store_words(bf16 *to, uint32_t (&words)[4], bool inside) {
	transpose_words(words);
	if (inside)
		*(uint4 *)to = make_uint4(words[0], words[1], words[2], words[3]);
}

// The bias of a lane's columns, in pairs: asked for before the tile is summed up, so that nobody waits for it.
struct tile_bias {
	uint32_t pairs[TILE / 8];
};
static __device__ __forceinline__ void load_bias(tile_bias &bias, const gelu_work &work, const tile_place &tile) {
#pragma unroll
	for (int i = 0; i < TILE / 8; i++) {
		int from = tile.column + i * 8 + (int)threadIdx.x % 4 * 2;
		bias.pairs[i] = from < work.out ? __ldg((const uint32_t *)(work.bias + from)) : 0;
	}
}

// A warp's rows come in parts of eight, of each of which a lane has one: from row 0, 8, 64 and 72 of the tile's that begin
// with the warp's.
#define PARTS (TILE / 64 * 2)
static __device__ __forceinline__ int part_row(int part) {
	return part / 2 * 64 + part % 2 * 8;
}

template <bool KEEP>
static __device__ __forceinline__ void finish_tile(
	const gelu_work &work, const tile_sums &sums, const tile_bias &bias, const tile_place &tile, int warp) {
	int lane = (int)threadIdx.x % 32;
#pragma unroll
	for (int c = 0; c < TILE / 32; c++) {
		int column = tile.column + c * 32 + lane % 4 * 8;
#pragma unroll
		for (int part = 0; part < PARTS; part++) {
			int64_t row = (int64_t)tile.row + warp * 16 + part_row(part) + lane / 4, place = row * work.out + column;
			bool inside = row < work.rows && column < work.out;
			uint32_t pre[4], y[4];
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const float(&pair)[4] = sums.at[part / 2][c * 4 + j];
				uint32_t shift = bias.pairs[c * 4 + j];
				pre[j] =
					round_pair<bf16>(pair[part % 2 * 2] + low_half(shift), pair[part % 2 * 2 + 1] + high_half(shift));
				y[j] = round_pair<bf16>(gelu<bf16>(low_half(pre[j])), gelu<bf16>(high_half(pre[j])));
			}
			store_words(work.y + place, y, inside);
			if (KEEP)
				store_words(work.pre + place, pre, inside);
		}
	}
}

template <bool KEEP>
static __device__ __forceinline__ void work_tiles(const gelu_work &work, const block_stages &s, int group) {
	tile_place tile;
	for (unsigned n = (unsigned)group; find_tile(tile, work, n); n += CONSUMERS) {
		tile_sums sums;
		tile_bias bias;
		barrier_wait(&s.turn[group], n / CONSUMERS % 2 ^ (group == 0)); // the very first has no one before it
		load_bias(bias, work, tile);
		sum_tile(sums, s, n * (unsigned)work.steps, work.steps, &s.turn[group ^ 1]);
		finish_tile<KEEP>(work, sums, bias, tile, warp_number() % 4);
	}
}

// KEEP: GELU's input is wanted too.
template <bool KEEP>
static __global__ void __launch_bounds__(THREADS, 1) multiply_tiles(const __grid_constant__ gelu_work work) {
	D2V_SHARED_MATRICES(bytes);
	block_stages s = find_stages(bytes);
	int group = warp_number() / 4;
	if (threadIdx.x == 0) {
		for (int i = 0; i < STAGES; i++) {
			barrier_init(&s.full[i], 1);
			barrier_init(&s.empty[i], 4); // a warp each
		}
		for (int i = 0; i < CONSUMERS; i++)
			barrier_init(&s.turn[i], 4);
		barriers_are_made();
	}
	__syncthreads();
	if (group == 0) {
		give_registers<24>();
		if (threadIdx.x == 0)
			copy_stages(work, s);
	} else {
		take_registers<240>();
		work_tiles<KEEP>(work, s, group - 1);
	}
}

// ---- the layer

void d2v_cuda_linear_groups_forward(d2v_device *dev, const d2v_linear *op) {
	gelu_work work = {};
	int64_t down = (op->rows + TILE - 1) / TILE, across = (op->out + TILE - 1) / TILE;
	if (!make_map(&work.x, op->x, op->rows, op->in, TILE) || !make_map(&work.w, op->w, op->out, op->in, TILE)) {
		say_no_map(dev);
		return;
	}
	work.bias = (const bf16 *)op->bias, work.pre = (bf16 *)op->pre, work.y = (bf16 *)op->y;
	work.rows = op->rows, work.out = (int)op->out, work.steps = (int)((op->in + STEP - 1) / STEP);
	work.across = (int)across, work.tiles = (unsigned)(down * across);
	unsigned blocks = (unsigned)min((int64_t)gpu_property(cudaDevAttrMultiProcessorCount, 1), down * across);
	if (op->pre)
		D2V_LAUNCH(dev, multiply_tiles<true>, blocks, THREADS, SHARED, work);
	else
		D2V_LAUNCH(dev, multiply_tiles<false>, blocks, THREADS, SHARED, work);
}

static bool is_aligned(const void *at) {
	return (uintptr_t)at % 16 == 0;
}

// Compute capability 9.x, of which alone sm_90a is; rows of whole packs; tiles that an int can count.
bool d2v_cuda_linear_fits_groups(d2v_device *dev, const d2v_linear *op) {
	const int64_t most = INT32_MAX - TILE;
	return d2v_cuda_is_bf16(dev) && gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 && op->gelu && op->bias &&
		   op->rows > 0 && op->out > 0 && op->in > 0 && op->out % 8 == 0 && op->in % 8 == 0 && op->rows <= most &&
		   op->out <= most && op->in <= most && (op->rows / TILE + 1) * (op->out / TILE + 1) <= most &&
		   is_aligned(op->x) && is_aligned(op->w) && is_aligned(op->bias) && is_aligned(op->pre) && is_aligned(op->y);
}
