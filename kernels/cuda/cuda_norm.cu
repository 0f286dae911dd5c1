// Layer norm with what stands around it; each array is moved once.
//
// Forward: a warp per row, which stays in registers between its passes, while the next row is on its way. Backward: a block
// per group of rows, a thread for N columns of each, so that the sums for gains and biases, over all rows of a piece, are
// 2 N registers; the rows of a group share one exchange of their sums between the block's warps. Pieces are added in order.
//
// What an operation does not ask for is not compiled into the kernels of the usual cases (norm_kind).
#include "kernels/cuda/draws.cuh"
#include "kernels/cuda/gelu.cuh"

#define WARPS 4 // of a block, forward
#define ROWS_EACH 4 // rows a warp takes in turn, forward
#define GROUP 4 // rows under way together, backward
#define PIECES 2048 // at most, backward: enough to fill any card

// DROPPED: a residual and its dropout. ADDED: gelu and `add`, a layer of a decoder. ANY: whatever the operation asks for.
enum norm_kind { PLAIN, RESIDUAL, DROPPED, GELU, ADDED, ANY };

// The lane's part of a row as it lies in memory: CHUNKS packs of N, `32 * N` apart. Elements past the end are zero.
template <class T, int N, int CHUNKS> struct row_packs {
	d2v_pack<T, N> at[CHUNKS];

	__device__ __forceinline__ void load(const T *row, int64_t channels) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++) {
			int64_t column = (int64_t)c * 32 * N + threadIdx.x * N;
			if (column < channels) {
				at[c] = read_pack<T, N>(row + column);
			} else {
#pragma unroll
				for (int i = 0; i < N; i++)
					at[c].at[i] = from_float<T>(0.0f);
			}
		}
	}
};

// And in f32; elements past the end are not stored.
template <class T, int N, int CHUNKS> struct row_part {
	float at[CHUNKS][N];

	__device__ __forceinline__ static int64_t column(int chunk) {
		return (int64_t)chunk * 32 * N + threadIdx.x * N;
	}
	__device__ __forceinline__ void take(const row_packs<T, N, CHUNKS> &packs) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				at[c][i] = to_float(packs.at[c].at[i]);
	}
	__device__ __forceinline__ void store(T *row, int64_t channels) const {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
			if (column(c) < channels)
				store_pack(row + column(c), at[c]);
	}
	__device__ __forceinline__ void drop(const drop_rule &rule, int64_t first, int64_t channels) {
		if (!rule.on)
			return;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
			if (column(c) < channels)
				drop_pack(at[c], rule, first + column(c));
	}
};

// One row from x (and residual) on; added: what ADDED adds.
template <class T, int N, int CHUNKS, int KIND>
static __device__ __forceinline__ void norm_row(row_part<T, N, CHUNKS> &x, const row_part<T, N, CHUNKS> &added, const d2v_norm &op,
	const drop_rule &after, int64_t row) {
	typedef row_part<T, N, CHUNKS> part;
	const bool with_gelu = KIND == ANY ? op.gelu : KIND == GELU || KIND == ADDED;
	int64_t channels = op.channels, first = row * channels;
	float total = 0, square = 0;
#pragma unroll
	for (int c = 0; c < CHUNKS; c++)
#pragma unroll
		for (int i = 0; i < N; i++)
			total += x.at[c][i];
	float mean = warp_sum(total) / (float)channels;
#pragma unroll
	for (int c = 0; c < CHUNKS; c++)
		if (part::column(c) < channels) {
#pragma unroll
			for (int i = 0; i < N; i++)
				square += (x.at[c][i] - mean) * (x.at[c][i] - mean);
		}
	float rstd = 1.0f / sqrtf(warp_sum(square) / (float)channels + op.eps);
	if (threadIdx.x == 0) {
		op.mean[row] = mean;
		op.rstd[row] = rstd;
	}
#pragma unroll
	for (int c = 0; c < CHUNKS; c++) {
		int64_t column = part::column(c);
		if (column >= channels)
			continue;
		float gain[N], bias[N] = { 0 };
#pragma unroll
		for (int i = 0; i < N; i++)
			gain[i] = 1;
		if (op.gain) {
			load_pack(gain, (const T *)op.gain + column);
			load_pack(bias, (const T *)op.bias + column);
		}
#pragma unroll
		for (int i = 0; i < N; i++) {
			float v = (x.at[c][i] - mean) * rstd * gain[i] + bias[i];
			x.at[c][i] = (with_gelu ? gelu(v) : v) + (KIND == ADDED ? added.at[c][i] : 0.0f);
		}
		if (KIND == ANY) {
			float add[N] = { 0 };
			if (op.add)
				load_pack(add, (const T *)op.add + first + column);
			drop_pack(x.at[c], after, first + column);
#pragma unroll
			for (int i = 0; i < N; i++)
				x.at[c][i] += add[i];
		}
	}
	x.store((T *)op.y + first, channels);
}

template <class T, int N, int CHUNKS, int KIND>
static __global__ void __launch_bounds__(32 * WARPS) norm_forward(d2v_norm op, drop_rule drop, drop_rule after) {
	const bool with_residual = KIND == ANY ? op.residual != NULL : KIND == RESIDUAL || KIND == DROPPED;
	const T *second = (const T *)(KIND == ADDED ? op.add : with_residual ? op.residual : NULL);
	int64_t channels = op.channels, row = (int64_t)blockIdx.x * WARPS * ROWS_EACH + threadIdx.y;
	int64_t end = ((int64_t)blockIdx.x + 1) * WARPS * ROWS_EACH;
	end = end < op.rows ? end : op.rows;
	row_packs<T, N, CHUNKS> next = {}, next_second = {};
	if (row < end) {
		next.load((const T *)op.x + row * channels, channels);
		if (KIND == ADDED || with_residual)
			next_second.load(second + row * channels, channels);
	}
	for (; row < end; row += WARPS) {
		int64_t first = row * channels, ahead = first + WARPS * channels;
		row_part<T, N, CHUNKS> x, other;
		x.take(next);
		other.take(next_second);
		if (row + WARPS < end) {
			next.load((const T *)op.x + ahead, channels);
			if (KIND == ADDED || with_residual)
				next_second.load(second + ahead, channels);
		}
		if (with_residual) {
			if (KIND == DROPPED || KIND == ANY)
				other.drop(drop, first, channels);
#pragma unroll
			for (int c = 0; c < CHUNKS; c++) {
#pragma unroll
				for (int i = 0; i < N; i++)
					x.at[c][i] += other.at[c][i];
				d2v_pack<T, N> sum = make_pack<T, N>(x.at[c]);
				unpack(x.at[c], sum); // as the backward pass will read it
				if (x.column(c) < channels)
					write_pack((T *)op.sum + first + x.column(c), sum);
			}
		}
		norm_row<T, N, CHUNKS, KIND>(x, other, op, after, row);
	}
}

// ---- backward

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
			d2v_pack<float, 4> four = read_pack<float, 4>(slots + warp * 2 * GROUP + i);
#pragma unroll
			for (int j = 0; j < 4; j++)
				values[i + j] += four.at[j];
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

template <class T, int N, int KIND, bool ACCUMULATE>
static __global__ void __launch_bounds__(block_limit<N>::threads, (resident_blocks<N, KIND, ACCUMULATE>::count))
	norm_backward(d2v_norm op, drop_rule drop, drop_rule after, float *partial, int64_t piece) {
	alignas(16) __shared__ float warps[2 * block_limit<N>::threads / 32 * 2 * GROUP];
	constexpr bool light = KIND == PLAIN || KIND == DROPPED; // to compute again, rather than to keep
	const bool with_gelu = KIND == ANY ? op.gelu : KIND == GELU, accumulate = KIND == ANY ? op.accumulate_d_sum : ACCUMULATE;
	int64_t channels = op.channels, column = (int64_t)threadIdx.x * N, end = ((int64_t)blockIdx.x + 1) * piece;
	bool mine = column < channels;
	float gain[N], bias[N] = { 0 }, sum_gain[N] = { 0 }, sum_bias[N] = { 0 }, share = 1.0f / (float)channels;
#pragma unroll
	for (int i = 0; i < N; i++)
		gain[i] = 1;
	if (mine && op.gain) {
		load_pack(gain, (const T *)op.gain + column);
		if (with_gelu)
			load_pack(bias, (const T *)op.bias + column);
	}
	end = end < op.rows ? end : op.rows;
	const T *from = (const T *)(op.residual ? op.sum : op.x);
	int turn = 0;
	for (int64_t row = blockIdx.x * piece; row < end; row += GROUP, turn ^= 1) {
		d2v_pack<T, N> x[GROUP] = {}, d_y[GROUP] = {};
		float d[GROUP][N], mean[GROUP], rstd[GROUP], sums[2 * GROUP];
		int64_t at = row * channels + column;
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			bool inside = row + r < end;
			if (mine && inside) {
				x[r] = read_pack<T, N>(from + at + r * channels);
				d_y[r] = read_pack<T, N>((const T *)op.d_y + at + r * channels);
			}
			mean[r] = inside ? op.mean[row + r] : 0;
			rstd[r] = inside ? op.rstd[row + r] : 0;
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
				n[i] = (n[i] - mean[r]) * rstd[r];
				if (with_gelu)
					d[r][i] *= gelu_derivative(n[i] * gain[i] + bias[i]);
				sum_gain[i] += d[r][i] * n[i];
				sum_bias[i] += d[r][i];
				d[r][i] = __fmul_rn(d[r][i], gain[i]); // the same product in the sum as beside it: see below
				total += d[r][i];
				product += d[r][i] * n[i];
			}
			sums[r] = total;
			sums[GROUP + r] = product;
			hold_pack(x[r]);
			hold_pack(d_y[r]);
		}
		T *d_sum = (T *)op.d_sum + at;
		d2v_pack<T, N> before[GROUP] = {};
#pragma unroll
		for (int r = 0; r < GROUP; r++)
			if (accumulate && mine && row + r < end)
				before[r] = read_pack<T, N>(d_sum + r * channels);
		sum_group(sums, warps, turn);
#pragma unroll
		for (int r = 0; r < GROUP; r++) {
			if (!mine || row + r >= end)
				continue;
			float n[N], out[N], total = sums[r] * share, product = sums[GROUP + r] * share;
			unpack(n, x[r]);
			if (light) {
				unpack(d[r], d_y[r]);
#pragma unroll
				for (int i = 0; i < N; i++)
					d[r][i] = __fmul_rn(d[r][i], gain[i]);
			}
			unpack(out, before[r]);
#pragma unroll
			for (int i = 0; i < N; i++) {
				d[r][i] = rstd[r] * (d[r][i] - total - (n[i] - mean[r]) * rstd[r] * product); // exactly zero for a row of one channel
				out[i] += d[r][i];
			}
			store_pack(d_sum + r * channels, out);
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

static norm_kind forward_kind(const d2v_norm *op) {
	if (op->after_drop.p > 0 || (op->residual && (op->gelu || op->add)) || (op->add && !op->gelu))
		return ANY;
	if (op->residual)
		return op->drop.p > 0 ? DROPPED : RESIDUAL;
	return op->add ? ADDED : op->gelu ? GELU : PLAIN;
}

// A residual costs the backward pass nothing, `add` is not its affair.
static norm_kind backward_kind(const d2v_norm *op) {
	bool dropped = op->drop.p > 0 && op->d_residual;
	if (op->after_drop.p > 0 || (op->gelu && (dropped || op->accumulate_d_sum)))
		return ANY;
	return op->gelu ? GELU : dropped ? DROPPED : PLAIN;
}

static bool fits_wide(const d2v_norm *op, int64_t wide) {
	return op->channels % wide == 0 && fits_packs(&op->drop, wide) && fits_packs(&op->after_drop, wide);
}

// Calls f with N and CHUNKS as constants: f.template run<N, CHUNKS>(). False: the rows are too long for any. The widths
// of the recipes have a number of their own; each takes a while to compile.
template <class T, class F> static bool with_chunks(int64_t channels, bool packed, const F &f) {
	constexpr int wide = 16 / sizeof(T), longest = sizeof(T) == 2 ? 5 : 12;
	int64_t n = packed ? wide : 1, chunks = (channels + 32 * n - 1) / (32 * n);
	if (!packed && chunks <= 4)
		f.template run<1, 4>();
	else if (!packed && chunks <= 24)
		f.template run<1, 24>();
	else if (packed && chunks <= 1)
		f.template run<wide, 1>();
	else if (packed && chunks <= 2)
		f.template run<wide, 2>();
	else if (packed && chunks <= 3)
		f.template run<wide, 3>();
	else if (packed && chunks <= 4)
		f.template run<wide, 4>();
	else if (packed && chunks <= longest)
		f.template run<wide, longest>();
	else
		return false;
	return true;
}

static void refuse_width(d2v_device *dev, int64_t channels, bool packed, int64_t most) {
	d2v_device_set_error(dev, D2V_UNSUPPORTED, "rows of %lld channels; the GPU's layer norm takes up to %lld%s",
		(long long)channels, (long long)most, packed ? "" : " when they are no multiple of 8");
}

template <class T> struct forward_launch {
	d2v_device *dev;
	const d2v_norm *op;
	template <int N, int CHUNKS, int KIND> void start() const {
		D2V_LAUNCH(dev, (norm_forward<T, N, CHUNKS, KIND>), d2v_blocks(op->rows, WARPS * ROWS_EACH), dim3(32, WARPS), 0, *op,
			make_drop_rule(&op->drop), make_drop_rule(&op->after_drop));
	}
	template <int N, int CHUNKS> void run() const {
		switch (N == 1 ? ANY : forward_kind(op)) {
		case PLAIN: return start<N, CHUNKS, N == 1 ? ANY : PLAIN>();
		case RESIDUAL: return start<N, CHUNKS, N == 1 ? ANY : RESIDUAL>();
		case DROPPED: return start<N, CHUNKS, N == 1 ? ANY : DROPPED>();
		case GELU: return start<N, CHUNKS, N == 1 ? ANY : GELU>();
		case ADDED: return start<N, CHUNKS, N == 1 ? ANY : ADDED>();
		case ANY: return start<N, CHUNKS, ANY>();
		}
	}
};

template <class T> static void run_forward(d2v_device *dev, const d2v_norm *op) {
	constexpr int wide = 16 / sizeof(T);
	bool packed = fits_wide(op, wide);
	if (!with_chunks<T>(op->channels, packed, forward_launch<T>{ dev, op }))
		refuse_width(dev, op->channels, packed, packed ? 32 * wide * (sizeof(T) == 2 ? 5 : 12) : 768);
}

void d2v_cuda_norm_forward(d2v_device *dev, const d2v_norm *op) {
	if (op->rows && op->channels)
		D2V_BY_TYPE(dev, run_forward<T>(dev, op));
}

template <class T, int N, int KIND, bool ACCUMULATE>
static void start_backward(d2v_device *dev, const d2v_norm *op, float *partial, int64_t piece) {
	D2V_LAUNCH(dev, (norm_backward<T, N, KIND, ACCUMULATE>), d2v_blocks(op->rows, piece), d2v_blocks(op->channels, 32 * N) * 32, 0,
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
	int64_t wide = d2v_cuda_is_bf16(dev) ? 8 : 4;
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
