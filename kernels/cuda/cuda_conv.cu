// Convolutions over channels-last arrays, in one and two dimensions, grouped or not, as products over windows.
//
// For the sums over a window the taps are the outer index and a tap's channels the inner one, because channels follow
// each other in memory: k = tap * channels + channel. fairseq stores weights channel by channel, so they are turned
// first; that moves a few hundred kilobytes. The gradient of the weights is a product over all positions: cut into
// pieces by size, each a partial result, added in order.
#include "kernels/cuda/conv.cuh"

#include "kernels/cuda/tile.cuh"

#define THREADS 256

// ---- where things lie

// The input position that tap k of output position p reads, or -1 outside.
static __device__ __forceinline__ int64_t input_of(const conv_shape &s, int64_t p, int tap) {
	int64_t per_row = s.out_h * s.out_w, row = p / per_row, rest = p % per_row;
	int64_t y = rest / s.out_w * s.stride_h + tap / s.kernel_w - s.pad_h;
	int64_t x = rest % s.out_w * s.stride_w + tap % s.kernel_w - s.pad_w;
	if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w)
		return -1;
	return (row * s.in_h + y) * s.in_w + x;
}

// The output position whose tap k reads input position p, or -1: none does.
static __device__ __forceinline__ int64_t output_of(const conv_shape &s, int64_t p, int tap) {
	int64_t per_row = s.in_h * s.in_w, row = p / per_row, rest = p % per_row;
	int64_t y = rest / s.in_w + s.pad_h - tap / s.kernel_w, x = rest % s.in_w + s.pad_w - tap % s.kernel_w;
	if (y < 0 || x < 0 || y % s.stride_h || x % s.stride_w)
		return -1;
	y /= s.stride_h, x /= s.stride_w;
	return y < s.out_h && x < s.out_w ? (row * s.out_h + y) * s.out_w + x : -1;
}

// Windows of x: row = output position, k = (tap, channel of the group).
template <class T> struct input_windows {
	static constexpr bool along_rows = false;
	conv_shape s;
	const T *x; // at the group's first channel
	int64_t channels; // of a group
	__device__ __forceinline__ const T *at(int64_t p, int64_t k) const {
		int64_t from = input_of(s, p, (int)(k / channels));
		return from < 0 ? NULL : x + from * s.in + k % channels;
	}
};

// Windows of d_y: row = input position, k = (tap, channel of the group).
template <class T> struct output_windows {
	static constexpr bool along_rows = false;
	conv_shape s;
	const T *d_y;
	int64_t channels;
	__device__ __forceinline__ const T *at(int64_t p, int64_t k) const {
		int64_t from = output_of(s, p, (int)(k / channels));
		return from < 0 ? NULL : d_y + from * s.out + k % channels;
	}
};

// A dense matrix of turned weights: (rows, width).
template <class T> struct dense_rows {
	static constexpr bool along_rows = false;
	const T *w;
	int64_t width;
	__device__ __forceinline__ const T *at(int64_t row, int64_t k) const {
		return w + row * width + k;
	}
};

// d_y with positions as k: row = channel of the group.
template <class T> struct output_columns {
	static constexpr bool along_rows = true;
	const T *d_y;
	int64_t pitch;
	__device__ __forceinline__ const T *at(int64_t channel, int64_t p) const {
		return d_y + p * pitch + channel;
	}
};

// Windows of x with positions as k: row = (tap, channel of the group).
template <class T> struct window_columns {
	static constexpr bool along_rows = true;
	conv_shape s;
	const T *x;
	int64_t channels;
	__device__ __forceinline__ const T *at(int64_t row, int64_t p) const {
		int64_t from = input_of(s, p, (int)(row / channels));
		return from < 0 ? NULL : x + from * s.in + row % channels;
	}
};

// ---- turning weights

template <class T> static __global__ void turn_weights(T *to, const T *w, conv_shape s, bool back) {
	int64_t taps = conv_taps(s), in = s.in / s.groups, out = s.out / s.groups, count = conv_weight_count(s);
	for (int64_t i = thread_number(); i < count; i += thread_count()) {
		int64_t o = i / (in * taps), c = i / taps % in, tap = i % taps;
		int64_t at = back ? ((o / out * in + c) * taps + tap) * out + o % out : conv_turned_place(s, i);
		to[at] = w[i];
	}
}

void d2v_cuda_conv_turn_weights(d2v_device *dev, const conv_shape &s, void *turned, const d2v_real *w, bool back) {
	D2V_BY_TYPE(dev, D2V_LAUNCH(dev, turn_weights<T>, d2v_blocks(conv_weight_count(s), THREADS), THREADS, 0, (T *)turned,
		(const T *)w, s, back));
}

// d_w (out, in/groups, taps) += the pieces' sums (pieces, out, taps, in/groups), in order.
static __global__ void add_weight_pieces(float *d_w, const float *partial, conv_shape s, int64_t pieces) {
	int64_t count = conv_weight_count(s);
	for (int64_t i = thread_number(); i < count; i += thread_count()) {
		int64_t at = conv_turned_place(s, i);
		double sum = 0;
		for (int64_t piece = 0; piece < pieces; piece++)
			sum += (double)partial[piece * count + at];
		d_w[i] += (float)sum;
	}
}

// ---- the three products

// Block (tile of positions, tile of the group's channels, group).
template <class T, int PACK, int BN>
static __global__ void __launch_bounds__(TILE_THREADS) conv_forward(conv_shape s, T *y, const T *x, const T *w, const T *bias) {
	int64_t g = blockIdx.z, in = s.in / s.groups, out = s.out / s.groups, width = conv_taps(s) * in;
	input_windows<T> a = { s, x + g * in, in };
	dense_rows<T> b = { w + g * out * width, width };
	auto store = [&](int64_t p, int64_t o, float sum) {
		y[p * s.out + g * out + o] = from_float<T>(bias ? sum + to_float(bias[g * out + o]) : sum);
	};
	run_tile<T, PACK, BN>(a, b, store, (int64_t)blockIdx.x * TILE_M, s.rows * s.out_h * s.out_w, (int64_t)blockIdx.y * BN, out,
		0, width);
}

template <class T, int PACK, int BN>
static __global__ void __launch_bounds__(TILE_THREADS) conv_backward_x(conv_shape s, T *d_x, const T *d_y, const T *w, bool accumulate) {
	int64_t g = blockIdx.z, in = s.in / s.groups, out = s.out / s.groups, width = conv_taps(s) * out;
	output_windows<T> a = { s, d_y + g * out, out };
	dense_rows<T> b = { w + g * in * width, width };
	auto store = [&](int64_t p, int64_t c, float sum) {
		T *to = d_x + p * s.in + g * in + c;
		*to = from_float<T>(accumulate ? to_float(*to) + sum : sum);
	};
	run_tile<T, PACK, BN>(
		a, b, store, (int64_t)blockIdx.x * TILE_M, s.rows * s.in_h * s.in_w, (int64_t)blockIdx.y * BN, in, 0, width);
}

// Block (tile of a window, tile of the group's channels, group and piece of positions).
template <class T, int PACK, int BN>
static __global__ void __launch_bounds__(TILE_THREADS) conv_backward_w(conv_shape s, float *partial, const T *x, const T *d_y, int64_t piece) {
	int64_t g = blockIdx.z % s.groups, in = s.in / s.groups, out = s.out / s.groups, width = conv_taps(s) * in;
	int64_t number = blockIdx.z / s.groups, positions = s.rows * s.out_h * s.out_w, first = number * piece;
	float *to = partial + number * s.out * width;
	window_columns<T> a = { s, x + g * in, in };
	output_columns<T> b = { d_y + g * out, s.out };
	auto store = [&](int64_t k, int64_t o, float sum) { to[(g * out + o) * width + k] = sum; };
	run_tile<T, PACK, BN>(a, b, store, (int64_t)blockIdx.x * TILE_M, width, (int64_t)blockIdx.y * BN, out, first,
		first + piece < positions ? first + piece : positions);
}

// ---- choosing

// How many channels of a group a tile takes: all of a small group, so that windows are fetched once.
static int tile_columns(int64_t channels) {
	return channels <= 16 ? 16 : channels <= 32 ? 32 : channels <= 48 ? 48 : 64;
}

#define BY_COLUMNS(columns, ...) \
	do { \
		if ((columns) == 16) { \
			constexpr int BN = 16; \
			__VA_ARGS__; \
		} else if ((columns) == 32) { \
			constexpr int BN = 32; \
			__VA_ARGS__; \
		} else if ((columns) == 48) { \
			constexpr int BN = 48; \
			__VA_ARGS__; \
		} else { \
			constexpr int BN = 64; \
			__VA_ARGS__; \
		} \
	} while (0)

// Packs of 16 bytes where the channels of a group, in and out, come in such.
#define BY_PACK(T, packed, ...) \
	do { \
		if (packed) { \
			constexpr int PACK = 16 / sizeof(T); \
			__VA_ARGS__; \
		} else { \
			constexpr int PACK = 1; \
			__VA_ARGS__; \
		} \
	} while (0)

static bool is_packed(d2v_device *dev, const conv_shape &s) {
	int64_t pack = (int64_t)(16 / dev->real_size);
	return s.in / s.groups % pack == 0 && s.out / s.groups % pack == 0;
}

void d2v_cuda_conv_forward(d2v_device *dev, const conv_shape &s, d2v_real *y, const d2v_real *x, const d2v_real *w, const d2v_real *bias) {
	int64_t positions = s.rows * s.out_h * s.out_w, out = s.out / s.groups;
	if (positions == 0 || s.out == 0 || d2v_cuda_conv_wave_forward(dev, s, y, x, w, bias) ||
		d2v_cuda_conv_dense_forward(dev, s, y, x, w, bias))
		return;
	void *turned = d2v_cuda_scratch(dev, (size_t)conv_weight_count(s) * dev->real_size);
	if (!turned)
		return;
	d2v_cuda_conv_turn_weights(dev, s, turned, w, false);
	if (d2v_cuda_conv_is_grouped(dev, s)) {
		d2v_cuda_conv_grouped_forward(dev, s, y, x, turned, bias);
		return;
	}
	int columns = tile_columns(out);
	dim3 grid(d2v_blocks(positions, TILE_M), d2v_blocks(out, columns), (unsigned)s.groups);
	D2V_BY_TYPE(dev, BY_PACK(T, is_packed(dev, s), BY_COLUMNS(columns, D2V_LAUNCH(dev, (conv_forward<T, PACK, BN>), grid,
		TILE_THREADS, 0, s, (T *)y, (const T *)x, (const T *)turned, (const T *)bias))));
}

void d2v_cuda_conv_backward_x(d2v_device *dev, const conv_shape &s, d2v_real *d_x, const d2v_real *d_y, const d2v_real *w, bool accumulate) {
	int64_t positions = s.rows * s.in_h * s.in_w, in = s.in / s.groups;
	if (positions == 0 || s.in == 0 || d2v_cuda_conv_dense_backward_x(dev, s, d_x, d_y, w, accumulate))
		return;
	void *turned = d2v_cuda_scratch(dev, (size_t)conv_weight_count(s) * dev->real_size);
	if (!turned)
		return;
	d2v_cuda_conv_turn_weights(dev, s, turned, w, true);
	if (d2v_cuda_conv_is_grouped(dev, s)) {
		d2v_cuda_conv_grouped_backward_x(dev, s, d_x, d_y, turned, accumulate);
		return;
	}
	int columns = tile_columns(in);
	dim3 grid(d2v_blocks(positions, TILE_M), d2v_blocks(in, columns), (unsigned)s.groups);
	D2V_BY_TYPE(dev, BY_PACK(T, is_packed(dev, s), BY_COLUMNS(columns, D2V_LAUNCH(dev, (conv_backward_x<T, PACK, BN>), grid,
		TILE_THREADS, 0, s, (T *)d_x, (const T *)d_y, (const T *)turned, accumulate))));
}

// Pieces of at least 2048 positions, at most 32 of them: enough blocks, little to add.
static int64_t piece_size(int64_t positions) {
	int64_t size = (positions + 31) / 32;
	size = size < 2048 ? 2048 : size;
	return (size + TILE_K - 1) / TILE_K * TILE_K;
}

void d2v_cuda_conv_backward_w(d2v_device *dev, const conv_shape &s, float *d_w, const d2v_real *x, const d2v_real *d_y) {
	int64_t positions = s.rows * s.out_h * s.out_w, out = s.out / s.groups, in = s.in / s.groups, count = conv_weight_count(s);
	if (positions == 0 || count == 0 || d2v_cuda_conv_wave_backward_w(dev, s, d_w, x, d_y) ||
		d2v_cuda_conv_dense_backward_w(dev, s, d_w, x, d_y))
		return;
	bool grouped = d2v_cuda_conv_is_grouped(dev, s);
	int64_t piece = piece_size(positions), pieces = grouped ? d2v_cuda_conv_grouped_pieces(dev, s) : (positions + piece - 1) / piece;
	float *partial = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * count) * sizeof *partial);
	if (!partial)
		return;
	int columns = tile_columns(out);
	dim3 grid(d2v_blocks(conv_taps(s) * in, TILE_M), d2v_blocks(out, columns), (unsigned)(s.groups * pieces));
	if (grouped)
		d2v_cuda_conv_grouped_backward_w(dev, s, partial, x, d_y);
	else
		D2V_BY_TYPE(dev, BY_PACK(T, is_packed(dev, s), BY_COLUMNS(columns, D2V_LAUNCH(dev, (conv_backward_w<T, PACK, BN>), grid,
			TILE_THREADS, 0, s, partial, (const T *)x, (const T *)d_y, piece))));
	D2V_LAUNCH(dev, add_weight_pieces, d2v_blocks(count, THREADS), THREADS, 0, d_w, (const float *)partial, s, pieces);
}

// ---- the operations

static conv_shape shape_of(const d2v_conv1d *op) {
	conv_shape s = {};
	s.rows = op->rows, s.in = op->in, s.out = op->out, s.groups = op->groups;
	s.in_h = 1, s.in_w = op->steps_in, s.out_h = 1, s.out_w = op->steps_out;
	s.kernel_h = 1, s.kernel_w = (int)op->kernel;
	s.stride_h = 1, s.stride_w = (int)op->stride, s.pad_h = 0, s.pad_w = (int)op->pad;
	return s;
}

static conv_shape shape_of(const d2v_conv2d *op) {
	conv_shape s = {};
	s.rows = op->rows, s.in = op->in, s.out = op->out, s.groups = op->groups;
	s.in_h = s.out_h = op->height, s.in_w = s.out_w = op->width;
	s.kernel_h = s.kernel_w = (int)op->kernel;
	s.stride_h = s.stride_w = 1, s.pad_h = s.pad_w = (int)(op->kernel / 2);
	return s;
}

// op: d2v_conv1d or d2v_conv2d, whose names for this are the same.
template <class Op> static void conv_backward(d2v_device *dev, const Op *op) {
	conv_shape s = shape_of(op);
	if (op->d_x)
		d2v_cuda_conv_backward_x(dev, s, op->d_x, op->d_y, op->w, op->accumulate_d_x);
	if (op->d_w)
		d2v_cuda_conv_backward_w(dev, s, op->d_w, op->x, op->d_y);
	if (op->d_bias)
		d2v_cuda_add_column_sums(dev, op->d_bias, op->d_y, s.rows * s.out_h * s.out_w, s.out);
}

void d2v_cuda_conv1d_forward(d2v_device *dev, const d2v_conv1d *op) {
	d2v_cuda_conv_forward(dev, shape_of(op), op->y, op->x, op->w, op->bias);
}

void d2v_cuda_conv1d_backward(d2v_device *dev, const d2v_conv1d *op) {
	conv_backward(dev, op);
}

void d2v_cuda_conv2d_forward(d2v_device *dev, const d2v_conv2d *op) {
	d2v_cuda_conv_forward(dev, shape_of(op), op->y, op->x, op->w, op->bias);
}

void d2v_cuda_conv2d_backward(d2v_device *dev, const d2v_conv2d *op) {
	conv_backward(dev, op);
}
