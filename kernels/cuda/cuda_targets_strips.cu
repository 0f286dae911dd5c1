// Targets whose layers are normalised over time, on the chip: a block keeps all tokens of some channels of a sample, reads
// each layer once, adds to sums in registers, and writes once.
//
// Warps copy rows of 128 bytes where they can, because the L2 cache takes so many requests and no more, whatever they ask
// for; they work on strips of two packs of channels, 16 tokens at a time. A picture's strip is one warp's: four of them make
// a block, of which a processor has three. Longer clips take several warps a strip, which meet once more a layer, and blocks
// of 16 warps. The next layer is on its way before all of this one has come.
//
// The statistics are of one pass: distances from the warp's first token, which loses no more than a factor of the warp's
// number of tokens, whatever the mean is; those of several warps become the strip's as exactly as two passes would. What
// bounds it is instructions: of 16 bits, an element may have fourteen if it is to be read as fast as copying reads and
// writes, and has about nine.
//
// The layer norm of the mean needs all channels of a token: the block of a sample that finishes last does it, while what
// the others wrote is still in the L2 cache.
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/targets.cuh"

#define PACKS 2  // of a strip
#define LANES 16 // tokens that a warp takes at a time

template <int N> static __device__ __forceinline__ void load_floats(float (&v)[N], const float *from) {
#pragma unroll
	for (int i = 0; i < N; i += 4) {
		float part[4];
		load_pack(part, from + i);
#pragma unroll
		for (int j = 0; j < 4; j++)
			v[i + j] = part[j];
	}
}

// A block of STRIPS strips with WARPS warps each. Row j of lanes (warp, l) of a strip is token (j * WARPS + warp) * LANES + l.
template <class T, int WARPS, int STRIPS, int ROWS> struct strips_shape {
	static constexpr int pack = 16 / sizeof(T), packs = STRIPS * PACKS, channels = packs * pack, together = WARPS * LANES;
	static constexpr int warps = WARPS * STRIPS, tokens = ROWS * together;

	// Where a token's pack is in a layer's place: turned, so that lanes that read or write together meet in no bank.
	__device__ __forceinline__ static int at(int token, int pack) {
		return token * packs + (pack ^ (2 * (token / (4 / STRIPS) % STRIPS)));
	}
	// And where a token's sum is, four channels together, when the places are not needed any more.
	static constexpr int fours = channels / 4;
	__device__ __forceinline__ static int sum_at(int token, int four) {
		return token * channels + 4 * (four ^ (((token & 1) | (token & 2) << 1) & (fours - 1)));
	}
	__device__ __forceinline__ static int of_warp(int warp, int tokens) { // tokens that a warp of a strip has
		int rest = tokens % together - warp * LANES;
		return tokens / together * LANES + (rest < 0 ? 0 : rest < LANES ? rest : LANES);
	}
};

// Of a warp: what it tells its lanes, and the strip's other warps. N: channels of a pack.
template <int N> struct warp_notes {
	float statistics[4 * N]; // means of the strip's channels, then their rstd
	float parts[2][4 * N];   // means and squares over the warp's tokens; two, used in turns
};

// The lanes that differ by `distance` go on with a half of 2 WIDTH values each, of both.
template <int WIDTH, int N> static __device__ __forceinline__ void halve(float (&values)[N], int distance) {
	bool upper = threadIdx.x & distance;
#pragma unroll
	for (int i = 0; i < WIDTH; i++) {
		float other = __shfl_xor_sync(0xffffffffu, upper ? values[i] : values[i + WIDTH], distance);
		values[i] = (upper ? values[i + WIDTH] : values[i]) + other;
	}
}

// sums of values[0 .. N) and of values[N .. 2N) over the lanes of a pack: the lane gets one of them, of channel
// lane % 16 / (16 / N), the first half of the lanes of the first N.
template <int N> static __device__ __forceinline__ float sum_rows(float (&values)[2 * N]) {
	static_assert(N == 4 || N == 8, "packs of 16 bytes");
	halve<N>(values, 16);
	halve<N / 2>(values, 8);
	halve<N / 4>(values, 4);
	if (N == 8)
		halve<1>(values, 2);
	else
		values[0] += __shfl_xor_sync(0xffffffffu, values[0], 2);
	return values[0];
}

// mean and square (of distances from it) of one channel over all warps of the strip, given those over this one.
template <class SHAPE, int N>
static __device__ __forceinline__ void join_warps(
	float &mean, float &square, warp_notes<N> *notes, int tokens, float share, int place, int turn) {
	constexpr int WARPS = SHAPE::together / LANES;
	bool first_half = threadIdx.x < 16;
	notes[threadIdx.y].parts[turn][place + (first_half ? 0 : 2 * N)] = first_half ? mean : square;
	__syncthreads();
	float total = 0;
#pragma unroll
	for (int warp = 0; warp < WARPS; warp++)
		total += (float)SHAPE::of_warp(warp, tokens) * notes[warp].parts[turn][place];
	mean = total * share, square = 0;
#pragma unroll
	for (int warp = 0; warp < WARPS; warp++) {
		float off = notes[warp].parts[turn][place] - mean;
		square += notes[warp].parts[turn][2 * N + place] + (float)SHAPE::of_warp(warp, tokens) * off * off;
	}
}

// Layer norm of a sample's tokens y (tokens, width) in place, by a block, a warp a token. room: AHEAD rows of each warp.
template <int AHEAD> static __device__ void normalise_tokens(float *y, float *room, int tokens, int width) {
	int lane = (int)threadIdx.x, warp = (int)(threadIdx.y + threadIdx.z * blockDim.y), warps = (int)(blockDim.y * blockDim.z);
	float *slots = room + warp * AHEAD * width, share = 1.0f / (float)width;
	auto fetch = [&](int t, int slot) {
		for (int c = 4 * lane; t < tokens && c < width; c += 128)
			copy_async(slots + slot * width + c, y + (int64_t)t * width + c);
		copy_commit();
	};
	for (int slot = 0; slot + 1 < AHEAD; slot++)
		fetch(warp + slot * warps, slot);
	int slot = 0;
	for (int t = warp; t < tokens; t += warps, slot = (slot + 1) % AHEAD) {
		const float *row = slots + slot * width;
		float sum = 0, square = 0;
		fetch(t + (AHEAD - 1) * warps, (slot + AHEAD - 1) % AHEAD);
		copy_wait<AHEAD - 1>();
		for (int c = 4 * lane; c < width; c += 128) { // a lane reads what it has copied
			float v[4];
			load_pack(v, row + c);
			sum += (v[0] + v[1]) + (v[2] + v[3]);
		}
		float mean = warp_sum(sum) * share;
		for (int c = 4 * lane; c < width; c += 128) {
			float v[4];
			load_pack(v, row + c);
#pragma unroll
			for (int i = 0; i < 4; i++)
				square += (v[i] - mean) * (v[i] - mean);
		}
		float rstd = 1.0f / sqrtf(warp_sum(square) * share + TARGET_EPS);
		for (int c = 4 * lane; c < width; c += 128) {
			float v[4];
			load_pack(v, row + c);
#pragma unroll
			for (int i = 0; i < 4; i++)
				v[i] = (v[i] - mean) * rstd;
			store_pack(y + (int64_t)t * width + c, v);
		}
	}
}

// True in every thread of the block that is the last one to come here of the `blocks` of its sample: it sees what all have
// written.
static __device__ bool comes_last(unsigned *arrived, unsigned blocks) {
	__shared__ bool last;
	__syncthreads();
	if (threadIdx.x + threadIdx.y + threadIdx.z == 0) { // whose fences speak for all that it has met
		__threadfence();
		last = atomicAdd(arrived, 1u) == blocks - 1;
		__threadfence();
	}
	__syncthreads();
	return last;
}

// Block (strips of channels, sample) of (32, WARPS, STRIPS) threads. arrived (batch), zeros. Where a lane has no token any
// more it takes the warp's first one again: that adds nothing to the distances from it. BLOCKS: that
// a processor is to have.
template <class T, int WARPS, int STRIPS, int ROWS, int BLOCKS>
static __global__ void __launch_bounds__(32 * WARPS * STRIPS, BLOCKS)
	normalise_strips(d2v_target op, layer_list layers, unsigned *arrived) {
	typedef strips_shape<T, WARPS, STRIPS, ROWS> shape;
	constexpr int N = shape::pack;
	typedef d2v_bits<T, N> bits;
	constexpr bool coarse = sizeof(T) == 2; // means are taken off the sum over layers, instead of off each element
	D2V_SHARED(bits, places); // (2, shape::tokens, shape::packs), then the warps' notes
	int lane = (int)threadIdx.x, warp = (int)threadIdx.y, strip = (int)threadIdx.z, number = strip * WARPS + warp;
	int tokens = (int)op.tokens, width = (int)op.width, left = (int)blockIdx.x * shape::channels;
	warp_notes<N> *notes = (warp_notes<N> *)(places + 2 * shape::tokens * shape::packs) + number;
	int64_t b = blockIdx.y;

	// What it copies: rows of all strips of the block.
	int from_token = number * (32 / shape::packs) + lane / shape::packs, from_pack = lane % shape::packs;
	int from_count = left + from_pack * N < width ? (tokens - from_token + shape::together - 1) / shape::together : 0;
	int64_t from_at = (b * (op.extra_tokens + tokens) + op.extra_tokens + from_token) * width + left + from_pack * N;
	auto fetch = [&](int64_t layer) {
		bits *to = places + (layer & 1) * shape::tokens * shape::packs + shape::at(from_token, from_pack);
		int apart = shape::together * width;
		hold_number(apart); // or its multiples would be kept in registers
		if (layer < op.count) {
			const T *from = (const T *)layers.layer[layer] + from_at;
#pragma unroll
			for (int j = 0; j < ROWS; j++, from += apart)
				if (j < from_count)
					copy_async(to + j * shape::together * shape::packs, from);
		}
		copy_commit();
	};

	// What it works on: rows of its strip.
	int pack = lane % PACKS, first = warp * LANES + lane / PACKS;
	int count = (tokens - first + shape::together - 1) / shape::together;
	int place = pack * N + lane % 16 / (16 / N); // of the channel of which the lane has the sums
	bool first_half = lane < 16;
	float y[ROWS][N] = { { 0 } }, lift = 0, own_tokens = (float)shape::of_warp(warp, tokens);
	float part = own_tokens > 0 ? 1.0f / own_tokens : 0.0f, share = 1.0f / (float)tokens;
	fetch(0);
	for (int64_t layer = 0; layer < op.count; layer++) {
		const bits *at = places + (layer & 1) * shape::tokens * shape::packs, *own = at + shape::at(first, strip * PACKS + pack);
		const bits *origin = at + shape::at(warp * LANES, strip * PACKS + pack);
		float sums[2 * N] = { 0 }, zero[N], rstd[N];
		__syncthreads(); // all have read the layer before,
		fetch(layer + 1); // which makes room
		copy_wait<1>();
		__syncthreads(); // all have copied this one
		unpack(zero, *origin);
#pragma unroll
		for (int j = 0; j < ROWS; j++) {
			float x[N];
			unpack(x, *(j < count ? own + j * shape::together * shape::packs : origin));
#pragma unroll
			for (int i = 0; i < N; i++) {
				float off = x[i] - zero[i];
				sums[i] += off;
				sums[N + i] += off * off;
			}
		}
		float sum = sum_rows<N>(sums), square = __shfl_xor_sync(0xffffffffu, sum, 16);
		float total = (first_half ? sum : square) * part;
		square = fmaxf((first_half ? square : sum) - total * total * own_tokens, 0.0f);
		float mean = to_float(((const T *)origin)[place - pack * N]) + total;
		if (WARPS > 1)
			join_warps<shape, N>(mean, square, notes - warp, tokens, share, place, (int)(layer & 1));
		square = fast_inverse_root(square * share + TARGET_EPS);
		lift += coarse ? mean * square : 0.0f;
		notes->statistics[place + (first_half ? 0 : 2 * N)] = first_half ? mean : square;
		__syncwarp();
		load_floats(zero, notes->statistics + pack * N);
		load_floats(rstd, notes->statistics + (PACKS + pack) * N);
#pragma unroll
		for (int j = 0; j < ROWS; j++) {
			float x[N];
			unpack(x, own[j * shape::together * shape::packs]); // what is no token of the lane is not stored
#pragma unroll
			for (int i = 0; i < N; i++)
				y[j][i] += (coarse ? x[i] : x[i] - zero[i]) * rstd[i];
		}
	}
	float each = 1.0f / (float)op.count, lifts[N], *to = op.y + b * tokens * width;
	__syncthreads(); // all have read the last layer
	notes->statistics[place] = lift; // the same of both halves of the lanes
	__syncwarp();
	load_floats(lifts, notes->statistics + pack * N);
#pragma unroll
	for (int j = 0; j < ROWS; j++) {
		int token = first + j * shape::together;
#pragma unroll
		for (int i = 0; i < N; i += 4) {
			float four[4];
#pragma unroll
			for (int k = 0; k < 4; k++)
				four[k] = (y[j][i + k] - lifts[i + k]) * each;
			store_pack((float *)places + shape::sum_at(token, ((strip * PACKS + pack) * N + i) / 4), four);
		}
	}
	__syncthreads();
	for (int i = number * 32 + lane; i < tokens * shape::fours; i += 32 * shape::warps) { // whole rows again
		int token = i / shape::fours, four = i % shape::fours;
		if (left + 4 * four < width)
			write_pack(to + (int64_t)token * width + left + 4 * four,
				read_pack<float, 4>((const float *)places + shape::sum_at(token, four)));
	}
	if (op.layer_norm_mean && comes_last(&arrived[b], gridDim.x))
		normalise_tokens<WARPS == 1 ? 4 : 2>(to, (float *)places, tokens, width);
}

// ---- launching

// False: there are too many tokens, or a block needs more shared memory than there is.
template <class T, int WARPS, int STRIPS, int ROWS, int BLOCKS>
static bool run_strips(d2v_device *dev, const d2v_target *op, const layer_list &layers, unsigned *arrived) {
	typedef strips_shape<T, WARPS, STRIPS, ROWS> shape;
	size_t bytes = (size_t)(2 * shape::tokens * shape::packs) * 16 + shape::warps * sizeof(warp_notes<shape::pack>);
	size_t rows = op->layer_norm_mean ? (size_t)(shape::warps * (WARPS == 1 ? 4 : 2) * op->width) * sizeof(float) : 0;
	bytes = bytes > rows ? bytes : rows;
	if (op->tokens > shape::tokens || bytes > most_shared())
		return false;
	dim3 grid(d2v_blocks(op->width, shape::channels), (unsigned)op->batch);
	D2V_LAUNCH(dev, (normalise_strips<T, WARPS, STRIPS, ROWS, BLOCKS>), grid, dim3(32, WARPS, STRIPS), bytes, *op,
		layers, arrived);
	return true;
}

// A picture's tokens, 512 of text, 640, 1,280 and 2,560 of speech, the widest rows first that the shared memory takes.
template <class T> static bool choose_strips(d2v_device *dev, const d2v_target *op, const layer_list &layers) {
	unsigned *arrived = NULL;
	if (op->width % (16 / (int64_t)sizeof(T)) || op->batch > 65535)
		return false;
	if (op->layer_norm_mean) {
		arrived = (unsigned *)d2v_cuda_scratch(dev, (size_t)op->batch * sizeof *arrived);
		if (!arrived)
			return true; // the device has the error
		dev->backend->zero(dev, arrived, (size_t)op->batch * sizeof *arrived);
	}
	return run_strips<T, 1, 4, 13, 3>(dev, op, layers, arrived) || run_strips<T, 4, 4, 8, 1>(dev, op, layers, arrived) ||
		run_strips<T, 4, 4, 10, 1>(dev, op, layers, arrived) || run_strips<T, 4, 2, 10, 2>(dev, op, layers, arrived) ||
		run_strips<T, 8, 2, 10, 1>(dev, op, layers, arrived) || run_strips<T, 16, 1, 10, 1>(dev, op, layers, arrived);
}

bool d2v_cuda_target_strips(d2v_device *dev, const d2v_target *op, const layer_list &layers) {
	bool done = false;
	D2V_BY_TYPE(dev, done = choose_strips<T>(dev, op, layers));
	return done;
}

bool d2v_cuda_target_strips_of_mean(d2v_device *dev, const d2v_target *op) {
	d2v_target mean = *op;
	layer_list itself = { { op->y } };
	mean.count = 1, mean.extra_tokens = 0, mean.layer_norm_mean = false;
	return choose_strips<float>(dev, &mean, itself);
}
