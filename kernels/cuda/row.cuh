// A row of channels in the registers of a warp: in CHUNKS packs of N a lane, `32 * N` apart.
#ifndef D2V_KERNELS_CUDA_ROW_CUH
#define D2V_KERNELS_CUDA_ROW_CUH

#include "kernels/cuda/draws.cuh"

// The first chunk that may reach past the end of a row: packs get no chunk too many, but for long rows of f32.
template <int N, int CHUNKS> struct row_shape {
	static constexpr int whole = N > 1 && CHUNKS <= 5 ? CHUNKS - 1 : 0;

	__device__ __forceinline__ static int column(int chunk) {
		return chunk * 32 * N + (int)threadIdx.x * N;
	}
	__device__ __forceinline__ static bool inside(int chunk, int channels) {
		return chunk < whole || column(chunk) < channels;
	}
};

// The lane's part of a row as it lies in memory: CHUNKS packs of N, `32 * N` apart. Elements past the end are zero.
template <class T, int N, int CHUNKS> struct row_packs {
	d2v_bits<T, N> at[CHUNKS];

	__device__ __forceinline__ void clear() {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
			at[c] = {};
	}
	__device__ __forceinline__ void load(const T *row, int channels) {
		typedef row_shape<N, CHUNKS> shape;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++) {
			at[c] = {};
			if (shape::inside(c, channels))
				at[c] = read_pack<T, N>(row + shape::column(c));
		}
	}
};

// And in f32; elements past the end are not stored.
template <class T, int N, int CHUNKS> struct row_part {
	typedef row_shape<N, CHUNKS> shape;
	float at[CHUNKS][N];

	__device__ __forceinline__ void take(const row_packs<T, N, CHUNKS> &packs) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
			unpack(at[c], packs.at[c]);
	}
	__device__ __forceinline__ void add(const row_part &other, float factor) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				at[c][i] += factor * other.at[c][i];
	}
	__device__ __forceinline__ void scale(float factor) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				at[c][i] *= factor;
	}
	// As f32, whatever T is: fours of N.
	__device__ __forceinline__ void store(float *row, int channels) const {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i += 4) {
				float four[4] = { at[c][i], at[c][i + 1], at[c][i + 2], at[c][i + 3] };
				if (shape::inside(c, channels))
					store_pack(row + shape::column(c) + i, four);
			}
	}
	// += other; then it is written to sum, and is as the backward pass will read it.
	__device__ __forceinline__ void add_and_round(const row_part &other, T *sum, int channels) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++) {
#pragma unroll
			for (int i = 0; i < N; i++)
				at[c][i] += other.at[c][i];
			d2v_bits<T, N> pack = make_pack<T, N>(at[c]);
			unpack(at[c], pack);
			if (shape::inside(c, channels))
				write_pack(sum + shape::column(c), pack);
		}
	}
	__device__ __forceinline__ void drop(const drop_rule &rule, int64_t first, int channels) {
		if (!rule.on)
			return;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
			if (shape::inside(c, channels))
				drop_pack(at[c], rule, first + shape::column(c));
	}
	// -= its mean, which is returned.
	__device__ __forceinline__ float centre(float share, int channels) {
		float total = 0;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				total += at[c][i];
		float mean = warp_sum(total) * share;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				at[c][i] = shape::inside(c, channels) ? at[c][i] - mean : 0.0f;
		return mean;
	}
	__device__ __forceinline__ float squares() const {
		float square = 0;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				square += at[c][i] * at[c][i];
		return warp_sum(square);
	}
};

#endif
