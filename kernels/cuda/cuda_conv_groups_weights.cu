// The weights' gradient of convolutions in groups of few channels on Hopper's warpgroups, in bf16, for groups with as many
// channels in as out: of each tap the product, over all results, of d_y turned and of what the tap reads of x.
//
// k runs over the results of a tile. a is d_y, in registers, turned on the way there; b is the tape of x (conv_tape.cuh) from
// the tap on, with channels as columns. Where d_y's tape has zeros, between rows and pictures, nothing is added. A
// warpgroup has three taps, for which it loads d_y once, and always asks for the next products before it waits for the last.
// A warpgroup more, the fillers, keeps two stages full, two warps each: when the others fetched the next tile themselves,
// products reached half of the rate they can have by themselves (H200).
//
// Of a's 64 rows 48 channels are three quarters.
#include "kernels/cuda/conv_results.cuh"
#include "kernels/cuda/conv_tape.cuh"

#define GROUPS 3     // of a block, beside the fillers
#define THREADS (GROUP_THREADS * (GROUPS + 1))
#define REGISTERS 152 // of 128 a thread the fillers leave these to the others
#define FILLER_REGISTERS 56
#define CHUNK 32     // results between two looks at the products
#define STEPS (CHUNK / 16)
#define STAGES 2
#define FILLERS (4 / STAGES) // warps of a stage
#define BARRIER_BYTES (2 * STAGES * sizeof(uint64_t))
#define PROCESSORS 132 // of an H100 or H200

// Taps that a warpgroup has registers for, of groups of so many channels.
static constexpr __host__ __device__ int most_taps(int64_t channels) {
	return channels > 48 ? 3 : 4;
}

// ---- d_y as a's fragments

// CHUNK results from `first` on, of the warp's 16 channels; a second pack that does not exist is the first once more. (Its
// rows of the product are not looked at.)
template <int PACKS>
static __device__ __forceinline__ void load_turned(uint32_t (&a)[STEPS][4], const bf16 *tape, int pitch, int first) {
	int lane = (int)threadIdx.x % 32, matrix = lane / 8, warp = (int)threadIdx.x % GROUP_THREADS / 32;
	int pack = min(2 * warp + matrix % 2, PACKS - 1), place = first + matrix / 2 * 8 + lane % 8;
#pragma unroll
	for (int i = 0; i < STEPS; i++)
		load_transposed(a[i], tape + (pack * pitch + place + 16 * i) * 8);
}

// ---- the kernel

// What a block works on: a piece's tiles of a group, in stages of x's tape and d_y's.
struct weights_work {
	const bf16 *x, *d_y; // at the group's first channel
	bf16 *stages;
	int x_size, stage_size; // in elements
	int *places, *results;  // tables
	uint64_t *full, *empty; // one a stage
	int tile, end;
};
template <int PACKS>
static __device__ __forceinline__ weights_work find_work(
	const conv_tape &s, unsigned char *bytes, const bf16 *x, const bf16 *d_y, int tiles_of_piece) {
	constexpr int N = 8 * PACKS;
	weights_work work;
	work.x = x + blockIdx.y * N, work.d_y = d_y + blockIdx.y * N;
	work.stages = (bf16 *)bytes, work.x_size = s.place_pitch * N, work.stage_size = work.x_size + s.result_pitch * N;
	work.full = (uint64_t *)(work.stages + STAGES * work.stage_size), work.empty = work.full + STAGES;
	work.places = (int *)(work.empty + STAGES), work.results = work.places + s.places;
	work.tile = (int)blockIdx.x * tiles_of_piece, work.end = min(work.tile + tiles_of_piece, s.tiles);
	return work;
}

// A filler's whole work: its part of every tile whose stage is its own.
template <int PACKS>
static __device__ __forceinline__ void fill_stage(const conv_tape &s, const weights_work &work, int filler) {
	int stage = filler % STAGES, thread = filler / STAGES * 32 + (int)threadIdx.x % 32;
	bf16 *tapes = work.stages + stage * work.stage_size;
	unsigned parity = 1; // the first time there is nobody to wait for
	for (int tile = work.tile + stage; tile < work.end; tile += STAGES, parity ^= 1) {
		barrier_wait(work.empty + stage, parity);
		fetch_places<PACKS>(tapes, s.place_pitch, work.places, s.places, work.x, s.shape.in, find_sources(s, tile),
			thread, FILLERS * 32);
		fetch_places<PACKS>(tapes + work.x_size, s.result_pitch, work.results, s.results, work.d_y, s.shape.out,
			find_results(s, tile), thread, FILLERS * 32);
		announce_places(work.full + stage);
	}
}

// sums = those of a warpgroup's TAPS taps, of x from the places `shifts`. TAPS is known, so that no branch divides the products:
// at a branch the compiler would close their group.
template <int PACKS, int TAPS>
static __device__ __forceinline__ void sum_taps(
	float (&sums)[TAPS][PACKS][4], const int (&shifts)[TAPS], const conv_tape &s, const weights_work &work) {
	constexpr int N = 8 * PACKS;
	int tile = work.tile, stage = 0, first = 0;
	unsigned parity = 0;
	bool has_channels = warp_number() % 4 * 16 < N;
	uint32_t a[2][STEPS][4] = {};
	auto load = [&](uint32_t(&to)[STEPS][4]) {
		if (has_channels)
			load_turned<PACKS>(to, work.stages + stage * work.stage_size + work.x_size, s.result_pitch, first);
	};
	// The products of the chunk whose d_y is `now`; then `next` is the next chunk's.
	auto advance = [&](const uint32_t(&now)[STEPS][4], uint32_t(&next)[STEPS][4]) {
		loose_matrix b = find_loose_matrix(work.stages + stage * work.stage_size + first * 8, 8, s.place_pitch);
		products_fence();
#pragma unroll
		for (int n = 0; n < TAPS; n++)
#pragma unroll
			for (int i = 0; i < STEPS; i++)
				multiply<N, COLUMNS>(sums[n], now[i], from_pack(b, shifts[n] + 16 * i), true);
		products_commit();
		products_wait<1>(); // those of `next` have ended
		if (first == 0 && tile > work.tile) { // this warp's products with the tile before have ended
			__syncwarp();
			arrive_as_warp(work.empty + (stage ^ 1));
		}
		first += CHUNK;
		if (first == s.results) {
			first = 0, tile++, parity ^= stage, stage ^= 1;
			if (tile < work.end)
				barrier_wait(work.full + stage, parity);
		}
		if (tile < work.end)
			load(next);
	};
#pragma unroll
	for (int n = 0; n < TAPS; n++)
#pragma unroll
		for (int j = 0; j < PACKS; j++)
			sums[n][j][0] = sums[n][j][1] = sums[n][j][2] = sums[n][j][3] = 0;
	if (tile < work.end) {
		barrier_wait(work.full, 0);
		load(a[0]);
	}
	while (tile < work.end) {
		advance(a[0], a[1]);
		if (tile < work.end)
			advance(a[1], a[0]);
	}
	products_wait<0>();
#pragma unroll
	for (int n = 0; n < TAPS; n++)
		hold_sums(sums[n]);
}

// A warpgroup's sums of TAPS taps, `apart` from each other, from `tap` on. to: of the group (channels, taps, channels).
template <int PACKS, int TAPS>
static __device__ __forceinline__ void sum_and_store(
	float *to, int tap, int apart, const conv_tape &s, const weights_work &work) {
	constexpr int N = 8 * PACKS;
	int taps = s.shape.kernel_h * s.shape.kernel_w, shifts[TAPS], lane = (int)threadIdx.x % 32;
	int channel = (int)threadIdx.x % GROUP_THREADS / 32 * 16 + lane / 4;
	float sums[TAPS][PACKS][4];
#pragma unroll
	for (int n = 0; n < TAPS; n++)
		shifts[n] = shift_of(s, tap + n * apart);
	sum_taps<PACKS, TAPS>(sums, shifts, s, work);
#pragma unroll
	for (int n = 0; n < TAPS; n++)
#pragma unroll
		for (int i = 0; i < 2; i++)
			if (channel + 8 * i < N) {
				float *row = to + ((channel + 8 * i) * taps + tap + n * apart) * N + lane % 4 * 2;
#pragma unroll
				for (int j = 0; j < PACKS; j++)
					*(float2 *)(row + j * 8) = make_float2(sums[n][j][2 * i], sums[n][j][2 * i + 1]);
			}
}

// Block (piece, group, part of the taps): warpgroups that share the taps of the part, and the fillers behind them.
// partial (pieces, out, taps, channels).
template <int PACKS>
static __global__ void __launch_bounds__(THREADS, 1) sum_tapes(
	conv_tape s, float *partial, const bf16 *x, const bf16 *d_y, int tiles_of_piece, int taps_of_part) {
	constexpr int N = 8 * PACKS;
	D2V_SHARED_MATRICES(bytes);
	int taps = s.shape.kernel_h * s.shape.kernel_w, end_tap = min((int)(blockIdx.z + 1) * taps_of_part, taps);
	int groups = (int)blockDim.x / GROUP_THREADS - 1, group = warp_number() / 4, tap = (int)blockIdx.z * taps_of_part + group;
	weights_work work = find_work<PACKS>(s, bytes, x, d_y, tiles_of_piece);
	number_places(work.places, s);
	number_results(work.results, s);
	if (threadIdx.x == 0)
		make_stage_barriers(work.full, work.empty, STAGES, FILLERS, groups);
	__syncthreads();
	if (group == groups) {
		give_registers<FILLER_REGISTERS>();
		fill_stage<PACKS>(s, work, warp_number() % 4);
		return;
	}
	take_registers<REGISTERS>();
	float *to = partial + (blockIdx.x * s.shape.out + blockIdx.y * N) * taps * N;
	int own = (end_tap - tap + groups - 1) / groups; // one to most_taps: of up to 64 taps the last part has no fewer than warpgroups
	if (own == most_taps(N))
		sum_and_store<PACKS, most_taps(N)>(to, tap, groups, s, work);
	else if (own == 3)
		sum_and_store<PACKS, 3>(to, tap, groups, s, work);
	else if (own == 2)
		sum_and_store<PACKS, 2>(to, tap, groups, s, work);
	else
		sum_and_store<PACKS, 1>(to, tap, groups, s, work);
}

// ---- choosing

static tape_room find_room(const conv_shape &c) {
	tape_room room = {};
	room.most = SHARED_MOST;
	room.fixed = BARRIER_BYTES;
	room.of_place = room.of_result = STAGES * (size_t)(c.in / c.groups) * sizeof(bf16);
	room.unit = CHUNK;
	return room;
}

// How the work is divided, by size alone, since the sums' order is part of the result.
struct weights_plan {
	conv_tape tape;
	int parts, taps_of_part;
	int64_t pieces;
};
static weights_plan plan_weights(const conv_shape &c) {
	weights_plan plan;
	int taps = c.kernel_h * c.kernel_w, most = GROUPS * most_taps(c.in / c.groups);
	plan.parts = (taps + most - 1) / most;
	plan.taps_of_part = (taps + plan.parts - 1) / plan.parts;
	plan.pieces = max(PROCESSORS / (c.groups * plan.parts), (int64_t)1);
	plan.tape = cut_tape(c, find_room(c), max(c.rows / plan.pieces, (int64_t)1));
	plan.pieces = min(plan.pieces, (int64_t)plan.tape.tiles);
	return plan;
}

bool d2v_cuda_conv_fits_groups_weights(d2v_device *dev, const conv_shape &c) {
	return d2v_cuda_is_bf16(dev) && c.in == c.out && gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 &&
		   plan_weights(c).pieces;
}

int64_t d2v_cuda_conv_groups_pieces(const conv_shape &c) {
	return plan_weights(c).pieces;
}

void d2v_cuda_conv_groups_backward_w(
	d2v_device *dev, const conv_shape &c, float *partial, const d2v_real *x, const d2v_real *d_y) {
	weights_plan plan = plan_weights(c);
	const conv_tape &s = plan.tape;
	int tiles = (int)((s.tiles + plan.pieces - 1) / plan.pieces);
	unsigned groups = (unsigned)min(plan.taps_of_part, GROUPS);
	dim3 grid((unsigned)plan.pieces, (unsigned)c.groups, (unsigned)plan.parts);
	BY_BLOCKS(s.channels, D2V_LAUNCH(dev, (sum_tapes<BLOCKS>), grid, (groups + 1) * GROUP_THREADS,
							  tape_bytes(s, find_room(c)), s, partial, (const bf16 *)x, (const bf16 *)d_y, tiles,
							  plan.taps_of_part));
}
