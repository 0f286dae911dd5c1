// Patches of pictures, and tokens to vectors.
//
// The gradient of a table's row is the sum over the places of its token: in the order of tokens that the caller gives these
// lie together, so chunks of the order are summed each on their own and what crosses their borders is added up afterwards.
// It needs no atomics and reads every gradient once.
#include "kernels/cuda/launch.cuh"

#define THREADS 256

// A thread writes N elements, which are pixels that follow each other in a row of a patch.
template <class T, int N> static __global__ void cut_patches(d2v_patches op, unsigned packs) {
	unsigned p = (unsigned)op.patch, across = (unsigned)op.width / p, down = (unsigned)op.height / p, in = (unsigned)op.in;
	for (int64_t item = thread_number(); item < packs; item += thread_count()) {
		unsigned pack = (unsigned)item, per_row = p / N, v = pack % per_row * N, u = pack / per_row % p;
		unsigned i = pack / (per_row * p) % in, patch = pack / (per_row * p * in), b = patch / (down * across);
		int64_t row = patch % (down * across) / across * p + u, column = patch % across * p + v;
		float values[N];
		if (op.image) { // three channels
			float mean = i == 0 ? op.mean[0] : i == 1 ? op.mean[1] : op.mean[2];
			float rstd = i == 0 ? op.rstd[0] : i == 1 ? op.rstd[1] : op.rstd[2];
			const uint8_t *from = op.image + ((b * op.height + row) * op.width + column) * 3 + i;
#pragma unroll
			for (int j = 0; j < N; j++)
				values[j] = ((float)from[3 * j] * (1.0f / 255.0f) - mean) * rstd;
		} else {
			const T *from = (const T *)op.pixels + ((b * op.in + i) * op.height + row) * op.width + column;
#pragma unroll
			for (int j = 0; j < N; j++)
				values[j] = to_float(from[j]);
		}
		store_pack((T *)op.y + item * N, values);
	}
}

void d2v_cuda_patches_forward(d2v_device *dev, const d2v_patches *op) {
	int64_t count = op->batch * (op->height / op->patch) * (op->width / op->patch) * op->in * op->patch * op->patch;
	if (count && op->patch % 4 == 0)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (cut_patches<T, 4>), d2v_blocks(count / 4, THREADS), THREADS, 0, *op, (unsigned)(count / 4)));
	else if (count)
		D2V_BY_TYPE(dev, D2V_LAUNCH(dev, (cut_patches<T, 1>), d2v_blocks(count, THREADS), THREADS, 0, *op, (unsigned)count));
}

// ---- tokens
// A warp takes 32 packs of channels, one a lane, of an item: a token, a chunk of the order, a place.

#define WARPS 8 // of a block
#define CHUNK 32 // entries of the order: one a lane
#define FLIGHT 8 // rows whose loads are under way together

static __device__ __forceinline__ unsigned warp_number() {
	return blockIdx.x * WARPS + threadIdx.y;
}

struct share {
	unsigned item;
	int64_t c; // the lane's first channel; it may lie past the end
};
template <int N> static __device__ __forceinline__ share share_of_warp(int64_t width) {
	unsigned groups = (unsigned)((width + 32 * N - 1) / (32 * N)), warp = warp_number();
	return share{ warp / groups, ((int64_t)(warp % groups) * 32 + threadIdx.x) * N };
}

#define LAUNCH_SHARES(dev, kernel, N, items, width, ...) \
	D2V_LAUNCH(dev, kernel, d2v_blocks((items) * (((width) + 32 * N - 1) / (32 * N)), WARPS), dim3(32, WARPS), 0, \
		(unsigned)(items), __VA_ARGS__)
// Runs a kernel template over packs of 16 bytes, or single elements when the width does not divide.
#define BY_PACK(dev, kernel, items, width, ...) \
	D2V_BY_TYPE(dev, { \
		constexpr int wide = 16 / sizeof(T); \
		if ((width) % wide == 0) \
			LAUNCH_SHARES(dev, (kernel<T, wide>), wide, items, width, __VA_ARGS__); \
		else \
			LAUNCH_SHARES(dev, (kernel<T, 1>), 1, items, width, __VA_ARGS__); \
	})

// Counts the tokens that are not padding, a row a warp. places[b, t]: the row of the table of positions; rows[k, b]: the
// row of y that is the k-th such token of b, -1 when b has fewer. NULL: not wanted.
static __global__ void count_tokens(int32_t *places, int32_t *rows, d2v_embedding op) {
	unsigned b = warp_number(), lane = threadIdx.x, batch = (unsigned)op.batch, tokens = (unsigned)op.tokens, seen = 0;
	if (b >= batch)
		return;
	for (unsigned t0 = 0; t0 < tokens; t0 += 32) {
		unsigned t = t0 + lane, i = b * tokens + t;
		bool counts = t < tokens && op.x[i] != op.pad;
		unsigned all = __ballot_sync(0xffffffffu, counts), k = seen + (unsigned)__popc(all & ((1u << lane) - 1));
		if (places && t < tokens)
			places[i] = (int32_t)(counts ? op.pad + 1 + k : op.pad);
		if (rows && counts)
			rows[k * batch + b] = (int32_t)i;
		seen += (unsigned)__popc(all);
	}
	for (unsigned k = seen + lane; rows && k < tokens; k += 32)
		rows[k * batch + b] = -1;
}

template <class T, int N> static __global__ void embed(unsigned count, d2v_embedding op, const int32_t *places) {
	share at = share_of_warp<N>(op.width);
	if (at.item >= count || at.c >= op.width)
		return;
	float v[N], place[N] = { 0 };
	load_pack(v, (const T *)op.table + op.x[at.item] * op.width + at.c);
	if (places)
		load_pack(place, (const T *)op.positions + places[at.item] * op.width + at.c);
#pragma unroll
	for (int j = 0; j < N; j++)
		v[j] = op.scale * v[j] + place[j];
	store_pack((T *)op.y + at.item * op.width + at.c, v);
}

void d2v_cuda_embedding_forward(d2v_device *dev, const d2v_embedding *op) {
	int64_t tokens = op->batch * op->tokens;
	int32_t *places = NULL;
	if (tokens * op->width == 0)
		return;
	if (op->positions) {
		places = (int32_t *)d2v_cuda_scratch(dev, (size_t)tokens * sizeof *places);
		if (!places)
			return;
		D2V_LAUNCH(dev, count_tokens, d2v_blocks(op->batch, WARPS), dim3(32, WARPS), 0, places, (int32_t *)NULL, *op);
	}
	BY_PACK(dev, embed, tokens, op->width, *op, (const int32_t *)places);
}

// The channels of FLIGHT rows, the numbers of which lanes first, first + 1, ... hold in `row`; -1: none, and nothing is
// loaded, as for a lane past the end.
template <class T, int N> struct flight {
	int from[FLIGHT];
	d2v_bits<T, N> at[FLIGHT];

	__device__ __forceinline__ flight(const T *x, int row, unsigned first, int64_t width, int64_t c) {
#pragma unroll
		for (int r = 0; r < FLIGHT; r++) {
			from[r] = __shfl_sync(0xffffffffu, row, (int)first + r);
			if (c >= width)
				from[r] = -1;
			if (from[r] >= 0)
				at[r] = read_pack<T, N>(x + from[r] * width + c);
		}
	}
	__device__ __forceinline__ void add_to(float (&sum)[N], int r) const {
		if (from[r] < 0)
			return;
		float v[N];
		d2v_bits<T, N> pack = at[r];
		hold_pack(pack);
		unpack(v, pack);
#pragma unroll
		for (int j = 0; j < N; j++)
			sum[j] += v[j];
	}
};

// to += scale * v, or to = v. Packs of the working type can have more elements than a load of floats.
template <bool ADD, int N> static __device__ __forceinline__ void put_floats(float *to, float scale, const float (&v)[N]) {
	constexpr int wide = N < 4 ? N : 4;
#pragma unroll
	for (int i = 0; i < N; i += wide) {
		float part[wide];
		if (ADD)
			load_pack(part, to + i);
#pragma unroll
		for (int j = 0; j < wide; j++)
			part[j] = ADD ? part[j] + scale * v[i + j] : v[i + j];
		store_pack(to + i, part);
	}
}

// Token at a place of the order, -1 outside of it.
static __device__ __forceinline__ int token_at(const d2v_embedding &op, unsigned i, unsigned count) {
	return i < count ? op.x[op.order[i]] : -1;
}

// A chunk's sums of the rows of each of its tokens. The order is sorted, so what a chunk shares with the one before is its
// first token, and with the one after its last: these sums go to partial[chunk, 0] and [chunk, 1], a token that both share
// to the first. All others are whole.
template <class T, int N>
static __global__ void add_runs(unsigned chunks, d2v_embedding op, float *partial, unsigned count) {
	enum { NOTHING = -1, TO_FIRST = -2, TO_LAST = -3 };
	share at = share_of_warp<N>(op.width);
	if (at.item >= chunks)
		return;
	unsigned first = at.item * CHUNK, mine = first + threadIdx.x;
	int token = token_at(op, mine, count), before = token_at(op, first - 1, count), after = token_at(op, first + CHUNK, count);
	int next = __shfl_sync(0xffffffffu, token, ((int)threadIdx.x + 1) % 32);
	bool used = token >= 0 && token != op.pad, last = threadIdx.x == CHUNK - 1 || next != token;
	int row = used ? op.order[mine] : -1;
	int target = !used || !last ? NOTHING : token == before ? TO_FIRST : token == after ? TO_LAST : token;
	float sum[N] = { 0 };
	for (unsigned i = 0; i < CHUNK && first + i < count; i += FLIGHT) {
		flight<T, N> rows((const T *)op.d_y, row, i, op.width, at.c);
#pragma unroll
		for (int r = 0; r < FLIGHT; r++) {
			int to = __shfl_sync(0xffffffffu, target, (int)i + r);
			rows.add_to(sum, r);
			if (to == NOTHING)
				continue;
			if (at.c < op.width && to >= 0)
				put_floats<true>(op.d_table + to * op.width + at.c, op.scale, sum);
			else if (at.c < op.width)
				put_floats<false>(partial + ((int64_t)at.item * 2 + (to == TO_LAST)) * op.width + at.c, 1, sum);
#pragma unroll
			for (int j = 0; j < N; j++)
				sum[j] = 0;
		}
	}
}

// Adds up the token that a chunk is the first of several to have, in the chunks' order.
template <int N>
static __global__ void add_crossing_runs(unsigned chunks, d2v_embedding op, const float *partial, unsigned count) {
	share at = share_of_warp<N>(op.width);
	unsigned next = at.item + 1;
	if (next >= chunks)
		return;
	int token = token_at(op, next * CHUNK, count);
	if (token != token_at(op, next * CHUNK - 1, count) || token == token_at(op, at.item * CHUNK - 1, count) || token == op.pad)
		return;
	bool inside = at.c < op.width;
	float sum[N] = { 0 }, v[N];
	if (inside)
		load_pack(sum, partial + ((int64_t)at.item * 2 + 1) * op.width + at.c);
	for (int many = 32; many == 32; next += 32) { // chunks that begin with the token
		many = __popc(__ballot_sync(0xffffffffu, token_at(op, (next + threadIdx.x) * CHUNK, count) == token));
#pragma unroll 8
		for (int i = 0; i < many; i++) {
			if (inside)
				load_pack(v, partial + (int64_t)(next + i) * 2 * op.width + at.c);
#pragma unroll
			for (int j = 0; j < N && inside; j++)
				sum[j] += v[j];
		}
	}
	if (inside)
		put_floats<true>(op.d_table + token * op.width + at.c, op.scale, sum);
}

static void table_backward(d2v_device *dev, const d2v_embedding *op, int64_t tokens) {
	D2V_ASSERT(op->order);
	int64_t chunks = (tokens + CHUNK - 1) / CHUNK, width = op->width;
	float *partial = (float *)d2v_cuda_scratch(dev, (size_t)(2 * chunks * width) * sizeof *partial);
	if (!partial)
		return;
	BY_PACK(dev, add_runs, chunks, width, *op, partial, (unsigned)tokens);
	if (width % 4 == 0)
		LAUNCH_SHARES(dev, add_crossing_runs<4>, 4, chunks, width, *op, (const float *)partial, (unsigned)tokens);
	else
		LAUNCH_SHARES(dev, add_crossing_runs<1>, 1, chunks, width, *op, (const float *)partial, (unsigned)tokens);
}

// The k-th tokens of all rows have the same position, and no others: their sum, in the order of the rows.
template <class T, int N> static __global__ void add_places(unsigned tokens, d2v_embedding op, const int32_t *rows) {
	share at = share_of_warp<N>(op.width);
	if (at.item >= tokens)
		return;
	unsigned batch = (unsigned)op.batch;
	bool any = false;
	float sum[N] = { 0 };
	for (unsigned b0 = 0; b0 < batch; b0 += 32) {
		int row = b0 + threadIdx.x < batch ? rows[at.item * batch + b0 + threadIdx.x] : -1;
		for (unsigned i = 0; i < 32 && b0 + i < batch; i += FLIGHT) {
			flight<T, N> tokens_of_rows((const T *)op.d_y, row, i, op.width, at.c);
#pragma unroll
			for (int r = 0; r < FLIGHT; r++) {
				tokens_of_rows.add_to(sum, r);
				any |= tokens_of_rows.from[r] >= 0;
			}
		}
	}
	if (any)
		put_floats<true>(op.d_positions + (op.pad + 1 + at.item) * op.width + at.c, 1, sum);
}

static void positions_backward(d2v_device *dev, const d2v_embedding *op, int64_t tokens) {
	int32_t *rows = (int32_t *)d2v_cuda_scratch(dev, (size_t)tokens * sizeof *rows);
	if (!rows)
		return;
	D2V_LAUNCH(dev, count_tokens, d2v_blocks(op->batch, WARPS), dim3(32, WARPS), 0, (int32_t *)NULL, rows, *op);
	BY_PACK(dev, add_places, op->tokens, op->width, *op, (const int32_t *)rows);
}

void d2v_cuda_embedding_backward(d2v_device *dev, const d2v_embedding *op) {
	int64_t tokens = op->batch * op->tokens;
	if (tokens * op->width == 0)
		return;
	if (op->d_table)
		table_backward(dev, op, tokens);
	if (op->d_positions)
		positions_backward(dev, op, tokens);
}
