// Convolutions of a waveform: one channel to many, a few taps. The sums are short and the results many, so the pace is the
// memory's: results are written, and their gradients read, once, in packs of 16 bytes where there are ten taps.
//
// A block takes a tile of positions of one row; its samples lie in shared memory. A warp takes groups of neighbouring
// positions, its lanes packs of CHANNELS channels, of which each thread keeps all weights, or all sums of their gradient,
// in registers. For wav2vec's first layer, known to the compiler, a thread reads the samples of a group as packs.
#include "kernels/cuda/conv.cuh"

#define WARPS 4
#define TILE 256       // positions
#define GROUP 4        // positions; a multiple of 4, so that groups of packed samples start at packs
#define MAX_STRIDE 32  // of a tile that fits shared memory
#define MAX_TAPS 32
#define MAX_PIECES 512 // partial sums of the weights' gradient

// Tiles of all rows, one after another.
struct wave_tile {
	int64_t row, first; // position
	int count;
};
static __host__ __device__ inline int64_t tiles_of_row(const conv_shape &s) {
	return (s.out_w + TILE - 1) / TILE;
}
static __device__ __forceinline__ wave_tile find_tile(const conv_shape &s, int64_t number) {
	wave_tile at;
	at.row = number / tiles_of_row(s), at.first = number % tiles_of_row(s) * TILE;
	at.count = (int)(s.out_w - at.first < TILE ? s.out_w - at.first : TILE);
	return at;
}

// Position i of the tile reads samples[i * stride ...].
template <class T> __device__ __forceinline__ void fetch_samples(float *samples, const conv_shape &s, const T *x, const wave_tile &at) {
	int64_t first = at.first * s.stride_w - s.pad_w;
	int count = (at.count - 1) * s.stride_w + s.kernel_w;
	for (int i = threadIdx.x; i < count; i += WARPS * 32)
		samples[i] = first + i >= 0 && first + i < s.in_w ? to_float(x[at.row * s.in_w + first + i]) : 0.0f;
}

// The samples that a group of positions reads. With STRIDE 0 stride and number of taps, at most TAPS, are the shape's.
template <int TAPS, int STRIDE> struct group_samples {
	float near[((GROUP - 1) * STRIDE + TAPS + 3) / 4 * 4];
	__device__ __forceinline__ group_samples(const float *samples, const conv_shape &) {
#pragma unroll
		for (int i = 0; i < (int)(sizeof near / sizeof *near); i += 4) {
			d2v_pack<float, 4> pack = *(const d2v_pack<float, 4> *)(samples + i);
#pragma unroll
			for (int j = 0; j < 4; j++)
				near[i + j] = pack.at[j];
		}
	}
	__device__ __forceinline__ float at(int position, int tap) const {
		return near[position * STRIDE + tap];
	}
	static __device__ __forceinline__ bool has(int, const conv_shape &) {
		return true;
	}
};
template <int TAPS> struct group_samples<TAPS, 0> {
	const float *samples;
	int stride;
	__device__ __forceinline__ group_samples(const float *from, const conv_shape &s) : samples(from), stride(s.stride_w) {}
	__device__ __forceinline__ float at(int position, int tap) const {
		return samples[position * stride + tap];
	}
	static __device__ __forceinline__ bool has(int tap, const conv_shape &s) {
		return tap < s.kernel_w;
	}
};

// Block (tile, 32 packs of channels).
template <class T, int CHANNELS, int TAPS, int STRIDE>
static __global__ void __launch_bounds__(WARPS * 32, STRIDE ? 3 : 1)
	wave_forward(conv_shape s, T *y, const T *x, const T *w, const T *bias) {
	D2V_SHARED(float, samples);
	wave_tile at = find_tile(s, blockIdx.x);
	fetch_samples(samples, s, x, at);
	__syncthreads();
	int64_t channel = ((int64_t)blockIdx.y * 32 + threadIdx.x % 32) * CHANNELS;
	if (channel >= s.out)
		return;
	float weights[CHANNELS][TAPS], start[CHANNELS];
#pragma unroll
	for (int c = 0; c < CHANNELS; c++) {
		start[c] = bias ? to_float(bias[channel + c]) : 0.0f;
#pragma unroll
		for (int k = 0; k < TAPS; k++)
			weights[c][k] = group_samples<TAPS, STRIDE>::has(k, s) ? to_float(w[(channel + c) * s.kernel_w + k]) : 0.0f;
	}
	for (int i = threadIdx.x / 32 * GROUP; i < at.count; i += WARPS * GROUP) {
		group_samples<TAPS, STRIDE> near(samples + i * s.stride_w, s);
#pragma unroll
		for (int j = 0; j < GROUP; j++) {
			float sums[CHANNELS];
#pragma unroll
			for (int c = 0; c < CHANNELS; c++)
				sums[c] = start[c];
#pragma unroll
			for (int k = 0; k < TAPS; k++)
				if (near.has(k, s))
#pragma unroll
					for (int c = 0; c < CHANNELS; c++)
						sums[c] += weights[c][k] * near.at(j, k);
			if (i + j < at.count)
				store_pack(y + (at.row * s.out_w + at.first + i + j) * s.out + channel, sums);
		}
	}
}

// partial[channel, tap] = the warps' sums, in their order. memory: WARPS * 32 * TAPS places.
template <int CHANNELS, int TAPS>
__device__ __forceinline__ void add_warps(float *partial, const float (&sums)[CHANNELS][TAPS], float *memory, const conv_shape &s) {
	int64_t first = (int64_t)blockIdx.y * 32 * CHANNELS;
#pragma unroll
	for (int c = 0; c < CHANNELS; c++) {
		__syncthreads();
#pragma unroll
		for (int k = 0; k < TAPS; k++)
			memory[threadIdx.x * TAPS + k] = sums[c][k];
		__syncthreads();
		for (int i = threadIdx.x; i < 32 * TAPS; i += WARPS * 32) {
			int64_t channel = first + i / TAPS * CHANNELS + c, k = i % TAPS;
			float total = 0;
			for (int warp = 0; warp < WARPS; warp++)
				total += memory[warp * 32 * TAPS + i];
			if (channel < s.out && k < s.kernel_w)
				partial[channel * s.kernel_w + k] = total;
		}
	}
}

// Block (piece of `tiles` tiles, 32 packs of channels): partial (pieces, out, taps).
template <class T, int CHANNELS, int TAPS, int STRIDE>
static __global__ void __launch_bounds__(WARPS * 32, STRIDE ? 3 : 1)
	wave_backward_w(conv_shape s, float *partial, const T *x, const T *d_y, int64_t tiles) {
	D2V_SHARED(float, samples);
	int64_t channel = ((int64_t)blockIdx.y * 32 + threadIdx.x % 32) * CHANNELS, all = s.rows * tiles_of_row(s);
	float sums[CHANNELS][TAPS] = { { 0 } };
	for (int64_t number = blockIdx.x * tiles; number < all && number < (blockIdx.x + 1) * tiles; number++) {
		wave_tile at = find_tile(s, number);
		__syncthreads(); // the last tile was read
		fetch_samples(samples, s, x, at);
		__syncthreads();
		const T *from = d_y + (at.row * s.out_w + at.first) * s.out + channel;
		for (int i = threadIdx.x / 32 * GROUP; i < at.count && channel < s.out; i += WARPS * GROUP) {
			d2v_pack<T, CHANNELS> gradients[GROUP];
#pragma unroll
			for (int j = 0; j < GROUP; j++)
				if (i + j < at.count)
					gradients[j] = *(const d2v_pack<T, CHANNELS> *)(from + (i + j) * s.out);
			group_samples<TAPS, STRIDE> near(samples + i * s.stride_w, s);
#pragma unroll
			for (int j = 0; j < GROUP; j++)
				if (i + j < at.count)
#pragma unroll
					for (int k = 0; k < TAPS; k++)
						if (near.has(k, s))
#pragma unroll
							for (int c = 0; c < CHANNELS; c++)
								sums[c][k] += to_float(gradients[j].at[c]) * near.at(j, k);
		}
	}
	add_warps(partial + blockIdx.x * s.out * s.kernel_w, sums, samples, s);
}

// ---- choosing

static bool is_wave(const conv_shape &s) {
	return s.in == 1 && s.in_h == 1 && s.out_h == 1 && s.kernel_h == 1 && s.out % 8 == 0 && s.kernel_w <= MAX_TAPS &&
		s.stride_w <= MAX_STRIDE && s.rows * tiles_of_row(s) <= INT32_MAX;
}

static size_t shared_bytes(const conv_shape &s, int taps) {
	int samples = (TILE - 1) * s.stride_w + s.kernel_w + 3, sums = WARPS * 32 * taps; // 3: packs are read whole
	return (size_t)(samples > sums ? samples : sums) * sizeof(float);
}

// wav2vec's first layer, ten taps at stride 5, or any other.
#define BY_LAYER(T, s, ...) \
	do { \
		if ((s).kernel_w == 10 && (s).stride_w == 5) { \
			constexpr int CHANNELS = 16 / sizeof(T), TAPS = 10, STRIDE = 5; \
			__VA_ARGS__; \
		} else { \
			constexpr int CHANNELS = 4, TAPS = MAX_TAPS, STRIDE = 0; \
			__VA_ARGS__; \
		} \
	} while (0)

bool d2v_cuda_conv_wave_forward(
	d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias) {
	if (!is_wave(s))
		return false;
	D2V_BY_TYPE(dev, BY_LAYER(T, s, {
		dim3 grid((unsigned)(s.rows * tiles_of_row(s)), d2v_blocks(s.out, 32 * CHANNELS));
		D2V_LAUNCH(dev, (wave_forward<T, CHANNELS, TAPS, STRIDE>), grid, WARPS * 32, shared_bytes(s, 0), s, (T *)y, (const T *)x,
			(const T *)w, (const T *)bias);
	}));
	return true;
}

bool d2v_cuda_conv_wave_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y) {
	if (!is_wave(s))
		return false;
	int64_t tiles = s.rows * tiles_of_row(s), piece = (tiles + MAX_PIECES - 1) / MAX_PIECES, pieces = (tiles + piece - 1) / piece;
	int64_t count = s.out * s.kernel_w;
	float *partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * count) * sizeof *partial);
	if (!partial)
		return true;
	D2V_BY_TYPE(dev, BY_LAYER(T, s, {
		dim3 grid((unsigned)pieces, d2v_blocks(s.out, 32 * CHANNELS));
		D2V_LAUNCH(dev, (wave_backward_w<T, CHANNELS, TAPS, STRIDE>), grid, WARPS * 32, shared_bytes(s, TAPS), s, partial,
			(const T *)x, (const T *)d_y, piece);
	}));
	d2v_cuda_add_partials(dev, { { d_w } }, 1, partial, pieces, count);
	return true;
}
