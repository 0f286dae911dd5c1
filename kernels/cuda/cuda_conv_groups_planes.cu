// Convolutions in groups of few channels on Hopper's warpgroups, in bf16: forward, and the gradient of the input, which is a
// convolution of d_y with the taps in reverse. What is computed is what cuda_conv_grouped.cu computes, for groups with as many
// channels in as out.
//
// a is the tape (conv_tape.cuh), b the group's weights, both in shared memory: 64 results are the sum of as many products as
// there are pairs of packs in all taps, asked for at once. A block keeps its group's weights and goes over tiles. Four
// warps, the fillers, each keep a stage of their own full, every fourth tile; the warpgroups take units of 64 results in
// turns, through all tiles, round them when the products have ended, and store them under their next ones. Nobody waits
// for a barrier of the block: a stage's barriers tell when its tile is there (full) and done with (empty).
//
// With 48 channels a product reads 3.5 KB of shared memory, 28 cycles, and takes the tensor cores 24: 0.75 ms for the 4,096
// copies of an image decoder's batch, whose bytes take 0.6 to 0.9 ms. So both must go on all the time. (Two blocks a
// multiprocessor, each of which fetched a tile and then computed, took the sum of the two, and 15 % more: H200.)
#include "kernels/cuda/conv_results.cuh"
#include "kernels/cuda/conv_tape.cuh"
#include "kernels/cuda/fast_math.cuh"

#define UNIT 64       // results of a warpgroup
#define MOST_STAGES 4 // and warps that fill them
#define THREADS_MOST (GROUP_THREADS * (MOST_GROUPS + 1))
#define REGISTERS 104 // of 96 a thread the fillers leave these to the others
#define FILLER_REGISTERS 56
#define BARRIER_BYTES (2 * MOST_STAGES * sizeof(uint64_t))

// ---- weights

// Packs of k in the order of products, two a product: those of every tap, and if a tap has an odd number of them, the last
// ones of all taps after the others. For the pack `n` its tap, and which of the tap's.
template <int PACKS> static __device__ __forceinline__ void find_pack(int n, int taps, int &tap, int &pack) {
	constexpr int paired = PACKS / 2 * 2;
	bool of_pairs = n < taps * paired;
	tap = of_pairs ? n / paired : n - taps * paired;
	pack = of_pairs ? n % paired : PACKS - 1;
}
static __host__ __device__ inline int count_packs(int taps, int packs) {
	return taps * packs + (packs % 2 ? taps % 2 : 0); // a pack of zeros in the end
}

// A group's weights (channels out, taps, channels in), flipped if tap t of the tape is the last but t of w. A pack's rows, the
// channels out in the order of channel_of, follow each other.
template <int PACKS>
static __device__ __forceinline__ void fetch_weights(bf16 *to, const bf16 *w, int taps, bool flipped) {
	constexpr int N = 8 * PACKS;
	for (int i = threadIdx.x; i < N * count_packs(taps, PACKS); i += blockDim.x) {
		int row = i % N, channel = channel_of<PACKS>(row / 8, row % 8 / 2) + row % 2, tap, pack;
		find_pack<PACKS>(i / N, taps, tap, pack);
		bool inside = tap < taps;
		int from = inside ? (channel * taps + (flipped ? taps - 1 - tap : tap)) * N + pack * 8 : 0;
		copy_async(to + i * 8, w + from, inside);
	}
}

// sums = the products of 64 places from a's and of all taps' weights, under way. H, W: of a kernel for which no branch is to divide
// the products, since at a branch the compiler closes their group; 0: any kernel.
template <int PACKS, int H, int W>
static __device__ __forceinline__ void start_products(
	float (&sums)[PACKS][4], loose_matrix a, loose_matrix b, const conv_tape &s) {
	constexpr int N = 8 * PACKS;
	constexpr bool WHOLE = H > 0;
	int kernel_h = WHOLE ? H : s.shape.kernel_h, kernel_w = WHOLE ? W : s.shape.kernel_w, taps = kernel_h * kernel_w;
	products_fence();
#pragma unroll(WHOLE ? H : 1)
	for (int u = 0; u < kernel_h; u++)
#pragma unroll(WHOLE ? W : 1)
		for (int v = 0; v < kernel_w; v++) {
			if (!WHOLE)
				products_fence(); // where they are divided
#pragma unroll
			for (int pack = 0; pack + 1 < PACKS; pack += 2) {
				loose_matrix from = from_pack(a, u * s.row_width + v + pack * s.place_pitch);
				multiply<N, ROWS, ROWS>(sums, from, b, u || v || pack);
				b = from_pack(b, 2 * N);
			}
		}
	if (PACKS % 2) {
		a = from_pack(a, (PACKS - 1) * s.place_pitch);
#pragma unroll(WHOLE ? H *W : 1)
		for (int tap = 0; tap < taps; tap += 2) {
			int first = tap / kernel_w * s.row_width + tap % kernel_w, after = tap + 1;
			int second = after < taps ? after / kernel_w * s.row_width + after % kernel_w : first; // there by zeros
			if (!WHOLE)
				products_fence();
			multiply<N, ROWS, ROWS>(sums, going_on_after(from_pack(a, first), second - first), b, true);
			b = from_pack(b, 2 * N);
		}
	}
	if (!WHOLE)
		products_fence();
	products_commit();
}

// The same for the kernel at hand: those of the recipes are whole.
template <int PACKS>
static __device__ __forceinline__ void start_all_products(
	float (&sums)[PACKS][4], loose_matrix a, loose_matrix b, const conv_tape &s) {
	int kernel_h = s.shape.kernel_h, kernel_w = s.shape.kernel_w;
	if (kernel_h == 3 && kernel_w == 3)
		start_products<PACKS, 3, 3>(sums, a, b, s);
	else if (kernel_h == 1 && kernel_w == 7)
		start_products<PACKS, 1, 7>(sums, a, b, s);
	else if (kernel_h == 1 && kernel_w == 19)
		start_products<PACKS, 1, 19>(sums, a, b, s);
	else
		start_products<PACKS, 0, 0>(sums, a, b, s);
}

// ---- results

// Words of two neighbours each, in the order of channel_of, to and from a place's channels of the group.
template <int PACKS> static __device__ __forceinline__ void store_words(bf16 *to, const uint32_t (&words)[PACKS]) {
	constexpr int fours = PACKS / 4 * 4, pairs = PACKS / 2 * 2;
	int t = (int)threadIdx.x % 4;
#pragma unroll
	for (int j = 0; j < fours; j += 4)
		*(uint4 *)(to + 8 * j + 8 * t) = make_uint4(words[j], words[j + 1], words[j + 2], words[j + 3]);
	if constexpr (fours < pairs)
		*(uint2 *)(to + 8 * fours + 4 * t) = make_uint2(words[fours], words[fours + 1]);
	if constexpr (pairs < PACKS)
		*(uint32_t *)(to + 8 * pairs + 2 * t) = words[pairs];
}
template <int PACKS> static __device__ __forceinline__ void load_words(uint32_t (&words)[PACKS], const bf16 *from) {
	constexpr int fours = PACKS / 4 * 4, pairs = PACKS / 2 * 2;
	int t = (int)threadIdx.x % 4;
#pragma unroll
	for (int j = 0; j < fours; j += 4) {
		uint4 four = *(const uint4 *)(from + 8 * j + 8 * t);
		words[j] = four.x, words[j + 1] = four.y, words[j + 2] = four.z, words[j + 3] = four.w;
	}
	if constexpr (fours < pairs) {
		uint2 two = *(const uint2 *)(from + 8 * fours + 4 * t);
		words[fours] = two.x, words[fours + 1] = two.y;
	}
	if constexpr (pairs < PACKS)
		words[pairs] = *(const uint32_t *)(from + 8 * pairs + 2 * t);
}

// A lane's results of two places, rows g and g + 8 of its warp's, and where they go; NULL: nowhere.
template <int PACKS> struct lane_results {
	bf16 *to[2];
	uint32_t words[2][PACKS];

	// Where result p of the tile and the 8th after it go.
	__device__ __forceinline__ void find(const int *table, int p, const tape_part &part, bf16 *y, int64_t channels) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			unsigned position;
			bool stored = find_position(position, part, table[p + 8 * i]);
			to[i] = stored ? y + (part.first + position) * channels : NULL;
		}
	}
	__device__ __forceinline__ void load() {
#pragma unroll
		for (int i = 0; i < 2; i++)
			if (to[i])
				load_words<PACKS>(words[i], to[i]);
	}
	// The sums with what is to be added: a bias, or the words that were loaded.
	__device__ __forceinline__ void round(const float (&sums)[PACKS][4], const float (&bias)[PACKS][2], bool accumulate) {
#pragma unroll
		for (int i = 0; i < 2; i++)
#pragma unroll
			for (int j = 0; j < PACKS; j++) {
				float low = sums[j][2 * i] + (accumulate ? low_half(words[i][j]) : bias[j][0]);
				float high = sums[j][2 * i + 1] + (accumulate ? high_half(words[i][j]) : bias[j][1]);
				words[i][j] = round_pair<bf16>(low, high);
			}
	}
	__device__ __forceinline__ void store() const {
#pragma unroll
		for (int i = 0; i < 2; i++)
			if (to[i])
				store_words<PACKS>(to[i], words[i]);
	}
};

// ---- the kernel

// What a block works with: a group's arrays, at its first channel, and its shared memory.
struct plane_work {
	bf16 *y;
	const bf16 *x;
	bf16 *weights, *tapes;
	int *places, *results;  // tables
	uint64_t *full, *empty; // one a stage
	int stages, tape_size;
};
template <int PACKS>
static __device__ __forceinline__ plane_work find_work(
	const conv_tape &s, unsigned char *bytes, bf16 *y, const bf16 *x, int stages) {
	constexpr int N = 8 * PACKS;
	plane_work work;
	work.y = y + blockIdx.y * N, work.x = x + blockIdx.y * N;
	work.stages = stages, work.tape_size = s.place_pitch * N;
	work.weights = (bf16 *)bytes;
	work.tapes = work.weights + count_packs(s.shape.kernel_h * s.shape.kernel_w, PACKS) * N * 8;
	work.full = (uint64_t *)(work.tapes + stages * work.tape_size), work.empty = work.full + MOST_STAGES;
	work.places = (int *)(work.empty + MOST_STAGES), work.results = work.places + s.places;
	return work;
}

// The block's n-th tile. False: there are no more.
static __device__ __forceinline__ bool find_tile(int &tile, const conv_tape &s, int n) {
	tile = (int)blockIdx.x + n * (int)gridDim.x;
	return tile < s.tiles;
}

// A filler's whole work: every tile whose stage is its own.
template <int PACKS>
static __device__ __forceinline__ void fill_stage(const conv_tape &s, const plane_work &work, int stage) {
	int lane = (int)threadIdx.x % 32, tile;
	unsigned parity = 1; // the first time there is nobody to wait for
	for (int n = stage; stage < work.stages && find_tile(tile, s, n); n += work.stages, parity ^= 1) {
		barrier_wait(work.empty + stage, parity);
		fetch_places<PACKS>(work.tapes + stage * work.tape_size, s.place_pitch, work.places, s.places, work.x,
			s.shape.in, find_sources(s, tile), lane, 32);
		announce_places(work.full + stage);
	}
}

// A warpgroup's whole work: every unit whose turn is its own. add: the bias of the lane's channels.
template <int PACKS>
static __device__ __forceinline__ void compute_units(const conv_tape &s, const plane_work &work,
	const float (&add)[PACKS][2], int group, int groups, bool accumulate) {
	int warp = warp_number() % 4, lane = (int)threadIdx.x % 32, units = s.results / UNIT, unit = group, stage = 0, tile;
	unsigned parity = 0;
	loose_matrix b = find_loose_matrix(work.weights, 8 * PACKS, 8);
	float sums[PACKS][4];
	lane_results<PACKS> last = {}, now;
	for (int n = 0; find_tile(tile, s, n); n++) {
		barrier_wait(work.full + stage, parity);
		loose_matrix a = find_loose_matrix(work.tapes + stage * work.tape_size, s.place_pitch, 8);
		for (; unit < units; unit += groups) {
			start_all_products<PACKS>(sums, from_pack(a, unit * UNIT), b, s);
			last.store();
			now.find(work.results, unit * UNIT + warp * 16 + lane / 4, find_results(s, tile), work.y, s.shape.out);
			if (accumulate)
				now.load();
			products_wait<0>();
			hold_sums(sums);
			now.round(sums, add, accumulate);
			last = now;
		}
		unit -= units;
		__syncwarp();
		arrive_as_warp(work.empty + stage);
		if (++stage == work.stages)
			stage = 0, parity ^= 1;
	}
	last.store();
}

// Block (number, group): tiles number, number + gridDim.x, ... The first warpgroup are the fillers.
template <int PACKS>
static __global__ void __launch_bounds__(THREADS_MOST, 1) convolve_tapes(conv_tape s, bf16 *y, const bf16 *x, const bf16 *w,
	const bf16 *bias, bool flipped, bool accumulate, int stages) {
	constexpr int N = 8 * PACKS;
	D2V_SHARED_MATRICES(bytes);
	plane_work work = find_work<PACKS>(s, bytes, y, x, stages);
	int warp = warp_number(), groups = (int)blockDim.x / GROUP_THREADS - 1;
	int taps = s.shape.kernel_h * s.shape.kernel_w;
	number_places(work.places, s);
	number_results(work.results, s);
	fetch_weights<PACKS>(work.weights, w + (int64_t)blockIdx.y * N * taps * N, taps, flipped);
	if (threadIdx.x == 0)
		make_stage_barriers(work.full, work.empty, stages, 1, groups);
	copy_commit();
	copy_wait<0>();
	shared_fence();
	__syncthreads();
	if (warp < 4) {
		give_registers<FILLER_REGISTERS>();
		fill_stage<PACKS>(s, work, warp);
	} else {
		take_registers<REGISTERS>();
		float add[PACKS][2];
#pragma unroll
		for (int j = 0; j < PACKS; j++)
#pragma unroll
			for (int i = 0; i < 2; i++)
				add[j][i] = bias ? to_float(bias[blockIdx.y * N + channel_of<PACKS>(j, (int)threadIdx.x % 4) + i]) : 0.0f;
		compute_units<PACKS>(s, work, add, warp / 4 - 1, groups, accumulate);
	}
}

// ---- choosing

// How the work is divided.
struct planes_plan {
	conv_tape tape;
	tape_room room;
	int64_t blocks; // of a group
	int stages;
};

// As many pictures a tile as leave a tile for every block.
static planes_plan make_plan(const conv_shape &c, int stages) {
	size_t channels = (size_t)(c.in / c.groups);
	planes_plan plan = {};
	plan.stages = stages;
	plan.blocks = max(gpu_property(cudaDevAttrMultiProcessorCount, 1) / c.groups, (int64_t)1);
	plan.room.most = SHARED_MOST, plan.room.unit = UNIT;
	plan.room.fixed = (size_t)count_packs(c.kernel_h * c.kernel_w, (int)channels / 8) * channels * 16 + BARRIER_BYTES;
	plan.room.of_place = (size_t)stages * channels * sizeof(bf16);
	plan.tape = cut_tape(c, plan.room, max(c.rows / plan.blocks, (int64_t)1));
	return plan;
}

// As many stages as can be had without more waste.
static planes_plan choose_plan(const conv_shape &c) {
	planes_plan fewest = make_plan(c, 2);
	for (int stages = MOST_STAGES; stages > 2; stages--) {
		planes_plan plan = make_plan(c, stages);
		if (plan.tape.tiles && useful_share(plan.tape) > 0.95 * useful_share(fewest.tape))
			return plan;
	}
	return fewest;
}

static conv_shape turn_back(const conv_shape &c) {
	conv_shape back = c;
	back.in = c.out, back.out = c.in, back.in_h = c.out_h, back.in_w = c.out_w, back.out_h = c.in_h, back.out_w = c.in_w;
	back.pad_h = c.kernel_h - 1 - c.pad_h, back.pad_w = c.kernel_w - 1 - c.pad_w;
	return back;
}

static bool fits(const conv_shape &c) {
	conv_tape s = choose_plan(c).tape;
	// The distance of two taps' packs cannot be negative.
	return s.tiles && (c.in / c.groups % 16 == 0 || c.kernel_h == 1 || s.row_width >= c.kernel_w);
}

// Compute capability 9.x, of which alone sm_90a is.
bool d2v_cuda_conv_fits_groups(d2v_device *dev, const conv_shape &c) {
	return d2v_cuda_is_bf16(dev) && c.in == c.out && gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 && fits(c) &&
		   fits(turn_back(c));
}

static void convolve(d2v_device *dev, const conv_shape &c, d2v_real *y, const d2v_real *x, const void *turned,
	const d2v_real *bias, bool flipped, bool accumulate) {
	planes_plan plan = choose_plan(c);
	const conv_tape &s = plan.tape;
	dim3 grid((unsigned)min((int64_t)s.tiles, plan.blocks), (unsigned)c.groups);
	unsigned threads = (unsigned)((min(s.results / UNIT, MOST_GROUPS) + 1) * GROUP_THREADS);
	BY_BLOCKS(s.channels, D2V_LAUNCH(dev, (convolve_tapes<BLOCKS>), grid, threads, tape_bytes(s, plan.room), s, (bf16 *)y,
							  (const bf16 *)x, (const bf16 *)turned, (const bf16 *)bias, flipped, accumulate, plan.stages));
}

void d2v_cuda_conv_groups_forward(
	d2v_device *dev, const conv_shape &c, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias) {
	convolve(dev, c, y, x, turned, bias, false, false);
}

void d2v_cuda_conv_groups_backward_x(
	d2v_device *dev, const conv_shape &c, d2v_real *d_x, const d2v_real *d_y, const void *turned, bool accumulate) {
	convolve(dev, turn_back(c), d_x, d_y, turned, NULL, true, accumulate);
}
