// Convolutions in groups of few channels on Hopper's warpgroups, in bf16: forward, and the gradient of the input, which is a
// convolution of d_y with the taps in reverse. What is computed is what cuda_conv_grouped.cu computes, for groups with as many
// channels in as out.
//
// a is the tape (conv_tape.cuh), b the group's weights, both in shared memory: 64 results are the sum of as many products as
// there are pairs of packs in all taps, asked for at once. A block keeps its group's weights and goes over tiles. Its warpgroups
// have 64 results each and round them when the products have ended; they are stored under the next ones.
//
// With 48 channels a product reads 3.5 KB of shared memory, 28 cycles, and takes the tensor cores 24. Warpgroups that do the same
// thing at the same time leave both idle when they store: so two blocks share a multiprocessor where there is room.
#include "kernels/cuda/conv_results.cuh"
#include "kernels/cuda/conv_tape.cuh"

#define UNIT 64                                // results of a warpgroup
#define SHARED_MOST_OF_TWO ((size_t)112 << 10) // of two blocks that share a multiprocessor
#define MOST_OF_PAIR 48                        // channels of a group, for which two blocks have registers enough

// Warpgroups of a block. Two blocks of three have 80 registers a thread.
static constexpr int most_groups(bool pair) {
	return pair ? 3 : MOST_GROUPS;
}

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

static __device__ __forceinline__ float low_half(uint32_t word) {
	word <<= 16;
	float x;
	memcpy(&x, &word, sizeof x);
	return x;
}
static __device__ __forceinline__ float high_half(uint32_t word) {
	word &= 0xffff0000u;
	float x;
	memcpy(&x, &word, sizeof x);
	return x;
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

// Block (number, group): tiles number, number + gridDim.x, ... PAIR: two blocks share a multiprocessor. With one stage a tape is fetched
// when the last one is done with, under the products of the other block.
template <int PACKS, bool PAIR>
static __global__ void __launch_bounds__(GROUP_THREADS *most_groups(PAIR), PAIR ? 2 : 1) convolve_tapes(
	conv_tape s, bf16 *y, const bf16 *x, const bf16 *w, const bf16 *bias, bool flipped, bool accumulate, int stages) {
	constexpr int N = 8 * PACKS;
	D2V_SHARED_MATRICES(bytes);
	int taps = s.shape.kernel_h * s.shape.kernel_w, tape_size = s.place_pitch * N, stage = 0;
	bf16 *weights = (bf16 *)bytes, *tapes = weights + count_packs(taps, PACKS) * N * 8;
	int *places = (int *)(tapes + stages * tape_size), *results = places + s.places;
	int warp = warp_number(), groups = (int)blockDim.x / GROUP_THREADS, lane = (int)threadIdx.x % 32;
	x += blockIdx.y * N, y += blockIdx.y * N;
	number_places(places, s);
	number_results(results, s);
	fetch_weights<PACKS>(weights, w + (int64_t)blockIdx.y * N * taps * N, taps, flipped);
	float add[PACKS][2];
#pragma unroll
	for (int j = 0; j < PACKS; j++)
#pragma unroll
		for (int i = 0; i < 2; i++)
			add[j][i] = bias ? to_float(bias[blockIdx.y * N + channel_of<PACKS>(j, lane % 4) + i]) : 0.0f;
	__syncthreads();
	auto fetch = [&](int tile, int to) {
		if (tile < s.tiles)
			fetch_places<PACKS>(
				tapes + to * tape_size, s.place_pitch, places, s.places, x, s.shape.in, find_sources(s, tile));
		copy_commit();
	};
	fetch(blockIdx.x, 0);
	loose_matrix b = find_loose_matrix(weights, N, 8);
	float sums[PACKS][4];
	lane_results<PACKS> last = {}, now;
	for (int tile = blockIdx.x; tile < s.tiles; tile += gridDim.x, stage ^= stages - 1) {
		copy_wait<0>();
		shared_fence();
		__syncthreads(); // this tape is there, the other is done with
		loose_matrix a = find_loose_matrix(tapes + stage * tape_size, s.place_pitch, 8);
		for (int first = warp / 4 * UNIT; first < s.results; first += groups * UNIT) {
			start_all_products<PACKS>(sums, from_pack(a, first), b, s);
			if (stages > 1 && first < groups * UNIT)
				fetch(tile + gridDim.x, stage ^ 1);
			last.store();
			now.find(results, first + warp % 4 * 16 + lane / 4, find_results(s, tile), y, s.shape.out);
			if (accumulate)
				now.load();
			products_wait<0>();
			hold_sums(sums);
			now.round(sums, add, accumulate);
			last = now;
		}
		if (stages == 1) {
			__syncthreads(); // the tape is done with
			fetch(tile + gridDim.x, 0);
			last.store();
			last.to[0] = last.to[1] = NULL;
		}
	}
	last.store();
	copy_wait<0>();
}

// ---- choosing

// How the work is divided.
struct planes_plan {
	conv_tape tape;
	tape_room room;
	int64_t blocks; // of a group
	int stages;
	bool pair;
};

// As many pictures a tile as leave a tile for every block.
static planes_plan make_plan(const conv_shape &c, bool pair, int stages) {
	size_t channels = (size_t)(c.in / c.groups);
	int64_t at_once = gpu_property(cudaDevAttrMultiProcessorCount, 1) * (pair ? 2 : 1);
	planes_plan plan = {};
	plan.pair = pair, plan.stages = stages, plan.blocks = max(at_once / c.groups, (int64_t)1);
	plan.room.most = pair ? SHARED_MOST_OF_TWO : SHARED_MOST, plan.room.unit = UNIT;
	plan.room.fixed = (size_t)count_packs(c.kernel_h * c.kernel_w, (int)channels / 8) * channels * 16;
	plan.room.of_place = (size_t)stages * channels * sizeof(bf16);
	plan.tape = cut_tape(c, plan.room, max(c.rows / plan.blocks, (int64_t)1));
	return plan;
}

// Two blocks a multiprocessor, so that one computes while the other stores and waits, unless that costs too much of the tiles.
static planes_plan choose_plan(const conv_shape &c) {
	planes_plan alone = make_plan(c, false, 2);
	for (int stages = 2; stages > 0 && c.in / c.groups <= MOST_OF_PAIR; stages--) {
		planes_plan pair = make_plan(c, true, stages);
		if (pair.tape.tiles && (!alone.tape.tiles || useful_share(pair.tape) > 0.95 * useful_share(alone.tape)))
			return pair;
	}
	return alone;
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
	unsigned threads = (unsigned)(min(s.results / UNIT, most_groups(plan.pair)) * GROUP_THREADS);
	auto launch = [&](auto kernel) {
		D2V_LAUNCH(dev, kernel, grid, threads, tape_bytes(s, plan.room), s, (bf16 *)y, (const bf16 *)x, (const bf16 *)turned,
			(const bf16 *)bias, flipped, accumulate, plan.stages);
	};
	BY_BLOCKS(s.channels, {
		constexpr bool MAY_PAIR = 8 * BLOCKS <= MOST_OF_PAIR;
		if (plan.pair)
			launch(convolve_tapes<BLOCKS, MAY_PAIR>);
		else
			launch(convolve_tapes<BLOCKS, false>);
	});
}

void d2v_cuda_conv_groups_forward(
	d2v_device *dev, const conv_shape &c, d2v_real *y, const d2v_real *x, const void *turned, const d2v_real *bias) {
	convolve(dev, c, y, x, turned, bias, false, false);
}

void d2v_cuda_conv_groups_backward_x(
	d2v_device *dev, const conv_shape &c, d2v_real *d_x, const d2v_real *d_y, const void *turned, bool accumulate) {
	convolve(dev, turn_back(c), d_x, d_y, turned, NULL, true, accumulate);
}
