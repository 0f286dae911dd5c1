// Sums in two steps: pieces cut by size, then added in their order.
#include "kernels/cuda/launch.cuh"

#define THREADS 256

// A block takes 32 columns of all arrays; its warps take pieces in turn, then the warps' sums are added in order.
static __global__ void add_partials(d2v_cuda_sums to, const float *partial, int64_t pieces, int64_t columns, int64_t count) {
	__shared__ double sums[32][32];
	int64_t column = (int64_t)blockIdx.x * 32 + threadIdx.x;
	double total = 0;
	if (column < columns) {
#pragma unroll 8
		for (int64_t piece = threadIdx.y; piece < pieces; piece += blockDim.y)
			total += (double)partial[piece * columns + column];
	}
	sums[threadIdx.y][threadIdx.x] = total;
	__syncthreads();
	int array = column < count ? 0 : column < 2 * count ? 1 : 2;
	float *sum = array == 0 ? to.of[0] : array == 1 ? to.of[1] : to.of[2];
	if (threadIdx.y || column >= columns || !sum)
		return;
	for (int warp = 1; warp < (int)blockDim.y; warp++)
		total += sums[warp][threadIdx.x];
	sum[column - array * count] += (float)total;
}

void d2v_cuda_add_partials(
	d2v_device *dev, d2v_cuda_sums sums, int arrays, const float *partial, int64_t pieces, int64_t count) {
	unsigned warps = pieces >= 256 ? 32 : pieces >= 32 ? 8 : 1;
	int64_t columns = arrays * count;
	if (count && pieces)
		D2V_LAUNCH(dev, add_partials, d2v_blocks(columns, 32), dim3(32, warps), 0, sums, partial, pieces, columns, count);
}

// ---- sum of squares

#define PIECE 16384 // elements

// A thread takes four elements that follow each other, whether they can be loaded together or not.
static __global__ void square_pieces(double *partial, const float *x, int64_t count) {
	__shared__ double warps[THREADS / 32];
	int64_t first = (int64_t)blockIdx.x * PIECE;
	bool whole = first + PIECE <= count && (uintptr_t)x % 16 == 0;
	double sum = 0;
#pragma unroll 4
	for (int i = threadIdx.x * 4; i < PIECE; i += THREADS * 4) {
		float v[4] = { 0 };
		if (whole) {
			load_pack(v, x + first + i);
		} else {
#pragma unroll
			for (int j = 0; j < 4; j++)
				v[j] = first + i + j < count ? x[first + i + j] : 0.0f;
		}
#pragma unroll
		for (int j = 0; j < 4; j++)
			sum += (double)v[j] * (double)v[j];
	}
	sum = block_sum<THREADS>(sum, warps);
	if (threadIdx.x == 0)
		partial[blockIdx.x] = sum;
}

// One block.
static __global__ void add_pieces(double *sum, const double *partial, int64_t pieces) {
	__shared__ double warps[THREADS / 32];
	double total = 0;
	for (int64_t i = threadIdx.x; i < pieces; i += THREADS)
		total += partial[i];
	total = block_sum<THREADS>(total, warps);
	if (threadIdx.x == 0)
		*sum = total;
}

void d2v_cuda_sum_squares(d2v_device *dev, double *sum, const float *x, int64_t count) {
	int64_t pieces = (count + PIECE - 1) / PIECE;
	double *partial = (double *)d2v_cuda_scratch(dev, (size_t)(pieces + 1) * sizeof *partial);
	if (!partial)
		return;
	if (pieces)
		D2V_LAUNCH(dev, square_pieces, (unsigned)pieces, THREADS, 0, partial, x, count);
	D2V_LAUNCH(dev, add_pieces, 1, THREADS, 0, sum, (const double *)partial, pieces);
}
