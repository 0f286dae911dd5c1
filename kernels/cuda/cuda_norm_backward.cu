// The layer norm's gradients; each array is moved once (forward: cuda_norm_forward.cu).
//
// A block takes a group of rows at a time, a thread N columns of each, so that the sums for gains and biases, over all rows
// of a piece, are 2 N registers; the rows of a group share one exchange of their sums between the block's warps. Pieces are
// added in order.
//
// What bounds it is instructions: 42 an element of 16 bits, read twice and written once, if it is to keep up with copying.
// So rows stay in 16 bits while their sums are exchanged, and what is one sum and one product (n, and d_x of both packs) is
// one instruction where T cannot tell the difference.
#include "kernels/cuda/norm.cuh"

#define GROUP 4 // rows under way together
#define PIECES 2048 // at most: enough to fill any card

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
	static constexpr int threads = N == 1 ? 1024 : 1280 / N;
};
template <int N, int KIND, bool ACCUMULATE> struct resident_blocks {
	static constexpr int count = N == 1 ? 1 : N < 8 ? 2 - ACCUMULATE : KIND == ANY ? 2 : KIND == GELU || KIND == DROPPED || ACCUMULATE ? 3 : 4;
};

// Not AFFINE: there is no gain, as in a decoder's layers.
template <class T, int N, int KIND, bool ACCUMULATE, bool AFFINE>
static __global__ void __launch_bounds__(block_limit<N>::threads, (resident_blocks<N, KIND, ACCUMULATE>::count))
	norm_backward(d2v_norm op, drop_rule drop, drop_rule after, float *partial, int64_t piece) {
	alignas(16) __shared__ float warps[2 * block_limit<N>::threads / 32 * 2 * GROUP];
	constexpr bool light = KIND == PLAIN || KIND == DROPPED; // to compute again, rather than to keep
	constexpr bool coarse = N > 1 && sizeof(T) == 2; // sums of products are rounded once; that would not cancel for one channel
	const bool with_gelu = KIND == ANY ? op.gelu : KIND == GELU, accumulate = KIND == ANY ? op.accumulate_d_sum : ACCUMULATE;
	int64_t channels = op.channels, column = (int64_t)threadIdx.x * N, end = ((int64_t)blockIdx.x + 1) * piece;
	bool mine = column < channels;
	float gain[N], bias[N] = { 0 }, sum_gain[N] = { 0 }, sum_bias[N] = { 0 }, share = 1.0f / (float)channels;
#pragma unroll
	for (int i = 0; i < N; i++)
		gain[i] = 1;
	if (AFFINE && mine && op.gain) {
		load_pack(gain, (const T *)op.gain + column);
		if (with_gelu)
			load_pack(bias, (const T *)op.bias + column);
	}
	end = end < op.rows ? end : op.rows;
	const T *from = (const T *)(op.residual ? op.sum : op.x);
	int turn = 0;
	for (int64_t row = blockIdx.x * piece; row < end; row += GROUP, turn ^= 1) {
		d2v_bits<T, N> x[GROUP] = {}, d_y[GROUP] = {};
		float d[GROUP][N], mean[GROUP] = { 0 }, rstd[GROUP] = { 0 }, sums[2 * GROUP];
		int64_t at = row * channels + column;
		int count = !mine ? 0 : end - row < GROUP ? (int)(end - row) : GROUP; // rows of the group that there are for the thread
#pragma unroll
		for (int r = 0; r < GROUP; r++)
			if (r < count) {
				x[r] = read_pack<T, N>(from + at + r * channels);
				d_y[r] = read_pack<T, N>((const T *)op.d_y + at + r * channels);
				mean[r] = op.mean[row + r];
				rstd[r] = op.rstd[row + r];
			}
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			float n[N], total = 0, product = 0;
			unpack(n, x[r]);
			unpack(d[r], d_y[r]);
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
			hold_pack(x[r]);
			hold_pack(d_y[r]);
		}
		T *d_sum = (T *)op.d_sum + at;
		d2v_bits<T, N> before[GROUP] = {};
#pragma unroll
		for (int r = 0; r < GROUP; r++)
			if (accumulate && r < count)
				before[r] = read_pack<T, N>(d_sum + r * channels);
		sum_group(sums, warps, turn);
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			if (r >= count)
				continue;
			float n[N], total = sums[r] * share, product = sums[GROUP + r] * share;
			float slope = -rstd[r] * rstd[r] * product, offset = -rstd[r] * total - mean[r] * slope;
			unpack(n, x[r]);
			if (light) {
				unpack(d[r], d_y[r]);
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
				unpack(out, before[r]);
#pragma unroll
				for (int i = 0; i < N; i++)
					out[i] += d[r][i];
				store_pack(d_sum + r * channels, out);
			} else {
				store_pack(d_sum + r * channels, d[r]);
			}
			if (!op.d_residual)
				continue;
			if (KIND == DROPPED || KIND == ANY)
				drop_pack(d[r], drop, at + r * channels);
			store_pack((T *)op.d_residual + at + r * channels, d[r]);
		}
	}
	if (!partial || !mine)
		return;
#pragma unroll
	for (int i = 0; i < N; i++) {
		partial[(int64_t)blockIdx.x * 2 * channels + column + i] = sum_gain[i];
		partial[((int64_t)blockIdx.x * 2 + 1) * channels + column + i] = sum_bias[i];
	}
}

// ---- launching

// A residual costs the backward pass nothing, `add` is not its affair.
static norm_kind backward_kind(const d2v_norm *op) {
	bool dropped = op->drop.p > 0 && op->d_residual;
	if (op->after_drop.p > 0 || (op->gelu && (dropped || op->accumulate_d_sum)))
		return ANY;
	return op->gelu ? GELU : dropped ? DROPPED : PLAIN;
}

template <class T, int N, int KIND, bool ACCUMULATE, bool AFFINE = true>
static void start_backward(d2v_device *dev, const d2v_norm *op, float *partial, int64_t piece) {
	D2V_LAUNCH(dev, (norm_backward<T, N, KIND, ACCUMULATE, AFFINE>), d2v_blocks(op->rows, piece), d2v_blocks(op->channels, 32 * N) * 32, 0,
		*op, make_drop_rule(&op->drop), make_drop_rule(&op->after_drop), partial, piece);
}

template <class T> static void run_backward(d2v_device *dev, const d2v_norm *op, float *partial, int64_t piece) {
	constexpr int wide = 16 / sizeof(T);
	norm_kind kind = backward_kind(op);
	bool accumulate = op->accumulate_d_sum;
	if (!fits_wide(op, wide))
		start_backward<T, 1, ANY, false>(dev, op, partial, piece); // ANY looks for itself whether to accumulate
	else if (kind == ANY)
		start_backward<T, wide, ANY, false>(dev, op, partial, piece);
	else if (kind == GELU && !op->gain)
		start_backward<T, wide, GELU, false, false>(dev, op, partial, piece);
	else if (kind == GELU)
		start_backward<T, wide, GELU, false>(dev, op, partial, piece);
	else if (kind == DROPPED && accumulate)
		start_backward<T, wide, DROPPED, true>(dev, op, partial, piece);
	else if (kind == DROPPED)
		start_backward<T, wide, DROPPED, false>(dev, op, partial, piece);
	else if (accumulate)
		start_backward<T, wide, PLAIN, true>(dev, op, partial, piece);
	else
		start_backward<T, wide, PLAIN, false>(dev, op, partial, piece);
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
	int64_t piece = ((op->rows + PIECES - 1) / PIECES + GROUP - 1) / GROUP * GROUP, pieces = d2v_blocks(op->rows, piece);
	float *partial = NULL;
	if (op->d_gain || op->d_bias) {
		partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * 2 * op->channels) * sizeof *partial);
		if (!partial)
			return;
	}
	D2V_BY_TYPE(dev, run_backward<T>(dev, op, partial, piece));
	if (partial)
		d2v_cuda_add_partials(dev, op->d_gain, op->d_bias, partial, pieces, 2 * op->channels, op->channels);
}
