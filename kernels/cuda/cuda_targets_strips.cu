// Targets whose layers are normalised over time, on the chip: warps keep all tokens of a strip of a sample, two packs of
// channels, read each layer once, add to sums in registers, and write once.
//
// A warp takes 16 tokens at a time, up to 13 times: pictures' 196 tokens are one warp's, and it waits for nobody; the 512 of
// text and the 620 of speech take four, which meet once a layer. While a layer is worked on the next one is on its way, so
// the twelve warps of a processor have 75 KB on their way, three times what the memory's 700 ns take. A thread copies what
// it reads itself.
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

#define PACKS 2            // of a strip: the 32 bytes that the memory moves at least
#define LANES 16           // tokens that a warp takes at a time
#define MOST_ROWS_ALONE 13 // times that it does, when it has its strip for itself
#define MOST_ROWS 10       // and when it has not, for want of registers
#define WARPS 12           // that a processor's registers hold, and so the most a strip may have
#define STRIPS 4           // of a block whose strips have a warp each: 128 bytes of a token
#define TOKENS_AHEAD 4     // of a warp in the layer norm of the mean

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

// A strip's tokens over its warps: row j of lanes (warp, l) is token (j * warps + warp) * LANES + l.
struct strip_rows {
	int tokens, warps;

	__device__ __forceinline__ int of_warp(int warp) const { // tokens that a warp has
		int together = warps * LANES, rest = tokens % together - warp * LANES;
		return tokens / together * LANES + (rest < 0 ? 0 : rest < LANES ? rest : LANES);
	}};

// Where a warp works. N: channels of a pack.
template <class T, int N, int ROWS> struct strip_room {
	d2v_bits<T, N> rows[2][ROWS][32]; // a layer's and the next one's
	float statistics[4 * N];          // means of the strip's channels, then their rstd
	float parts[2][4 * N];            // the warp's means and squares, for the strip's other warps; two, used in turns
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
template <class T, int N, int ROWS>
static __device__ __forceinline__ void join_warps(
	float &mean, float &square, strip_room<T, N, ROWS> *rooms, const strip_rows &rows, float share, int place, int turn) {
	bool first_half = threadIdx.x < 16;
	rooms[threadIdx.y].parts[turn][place + (first_half ? 0 : 2 * N)] = first_half ? mean : square;
	__syncthreads();
	float total = 0;
	for (int warp = 0; warp < rows.warps; warp++)
		total += (float)rows.of_warp(warp) * rooms[warp].parts[turn][place];
	mean = total * share, square = 0;
	for (int warp = 0; warp < rows.warps; warp++) {
		float off = rooms[warp].parts[turn][place] - mean;
		square += rooms[warp].parts[turn][2 * N + place] + (float)rows.of_warp(warp) * off * off;
	}
}

// Layer norm of a sample's tokens y (tokens, width) in place, by a block, a warp a token. room: TOKENS_AHEAD rows of each
// warp.
static __device__ void normalise_tokens(float *y, float *room, int tokens, int width) {
	int lane = (int)threadIdx.x, warp = (int)(threadIdx.y + threadIdx.z * blockDim.y), warps = (int)(blockDim.y * blockDim.z);
	float *slots = room + warp * TOKENS_AHEAD * width, share = 1.0f / (float)width;
	auto fetch = [&](int t, int slot) {
		for (int c = 4 * lane; t < tokens && c < width; c += 128)
			copy_async(slots + slot * width + c, y + (int64_t)t * width + c);
		copy_commit();
	};
	for (int slot = 0; slot + 1 < TOKENS_AHEAD; slot++)
		fetch(warp + slot * warps, slot);
	int slot = 0;
	for (int t = warp; t < tokens; t += warps, slot = (slot + 1) % TOKENS_AHEAD) {
		const float *row = slots + slot * width;
		float sum = 0, square = 0;
		fetch(t + (TOKENS_AHEAD - 1) * warps, (slot + TOKENS_AHEAD - 1) % TOKENS_AHEAD);
		copy_wait<TOKENS_AHEAD - 1>();
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
	if (threadIdx.x + threadIdx.y + threadIdx.z == 0)
		last = atomicAdd(arrived, 1u) == blocks - 1;
	__syncthreads();
	__threadfence();
	return last;
}

// Block (strips of channels, sample) of (32, warps of a strip, strips of the block) threads. arrived (batch), zeros. Where
// a lane has no token any more it takes the warp's first one again: that adds nothing to the distances from it.
template <class T, int N, int ROWS, bool SEVERAL>
static __global__ void __launch_bounds__(32 * WARPS) normalise_strips(d2v_target op, layer_list layers, unsigned *arrived) {
	typedef d2v_bits<T, N> bits;
	constexpr bool coarse = sizeof(T) == 2; // means are taken off the sum over layers, instead of off each element
	typedef strip_room<T, N, ROWS> room;
	D2V_SHARED(room, rooms); // of the block's warps
	room *mine = rooms + threadIdx.z * blockDim.y + threadIdx.y;
	strip_rows rows = { (int)op.tokens, SEVERAL ? (int)blockDim.y : 1 };
	int lane = (int)threadIdx.x, pack = lane % PACKS, warp = SEVERAL ? (int)threadIdx.y : 0, width = (int)op.width;
	int channel = ((int)(blockIdx.x * blockDim.z + threadIdx.z) * PACKS + pack) * N, first = warp * LANES + lane / PACKS;
	int together = rows.warps * LANES, count = channel < width ? (rows.tokens - first + together - 1) / together : 0;
	int place = pack * N + lane % 16 / (16 / N); // of the channel of which the lane has the sums
	int64_t b = blockIdx.y, at = (b * (op.extra_tokens + rows.tokens) + op.extra_tokens + first) * width + channel;
	auto fetch = [&](int64_t layer) {
		const T *from = (const T *)layers.layer[layer] + at;
		bits *to = &mine->rows[layer & 1][0][lane];
		int apart = together * width;
		hold_number(apart); // or its multiples would be kept in registers
#pragma unroll
		for (int j = 0; j < ROWS; j++, from += apart)
			if (j < count)
				copy_async_line(to + j * 32, from);
		copy_commit();
	};
	float y[ROWS][N] = { { 0 } }, lift[N] = { 0 };
	float number = (float)rows.of_warp(warp), part = 1.0f / number, share = 1.0f / (float)rows.tokens;
	fetch(0);
	for (int64_t layer = 0; layer < op.count; layer++) {
		const bits *own = &mine->rows[layer & 1][0][lane], *origin = &mine->rows[layer & 1][0][pack];
		float sums[2 * N] = { 0 }, zero[N], rstd[N];
		if (layer + 1 < op.count)
			fetch(layer + 1); // over the layer before, of which this thread has read its rows
		else
			copy_commit();
		copy_wait<1>();
		__syncwarp(); // the origin is another lane's
		unpack(zero, *origin);
#pragma unroll
		for (int j = 0; j < ROWS; j++) {
			float x[N];
			unpack(x, *(j < count ? own + j * 32 : origin));
#pragma unroll
			for (int i = 0; i < N; i++) {
				float off = x[i] - zero[i];
				sums[i] += off;
				sums[N + i] += off * off;
			}
		}
		float sum = sum_rows<N>(sums), square = __shfl_xor_sync(0xffffffffu, sum, 16);
		bool first_half = lane < 16;
		float total = (first_half ? sum : square) * part;
		square = fmaxf((first_half ? square : sum) - total * total * number, 0.0f);
		float mean = to_float(((const T *)origin)[place - pack * N]) + total;
		if (SEVERAL)
			join_warps<T, N, ROWS>(mean, square, mine - warp, rows, share, place, (int)(layer & 1));
		square = fast_inverse_root(square * share + TARGET_EPS);
		mine->statistics[place + (first_half ? 0 : 2 * N)] = first_half ? mean : square;
		__syncwarp();
		load_floats(zero, mine->statistics + pack * N);
		load_floats(rstd, mine->statistics + (PACKS + pack) * N);
#pragma unroll
		for (int i = 0; i < N; i++)
			lift[i] += coarse ? zero[i] * rstd[i] : 0.0f;
#pragma unroll
		for (int j = 0; j < ROWS; j++) {
			float x[N];
			unpack(x, own[j * 32]); // what is no token of the lane is not stored
#pragma unroll
			for (int i = 0; i < N; i++)
				y[j][i] += (coarse ? x[i] : x[i] - zero[i]) * rstd[i];
		}
	}
	float each = 1.0f / (float)op.count, *to = op.y + b * rows.tokens * width;
#pragma unroll
	for (int j = 0; j < ROWS; j++)
		if (j < count) {
#pragma unroll
			for (int i = 0; i < N; i++)
				y[j][i] = (y[j][i] - lift[i]) * each;
			store_floats(to + (int64_t)(first + j * together) * width + channel, y[j]);
		}
	if (op.layer_norm_mean && comes_last(&arrived[b], gridDim.x))
		normalise_tokens(to, (float *)rooms, rows.tokens, width);
}

// ---- launching

// Warps of a strip, such that strips fill a processor. 0: these are too many tokens.
static int count_warps(int64_t tokens) {
	for (int warps = 1; warps <= WARPS; warps++)
		if (WARPS % warps == 0 && tokens <= (int64_t)warps * LANES * (warps == 1 ? MOST_ROWS_ALONE : MOST_ROWS))
			return warps;
	return 0;
}

// False: a block needs more shared memory than there is.
template <class T, int ROWS, bool SEVERAL>
static bool run_rows(d2v_device *dev, const d2v_target *op, const layer_list &layers, int warps, unsigned *arrived) {
	constexpr int N = 16 / sizeof(T), strips = SEVERAL ? 1 : STRIPS;
	size_t bytes = (size_t)(warps * strips) * sizeof(strip_room<T, N, ROWS>);
	size_t rows = op->layer_norm_mean ? (size_t)(warps * strips * TOKENS_AHEAD * op->width) * sizeof(float) : 0;
	bytes = bytes > rows ? bytes : rows;
	if (bytes > most_shared())
		return false;
	dim3 grid(d2v_blocks(op->width, strips * PACKS * N), (unsigned)op->batch), block(32, warps, strips);
	D2V_LAUNCH(dev, (normalise_strips<T, N, ROWS, SEVERAL>), grid, block, bytes, *op, layers, arrived);
	return true;
}

// False: there are too many tokens, or channels come in no packs.
template <class T> static bool run_strips(d2v_device *dev, const d2v_target *op, const layer_list &layers) {
	int warps = count_warps(op->tokens);
	unsigned *arrived = NULL;
	if (op->width % (16 / (int64_t)sizeof(T)) || op->batch > 65535 || !warps)
		return false;
	if (op->layer_norm_mean) {
		arrived = (unsigned *)d2v_cuda_scratch(dev, (size_t)op->batch * sizeof *arrived);
		if (!arrived)
			return true; // the device has the error
		dev->backend->zero(dev, arrived, (size_t)op->batch * sizeof *arrived);
	}
	int64_t rows = (op->tokens + warps * LANES - 1) / (warps * LANES);
	if (warps == 1)
		return rows <= 7 ? run_rows<T, 7, false>(dev, op, layers, warps, arrived)
						 : run_rows<T, MOST_ROWS_ALONE, false>(dev, op, layers, warps, arrived);
	return rows <= 8 ? run_rows<T, 8, true>(dev, op, layers, warps, arrived)
					 : run_rows<T, MOST_ROWS, true>(dev, op, layers, warps, arrived);
}

bool d2v_cuda_target_strips(d2v_device *dev, const d2v_target *op, const layer_list &layers) {
	bool done = false;
	D2V_BY_TYPE(dev, done = run_strips<T>(dev, op, layers));
	return done;
}

bool d2v_cuda_target_strips_of_mean(d2v_device *dev, const d2v_target *op) {
	d2v_target mean = *op;
	layer_list itself = { { op->y } };
	mean.count = 1, mean.extra_tokens = 0, mean.layer_norm_mean = false;
	return run_strips<float>(dev, &mean, itself);
}
