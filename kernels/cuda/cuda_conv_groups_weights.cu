// The weights' gradient of convolutions in groups of few channels on Hopper's warpgroups, in bf16, for groups with as many
// channels in as out: of each tap the product, over all results, of d_y turned and of what the tap reads of x.
//
// k runs over the results of a tile. a is d_y, in registers, turned on the way there; b is the tape of x (conv_tape.cuh) from
// the tap on, with channels as columns. Where d_y's tape has zeros, between rows and pictures, nothing is added. A
// warpgroup has three taps, for which it loads d_y once, and always asks for the next products before it waits for the last.
//
// Of a's 64 rows 48 channels are three quarters.
#include "kernels/cuda/conv_results.cuh"
#include "kernels/cuda/conv_tape.cuh"

#define GROUP_TAPS 3 // of a warpgroup
#define CHUNK 32     // results between two looks at the products
#define STEPS (CHUNK / 16)
#define PROCESSORS 132 // of an H100 or H200

// Warpgroups of a block for groups of 8 `packs` channels: with 64 channels the sums take too many registers for four.
static constexpr int most_groups(int packs) {
	return packs > 6 ? MOST_GROUPS - 1 : MOST_GROUPS;
}

// ---- d_y as a's fragments

// CHUNK results from `first` on, of the warp's 16 channels; a second pack that does not exist is the first once more. (Its
// rows of the product are not looked at.)
template <int PACKS>
static __device__ __forceinline__ void load_turned(uint32_t (&a)[STEPS][4], const bf16 *tape, int results, int first) {
	int lane = (int)threadIdx.x % 32, matrix = lane / 8, warp = (int)threadIdx.x % GROUP_THREADS / 32;
	int pack = min(2 * warp + matrix % 2, PACKS - 1), place = first + matrix / 2 * 8 + lane % 8;
#pragma unroll
	for (int i = 0; i < STEPS; i++)
		load_transposed(a[i], tape + (pack * results + place + 16 * i) * 8);
}

// Where in its piece's tiles a block is.
struct weights_progress {
	int tile, end, stage, first; // first: result of the tile
};

// ---- the kernel

// Block (piece, group, part of the taps). partial (pieces, out, taps, channels).
template <int PACKS>
static __global__ void __launch_bounds__(GROUP_THREADS *most_groups(PACKS), 1)
	sum_tapes(conv_tape s, float *partial, const bf16 *x, const bf16 *d_y, int tiles_of_piece, int taps_of_part) {
	constexpr int N = 8 * PACKS;
	D2V_SHARED_MATRICES(bytes);
	int taps = s.shape.kernel_h * s.shape.kernel_w, x_size = s.places * N, stage_size = x_size + s.results * N;
	bf16 *stages = (bf16 *)bytes;
	int *places = (int *)(stages + 2 * stage_size), *results = places + s.places;
	int warp = warp_number(), groups = (int)blockDim.x / GROUP_THREADS;
	int tap = blockIdx.z * taps_of_part + warp / 4, end_tap = min((int)(blockIdx.z + 1) * taps_of_part, taps);
	bool has_channels = warp % 4 * 16 < N;
	weights_progress at = { (int)blockIdx.x * tiles_of_piece, 0, 0, 0 };
	at.end = min(at.tile + tiles_of_piece, s.tiles);
	x += blockIdx.y * N, d_y += blockIdx.y * N;
	number_places(places, s);
	number_results(results, s);
	__syncthreads();
	auto fetch = [&](int tile, int stage) {
		if (tile < at.end) {
			bf16 *to = stages + stage * stage_size;
			fetch_places<PACKS>(to, places, s.places, x, s.shape.in, find_sources(s, tile));
			fetch_places<PACKS>(to + x_size, results, s.results, d_y, s.shape.out, find_results(s, tile));
		}
		copy_commit();
	};
	auto arrive = [&] { // the tile is there
		copy_wait<0>();
		shared_fence();
		__syncthreads();
	};
	auto load = [&](uint32_t(&a)[STEPS][4]) {
		if (has_channels)
			load_turned<PACKS>(a, stages + at.stage * stage_size + x_size, s.results, at.first);
	};
	float sums[GROUP_TAPS][PACKS][4] = {};
	uint32_t a[2][STEPS][4] = {};
	// The products of the chunk whose d_y is `now`; then `next` is the next chunk's.
	auto advance = [&](const uint32_t(&now)[STEPS][4], uint32_t(&next)[STEPS][4]) {
		loose_matrix b = find_loose_matrix(stages + at.stage * stage_size + at.first * 8, 8, s.places);
		products_fence();
#pragma unroll
		for (int n = 0; n < GROUP_TAPS; n++)
			if (tap + n * groups < end_tap)
#pragma unroll
				for (int i = 0; i < STEPS; i++)
					multiply<N, COLUMNS>(sums[n], now[i], from_pack(b, shift_of(s, tap + n * groups) + 16 * i), true);
		products_commit();
		products_wait<1>(); // those of `next` have ended
		if (at.first == 0) {
			__syncthreads(); // nobody reads the tile before this any more
			fetch(at.tile + 1, at.stage ^ 1);
		}
		at.first += CHUNK;
		if (at.first == s.results) {
			at.first = 0, at.tile++, at.stage ^= 1;
			if (at.tile < at.end)
				arrive();
		}
		if (at.tile < at.end)
			load(next);
	};
	if (at.tile < at.end) {
		fetch(at.tile, 0);
		arrive();
		load(a[0]);
	}
	while (at.tile < at.end) {
		advance(a[0], a[1]);
		if (at.tile < at.end)
			advance(a[1], a[0]);
	}
	products_wait<0>();
	copy_wait<0>();
	float *to = partial + (int64_t)blockIdx.x * s.shape.out * taps * N;
	int lane = (int)threadIdx.x % 32, channel = warp % 4 * 16 + lane / 4;
#pragma unroll
	for (int n = 0; n < GROUP_TAPS; n++) {
		hold_sums(sums[n]);
		if (tap + n * groups < end_tap)
#pragma unroll
			for (int i = 0; i < 2; i++)
				if (channel + 8 * i < N) {
					int64_t row = (blockIdx.y * N + channel + 8 * i) * taps + tap + n * groups;
#pragma unroll
					for (int j = 0; j < PACKS; j++)
						*(float2 *)(to + row * N + j * 8 + lane % 4 * 2) =
							make_float2(sums[n][j][2 * i], sums[n][j][2 * i + 1]);
				}
	}
}

// ---- choosing

static tape_room find_room(const conv_shape &c) {
	tape_room room = {};
	room.of_place = room.of_result = 2 * (size_t)(c.in / c.groups) * sizeof(bf16) + sizeof(int);
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
	int taps = c.kernel_h * c.kernel_w, most = GROUP_TAPS * most_groups((int)(c.in / c.groups / 8));
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
	int groups = (plan.taps_of_part + GROUP_TAPS - 1) / GROUP_TAPS;
	dim3 grid((unsigned)plan.pieces, (unsigned)c.groups, (unsigned)plan.parts);
	BY_BLOCKS(s.channels, D2V_LAUNCH(dev, (sum_tapes<BLOCKS>), grid, (unsigned)(groups * GROUP_THREADS),
		tape_bytes(s, find_room(c)), s, partial, (const bf16 *)x, (const bf16 *)d_y, tiles, plan.taps_of_part));
}
