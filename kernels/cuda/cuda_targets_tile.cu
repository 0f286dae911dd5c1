// Targets whose layers are normalised over time, on the chip: a block keeps all tokens of a few channels of a sample, reads
// each layer once, adds to sums in registers, and writes once.
//
// A tile is 16,384 or 32,768 elements at most, in one of two buffers of shared memory: while a layer is reduced the next one
// is on its way, so two blocks of 25 KB (197 tokens of 64 channels) have on their way what a processor must have, 4.8 TB/s
// times the memory's 700 ns shared by 132. A thread copies what it reads itself, eight rows of a pack, and needs no barrier
// for that; two a layer are for the statistics. Those are of one pass: a thread sums its rows' distances from its first one,
// which loses no more than a factor of their number, eight, whatever the mean is; then the threads' means and squares
// become those of the channel, as exactly as two passes would. What bounds it is instructions: of 16 bits, an element may
// have fourteen if it is to be read as fast as copying reads and writes, and has about eleven.
//
// The layer norm of the mean needs all channels of a token: the block of a sample that finishes last does it, while what
// the others wrote is still in the L2 cache.
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/targets.cuh"

// How a block of THREADS is laid over PACKS packs of T across and over `groups` tokens, again and again, down.
template <class T, int THREADS, int PACKS> struct tile_shape {
	static constexpr int pack = 16 / sizeof(T), channels = PACKS * pack, groups = THREADS / PACKS;
	static constexpr int lanes = THREADS / channels < 32 ? THREADS / channels : 32; // that reduce a channel together
	static constexpr int pitch = channels + (lanes > 4 ? 4 : 8); // of a group's statistics, so that these lanes meet in no bank

	// Tokens of a group: group, group + groups, ...
	__device__ __forceinline__ static float count(int group, int tokens) {
		int least = tokens / groups;
		return group < tokens % groups ? (float)(least + 1) : (float)least;
	}
	static size_t floats() { // of shared memory behind the tiles
		return (size_t)(2 * groups * pitch + 2 * channels);
	}
};

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
template <int N> static __device__ __forceinline__ void store_floats(float *to, const float (&v)[N]) {
#pragma unroll
	for (int i = 0; i < N; i += 4) {
		float part[4] = { v[i], v[i + 1], v[i + 2], v[i + 3] };
		store_pack(to + i, part);
	}
}

// What the threads of a block know of their rows, and in the end all know of their channels.
template <class T, int THREADS, int PACKS> struct tile_statistics {
	typedef tile_shape<T, THREADS, PACKS> shape;
	float *means, *squares; // (groups, pitch): of a group's rows; squares: of their distances from their mean
	float *mean, *rstd;     // (channels)

	__device__ __forceinline__ explicit tile_statistics(float *room)
		: means(room), squares(means + shape::groups * shape::pitch), mean(squares + shape::groups * shape::pitch),
		  rstd(mean + shape::channels) {}

	// All threads of the block; the groups' means and squares become the channels'.
	__device__ __forceinline__ void reduce(int tokens, float share) {
		int channel = (int)threadIdx.x / shape::lanes, lane = (int)threadIdx.x % shape::lanes;
		__syncthreads();
		if (channel < shape::channels) { // whole warps
			constexpr int each = shape::groups / shape::lanes;
			float sum = 0, square = 0, group[each];
#pragma unroll
			for (int k = 0; k < each; k++) {
				group[k] = means[(lane + k * shape::lanes) * shape::pitch + channel];
				sum += shape::count(lane + k * shape::lanes, tokens) * group[k];
			}
			float centre = sum_lanes(sum) * share;
#pragma unroll
			for (int k = 0; k < each; k++) {
				float off = group[k] - centre;
				square += squares[(lane + k * shape::lanes) * shape::pitch + channel];
				square += shape::count(lane + k * shape::lanes, tokens) * off * off;
			}
			square = sum_lanes(square) * share;
			if (lane == 0) {
				mean[channel] = centre;
				rstd[channel] = fast_inverse_root(square + TARGET_EPS);
			}
		}
		__syncthreads();
	}

	__device__ __forceinline__ static float sum_lanes(float x) {
#pragma unroll
		for (int distance = shape::lanes / 2; distance; distance /= 2)
			x += __shfl_xor_sync(0xffffffffu, x, distance);
		return x;
	}
};

// Layer norm of a sample's tokens y (tokens, width) in place, by a block, a warp a token. room: two rows of each warp.
template <int THREADS> static __device__ void normalise_tokens(float *y, float *room, int tokens, int width) {
	int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
	float *slots = room + warp * 2 * width, share = 1.0f / (float)width;
	auto fetch = [&](int t, int turn) {
		for (int c = 4 * lane; t < tokens && c < width; c += 128)
			copy_async(slots + turn * width + c, y + (int64_t)t * width + c);
		copy_commit();
	};
	fetch(warp, 0);
	int turn = 0;
	for (int t = warp; t < tokens; t += THREADS / 32, turn ^= 1) {
		const float *row = slots + turn * width;
		float sum = 0, square = 0;
		fetch(t + THREADS / 32, turn ^ 1);
		copy_wait<1>();
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
	__threadfence();
	__syncthreads();
	if (threadIdx.x == 0)
		last = atomicAdd(arrived, 1u) == blocks - 1;
	__syncthreads();
	__threadfence();
	return last;
}

// Block (tile of channels, sample). arrived (batch), zeros. Where a group has no row any more it takes its first one again:
// that adds nothing to its distances, and what becomes of it is not stored, so that of a row no thread asks whether it is.
template <class T, int THREADS, int PACKS, int ROWS>
static __global__ void __launch_bounds__(THREADS, 512 / THREADS) normalise_tiles(d2v_target op, layer_list layers, unsigned *arrived) {
	typedef tile_shape<T, THREADS, PACKS> shape;
	constexpr int N = shape::pack;
	constexpr bool coarse = sizeof(T) == 2; // means are taken off the sum over layers, instead of off each element
	D2V_SHARED(T, tiles); // (2, tokens, channels), then the statistics
	int tokens = (int)op.tokens, width = (int)op.width, pack = (int)threadIdx.x % PACKS, group = (int)threadIdx.x / PACKS;
	int channel = (int)blockIdx.x * shape::channels + pack * N, size = tokens * shape::channels;
	int count = (int)shape::count(group, tokens), down = shape::groups * shape::channels; // down: from a row of the thread to the next
	int64_t b = blockIdx.y;
	bool inside = channel < width;
	T *mine = tiles + (group * PACKS + pack) * N;
	tile_statistics<T, THREADS, PACKS> statistics((float *)(tiles + 2 * size));
	auto fetch = [&](int64_t layer) {
		const T *from = (const T *)layers.layer[layer] + (b * (op.extra_tokens + tokens) + op.extra_tokens + group) * width + channel;
#pragma unroll
		for (int j = 0; j < ROWS; j++)
			if (inside && j < count)
				copy_async(mine + (layer & 1) * size + j * down, from + (int64_t)j * shape::groups * width);
	};
	float y[ROWS][N] = { { 0 } }, lift[N] = { 0 }, part = 1.0f / (float)(count ? count : 1), share = 1.0f / (float)tokens;
	fetch(0);
	copy_commit();
	for (int64_t layer = 0; layer < op.count; layer++) {
		const T *tile = mine + (layer & 1) * size;
		float sum[N] = { 0 }, square[N] = { 0 }, first[N] = { 0 };
		if (layer + 1 < op.count)
			fetch(layer + 1); // over the layer before, of which this thread has read its rows
		copy_commit();
		copy_wait<1>();
		if (count)
			load_pack(first, tile);
#pragma unroll
		for (int j = 1; j < ROWS; j++)
			if (j * shape::groups < tokens) {
				float x[N];
				load_pack(x, tile + (j < count ? j * down : 0));
#pragma unroll
				for (int i = 0; i < N; i++) {
					float off = x[i] - first[i];
					sum[i] += off;
					square[i] += off * off;
				}
			}
		float *to = statistics.means + group * shape::pitch + pack * N;
#pragma unroll
		for (int i = 0; i < N; i++) {
			float off = sum[i] * part;
			square[i] = fmaxf(square[i] - sum[i] * off, 0.0f);
			first[i] += off;
		}
		store_floats(to, first);
		store_floats(to + shape::groups * shape::pitch, square);
		statistics.reduce(tokens, share);
		load_floats(sum, statistics.mean + pack * N);
		load_floats(square, statistics.rstd + pack * N);
#pragma unroll
		for (int i = 0; i < N; i++)
			lift[i] += coarse ? sum[i] * square[i] : 0.0f;
#pragma unroll
		for (int j = 0; j < ROWS; j++)
			if (j * shape::groups < tokens && (j || count)) {
				float x[N];
				load_pack(x, tile + (j < count ? j * down : 0));
#pragma unroll
				for (int i = 0; i < N; i++)
					y[j][i] += (coarse ? x[i] : x[i] - sum[i]) * square[i];
			}
	}
	float each = 1.0f / (float)op.count, *to = op.y + b * tokens * width;
#pragma unroll
	for (int j = 0; j < ROWS; j++)
		if (inside && j < count) {
#pragma unroll
			for (int i = 0; i < N; i++)
				y[j][i] = (y[j][i] - lift[i]) * each;
			store_floats(to + (int64_t)(group + j * shape::groups) * width + channel, y[j]);
		}
	if (op.layer_norm_mean && comes_last(&arrived[b], gridDim.x))
		normalise_tokens<THREADS>(to, (float *)tiles, tokens, width);
}

// ---- launching

// False: these are too many tokens for its blocks, or for the GPU's shared memory.
template <class T, int THREADS, int PACKS, int ROWS>
static bool run_tiles(d2v_device *dev, const d2v_target *op, const layer_list &layers, unsigned *arrived) {
	typedef tile_shape<T, THREADS, PACKS> shape;
	if (op->tokens > ROWS * shape::groups)
		return false;
	size_t bytes = (size_t)(2 * op->tokens * shape::channels) * sizeof(T) + shape::floats() * sizeof(float);
	size_t rows = op->layer_norm_mean ? (size_t)(THREADS / 32 * 2 * op->width) * sizeof(float) : 0;
	bytes = bytes > rows ? bytes : rows;
	if (bytes > most_shared())
		return false;
	dim3 grid(d2v_blocks(op->width, shape::channels), (unsigned)op->batch);
	D2V_LAUNCH(dev, (normalise_tiles<T, THREADS, PACKS, ROWS>), grid, THREADS, bytes, *op, layers, arrived);
	return true;
}

// The widest rows first: a picture's 196 tokens, 512 of text, speech.
template <class T> static bool choose_tiles(d2v_device *dev, const d2v_target *op, const layer_list &layers) {
	unsigned *arrived = NULL;
	if (op->width % (16 / (int64_t)sizeof(T)) || op->batch > 65535)
		return false;
	if (op->layer_norm_mean) {
		arrived = (unsigned *)d2v_cuda_scratch(dev, (size_t)op->batch * sizeof *arrived);
		if (!arrived)
			return true; // the device has the error
		dev->backend->zero(dev, arrived, (size_t)op->batch * sizeof *arrived);
	}
	return run_tiles<T, 256, 8, 7>(dev, op, layers, arrived) || run_tiles<T, 256, 4, 8>(dev, op, layers, arrived) ||
		run_tiles<T, 512, 4, 8>(dev, op, layers, arrived) || run_tiles<T, 512, 2, 8>(dev, op, layers, arrived);
}

bool d2v_cuda_target_tiles(d2v_device *dev, const d2v_target *op, const layer_list &layers) {
	bool done = false;
	D2V_BY_TYPE(dev, done = choose_tiles<T>(dev, op, layers));
	return done;
}

bool d2v_cuda_target_tiles_of_mean(d2v_device *dev, const d2v_target *op) {
	d2v_target mean = *op;
	layer_list itself = { { op->y } };
	mean.count = 1, mean.extra_tokens = 0, mean.layer_norm_mean = false;
	return choose_tiles<float>(dev, &mean, itself);
}
