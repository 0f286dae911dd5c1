// Layer norm with what stands around it, forward; each array is moved once (backward: cuda_norm_backward.cu).
//
// A warp takes one or two rows at a time, which stay in registers between its passes while the next ones are on their way.
// What bounds it is instructions: a processor may spend 28 on an element of 16 bits that is read and written, if it is to
// keep up with copying. So rows share the unpacking of gains and biases, and of the chunks of a row only the last is asked
// where it ends.
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/row.cuh"

#define WARPS 4 // of a block
#define ROWS_EACH 8 // rows a warp takes in turn

// ROWS rows from x (and residual) on, of which those before `end` exist; added: what ADDED adds.
template <class T, int N, int CHUNKS, int KIND, int ROWS>
static __device__ __forceinline__ void norm_rows(row_part<T, N, CHUNKS> (&x)[ROWS], const row_part<T, N, CHUNKS> (&added)[ROWS],
	const d2v_norm &op, const drop_rule &after, int64_t row, int64_t end) {
	typedef row_shape<N, CHUNKS> shape;
	const bool with_gelu = KIND == ANY ? op.gelu : KIND == GELU || KIND == ADDED;
	int channels = (int)op.channels;
	float share = 1.0f / (float)channels, rstd[ROWS];
#pragma unroll
	for (int r = 0; r < ROWS; r++) {
		float mean = x[r].centre(share, channels);
		rstd[r] = fast_inverse_root(x[r].squares() * share + op.eps);
		if (threadIdx.x == 0 && (r == 0 || row + r < end)) {
			op.mean[row + r] = mean;
			op.rstd[row + r] = rstd[r];
		}
	}
#pragma unroll
	for (int c = 0; c < CHUNKS; c++) {
		int column = shape::column(c);
		if (!shape::inside(c, channels))
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
		for (int r = 0; r < ROWS; r++) {
			float (&v)[N] = x[r].at[c];
			int64_t at = (row + r) * channels + column;
#pragma unroll
			for (int i = 0; i < N; i++) {
				v[i] = v[i] * rstd[r] * gain[i] + bias[i];
				v[i] = with_gelu ? gelu<T>(v[i]) : v[i];
				if (KIND == ADDED)
					v[i] += added[r].at[c][i];
			}
			if (KIND == ANY) {
				float add[N] = { 0 };
				if (op.add)
					load_pack(add, (const T *)op.add + at);
				drop_pack(v, after, at);
#pragma unroll
				for (int i = 0; i < N; i++)
					v[i] += add[i];
			}
			if (r == 0 || row + r < end)
				store_pack((T *)op.y + at, v);
		}
	}
}

// Rows at a time: two where the registers of one array allow it.
template <int N, int CHUNKS, int KIND> struct rows_together {
	static constexpr int count = N > 1 && CHUNKS <= 3 && (KIND == PLAIN || KIND == GELU) ? 2 : 1;
};

template <class T, int N, int CHUNKS, int KIND>
static __global__ void __launch_bounds__(32 * WARPS) norm_forward(d2v_norm op, drop_rule drop, drop_rule after) {
	constexpr int ROWS = rows_together<N, CHUNKS, KIND>::count;
	const bool with_residual = KIND == ANY ? op.residual != NULL : KIND == RESIDUAL || KIND == DROPPED;
	const T *second = (const T *)(KIND == ADDED ? op.add : with_residual ? op.residual : NULL);
	int channels = (int)op.channels;
	int64_t row = (int64_t)blockIdx.x * WARPS * ROWS_EACH + threadIdx.y * ROWS, end = ((int64_t)blockIdx.x + 1) * WARPS * ROWS_EACH;
	end = end < op.rows ? end : op.rows;
	row_packs<T, N, CHUNKS> next[ROWS], next_second[ROWS];
#pragma unroll
	for (int r = 0; r < ROWS; r++)
		next[r].clear(), next_second[r].clear();
	auto fetch = [&](int64_t from) {
#pragma unroll
		for (int r = 0; r < ROWS; r++)
			if (from + r < end) {
				next[r].load((const T *)op.x + (from + r) * channels, channels);
				if (KIND == ADDED || with_residual)
					next_second[r].load(second + (from + r) * channels, channels);
			}
	};
	fetch(row);
	for (; row < end; row += WARPS * ROWS) {
		row_part<T, N, CHUNKS> x[ROWS], other[ROWS];
#pragma unroll
		for (int r = 0; r < ROWS; r++) {
			x[r].take(next[r]);
			other[r].take(next_second[r]);
		}
		fetch(row + WARPS * ROWS);
		if (with_residual) {
#pragma unroll
			for (int r = 0; r < ROWS; r++) {
				int64_t first = (row + r) * channels;
				if (KIND == DROPPED || KIND == ANY)
					other[r].drop(drop, first, channels);
				x[r].add_and_round(other[r], (T *)op.sum + first, channels);
			}
		}
		norm_rows<T, N, CHUNKS, KIND, ROWS>(x, other, op, after, row, end);
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

