// The masked copies of a sample are never stored: they are gathered on reading, and their gradients are summed on the
// way back, copy after copy. A thread takes a pack of channels of one token.
#include "kernels/cuda/draws.cuh"

#define THREADS 256

// Tokens are split into packs of N channels; item i is pack i % packs of token i / packs.
struct items {
	int64_t count, packs;
};

template <int N> static items make_items(int64_t tokens, int64_t width) {
	items all = { tokens * (width / N), width / N };
	return all;
}

template <int N> static __device__ __forceinline__ void zero_pack(float (&v)[N]) {
#pragma unroll
	for (int i = 0; i < N; i++)
		v[i] = 0;
}
template <class T, int N> static __device__ __forceinline__ void add_pack(float (&v)[N], const T *from) {
	float more[N];
	load_pack(more, from);
#pragma unroll
	for (int i = 0; i < N; i++)
		v[i] += more[i];
}

// Runs a kernel template over packs of 16 bytes, or single elements when the width does not divide or draws forbid it.
#define BY_PACK(dev, width, fits, tokens, kernel, ...) \
	D2V_BY_TYPE(dev, { \
		constexpr int wide = 16 / sizeof(T); \
		if ((width) % wide == 0 && (fits)) { \
			items all = make_items<wide>(tokens, width); \
			D2V_LAUNCH(dev, (kernel<T, wide>), d2v_blocks(all.count, THREADS), THREADS, 0, all, __VA_ARGS__); \
		} else { \
			items all = make_items<1>(tokens, width); \
			D2V_LAUNCH(dev, (kernel<T, 1>), d2v_blocks(all.count, THREADS), THREADS, 0, all, __VA_ARGS__); \
		} \
	})

template <class T, int N> static __global__ void mask_forward(items all, d2v_mask_rows op) {
	for (int64_t item = thread_number(); item < all.count; item += thread_count()) {
		int64_t i = item / all.packs, at = item % all.packs * N;
		int64_t from = i / op.tokens / op.clones * op.tokens + i % op.tokens;
		float v[N];
		if (op.mask[i])
			zero_pack(v);
		else
			load_pack(v, (const T *)op.x + from * op.width + at);
		store_pack((T *)op.out + i * op.width + at, v);
	}
}

template <class T, int N> static __global__ void mask_backward(items all, d2v_mask_rows op) {
	for (int64_t item = thread_number(); item < all.count; item += thread_count()) {
		int64_t i = item / all.packs, at = item % all.packs * N;
		T *to = (T *)op.d_x + i * op.width + at;
		float sum[N];
		load_pack(sum, (const T *)to);
		for (int64_t m = 0; m < op.clones; m++) {
			int64_t from = (i / op.tokens * op.clones + m) * op.tokens + i % op.tokens;
			if (!op.mask[from])
				add_pack(sum, (const T *)op.d_out + from * op.width + at);
		}
		store_pack(to, sum);
	}
}

void d2v_cuda_mask_rows_forward(d2v_device *dev, const d2v_mask_rows *op) {
	int64_t tokens = op->batch * op->clones * op->tokens;
	if (tokens && op->width)
		BY_PACK(dev, op->width, true, tokens, mask_forward, *op);
}

void d2v_cuda_mask_rows_backward(d2v_device *dev, const d2v_mask_rows *op) {
	int64_t tokens = op->batch * op->tokens;
	if (tokens && op->width)
		BY_PACK(dev, op->width, true, tokens, mask_backward, *op);
}

template <class T, int N> static __global__ void gather_forward(items all, d2v_gather op) {
	int64_t length = op.extra_tokens + op.kept;
	for (int64_t item = thread_number(); item < all.count; item += thread_count()) {
		int64_t i = item / all.packs, at = item % all.packs * N, row = i / length, k = i % length - op.extra_tokens;
		float v[N];
		if (k < 0) {
			load_pack(v, (const T *)op.extra + i % length * op.width + at);
		} else {
			int64_t position = op.keep ? op.keep[row * op.kept + k] : k;
			load_pack(v, (const T *)op.x + (row / op.clones * op.tokens + position) * op.width + at);
			if (op.table)
				add_pack(v, (const T *)op.table + position * op.width + at);
			if (op.add)
				add_pack(v, (const T *)op.add + (row * op.tokens + position) * op.width + at);
		}
		store_pack((T *)op.out + i * op.width + at, v);
	}
}

// One token of a sample and all its copies.
template <class T, int N> static __global__ void gather_backward(items all, d2v_gather op) {
	int64_t length = op.extra_tokens + op.kept;
	for (int64_t item = thread_number(); item < all.count; item += thread_count()) {
		int64_t i = item / all.packs, at = item % all.packs * N, sample = i / op.tokens, position = i % op.tokens;
		float sum[N] = { 0 };
		if (op.d_x)
			load_pack(sum, (const T *)op.d_x + i * op.width + at);
		for (int64_t m = 0; m < op.clones; m++) {
			int64_t row = sample * op.clones + m, token = row * op.tokens + position;
			int64_t k = op.keep ? op.restore[token] : position;
			float v[N];
			if (k < op.kept)
				load_pack(v, (const T *)op.d_out + (row * length + op.extra_tokens + k) * op.width + at);
			else
				zero_pack(v);
			if (op.d_add)
				store_pack((T *)op.d_add + token * op.width + at, v);
#pragma unroll
			for (int j = 0; op.d_x && j < N; j++)
				sum[j] += v[j];
		}
		if (op.d_x)
			store_pack((T *)op.d_x + i * op.width + at, sum);
	}
}

// A few extra tokens, summed over all rows: a block a column, its threads take rows in turn.
template <class T> static __global__ void extra_backward(d2v_gather op) {
	__shared__ double warps[THREADS / 32];
	int64_t length = op.extra_tokens + op.kept, rows = op.batch * op.clones, i = blockIdx.x;
	double sum = 0;
	for (int64_t row = threadIdx.x; row < rows; row += THREADS)
		sum += (double)to_float(((const T *)op.d_out)[row * length * op.width + i]);
	sum = warp_sum(sum);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = sum;
	__syncthreads();
	if (threadIdx.x == 0) {
		double total = 0;
		for (int warp = 0; warp < THREADS / 32; warp++)
			total += warps[warp];
		op.d_extra[i] += (float)total;
	}
}

void d2v_cuda_gather_forward(d2v_device *dev, const d2v_gather *op) {
	int64_t tokens = op->batch * op->clones * (op->extra_tokens + op->kept);
	if (tokens && op->width)
		BY_PACK(dev, op->width, true, tokens, gather_forward, *op);
}

void d2v_cuda_gather_backward(d2v_device *dev, const d2v_gather *op) {
	int64_t tokens = op->batch * op->tokens, extra = op->extra_tokens * op->width;
	if ((op->d_x || op->d_add) && tokens && op->width)
		BY_PACK(dev, op->width, true, tokens, gather_backward, *op);
	if (op->d_extra && extra && op->batch)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, extra_backward<T>, (unsigned)extra, THREADS, 0, *op));
}

template <class T, int N> static __global__ void restore_forward(items all, d2v_restore op, drop_rule drop) {
	int64_t length = op.extra_tokens + op.kept;
	for (int64_t item = thread_number(); item < all.count; item += thread_count()) {
		int64_t i = item / all.packs, at = item % all.packs * N, row = i / op.tokens, j = op.restore[i];
		float v[N];
		if (j < op.kept) {
			int64_t element = (row * length + op.extra_tokens + j) * op.width + at;
			load_pack(v, (const T *)op.x + element);
			drop_pack(v, drop, element);
		} else if (op.noise) {
			int64_t token = row * (op.tokens - op.kept) + j - op.kept;
			load_pack(v, (const T *)op.noise + token * op.width + at);
		} else {
#pragma unroll
			for (int n = 0; n < N; n++)
				v[n] = noise_value(op.noise_key.word[0], op.noise_key.word[1], op.noise_std, i * op.width + at + n);
		}
		store_pack((T *)op.out + i * op.width + at, v);
	}
}

template <class T, int N> static __global__ void restore_backward(items all, d2v_restore op, drop_rule drop) {
	int64_t length = op.extra_tokens + op.kept;
	for (int64_t item = thread_number(); item < all.count; item += thread_count()) {
		int64_t i = item / all.packs, at = item % all.packs * N, row = i / length, k = i % length - op.extra_tokens;
		float v[N];
		if (k < 0) {
			zero_pack(v);
		} else {
			int64_t token = row * op.tokens + op.keep[row * op.kept + k];
			load_pack(v, (const T *)op.d_out + token * op.width + at);
			drop_pack(v, drop, i * op.width + at);
		}
		store_pack((T *)op.d_x + i * op.width + at, v);
	}
}

void d2v_cuda_restore_forward(d2v_device *dev, const d2v_restore *op) {
	int64_t tokens = op->rows * op->tokens;
	if (tokens && op->width)
		BY_PACK(dev, op->width, fits_packs(&op->drop, wide), tokens, restore_forward, *op, make_drop_rule(&op->drop));
}

void d2v_cuda_restore_backward(d2v_device *dev, const d2v_restore *op) {
	int64_t tokens = op->rows * (op->extra_tokens + op->kept);
	if (tokens && op->width)
		BY_PACK(dev, op->width, fits_packs(&op->drop, wide), tokens, restore_backward, *op, make_drop_rule(&op->drop));
}
