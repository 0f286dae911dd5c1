// Kernels that are right, and the same ones with one thing missing: of the first no race is said, of the others one
// (emulated_races.cc). Every one gives the right numbers here, in the order that the emulation takes.
#include "kernels/cuda/bulk_copy.cuh"

#include <emulated_races.h>
#include <stdio.h>

namespace {

constexpr int WARPS = 4, THREADS = 32 * WARPS, BOX = 64, BOX_BYTES = BOX * SWIZZLED_ROW * 2;

__device__ int from_behind(int count) {
	return (count + (int)threadIdx.x - 1) % count;
}

// Each thread hands its number to the next one, twice.
template <int MISSING> __global__ void through_shared_memory(float *out) {
	D2V_SHARED(float, notes);
	for (int turn = 0; turn < 2; turn++) {
		notes[threadIdx.x] = (float)threadIdx.x;
		if (MISSING != 1)
			__syncthreads();
		out[threadIdx.x] = notes[from_behind(THREADS)];
		if (MISSING != 2)
			__syncthreads();
	}
}

template <int MISSING> __global__ void within_warps(float *out) {
	__shared__ float notes[32];
	notes[threadIdx.x] = (float)threadIdx.x;
	if (MISSING != 1)
		__syncwarp();
	else // a shuffle says nothing of memory
		__shfl_sync(0xffffffffu, 1, 0);
	out[threadIdx.x] = notes[from_behind(32)];
}

// A group of warps meets apart from the others.
template <int MISSING> __global__ void within_groups(float *out) {
	D2V_SHARED(float, notes);
	int pair = (int)threadIdx.x / 64;
	notes[threadIdx.x] = (float)threadIdx.x;
	meet(1 + pair, 64);
	int from = MISSING == 1 ? ((int)threadIdx.x + 64) % THREADS : (int)threadIdx.x ^ 32;
	out[threadIdx.x] = notes[from];
}

// The last block to come adds up what all have written.
template <int MISSING> __global__ void over_blocks(float *out, float *partial, unsigned *arrived) {
	__shared__ bool last;
	partial[blockIdx.x * THREADS + threadIdx.x] = 1;
	__syncthreads();
	if (threadIdx.x == 0) {
		if (MISSING != 1)
			__threadfence();
		last = MISSING == 3 ? blockIdx.x == gridDim.x - 1 : atomicAdd(arrived, 1u) == gridDim.x - 1;
		if (MISSING != 2)
			__threadfence();
	}
	__syncthreads();
	if (!last)
		return;
	float sum = 0;
	for (unsigned block = 0; block < gridDim.x; block++)
		sum += partial[block * THREADS + threadIdx.x];
	out[threadIdx.x] = sum;
}

template <int MISSING> __global__ void two_blocks_write(float *out) {
	out[threadIdx.x + (MISSING == 1 ? 0 : blockIdx.x * THREADS)] = 1;
}

// A ring of one place, that a thread of the last warp fills and the others read.
template <int MISSING> __global__ void ring(const __grid_constant__ matrix_map map, float *out) {
	D2V_SHARED_MATRICES(bytes);
	bf16 *box = (bf16 *)bytes;
	uint64_t *full = (uint64_t *)(bytes + BOX_BYTES), *empty = full + 1;
	if (threadIdx.x == 0) {
		barrier_init(full, 1);
		barrier_init(empty, WARPS - 1);
		if (MISSING != 1)
			barriers_are_made();
	}
	__syncthreads();
	if (threadIdx.x / 32 == WARPS - 1) {
		if (threadIdx.x % 32)
			return;
		for (unsigned turn = 0; turn < 3; turn++) {
			if (turn > 0 && MISSING != 2)
				barrier_wait(empty, (turn - 1) % 2);
			barrier_expect(full, BOX_BYTES);
			fetch_box(box, &map, 0, 0, full);
			if (MISSING == 2)
				barrier_wait(full, turn % 2);
		}
		return;
	}
	for (unsigned turn = 0; turn < 3; turn++) {
		if (MISSING != 3 || threadIdx.x % 32 == 0)
			barrier_wait(full, turn % 2);
		else
			__shfl_sync(0xffffffffu, 1, 0);
		if (MISSING == 3 && threadIdx.x % 32 == 0)
			__shfl_sync(0xffffffffu, 1, 0);
		out[threadIdx.x] = to_float(box[threadIdx.x]);
		if (MISSING != 4)
			__syncwarp();
		arrive_as_warp(empty);
	}
}

// A warpgroup multiplies what another one has written, which writes it anew.
template <int MISSING> __global__ void products(float *out) {
	D2V_SHARED_MATRICES(bytes);
	bf16 *elements = (bf16 *)bytes;
	bool writer = threadIdx.x < THREADS;
	float sums[2][4];
	for (int turn = 0; turn < 2; turn++) {
		for (int i = (int)threadIdx.x; writer && i < BOX * SWIZZLED_ROW; i += THREADS)
			elements[i] = from_float<bf16>(1);
		if (writer && MISSING != 1)
			shared_fence();
		__syncthreads();
		if (writer && MISSING == 1) // too late
			shared_fence();
		if (!writer) {
			products_fence();
			multiply_anew<16, ROWS, ROWS>(sums, find_matrix(elements), find_matrix(elements));
			products_commit();
			if (MISSING != 2)
				products_wait<0>();
		}
		if (MISSING != 3)
			__syncthreads();
		if (!writer && MISSING == 2)
			products_wait<0>();
	}
	if (!writer)
		out[threadIdx.x] = sums[0][0];
}

// A box goes back to memory, twice from the same place.
template <int MISSING> __global__ void back(const __grid_constant__ matrix_map map) {
	D2V_SHARED_MATRICES(bytes);
	bf16 *box = (bf16 *)bytes;
	for (int turn = 0; turn < 2; turn++) {
		for (int i = (int)threadIdx.x; i < BOX * SWIZZLED_ROW; i += THREADS)
			box[i] = from_float<bf16>(1);
		shared_fence();
		if (MISSING != 1)
			__syncthreads();
		if (threadIdx.x == THREADS - 1) {
			store_stack_box(&map, 0, 0, 0, box);
			stores_commit();
			if (MISSING != 2)
				stores_wait<0>();
		}
		if (MISSING != 3)
			__syncthreads();
	}
	stores_wait<0>();
}

cudaStream_t stream;
float *out, *partial;
unsigned *arrived;
bf16 *matrix;
bool right = true;

// wanted: whether it has a race.
template <class... Parameters, class... Arguments>
void run(
	const char *name, int missing, int blocks, int threads, void (*kernel)(Parameters...), Arguments... arguments) {
	cudaMemsetAsync(arrived, 0, sizeof *arrived, stream);
	d2v_emulate_launch(stream, dim3((unsigned)blocks), dim3((unsigned)threads), 2 * BOX_BYTES, kernel, arguments...);
	cudaStreamSynchronize(stream);
	size_t races = d2v_races_found();
	if ((races > 0) == (missing > 0))
		return;
	fprintf(stderr, "%s, %d missing: %zu races\n", name, missing, races);
	right = false;
}

} // namespace

#define RUN(kernel, missing, blocks, threads, ...) run(#kernel, missing, blocks, threads, kernel<missing>, __VA_ARGS__)

int main(void) {
	matrix_map map;
	cudaStreamCreateWithFlags(&stream, 0);
	if (cudaMalloc((void **)&out, 1 << 16) || cudaMalloc((void **)&partial, 1 << 16) ||
		cudaMalloc((void **)&arrived, 64) || cudaMalloc((void **)&matrix, BOX_BYTES))
		return 1;
	cudaMemsetAsync(matrix, 0, BOX_BYTES, stream);
	make_map(&map, matrix, BOX, SWIZZLED_ROW, BOX);
	RUN(through_shared_memory, 0, 1, THREADS, out);
	RUN(through_shared_memory, 1, 1, THREADS, out);
	RUN(through_shared_memory, 2, 1, THREADS, out);
	RUN(within_warps, 0, 1, 32, out);
	RUN(within_warps, 1, 1, 32, out);
	RUN(within_groups, 0, 1, THREADS, out);
	RUN(within_groups, 1, 1, THREADS, out);
	RUN(over_blocks, 0, 3, THREADS, out, partial, arrived);
	RUN(over_blocks, 1, 3, THREADS, out, partial, arrived);
	RUN(over_blocks, 2, 3, THREADS, out, partial, arrived);
	RUN(over_blocks, 3, 3, THREADS, out, partial, arrived);
	RUN(two_blocks_write, 0, 2, THREADS, out);
	RUN(two_blocks_write, 1, 2, THREADS, out);
	RUN(ring, 0, 1, THREADS, map, out);
	RUN(ring, 1, 1, THREADS, map, out);
	RUN(ring, 2, 1, THREADS, map, out);
	RUN(ring, 3, 1, THREADS, map, out);
	RUN(ring, 4, 1, THREADS, map, out);
	RUN(products, 0, 1, 2 * THREADS, out);
	RUN(products, 1, 1, 2 * THREADS, out);
	RUN(products, 2, 1, 2 * THREADS, out);
	RUN(products, 3, 1, 2 * THREADS, out);
	RUN(back, 0, 1, THREADS, map);
	RUN(back, 1, 1, THREADS, map);
	RUN(back, 2, 1, THREADS, map);
	RUN(back, 3, 1, THREADS, map);
	return right ? 0 : 1;
}
