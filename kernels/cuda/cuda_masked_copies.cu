// The masked copies of a sample are never stored: they are gathered on reading, and their gradients are summed on the
// way back, copy after copy. A warp takes a token, so that what is asked of indices is asked once; its lanes take packs of
// channels. Tokens are counted in 32 bits, as the indices are.
#include "kernels/cuda/draws.cuh"

#define WARPS 8 // of a block
#define THREADS (32 * WARPS)
#define FLIGHT 4 // copies whose loads are under way together
#define GATHERED 4 // the same of those that are known to have something

// The warp's token; it may lie past the end.
static __device__ __forceinline__ unsigned token_number() {
	return blockIdx.x * WARPS + threadIdx.y;
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
		if ((width) % wide == 0 && (fits)) \
			D2V_LAUNCH(dev, (kernel<T, wide>), d2v_blocks(tokens, WARPS), dim3(32, WARPS), 0, (unsigned)(tokens), __VA_ARGS__); \
		else \
			D2V_LAUNCH(dev, (kernel<T, 1>), d2v_blocks(tokens, WARPS), dim3(32, WARPS), 0, (unsigned)(tokens), __VA_ARGS__); \
	})

// The lane's first channel of every pack.
#define FOR_PACKS(at, width, N) for (int64_t at = (int64_t)threadIdx.x * N; at < (width); at += 32 * N)

template <class T, int N> static __global__ void mask_forward(unsigned count, d2v_mask_rows op) {
	unsigned i = token_number(), tokens = (unsigned)op.tokens;
	if (i >= count)
		return;
	const T *from = (const T *)op.x + (int64_t)(i / tokens / (unsigned)op.clones * tokens + i % tokens) * op.width;
	T *to = (T *)op.out + (int64_t)i * op.width;
	bool masked = op.mask[i];
	FOR_PACKS(at, op.width, N) {
		float v[N];
		if (masked)
			zero_pack(v);
		else
			load_pack(v, from + at);
		store_pack(to + at, v);
	}
}

template <class T, int N> static __global__ void mask_backward(unsigned count, d2v_mask_rows op) {
	unsigned i = token_number(), tokens = (unsigned)op.tokens, clones = (unsigned)op.clones;
	if (i >= count)
		return;
	unsigned first = i / tokens * clones * tokens + i % tokens; // this token of the first copy
	T *to = (T *)op.d_x + (int64_t)i * op.width;
	FOR_PACKS(at, op.width, N) {
		float sum[N];
		load_pack(sum, (const T *)to + at);
		for (unsigned m = 0; m < clones; m += FLIGHT) {
			float v[FLIGHT][N];
#pragma unroll
			for (int r = 0; r < FLIGHT; r++) {
				unsigned from = first + (m + r) * tokens;
				if (m + r < clones && !op.mask[from])
					load_pack(v[r], (const T *)op.d_out + (int64_t)from * op.width + at);
				else
					zero_pack(v[r]);
			}
#pragma unroll
			for (int r = 0; r < FLIGHT; r++)
#pragma unroll
				for (int j = 0; j < N; j++)
					sum[j] += v[r][j];
		}
		store_pack(to + at, sum);
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

template <class T, int N> static __global__ void gather_forward(unsigned count, d2v_gather op) {
	unsigned i = token_number(), extra = (unsigned)op.extra_tokens, length = extra + (unsigned)op.kept;
	if (i >= count)
		return;
	unsigned row = i / length, k = i % length;
	T *to = (T *)op.out + (int64_t)i * op.width;
	if (k < extra) {
		FOR_PACKS(at, op.width, N) {
			float v[N];
			load_pack(v, (const T *)op.extra + k * op.width + at);
			store_pack(to + at, v);
		}
		return;
	}
	int64_t position = op.keep ? op.keep[row * op.kept + (k - extra)] : k - extra;
	const T *from = (const T *)op.x + (row / (unsigned)op.clones * op.tokens + position) * op.width;
	FOR_PACKS(at, op.width, N) {
		float v[N];
		load_pack(v, from + at);
		if (op.table)
			add_pack(v, (const T *)op.table + position * op.width + at);
		if (op.add)
			add_pack(v, (const T *)op.add + (row * op.tokens + position) * op.width + at);
		store_pack(to + at, v);
	}
}

// One token of a sample and all its copies, 32 at a time: each lane asks for one copy where it has the token, and only what
// is kept is loaded, GATHERED rows together, so that what is on its way is not thinned by copies that have nothing.
template <class T, int N> static __global__ void gather_backward(unsigned count, d2v_gather op) {
	unsigned i = token_number(), tokens = (unsigned)op.tokens, clones = (unsigned)op.clones;
	if (i >= count)
		return;
	unsigned row = i / tokens * clones, position = i % tokens; // row: of the first copy
	int64_t length = op.extra_tokens + op.kept;
	int kept = (int)op.kept;
	for (unsigned first = 0; first < clones; first += 32, row += 32) {
		unsigned part = clones - first < 32 ? clones - first : 32, lane = threadIdx.x;
		int place = lane >= part ? kept : op.keep ? op.restore[(int64_t)(row + lane) * tokens + position] : (int)position;
		unsigned wanted = __ballot_sync(0xffffffffu, place < kept), all = part < 32 ? (1u << part) - 1 : 0xffffffffu;
		for (int64_t at = (int64_t)lane * N, end = op.width + at; at < end; at += 32 * N) { // all lanes go round together
			bool inside = at < op.width;
			float sum[N] = { 0 };
			if (op.d_x && inside)
				load_pack(sum, (const T *)op.d_x + (int64_t)i * op.width + at);
			for (unsigned left = op.d_add ? all : wanted; left;) {
				d2v_bits<T, N> v[GATHERED];
				int copy[GATHERED];
#pragma unroll
				for (int r = 0; r < GATHERED; r++) {
					copy[r] = left ? __popc(~left & (left - 1)) : -1; // the lowest
					left &= left - 1;
					v[r] = {};
					int64_t k = __shfl_sync(0xffffffffu, place, copy[r] & 31), from = row + (unsigned)copy[r];
					if (copy[r] >= 0 && k < kept && inside)
						v[r] = read_pack<T, N>((const T *)op.d_out + (from * length + op.extra_tokens + k) * op.width + at);
				}
#pragma unroll
				for (int r = 0; r < GATHERED; r++) {
					float more[N];
					unpack(more, v[r]);
					if (op.d_add && copy[r] >= 0 && inside)
						write_pack((T *)op.d_add + ((int64_t)(row + (unsigned)copy[r]) * tokens + position) * op.width + at, v[r]);
#pragma unroll
					for (int j = 0; j < N; j++)
						sum[j] += more[j];
				}
			}
			if (op.d_x && inside)
				store_pack((T *)op.d_x + (int64_t)i * op.width + at, sum);
		}
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

template <class T, int N> static __global__ void restore_forward(unsigned count, d2v_restore op, drop_rule drop) {
	unsigned i = token_number(), row = i / (unsigned)op.tokens;
	if (i >= count)
		return;
	int64_t j = op.restore[i], first = (int64_t)i * op.width;
	T *to = (T *)op.out + first;
	if (j < op.kept) {
		int64_t element = (row * (op.extra_tokens + op.kept) + op.extra_tokens + j) * op.width;
		FOR_PACKS(at, op.width, N) {
			float v[N];
			load_pack(v, (const T *)op.x + element + at);
			drop_pack(v, drop, element + at);
			store_pack(to + at, v);
		}
	} else if (op.noise) {
		const T *noise = (const T *)op.noise + (row * (op.tokens - op.kept) + j - op.kept) * op.width;
		FOR_PACKS(at, op.width, N) {
			float v[N];
			load_pack(v, noise + at);
			store_pack(to + at, v);
		}
	} else {
		FOR_PACKS(at, op.width, N) {
			float v[N];
			noise_pack<T>(v, op.noise_key.word[0], op.noise_key.word[1], op.noise_std, op.noise_first + first + at);
			store_pack(to + at, v);
		}
	}
}

template <class T, int N> static __global__ void restore_backward(unsigned count, d2v_restore op, drop_rule drop) {
	unsigned i = token_number(), extra = (unsigned)op.extra_tokens, length = extra + (unsigned)op.kept;
	if (i >= count)
		return;
	unsigned row = i / length, k = i % length;
	int64_t first = (int64_t)i * op.width;
	T *to = (T *)op.d_x + first;
	const T *from = (const T *)op.d_out;
	if (k >= extra)
		from += (row * op.tokens + op.keep[row * op.kept + (k - extra)]) * op.width;
	FOR_PACKS(at, op.width, N) {
		float v[N];
		if (k < extra) {
			zero_pack(v);
		} else {
			load_pack(v, from + at);
			drop_pack(v, drop, first + at);
		}
		store_pack(to + at, v);
	}
}

void d2v_cuda_restore_forward(d2v_device *dev, const d2v_restore *op) {
	int64_t tokens = op->rows * op->tokens;
	if (tokens && op->width)
		BY_PACK(dev, op->width, fits_packs(&op->drop, wide) && op->noise_first % wide == 0, tokens, restore_forward, *op,
			make_drop_rule(&op->drop));
}

void d2v_cuda_restore_backward(d2v_device *dev, const d2v_restore *op) {
	int64_t tokens = op->rows * (op->extra_tokens + op->kept);
	if (tokens && op->width)
		BY_PACK(dev, op->width, fits_packs(&op->drop, wide), tokens, restore_backward, *op, make_drop_rule(&op->drop));
}
