// Products of bf16 matrices on Hopper's warpgroups, whose results meet GELU, or its derivative, in registers.
//
// A block has three warpgroups and a multiprocessor to itself. One thread of the first has boxes of both operands
// copied to shared memory, STAGES steps of 64 terms ahead. The other two take the block's tiles of 128 rows in turn:
// while one sums up its tile, the other has its own go through GELU and to memory. Stages are filled tile after tile:
// whose turn it is to sum up finds its first terms there.
//
// Tiles beside each other in a row of tiles are worked on at the same time: they share the rows of a, and b is small
// enough to stay in the L2 cache. What that can give is hardly what the tiles ask for; so blocks may go in pairs, a
// cluster, with one tile below the other, and each fetches half of b's part for both.
#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/linear_groups.h"

#define TILE_ROWS 128
#define STEP 64 // terms
#define CONSUMERS 2
#define GROUP_THREADS 128
#define THREADS (GROUP_THREADS * (1 + CONSUMERS))

// N: columns of a tile.
template <int N> struct tile_shape {
	static constexpr int STAGES = 6;
	static constexpr int a = TILE_ROWS * STEP, b = N * STEP, stage = a + b; // elements
	static constexpr unsigned stage_bytes = stage * sizeof(bf16);
	static constexpr size_t shared = STAGES * stage_bytes + (2 * STAGES + CONSUMERS) * sizeof(uint64_t);
};

typedef struct gelu_work {
	matrix_map a, b;
	const bf16 *bias;
	bf16 *pre, *y;
	float *partial; // (4 rows of tiles, n) column sums, of 32 rows each, or NULL
	int64_t m;
	int n, steps, across; // across: tiles side by side
	unsigned tiles; // those of a cluster counted as one
} gelu_work;

// A block's stages and their barriers: full opens when a stage is there, empty when whoever had to read it has, in the other
// block of a cluster too. turn, of each warpgroup, opens when the other has seen the last stage of its tile there: a barrier
// tells one opening from the next only to who has seen all before.
template <int N> struct block_stages {
	bf16 *elements;
	uint64_t *full, *empty, *turn;
};
template <int N> static __device__ __forceinline__ block_stages<N> find_stages(unsigned char *bytes) {
	constexpr int STAGES = tile_shape<N>::STAGES;
	block_stages<N> s;
	s.elements = (bf16 *)bytes;
	s.full = (uint64_t *)(bytes + STAGES * tile_shape<N>::stage_bytes);
	s.empty = s.full + STAGES;
	s.turn = s.empty + STAGES;
	return s;
}

// The block's n-th tile: the first of its rows and columns. False: there are no more.
struct tile_place {
	int64_t down; // tiles above it
	int row, column;
};
template <int N, int CLUSTER>
static __device__ __forceinline__ bool find_tile(tile_place &at, const gelu_work &work, unsigned n) {
	unsigned number = blockIdx.x / CLUSTER + n * (gridDim.x / CLUSTER);
	at.down = number / (unsigned)work.across * CLUSTER + (CLUSTER > 1 ? cluster_rank() : 0);
	at.row = (int)at.down * TILE_ROWS, at.column = (int)(number % (unsigned)work.across) * N;
	return number < work.tiles;
}

// ---- the thread that copies

// b's part of a stage, or this block's share of it.
template <int N, matrix_order B, int CLUSTER>
static __device__ __forceinline__ void fetch_b(bf16 *b, const matrix_map *map, int column, int k, uint64_t *full) {
	int share = CLUSTER > 1 ? (int)cluster_rank() : 0;
	constexpr int boxes = B == ROWS ? 1 : N / SWIZZLED_ROW, rows = (B == ROWS ? N : STEP) / CLUSTER;
#pragma unroll
	for (int box = 0; box < boxes; box++) {
		bf16 *to = b + box * STEP * SWIZZLED_ROW + share * rows * SWIZZLED_ROW;
		int across = B == ROWS ? k : column + box * SWIZZLED_ROW, down = (B == ROWS ? column : k) + share * rows;
		if (CLUSTER > 1)
			fetch_box_for_all(to, map, across, down, full);
		else
			fetch_box(to, map, across, down, full);
	}
}

template <int N, matrix_order B, int CLUSTER>
static __device__ __forceinline__ void copy_stages(const gelu_work &work, const block_stages<N> &s) {
	constexpr int STAGES = tile_shape<N>::STAGES;
	unsigned step = 0; // of all tiles
	tile_place at;
	for (unsigned n = 0; find_tile<N, CLUSTER>(at, work, n); n++)
		for (int k = 0; k < work.steps; k++, step++) {
			unsigned stage = step % STAGES;
			bf16 *a = s.elements + stage * tile_shape<N>::stage;
			barrier_wait(&s.empty[stage], step / STAGES % 2 ^ 1); // the first time round there is nobody to wait for
			barrier_expect(&s.full[stage], tile_shape<N>::stage_bytes);
			fetch_box(a, &work.a, k * STEP, at.row, &s.full[stage]);
			fetch_b<N, B, CLUSTER>(a + tile_shape<N>::a, &work.b, at.column, k * STEP, &s.full[stage]);
		}
}

// ---- the warpgroups that multiply

// A thread's sums: of its warp's 16 rows in both halves of the tile, as wgmma.cuh has them.
template <int N> struct tile_sums { float at[TILE_ROWS / 64][N / 8][4]; };

template <int N, matrix_order B>
static __device__ __forceinline__ void add_stage(tile_sums<N> &sums, const bf16 *elements, bool add) {
	shared_matrix a = find_matrix(elements),
				  b = find_matrix(elements + tile_shape<N>::a, STEP * SWIZZLED_ROW * sizeof(bf16));
	products_fence();
#pragma unroll
	for (int k = 0; k < STEP; k += 16)
#pragma unroll
		for (int half = 0; half < TILE_ROWS / 64; half++)
			multiply<N, ROWS, B>(sums.at[half], from_element(from_row(a, half * 64), k),
				B == ROWS ? from_element(b, k) : from_row(b, k), add || k > 0);
	products_commit();
}

static __device__ __forceinline__ void arrive_as_warp(uint64_t *barrier) {
	if (threadIdx.x % 32 == 0)
		barrier_arrive(barrier);
}
// A stage was read: who fills it is told, in each block that does.
template <int CLUSTER> static __device__ __forceinline__ void give_stage(uint64_t *empty) {
	if (CLUSTER == 1)
		arrive_as_warp(empty);
	else if (threadIdx.x % 32 < CLUSTER)
		barrier_arrive_at(empty, threadIdx.x % 32);
}

// The tile's sums, from the stages that begin with `step`. A stage is given back when the products after it are under way.
template <int N, matrix_order B, int CLUSTER>
static __device__ __forceinline__ void sum_tile(
	tile_sums<N> &sums, const block_stages<N> &s, unsigned step, int steps, uint64_t *next_turn) {
	constexpr int STAGES = tile_shape<N>::STAGES;
	for (int k = 0; k < steps; k++, step++) {
		unsigned stage = step % STAGES;
		barrier_wait(&s.full[stage], step / STAGES % 2);
		add_stage<N, B>(sums, s.elements + stage * tile_shape<N>::stage, k > 0);
		products_wait<1>();
		if (k > 0)
			give_stage<CLUSTER>(&s.empty[(step - 1) % STAGES]);
	}
	arrive_as_warp(next_turn);
	products_wait<0>();
	give_stage<CLUSTER>(&s.empty[(step - 1) % STAGES]);
}

// ---- on the way to memory
//
// Of 32 columns a lane has the pairs 8 j + 2 t, j = 0 to 3, of a row: four lanes exchange them so that each has the
// eight columns of one j, 16 bytes, and the four together 64 that lie side by side. All of a tile is one stretch without a
// branch: so the compiler has one row's exchange run under another's polynomials.

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

static __device__ __forceinline__ float low_half(uint32_t pair) {
	return __uint_as_float(pair << 16);
}
static __device__ __forceinline__ float high_half(uint32_t pair) {
	return __uint_as_float(pair & 0xffff0000u);
}

// Where a lane's 16 bytes of a row go.
static __device__ __forceinline__ void store_words(bf16 *to, uint32_t (&words)[4], bool inside) {
	transpose_words(words);
	if (inside)
		*(uint4 *)to = make_uint4(words[0], words[1], words[2], words[3]);
}

// A warp's place in a matrix: its row 0 of a tile, and the lane's 8 columns of the tile's first 32. Its rows come in parts of
// eight, a lane's g of each: from here on and from 8, 64 and 72 rows further down.
struct warp_place {
	int64_t row;
	int column;
};
#define PARTS (TILE_ROWS / 64 * 2)
static __device__ __forceinline__ int part_row(int part) {
	return part / 2 * 64 + part % 2 * 8;
}

// The bias of a lane's columns, in pairs: asked for before the tile is summed up, so that nobody waits for it.
template <int N> struct tile_bias {
	uint32_t pairs[N / 8];
};
template <int N>
static __device__ __forceinline__ void load_bias(tile_bias<N> &bias, const gelu_work &work, const tile_place &tile) {
#pragma unroll
	for (int i = 0; i < N / 8; i++) {
		int from = tile.column + i * 8 + (int)threadIdx.x % 4 * 2;
		bias.pairs[i] = from < work.n ? __ldg((const uint32_t *)(work.bias + from)) : 0;
	}
}

template <int N, bool KEEP>
static __device__ __forceinline__ void finish_forward(
	const gelu_work &work, const tile_sums<N> &sums, const tile_bias<N> &bias, const warp_place &at) {
	int g = (int)threadIdx.x % 32 / 4;
#pragma unroll
	for (int c = 0; c < N / 32; c++) {
		int column = at.column + c * 32;
#pragma unroll
		for (int part = 0; part < PARTS; part++) {
			int64_t row = at.row + part_row(part) + g, place = row * work.n + column;
			bool inside = row < work.m && column < work.n;
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

// Adds up eight values each over the lanes that differ in g; lane (g, t) gets the sum of value g.
static __device__ __forceinline__ float sum_over_rows(float (&values)[8]) {
	int g = (int)threadIdx.x % 32 / 4;
#pragma unroll
	for (int width = 4; width; width /= 2) {
		bool upper = g & width;
#pragma unroll
		for (int i = 0; i < width; i++) {
			float gone = upper ? values[i] : values[i + width], kept = upper ? values[i + width] : values[i];
			values[i] = kept + __shfl_xor_sync(0xffffffffu, gone, width * 4);
		}
	}
	return values[0];
}

// What GELU was given for 32 columns of the lane's rows.
struct given_words {
	uint4 at[PARTS];
};
static __device__ __forceinline__ void load_given(given_words &given, const gelu_work &work, const warp_place &at, int c) {
	int column = at.column + c * 32;
#pragma unroll
	for (int part = 0; part < PARTS; part++) {
		int64_t row = at.row + part_row(part) + (int)threadIdx.x % 32 / 4;
		given.at[part] = row < work.m && column < work.n
			? __ldg((const uint4 *)(work.pre + row * work.n + column))
			: make_uint4(0, 0, 0, 0);
	}
}

// first: of the tile's first 32 columns; those of the next are under way while these are worked on.
template <int N, bool SUM>
static __device__ __forceinline__ void finish_backward(const gelu_work &work, const tile_sums<N> &sums,
	const given_words &first, const warp_place &at, int64_t piece) {
	int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
	given_words given = first;
#pragma unroll
	for (int c = 0; c < N / 32; c++) {
		int column = at.column + c * 32;
		given_words next = {};
		float total[8] = { 0 };
		if (c + 1 < N / 32)
			load_given(next, work, at, c + 1);
#pragma unroll
		for (int part = 0; part < PARTS; part++) {
			int64_t row = at.row + part_row(part) + g;
			uint32_t pre[4] = { given.at[part].x, given.at[part].y, given.at[part].z, given.at[part].w }, y[4];
			transpose_words(pre);
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const float(&pair)[4] = sums.at[part / 2][c * 4 + j];
				float one = pair[part % 2 * 2] * gelu_derivative<bf16>(low_half(pre[j]));
				float two = pair[part % 2 * 2 + 1] * gelu_derivative<bf16>(high_half(pre[j]));
				total[2 * j] += one, total[2 * j + 1] += two;
				y[j] = round_pair<bf16>(one, two);
			}
			store_words(work.y + row * work.n + column, y, row < work.m && column < work.n);
		}
		if (SUM) {
			float sum = sum_over_rows(total); // of column 8 (g / 2) + 2 t + g % 2
			int to = column - t * 8 + g / 2 * 8 + t * 2 + g % 2;
			if (to < work.n)
				work.partial[piece * work.n + to] = sum;
		}
		given = next;
	}
}

// What GELU was given for a tile, a row of it a thread, is asked to be near by when the tile is summed up.
template <int N>
static __device__ __forceinline__ void prefetch_pre(const gelu_work &work, const tile_place &tile) {
	int64_t row = tile.row + (int)threadIdx.x % GROUP_THREADS;
#pragma unroll
	for (int c = 0; c < N; c += 64)
		if (row < work.m && tile.column + c < work.n)
			prefetch(work.pre + row * work.n + tile.column + c);
}

template <int N, matrix_order B, int CLUSTER, bool MORE>
static __device__ __forceinline__ void work_tiles(const gelu_work &work, const block_stages<N> &s, int group) {
	int warp = warp_number() % 4;
	tile_place tile;
	for (unsigned n = (unsigned)group; find_tile<N, CLUSTER>(tile, work, n); n += CONSUMERS) {
		tile_sums<N> sums;
		warp_place at = { (int64_t)tile.row + warp * 16, tile.column + (int)threadIdx.x % 4 * 8 };
		barrier_wait(&s.turn[group], n / CONSUMERS % 2 ^ (group == 0)); // the very first has no one before it
		tile_bias<N> bias;
		given_words first;
		if (B == ROWS) {
			load_bias<N>(bias, work, tile);
		} else {
			prefetch_pre<N>(work, tile);
			load_given(first, work, at, 0);
		}
		sum_tile<N, B, CLUSTER>(sums, s, n * (unsigned)work.steps, work.steps, &s.turn[group ^ 1]);
		if (B == ROWS)
			finish_forward<N, MORE>(work, sums, bias, at);
		else
			finish_backward<N, MORE>(work, sums, first, at, tile.down * 4 + warp);
	}
}

template <int CLUSTER> static __device__ __forceinline__ void meet() {
	if (CLUSTER > 1)
		cluster_barrier();
	else
		__syncthreads();
}

// MORE: forward GELU's input is kept, backward the columns are summed.
template <int N, matrix_order B, int CLUSTER, bool MORE>
static __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
	multiply_tiles(const __grid_constant__ gelu_work work) {
	constexpr int STAGES = tile_shape<N>::STAGES;
	D2V_SHARED_MATRICES(bytes);
	block_stages<N> s = find_stages<N>(bytes);
	int group = warp_number() / 4;
	if (threadIdx.x == 0) {
		for (int i = 0; i < STAGES; i++) {
			barrier_init(&s.full[i], 1);
			barrier_init(&s.empty[i], 4 * CLUSTER); // a warp each
		}
		for (int i = 0; i < CONSUMERS; i++)
			barrier_init(&s.turn[i], 4);
		barriers_are_made();
	}
	meet<CLUSTER>();
	if (group == 0) {
		give_registers<24>();
		if (threadIdx.x == 0)
			copy_stages<N, B, CLUSTER>(work, s);
	} else {
		take_registers<240>();
		work_tiles<N, B, CLUSTER, MORE>(work, s, group - 1);
	}
	if (CLUSTER > 1)
		meet<CLUSTER>(); // nobody goes while the other may still tell it something
}

// ---- the product

template <int N, matrix_order B, int CLUSTER> static void launch(d2v_device *dev, const d2v_gelu_product *op) {
	gelu_work work = {};
	int64_t down = (op->m + TILE_ROWS * CLUSTER - 1) / (TILE_ROWS * CLUSTER), across = (op->n + N - 1) / N;
	int64_t tiles = down * across, pieces = 4 * down * CLUSTER;
	bool known = make_map(&work.a, op->a, op->m, op->k, TILE_ROWS) &&
				 (B == ROWS ? make_map(&work.b, op->b, op->n, op->k, N / CLUSTER)
							: make_map(&work.b, op->b, op->k, op->n, STEP / CLUSTER));
	if (!known) {
		d2v_device_set_error(
			dev, D2V_IO, "the driver does not know how to describe a matrix; is it older than CUDA 12?");
		return;
	}
	if (op->sum) {
		work.partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * op->n) * sizeof *work.partial);
		if (!work.partial)
			return;
	}
	work.bias = (const bf16 *)op->bias, work.pre = (bf16 *)op->pre, work.y = (bf16 *)op->y;
	work.m = op->m, work.n = (int)op->n, work.steps = (int)((op->k + STEP - 1) / STEP);
	work.across = (int)across, work.tiles = (unsigned)tiles;
	int64_t clusters = min((int64_t)gpu_property(cudaDevAttrMultiProcessorCount, CLUSTER) / CLUSTER, tiles);
	if (B == ROWS ? work.pre != NULL : work.partial != NULL)
		D2V_LAUNCH_CLUSTERS(dev, CLUSTER, (multiply_tiles<N, B, CLUSTER, true>), (unsigned)(clusters * CLUSTER), THREADS,
			tile_shape<N>::shared, work);
	else
		D2V_LAUNCH_CLUSTERS(dev, CLUSTER, (multiply_tiles<N, B, CLUSTER, false>), (unsigned)(clusters * CLUSTER), THREADS,
			tile_shape<N>::shared, work);
	if (op->sum)
		d2v_cuda_add_partials(dev, op->sum, NULL, work.partial, pieces, op->n, op->n);
}

template <int N, int CLUSTER> static void launch_either_way(d2v_device *dev, const d2v_gelu_product *op) {
	if (op->backward)
		launch<N, COLUMNS, CLUSTER>(dev, op);
	else
		launch<N, ROWS, CLUSTER>(dev, op);
}

void d2v_cuda_multiply_gelu(d2v_device *dev, const d2v_gelu_product *op) {
	if (op->cluster == 2)
		launch_either_way<128, 2>(dev, op);
	else
		launch_either_way<128, 1>(dev, op);
}

static bool is_aligned(const void *at) {
	return (uintptr_t)at % 16 == 0;
}

bool d2v_cuda_fits_gelu_product(d2v_device *dev, const d2v_gelu_product *op) {
	return d2v_cuda_is_bf16(dev) && gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 && op->m > 0 && op->n > 0 &&
		   op->k > 0 && op->n % 8 == 0 && op->k % 8 == 0 && op->m <= INT32_MAX && op->n <= INT32_MAX - 192 &&
		   op->k <= INT32_MAX - 64 && is_aligned(op->a) && is_aligned(op->b) && is_aligned(op->pre) &&
		   is_aligned(op->y) && (op->backward || op->bias);
}
