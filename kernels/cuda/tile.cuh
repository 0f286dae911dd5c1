// Matrix products whose operands are not matrices: a tile of results per block, operands fetched through functions that
// say where a pack of elements lies, so that convolutions read overlapping windows where they are.
//
//     c(m, n) = sum over k of a(m, k) b(n, k)
//
// A Source gives `const T *at(int64_t row, int64_t k)`: the address of PACK elements that follow each other along k, or,
// when Source::along_rows, along the rows; NULL: zeros. bf16 and f16 go through the tensor cores, f32 through plain
// multiplications; either way a lane holds of each 16 x 8 block of results what mma.cuh says.
#ifndef D2V_KERNELS_CUDA_TILE_CUH
#define D2V_KERNELS_CUDA_TILE_CUH

#include "kernels/cuda/mma.cuh"

#define TILE_M 64
#define TILE_K 32
#define TILE_THREADS 128
#define TILE_SKEW 8 // elements between the rows in shared memory: neighbours lie in other banks

template <class T, int BN> struct tile_memory {
	T a[TILE_M][TILE_K + TILE_SKEW];
	T b[BN][TILE_K + TILE_SKEW];
};

// Rows [first, first + ROWS) by k [k0, k0 + TILE_K) of a source into shared memory; what lies outside of (rows, k_end)
// becomes zero.
template <class T, int PACK, int ROWS, class Source>
__device__ __forceinline__ void fetch_tile(
	T (&to)[ROWS][TILE_K + TILE_SKEW], const Source &source, int64_t first, int64_t rows, int64_t k0, int64_t k_end) {
	constexpr int packs = ROWS * TILE_K / PACK;
	for (int i = threadIdx.x; i < packs; i += TILE_THREADS) {
		int row, k;
		if (Source::along_rows) {
			row = i % (ROWS / PACK) * PACK, k = i / (ROWS / PACK);
		} else {
			row = i / (TILE_K / PACK), k = i % (TILE_K / PACK) * PACK;
		}
		const T *from = first + row < rows && k0 + k < k_end ? source.at(first + row, k0 + k) : NULL;
		d2v_pack<T, PACK> pack;
		if (from) {
			pack = *(const d2v_pack<T, PACK> *)from;
		} else {
#pragma unroll
			for (int j = 0; j < PACK; j++)
				pack.at[j] = from_float<T>(0.0f);
		}
		if (Source::along_rows) {
#pragma unroll
			for (int j = 0; j < PACK; j++)
				to[row + j][k] = pack.at[j];
		} else {
			*(d2v_pack<T, PACK> *)&to[row][k] = pack;
		}
	}
}

// The warp's 16 rows by BN columns: sums[n / 8][4].
template <int BN, class T>
__device__ __forceinline__ void multiply_tile(float (&sums)[BN / 8][4], const tile_memory<T, BN> &tile) {
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, row = threadIdx.x / 32 * 16;
#pragma unroll
	for (int k = 0; k < TILE_K; k += 16) {
		uint32_t a[4] = { read_pair(&tile.a[row + g][k + 2 * t]), read_pair(&tile.a[row + g + 8][k + 2 * t]),
			read_pair(&tile.a[row + g][k + 2 * t + 8]), read_pair(&tile.a[row + g + 8][k + 2 * t + 8]) };
#pragma unroll
		for (int n = 0; n < BN / 8; n++) {
			uint32_t b[2] = { read_pair(&tile.b[n * 8 + g][k + 2 * t]), read_pair(&tile.b[n * 8 + g][k + 2 * t + 8]) };
			mma_16816<T>(sums[n], a, b);
		}
	}
}

template <int BN>
__device__ __forceinline__ void multiply_tile(float (&sums)[BN / 8][4], const tile_memory<float, BN> &tile) {
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, row = threadIdx.x / 32 * 16;
	for (int k = 0; k < TILE_K; k++) {
		float low = tile.a[row + g][k], high = tile.a[row + g + 8][k];
#pragma unroll
		for (int n = 0; n < BN / 8; n++) {
			float left = tile.b[n * 8 + 2 * t][k], right = tile.b[n * 8 + 2 * t + 1][k];
			sums[n][0] += low * left;
			sums[n][1] += low * right;
			sums[n][2] += high * left;
			sums[n][3] += high * right;
		}
	}
}

// Sums over k in [k_begin, k_end) of the tile at (first_m, first_n), then store(m, n, value) for each result inside
// (m_end, n_end).
template <class T, int PACK, int BN, class A, class B, class Store>
__device__ __forceinline__ void run_tile(const A &a, const B &b, const Store &store, int64_t first_m, int64_t m_end,
	int64_t first_n, int64_t n_end, int64_t k_begin, int64_t k_end) {
	__shared__ tile_memory<T, BN> tile;
	float sums[BN / 8][4] = { { 0 } };
	for (int64_t k = k_begin; k < k_end; k += TILE_K) {
		fetch_tile<T, PACK>(tile.a, a, first_m, m_end, k, k_end);
		fetch_tile<T, PACK>(tile.b, b, first_n, n_end, k, k_end);
		__syncthreads();
		multiply_tile<BN>(sums, tile);
		__syncthreads();
	}
	int lane = threadIdx.x % 32;
	int64_t m = first_m + threadIdx.x / 32 * 16 + lane / 4, n = first_n + lane % 4 * 2;
#pragma unroll
	for (int i = 0; i < BN / 8; i++)
#pragma unroll
		for (int j = 0; j < 4; j++) {
			int64_t row = m + j / 2 * 8, column = n + i * 8 + j % 2;
			if (row < m_end && column < n_end)
				store(row, column, sums[i][j]);
		}
}

#endif
