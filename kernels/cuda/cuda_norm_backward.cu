// The layer norm's gradients; each array is moved once (forward: cuda_norm_forward.cu).
//
// A block takes a group of rows at a time, a thread N columns of each, so that the sums for gains and biases, and for the bias
// of the layer before, over all rows of a piece, are N registers each; the rows of a group share one exchange of their sums
// between the block's warps. While they are worked on the next group is on its way to shared memory, where rows wait in 16
// bits for both of their passes.
//
// What bounds it is instructions: 42 an element of 16 bits, read twice and written once, if it is to keep up with copying;
// it has 26, with GELU 36. So what is one sum and one product (n, and d_x of both packs) is one instruction where T cannot
// tell the difference. And where there are sums, rows are cut for as many blocks as the GPU runs at a time: a last round of
// a few blocks would take as long as a whole one. The pieces' sums are added in order.
#include "kernels/cuda/card.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/norm.cuh"

#define GROUP 4 // rows under way together
#define SHORT 16 // rows of a block whose sums nobody wants

// The sums over the block of values[0 .. 2 * GROUP), in every thread. warps: (2, warps of the block, 2 * GROUP) places,
// used in turns, so that one barrier is enough.
static __device__ __forceinline__ void sum_group(float (&values)[2 * GROUP], float *warps, int turn) {
	static_assert(GROUP == 4, "eight values in three halvings");
	int lane = threadIdx.x % 32, count = (int)blockDim.x / 32;
#pragma unroll
	for (int width = GROUP, distance = 16; width; width /= 2, distance /= 2) // each half of the lanes goes on with half of them
#pragma unroll
		for (int i = 0; i < width; i++) {
			float low = values[i], high = values[i + width];
			float other = __shfl_xor_sync(0xffffffffu, lane & distance ? low : high, distance);
			values[i] = (lane & distance ? high : low) + other;
		}
	float sum = values[0]; // of value lane / 4, over the lanes that are equal to this one modulo 4
	sum += __shfl_xor_sync(0xffffffffu, sum, 2);
	sum += __shfl_xor_sync(0xffffffffu, sum, 1);
	float *slots = warps + turn * count * 2 * GROUP;
	if (lane % 4 == 0)
		slots[threadIdx.x / 32 * 2 * GROUP + lane / 4] = sum;
	__syncthreads();
#pragma unroll
	for (int i = 0; i < 2 * GROUP; i++)
		values[i] = 0;
#pragma unroll 1
	for (int warp = 0; warp < count; warp++) {
#pragma unroll
		for (int i = 0; i < 2 * GROUP; i += 4) {
			float four[4];
			load_pack(four, slots + warp * 2 * GROUP + i);
#pragma unroll
			for (int j = 0; j < 4; j++)
				values[i + j] += four[j];
		}
	}
}

// Threads that a block may have, one for each pack of N of a row, and blocks that are to fit a processor at this number: the
// registers they leave are those that the kernels need without spilling.
template <int N> struct block_limit {
	static constexpr int threads = N == 1 ? 992 : 1280 / N; // 992: 96 KB of shared memory are few cards' most
};
template <int N, int KIND, bool ACCUMULATE, bool AFFINE> struct resident_blocks {
	static constexpr bool many = ACCUMULATE || (KIND == GELU && AFFINE); // registers
	static constexpr int count = N == 1 ? 1 : N < 8 || KIND == ANY ? 2 : many ? 4 : 5;
};

// Where a thread's packs of a group wait in shared memory: of x and d_y, and of d_sum where that is added to. A thread copies
// what it reads itself, and needs no barrier for that; one group is on its way while another one is worked on.
template <class T, int N, int ARRAYS> struct group_room {
	typedef d2v_bits<T, N> pack;
	pack *first; // (2, ARRAYS, GROUP, threads), at the thread's

	__device__ __forceinline__ pack *at(int turn, int array, int row) const {
		return first + ((turn * ARRAYS + array) * GROUP + row) * (int)blockDim.x;
	}
	__device__ __forceinline__ void fetch(int turn, int array, int row, const T *from, bool inside) const {
		pack *to = at(turn, array, row);
		if constexpr (sizeof(pack) == 16)
			copy_async(to, from, inside);
		else
			*to = inside ? read_pack<T, N>(from) : pack{};
	}
	__device__ __forceinline__ void read(float (&out)[N], int turn, int array, int row) const {
		unpack(out, *at(turn, array, row));
	}
	static size_t bytes(int threads) {
		return (size_t)(2 * ARRAYS * GROUP * threads) * sizeof(pack);
	}
};
enum { OF_X, OF_D_Y, OF_D_SUM };

template <int KIND, bool ACCUMULATE> struct arrays_read {
	static constexpr int count = KIND == ANY || ACCUMULATE ? 3 : 2;
};

// Arrays of sums that a block leaves: of gain and bias when AFFINE, and then of the bias of the layer before.
template <bool AFFINE, bool BEFORE> struct sums_kept {
	static constexpr int count = (AFFINE ? 2 : 0) + (BEFORE ? 1 : 0);
};

// Not AFFINE: there is no gain, as in a decoder's layers.
template <class T, int N, int KIND, bool ACCUMULATE, bool AFFINE, bool BEFORE>
static __global__ void __launch_bounds__(block_limit<N>::threads, (resident_blocks<N, KIND, ACCUMULATE, AFFINE>::count))
	norm_backward(d2v_norm op, drop_rule drop, drop_rule after, float *partial, int64_t piece) {
	alignas(16) __shared__ float warps[2 * block_limit<N>::threads / 32 * 2 * GROUP];
	alignas(16) __shared__ float moments[2][block_limit<N>::threads / 32][2 * GROUP];
	D2V_SHARED(unsigned char, bytes);
	constexpr bool light = KIND == PLAIN || KIND == DROPPED; // to compute again, rather than to keep
	constexpr bool coarse = N > 1 && sizeof(T) == 2; // sums of products are rounded once; that would not cancel for one channel
	const bool with_gelu = KIND == ANY ? op.gelu : KIND == GELU, accumulate = KIND == ANY ? op.accumulate_d_sum : ACCUMULATE;
	typedef group_room<T, N, arrays_read<KIND, ACCUMULATE>::count> room;
	room packs = { (typename room::pack *)bytes + threadIdx.x };
	int channels = (int)op.channels, lane = (int)threadIdx.x % 32;
	bool mine = (int)threadIdx.x * N < channels;
	int column = mine ? (int)threadIdx.x * N : 0;
	int64_t begin = blockIdx.x * piece, at = begin * channels + column; // at: the thread's, of the first row of a group
	int rows = (int)(begin + piece < op.rows ? piece : op.rows - begin);
	float gain[N], bias[N] = { 0 }, sum_gain[N] = { 0 }, sum_bias[N] = { 0 }, sum_before[N] = { 0 };
	float share = 1.0f / (float)channels;
#pragma unroll
	for (int i = 0; i < N; i++)
		gain[i] = 1;
	if (AFFINE && mine && op.gain) {
		load_pack(gain, (const T *)op.gain + column);
		if (with_gelu)
			load_pack(bias, (const T *)op.bias + column);
	}
	const T *next_x = (const T *)(op.residual ? op.sum : op.x) + at, *next_d_y = (const T *)op.d_y + at;
	const T *next_d_sum = (const T *)op.d_sum + at;
	float *statistics = moments[0][threadIdx.x / 32]; // the warp's copy of the mean and rstd of the group's rows
	const float *next_moment = (lane < GROUP ? op.mean : op.rstd) + begin;
	constexpr int apart = sizeof moments[0] / sizeof(float); // the two turns of these
	auto fetch = [&](int row, int turn) { // rows past the end are zeros, and add nothing
		int last = rows - 1 - row;
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			bool there = mine && r <= last;
			int to = (r <= last ? r : last) * channels; // an address of a row, even when nothing is read
			packs.fetch(turn, OF_X, r, next_x + to, there);
			packs.fetch(turn, OF_D_Y, r, next_d_y + to, there);
			if (accumulate)
				packs.fetch(turn, OF_D_SUM, r, next_d_sum + to, there);
		}
		int r = lane % GROUP;
		if (lane < 2 * GROUP)
			copy_async_float(statistics + turn * apart + lane, next_moment + (r <= last ? r : last), r <= last);
		copy_commit();
		next_x += GROUP * channels, next_d_y += GROUP * channels, next_d_sum += GROUP * channels, next_moment += GROUP;
	};
	fetch(0, 0);
	int turn = 0;
	for (int row = 0; row < rows; row += GROUP, turn ^= 1) {
		float d[GROUP][N], sums[2 * GROUP];
		const float *mean = statistics + turn * apart, *rstd = mean + GROUP; // read for each row anew: registers
		__syncwarp(); // no lane reads the group before any more, whose statistics are overwritten
		fetch(row + GROUP, turn ^ 1);
		copy_wait<1>();
		__syncwarp();
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			float n[N], total = 0, product = 0;
			packs.read(n, turn, OF_X, r);
			packs.read(d[r], turn, OF_D_Y, r);
			if (KIND == ANY && mine)
				drop_pack(d[r], after, at + r * channels);
#pragma unroll
			for (int i = 0; i < N; i++) {
				n[i] = coarse ? fmaf(n[i], rstd[r], -mean[r] * rstd[r]) : (n[i] - mean[r]) * rstd[r];
				if (with_gelu)
					d[r][i] *= gelu_derivative<T>(AFFINE ? n[i] * gain[i] + bias[i] : n[i]);
				if (AFFINE) {
					sum_gain[i] += d[r][i] * n[i];
					sum_bias[i] += d[r][i];
					d[r][i] = __fmul_rn(d[r][i], gain[i]); // the same product in the sum as beside it: see below
				}
				total += d[r][i];
				product += d[r][i] * n[i];
			}
			sums[r] = total;
			sums[GROUP + r] = product;
		}
		sum_group(sums, warps, turn);
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			if (!mine || row + r >= rows)
				continue;
			float n[N], total = sums[r] * share, product = sums[GROUP + r] * share;
			float slope = -rstd[r] * rstd[r] * product, offset = -rstd[r] * total - mean[r] * slope;
			packs.read(n, turn, OF_X, r);
			if (light) {
				packs.read(d[r], turn, OF_D_Y, r);
#pragma unroll
				for (int i = 0; i < N; i++)
					d[r][i] = __fmul_rn(d[r][i], gain[i]);
			}
#pragma unroll
			for (int i = 0; i < N; i++)
				d[r][i] = coarse ? fmaf(d[r][i], rstd[r], fmaf(n[i], slope, offset))
								 : rstd[r] * (d[r][i] - total - (n[i] - mean[r]) * rstd[r] * product); // zero for a row of one channel
			if (accumulate) {
				float out[N];
				packs.read(out, turn, OF_D_SUM, r);
#pragma unroll
				for (int i = 0; i < N; i++)
					out[i] += d[r][i];
				store_pack((T *)op.d_sum + at + r * channels, out);
			} else {
				store_pack((T *)op.d_sum + at + r * channels, d[r]);
			}
			if (op.d_residual) {
				if (KIND == DROPPED || KIND == ANY)
					drop_pack(d[r], drop, at + r * channels);
				store_pack((T *)op.d_residual + at + r * channels, d[r]);
			}
			if (BEFORE) {
#pragma unroll
				for (int i = 0; i < N; i++)
					sum_before[i] += d[r][i];
			}
		}
		at += GROUP * channels;
	}
	if (!partial || !mine)
		return;
	constexpr int sums = sums_kept<AFFINE, BEFORE>::count;
	float *to = partial + (int64_t)blockIdx.x * sums * channels + column;
#pragma unroll
	for (int i = 0; i < N; i++) {
		if (AFFINE)
			to[i] = sum_gain[i], to[channels + i] = sum_bias[i];
		if (BEFORE)
			to[(sums - 1) * channels + i] = sum_before[i];
	}
}

// ---- launching

// A residual costs the backward pass nothing, `add` is not its affair.
static norm_kind backward_kind(const d2v_norm *op) {
	bool dropped = op->drop.p > 0 && op->d_residual;
	if (op->after_drop.p > 0 || (op->gelu && (dropped || op->accumulate_d_sum)))
		return ANY;
	if (op->d_bias_before && (op->accumulate_d_sum || (op->gelu && op->gain))) // no layer of a model asks for that
		return ANY;
	return op->gelu ? GELU : dropped ? DROPPED : PLAIN;
}

static bool wants_sums(const d2v_norm *op) {
	return op->d_gain || op->d_bias || op->d_bias_before;
}

// Rows of a block. With sums to be kept all blocks run at the same time and have as many, so that there are few sums and no
// block is left over; without, blocks are short and the GPU deals them out.
static int64_t piece_rows(const d2v_norm *op, int64_t blocks) {
	int64_t rows = (op->rows + blocks - 1) / blocks;
	return wants_sums(op) ? (rows + GROUP - 1) / GROUP * GROUP : SHORT;
}

template <class T, int N, int KIND, bool ACCUMULATE, bool AFFINE, bool BEFORE>
static void start_backward(d2v_device *dev, const d2v_norm *op) {
	auto kernel = norm_backward<T, N, KIND, ACCUMULATE, AFFINE, BEFORE>;
	constexpr int sums = sums_kept<AFFINE, BEFORE>::count;
	int threads = (int)d2v_blocks(op->channels, 32 * N) * 32;
	size_t shared = group_room<T, N, arrays_read<KIND, ACCUMULATE>::count>::bytes(threads);
	int64_t piece = piece_rows(op, blocks_at_a_time(dev, kernel, threads, shared)), pieces = d2v_blocks(op->rows, piece);
	float *partial = NULL;
	if (wants_sums(op)) {
		partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * sums * op->channels) * sizeof *partial);
		if (!partial)
			return;
	}
	D2V_LAUNCH(dev, kernel, (unsigned)pieces, threads, shared, *op, make_drop_rule(&op->drop), make_drop_rule(&op->after_drop),
		partial, piece);
	d2v_cuda_sums to = { { op->d_bias_before } };
	if (AFFINE)
		to = { { op->d_gain, op->d_bias, op->d_bias_before } };
	if (partial)
		d2v_cuda_add_partials(dev, to, sums, partial, pieces, op->channels);
}

// With the sums for the layer before or without.
template <class T, int N, int KIND, bool AFFINE> static void start_summing(d2v_device *dev, const d2v_norm *op) {
	if (op->d_bias_before)
		start_backward<T, N, KIND, false, AFFINE, true>(dev, op);
	else
		start_backward<T, N, KIND, false, AFFINE, false>(dev, op);
}

template <class T> static void run_backward(d2v_device *dev, const d2v_norm *op) {
	constexpr int wide = 16 / sizeof(T);
	norm_kind kind = backward_kind(op);
	bool accumulate = op->accumulate_d_sum;
	if (!fits_wide(op, wide))
		start_backward<T, 1, ANY, false, true, true>(dev, op); // ANY looks for itself whether to accumulate
	else if (kind == ANY)
		start_backward<T, wide, ANY, false, true, true>(dev, op);
	else if (kind == GELU && !op->gain)
		start_summing<T, wide, GELU, false>(dev, op);
	else if (kind == GELU)
		start_backward<T, wide, GELU, false, true, false>(dev, op);
	else if (kind == DROPPED && accumulate)
		start_backward<T, wide, DROPPED, true, true, false>(dev, op);
	else if (kind == DROPPED)
		start_summing<T, wide, DROPPED, true>(dev, op);
	else if (accumulate)
		start_backward<T, wide, PLAIN, true, true, false>(dev, op);
	else
		start_summing<T, wide, PLAIN, true>(dev, op);
}

void d2v_cuda_norm_backward(d2v_device *dev, const d2v_norm *op) {
	if (op->rows == 0 || op->channels == 0)
		return;
	int64_t wide = 16 / (int64_t)dev->real_size;
	bool packed = fits_wide(op, wide);
	int64_t most = packed ? block_limit<8>::threads * 8 : block_limit<1>::threads;
	if (op->channels > most) {
		refuse_width(dev, op->channels, packed, most);
		return;
	}
	D2V_BY_TYPE(dev, run_backward<T>(dev, op));
}
