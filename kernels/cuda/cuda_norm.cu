// Layer norm with what stands around it. One warp per row; the row stays in registers between its passes, so that each
// array is moved once. Columns sums for gains and biases: a block's warps keep theirs in registers over the rows of a
// piece, add them up in order, and the pieces are added in order.
#include "kernels/cuda/draws.cuh"
#include "kernels/cuda/gelu.cuh"

#define WARPS 4 // of a block
#define PIECE 64 // rows of a block in the backward pass

// The lane's part of a row: CHUNKS packs of N, `32 * N` apart. Elements past the end are zero and are not stored.
template <class T, int N, int CHUNKS> struct row_part {
	float at[CHUNKS][N];

	__device__ __forceinline__ static int64_t column(int chunk) {
		return (int64_t)chunk * 32 * N + threadIdx.x * N;
	}
	__device__ __forceinline__ void load(const T *row, int64_t channels) {
#pragma unroll
		for (int c = 0; c < CHUNKS; c++) {
			if (column(c) < channels) {
				load_pack(at[c], row + column(c));
			} else {
#pragma unroll
				for (int i = 0; i < N; i++)
					at[c][i] = 0;
			}
		}
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

template <class T, int N, int CHUNKS>
static __global__ void __launch_bounds__(32 * WARPS) norm_forward(d2v_norm op, drop_rule drop, drop_rule after) {
	typedef row_part<T, N, CHUNKS> part;
	int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.y, channels = op.channels, first = row * channels;
	if (row >= op.rows)
		return;
	part x;
	x.load((const T *)op.x + first, channels);
	if (op.residual) {
		part residual;
		residual.load((const T *)op.residual + first, channels);
		residual.drop(drop, first, channels);
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				x.at[c][i] = to_float(from_float<T>(x.at[c][i] + residual.at[c][i])); // as the backward pass will read it
		x.store((T *)op.sum + first, channels);
	}
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
		float gain[N] = { 0 }, bias[N] = { 0 }, add[N] = { 0 };
		if (op.gain) {
			load_pack(gain, (const T *)op.gain + column);
			load_pack(bias, (const T *)op.bias + column);
		}
		if (op.add)
			load_pack(add, (const T *)op.add + first + column);
#pragma unroll
		for (int i = 0; i < N; i++) {
			float v = (x.at[c][i] - mean) * rstd;
			v = op.gain ? v * gain[i] + bias[i] : v;
			x.at[c][i] = op.gelu ? gelu(v) : v;
		}
		drop_pack(x.at[c], after, first + column);
#pragma unroll
		for (int i = 0; i < N; i++)
			x.at[c][i] += op.add ? add[i] : 0.0f;
	}
	x.store((T *)op.y + first, channels);
}

// d_v of one pack, from d_y; n: the normalised values.
template <class T, int N>
static __device__ __forceinline__ void through_output(float (&d)[N], const float (&n)[N], const d2v_norm &op,
	const drop_rule &after, int64_t first, int64_t column) {
	drop_pack(d, after, first + column);
	if (!op.gelu)
		return;
	float gain[N] = { 0 }, bias[N] = { 0 };
	if (op.gain) {
		load_pack(gain, (const T *)op.gain + column);
		load_pack(bias, (const T *)op.bias + column);
	}
#pragma unroll
	for (int i = 0; i < N; i++)
		d[i] *= gelu_derivative(op.gain ? n[i] * gain[i] + bias[i] : n[i]);
}

template <class T, int N, int CHUNKS>
static __global__ void __launch_bounds__(32 * WARPS)
	norm_backward(d2v_norm op, drop_rule drop, drop_rule after, float *partial, int64_t stride) {
	typedef row_part<T, N, CHUNKS> part;
	D2V_SHARED(float, warp_sums); // (WARPS, 2, channels), with gains
	int64_t channels = op.channels, end = ((int64_t)blockIdx.x + 1) * PIECE;
	float sum_gain[CHUNKS][N] = { { 0 } }, sum_bias[CHUNKS][N] = { { 0 } };
	for (int64_t row = (int64_t)blockIdx.x * PIECE + threadIdx.y; row < op.rows && row < end; row += WARPS) {
		int64_t first = row * channels;
		float mean = op.mean[row], rstd = op.rstd[row];
		part n, d;
		n.load((const T *)(op.residual ? op.sum : op.x) + first, channels);
		d.load((const T *)op.d_y + first, channels);
		float total = 0, product = 0;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++) {
			int64_t column = part::column(c);
			if (column >= channels)
				continue;
#pragma unroll
			for (int i = 0; i < N; i++)
				n.at[c][i] = (n.at[c][i] - mean) * rstd;
			through_output<T, N>(d.at[c], n.at[c], op, after, first, column);
			float gain[N] = { 0 };
			if (op.gain)
				load_pack(gain, (const T *)op.gain + column);
#pragma unroll
			for (int i = 0; i < N; i++) {
				sum_gain[c][i] += d.at[c][i] * n.at[c][i];
				sum_bias[c][i] += d.at[c][i];
				d.at[c][i] *= op.gain ? gain[i] : 1.0f;
				total += d.at[c][i];
				product += d.at[c][i] * n.at[c][i];
			}
		}
		total = warp_sum(total) / (float)channels;
		product = warp_sum(product) / (float)channels;
#pragma unroll
		for (int c = 0; c < CHUNKS; c++)
#pragma unroll
			for (int i = 0; i < N; i++)
				d.at[c][i] = rstd * (d.at[c][i] - total - n.at[c][i] * product);
		if (op.accumulate_d_sum) {
			part before;
			before.load((const T *)op.d_sum + first, channels);
#pragma unroll
			for (int c = 0; c < CHUNKS; c++)
#pragma unroll
				for (int i = 0; i < N; i++)
					before.at[c][i] += d.at[c][i];
			before.store((T *)op.d_sum + first, channels);
		} else {
			d.store((T *)op.d_sum + first, channels);
		}
		if (op.d_residual) {
			d.drop(drop, first, channels);
			d.store((T *)op.d_residual + first, channels);
		}
	}
	if (!partial)
		return;
#pragma unroll
	for (int c = 0; c < CHUNKS; c++)
#pragma unroll
		for (int i = 0; i < N; i++)
			if (part::column(c) < channels) {
				warp_sums[(threadIdx.y * 2) * channels + part::column(c) + i] = sum_gain[c][i];
				warp_sums[(threadIdx.y * 2 + 1) * channels + part::column(c) + i] = sum_bias[c][i];
			}
	__syncthreads();
	for (int64_t i = threadIdx.y * 32 + threadIdx.x; i < 2 * channels; i += 32 * WARPS) {
		float sum = 0;
		for (int warp = 0; warp < WARPS; warp++)
			sum += warp_sums[warp * 2 * channels + i];
		partial[blockIdx.x * stride + i] = sum;
	}
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

template <class T, class F> static void by_width(d2v_device *dev, const d2v_norm *op, const F &f) {
	constexpr int wide = 16 / sizeof(T);
	bool packed = op->channels % wide == 0 && fits_packs(&op->drop, wide) && fits_packs(&op->after_drop, wide);
	if (!with_chunks<T>(op->channels, packed, f))
		d2v_device_set_error(dev, D2V_UNSUPPORTED, "rows of %lld channels; the GPU's layer norm takes up to %d%s",
			(long long)op->channels, packed ? 32 * wide * (sizeof(T) == 2 ? 5 : 12) : 768,
			packed ? "" : " when they are no multiple of 8");
}

template <class T> struct forward_launch {
	d2v_device *dev;
	const d2v_norm *op;
	template <int N, int CHUNKS> void run() const {
		D2V_LAUNCH(dev, (norm_forward<T, N, CHUNKS>), d2v_blocks(op->rows, WARPS), dim3(32, WARPS), 0, *op,
			make_drop_rule(&op->drop), make_drop_rule(&op->after_drop));
	}
};

void d2v_cuda_norm_forward(d2v_device *dev, const d2v_norm *op) {
	if (op->rows && op->channels)
		D2V_BY_TYPE(dev, by_width<T>(dev, op, forward_launch<T>{ dev, op }));
}

template <class T> struct backward_launch {
	d2v_device *dev;
	const d2v_norm *op;
	float *partial;
	int64_t stride;
	template <int N, int CHUNKS> void run() const {
		size_t shared = partial ? (size_t)(2 * WARPS * op->channels) * sizeof(float) : 0;
		D2V_LAUNCH(dev, (norm_backward<T, N, CHUNKS>), d2v_blocks(op->rows, PIECE), dim3(32, WARPS), shared, *op,
			make_drop_rule(&op->drop), make_drop_rule(&op->after_drop), partial, stride);
	}
};

void d2v_cuda_norm_backward(d2v_device *dev, const d2v_norm *op) {
	if (op->rows == 0 || op->channels == 0)
		return;
	int64_t pieces = (op->rows + PIECE - 1) / PIECE, stride = 2 * op->channels;
	float *partial = NULL;
	if (op->d_gain || op->d_bias) {
		partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * stride) * sizeof *partial);
		if (!partial)
			return;
	}
	D2V_BY_TYPE(dev, by_width<T>(dev, op, backward_launch<T>{ dev, op, partial, stride }));
	if (op->d_gain)
		d2v_cuda_add_partials(dev, op->d_gain, partial, pieces, stride, op->channels);
	if (op->d_bias)
		d2v_cuda_add_partials(dev, op->d_bias, partial + op->channels, pieces, stride, op->channels);
}
