// Attention in 16 bits on the tensor cores, forward, without a matrix of scores in memory (T. Dao, "FlashAttention-2",
// 2023): a running maximum and sum per query while the keys go by.
//
// A block has up to 256 queries of one head, a warp 32 of them (16 where heads are large), so that what is read of the
// keys serves two products; the second 16 are skipped where there are none. The keys come by asynchronous copies in
// tiles of 64, cut to a multiple of 16: 197 tokens cost 208. Up to 256 all are under way from the start and nothing is
// fetched twice; beyond, two tiles take turns. Two such blocks or more share a multiprocessor, so that one computes
// while another fetches; short heads, bound by memory, make small blocks, many at a time.
//
// The maximum is a base only, so it need not be the newest: rescaling waits until it has grown by a factor of 2^8.
#include "kernels/cuda/attention_tiles.cuh"

#define WARPS 8    // of a block, at most
#define SLACK 8.0f // of a base, in units of log2

// M: groups of 16 queries that a warp may have.
template <int SIZE> struct forward_shape {
	static constexpr int M = SIZE <= 64 ? 2 : 1;
	static constexpr int rows = 16 * M;
	static constexpr int blocks = SIZE <= 64 ? 2 : 1; // that a multiprocessor is to hold
};

// What stays in registers of M times 16 queries.
template <int SIZE, int M> struct queries {
	float out[M][SIZE / 8][4];
	float top[M][2], sum[M][2]; // rows g, g + 8; sum: of this lane's columns
	float place[M][2];
};

// A block's shared memory, in this order, each part a multiple of 16 bytes.
template <class T, int SIZE> struct forward_memory {
	head_row<T, SIZE> *q, *k, *v; // k, v: a ring of tiles
	float *places;             // of all keys
};

// Tiles in shared memory at a time, a power of 2: all of up to 256 keys where heads are small.
template <int SIZE> static inline __host__ __device__ int stages_of(int64_t tokens) {
	return SIZE <= 64 && tokens <= 4 * TILE ? 4 : 2;
}
template <int SIZE> static inline __host__ __device__ int64_t ring_rows(int64_t tokens) {
	int64_t rows = (tokens + 15) / 16 * 16, most = stages_of<SIZE>(tokens) * TILE;
	return rows < most ? rows : most;
}

template <class T, int SIZE>
static __device__ __forceinline__ forward_memory<T, SIZE> lay_out(unsigned char *bytes, int rows, int64_t tokens) {
	forward_memory<T, SIZE> m;
	int64_t ring = ring_rows<SIZE>(tokens);
	m.q = (head_row<T, SIZE> *)bytes;
	m.k = m.q + rows, m.v = m.k + ring;
	m.places = (float *)(m.v + ring);
	return m;
}

// What all steps of a warp have in common.
struct forward_step {
	float scale, slope;    // of q . k, of the distance; in units of log2
	const uint32_t *draws; // of dropout, of the first 16 queries (find_draws)
	int words_of_rows;
	int64_t tokens;
};

// Scores of M * 16 queries and COLUMNS keys, in units of log2 with BIAS, else of q . k.
template <int SIZE, int M, int COLUMNS, class T>
static __device__ __forceinline__ void multiply_keys(float (&s)[M][COLUMNS / 8][4], const T *q, const T *k) {
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				s[m][n][i] = 0;
#pragma unroll
	for (int e = 0; e < SIZE; e += 16) {
		uint32_t a[M][4];
#pragma unroll
		for (int m = 0; m < M; m++)
			load_matrices(a[m], q + m * 16 * (SIZE + SKEW) + e);
#pragma unroll
		for (int n = 0; n < COLUMNS / 16; n++) {
			uint32_t b[4];
			load_matrices(b, k + n * 16 * (SIZE + SKEW) + e);
#pragma unroll
			for (int m = 0; m < M; m++)
				multiply_16<T>(s[m][2 * n], s[m][2 * n + 1], a[m], b);
		}
	}
}

// Bias and mask. places: of the columns' keys.
template <bool BIAS, int M, int COLUMNS, int SIZE>
static __device__ __forceinline__ void add_bias(
	float (&s)[M][COLUMNS / 8][4], const queries<SIZE, 2> &own, const forward_step &step, const float *places) {
	int t = threadIdx.x % 4;
#pragma unroll
	for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float place = places[n * 8 + 2 * t + i];
			bool outside = place == OUTSIDE;
#pragma unroll
			for (int m = 0; m < M; m++)
#pragma unroll
				for (int half = 0; half < 2; half++) {
					float &score = s[m][n][2 * half + i];
					if (BIAS)
						score = score * step.scale - step.slope * distance_between(own.place[m][half], place);
					score = outside ? -INFINITY : score;
				}
		}
}

// Moves the bases of all rows to their newest maxima when one has grown by much.
template <int SIZE, int M>
static __device__ __forceinline__ void raise_tops(queries<SIZE, 2> &own, const float (&best)[M][2], float unit) {
	bool grown = false;
#pragma unroll
	for (int m = 0; m < M; m++)
		grown = grown || best[m][0] * unit > own.top[m][0] * unit + SLACK ||
				best[m][1] * unit > own.top[m][1] * unit + SLACK;
	if (!__any_sync(0xffffffffu, grown))
		return;
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			float top = fmaxf(own.top[m][half], best[m][half]);
			float shrink = own.top[m][half] == -INFINITY ? 0.0f : power_of_2((own.top[m][half] - top) * unit);
			own.top[m][half] = top;
			own.sum[m][half] *= shrink;
#pragma unroll
			for (int n = 0; n < SIZE / 8; n++) {
				own.out[m][n][2 * half] *= shrink;
				own.out[m][n][2 * half + 1] *= shrink;
			}
		}
}

// COLUMNS keys for M * 16 queries. q, k, v: this lane's addresses (lane_of_a, lane_of_b, lane_of_a); first: the first
// key, a multiple of 32.
template <int SIZE, int M, int COLUMNS, bool BIAS, bool DROP, class T>
static __device__ __forceinline__ void attend_keys(queries<SIZE, 2> &own, const forward_step &step, const T *q,
	const T *k, const T *v, const float *places, int first, bool masked) {
	uint32_t draws[M];
#pragma unroll
	for (int m = 0; m < M; m++)
		draws[m] = DROP ? read_draws(step.draws + m * step.words_of_rows, first) >> first % D2V_DRAWN_COLUMNS / 2 : 0;
	float s[M][COLUMNS / 8][4], best[M][2];
	multiply_keys<SIZE, M, COLUMNS>(s, q, k);
	if (BIAS || masked)
		add_bias<BIAS, M, COLUMNS, SIZE>(s, own, step, places);
	float unit = BIAS ? 1.0f : step.scale; // of s
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			best[m][half] = -INFINITY;
#pragma unroll
			for (int n = 0; n < COLUMNS / 8; n++)
				best[m][half] = fmaxf(best[m][half], fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
			best[m][half] = row_max(best[m][half]);
		}
	raise_tops<SIZE, M>(own, best, unit);
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			float base = own.top[m][half] == -INFINITY ? 0.0f : own.top[m][half] * unit, sum = 0;
#pragma unroll
			for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
				for (int i = 0; i < 2; i++) {
					float weight = power_of_2(s[m][n][2 * half + i] * unit - base);
					sum += weight;
					s[m][n][2 * half + i] = !DROP || is_kept(draws[m], n, half, i) ? weight : 0.0f;
				}
			own.sum[m][half] += sum;
		}
#pragma unroll
	for (int n = 0; n < COLUMNS / 16; n++)
#pragma unroll
		for (int c = 0; c < SIZE / 16; c++) {
			uint32_t b[4];
			load_transposed(b, v + n * 16 * (SIZE + SKEW) + c * 16);
#pragma unroll
			for (int m = 0; m < M; m++) {
				uint32_t a[4];
				pack_fragment<T>(a, s[m][2 * n], s[m][2 * n + 1]);
				multiply_16<T>(own.out[m][2 * c], own.out[m][2 * c + 1], a, b);
			}
		}
}

// A tile of keys for M * 16 queries.
template <int SIZE, int M, bool BIAS, bool DROP, class T>
static __device__ __forceinline__ void attend_tile(queries<SIZE, 2> &own, const forward_step &step, const T *q,
	const head_row<T, SIZE> *k, const head_row<T, SIZE> *v, const float *places, int first, bool masked) {
	int left = (int)step.tokens - first, count = left < TILE ? (left + 15) / 16 * 16 : TILE, at = 0;
	masked = masked || left < TILE;
	for (; at + 32 <= count; at += 32)
		attend_keys<SIZE, M, 32, BIAS, DROP>(
			own, step, q, lane_of_b(k + at), lane_of_a(v + at), places + at, first + at, masked);
	if (at < count)
		attend_keys<SIZE, M, 16, BIAS, DROP>(
			own, step, q, lane_of_b(k + at), lane_of_a(v + at), places + at, first + at, masked);
}

// out and lse of M * 16 queries from `first`.
template <class T, int SIZE, int M>
static __device__ __forceinline__ void finish_queries(
	const d2v_attention &op, queries<SIZE, 2> &own, int64_t r, int64_t h, int64_t first, float unit, float kept) {
	T *to = (T *)op.out + r * op.tokens * op.width + h * SIZE;
	float *lse = op.lse + (r * op.heads + h) * op.tokens;
#pragma unroll
	for (int m = 0; m < M; m++) {
		float factor[2];
#pragma unroll
		for (int half = 0; half < 2; half++) {
			float sum = row_sum(own.sum[m][half]);
			int64_t token = first + m * 16 + threadIdx.x % 32 / 4 + 8 * half;
			factor[half] = sum > 0 ? kept / sum : 0.0f;
			if (threadIdx.x % 4 == 0 && token < op.tokens)
				lse[token] = sum > 0 ? own.top[m][half] * unit * LN_2 + logf(sum) : -INFINITY;
		}
		store_rows<SIZE>(to, op.width, first + m * 16, op.tokens, own.out[m], factor[0], factor[1]);
	}
}

// ONE: all keys are one tile, so that nothing takes turns. The students of pictures have so few, and are bound by memory:
// the fewer instructions between the copies and the first product, the better.
template <class T, int SIZE, bool BIAS, bool DROP, bool ONE>
static __global__ void __launch_bounds__(32 * WARPS, forward_shape<SIZE>::blocks)
	attend_head(d2v_attention op, score_draws draws) {
	constexpr int ROWS = forward_shape<SIZE>::rows;
	D2V_SHARED(unsigned char, bytes);
	int block_rows = (int)blockDim.x / 32 * ROWS, warp = (int)threadIdx.x / 32;
	unsigned pieces = ((unsigned)op.tokens + (unsigned)block_rows - 1) / (unsigned)block_rows, n = blockIdx.x / pieces;
	unsigned heads = (unsigned)op.heads;
	int64_t start = blockIdx.x % pieces * block_rows, h = n % heads, r = n / heads;
	int64_t pitch = 3 * op.width, first = start + warp * ROWS;
	int tokens = (int)op.tokens, tiles = ONE ? 1 : (tokens + TILE - 1) / TILE;
	int stages = ONE ? 1 : stages_of<SIZE>(tokens);
	forward_memory<T, SIZE> memory = lay_out<T, SIZE>(bytes, block_rows, op.tokens);
	const T *vectors = (const T *)op.qkv + r * op.tokens * pitch + h * SIZE;
	auto fetch_tile = [&](int tile) {
		if (tile < tiles) {
			int at = tile * TILE, stage = tile & (stages - 1), left = tokens - at,
				count = left < TILE ? (left + 15) / 16 * 16 : TILE;
			fetch_rows<SIZE>(memory.k + stage * TILE, vectors + op.width, pitch, at, count, tokens);
			fetch_rows<SIZE>(memory.v + stage * TILE, vectors + 2 * op.width, pitch, at, count, tokens);
		}
		copy_commit();
	};
	fetch_rows<SIZE>(memory.q, vectors, pitch, (int)start, block_rows, tokens);
	for (int tile = 0; tile < (ONE ? 1 : stages - 1); tile++)
		fetch_tile(tile);
	for (int i = (int)threadIdx.x; i < tiles * TILE; i += (int)blockDim.x)
		memory.places[i] = key_place(op, r, i);
	queries<SIZE, 2> own;
	forward_step step;
	step.scale = LOG2_E / sqrtf((float)SIZE), step.slope = LOG2_E * make_alibi(op, h).factor;
	step.tokens = op.tokens;
	step.draws = DROP ? find_draws(draws.of_queries, draws, n, (int)first) : NULL;
	step.words_of_rows = draws.words_of_rows;
#pragma unroll
	for (int m = 0; m < 2; m++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			int64_t token = first + m * 16 + threadIdx.x % 32 / 4 + 8 * half;
			own.top[m][half] = -INFINITY, own.sum[m][half] = 0;
			own.place[m][half] = BIAS && token < op.tokens ? place_of(op, r, token) : 0.0f;
#pragma unroll
			for (int c = 0; c < SIZE / 8; c++)
				own.out[m][c][2 * half] = own.out[m][c][2 * half + 1] = 0;
		}
	const T *q = lane_of_a(memory.q + warp * ROWS);
	bool masked = op.key_padding;
	int left = tokens - (int)first;
	for (int tile = 0; tile < tiles; tile++) {
		if (ONE || stages == 2)
			copy_wait<0>();
		else
			copy_wait<2>();
		__syncthreads(); // this tile is there, the last one is done with
		if (!ONE)
			fetch_tile(tile + stages - 1);
		int stage = (tile & (stages - 1)) * TILE;
		const head_row<T, SIZE> *k = memory.k + stage, *v = memory.v + stage;
		const float *places = memory.places + tile * TILE;
		if (ROWS > 16 && left > 16)
			attend_tile<SIZE, forward_shape<SIZE>::M, BIAS, DROP>(
				own, step, q, k, v, places, tile * TILE, masked);
		else if (left > 0)
			attend_tile<SIZE, 1, BIAS, DROP>(own, step, q, k, v, places, tile * TILE, masked);
	}
	float unit = BIAS ? 1.0f : step.scale, kept = DROP ? draws.kept : 1.0f;
	if (ROWS > 16 && left > 16)
		finish_queries<T, SIZE, forward_shape<SIZE>::M>(op, own, r, h, first, unit, kept);
	else if (left > 0)
		finish_queries<T, SIZE, 1>(op, own, r, h, first, unit, kept);
}

bool d2v_cuda_attention_is_tensor(d2v_device *dev, const d2v_attention *op) {
	int64_t size = op->width / op->heads;
	bool others = d2v_cuda_is_bf16(dev) && (size == 32 || size == 96 || size == 128); // BY_HEAD
	return others || (d2v_cuda_is_16_bit(dev) && size == 64);
}

template <class T, int SIZE> static size_t shared_of(int64_t warps, int64_t tokens) {
	size_t rows = (size_t)(warps * forward_shape<SIZE>::rows + 2 * ring_rows<SIZE>(tokens));
	return rows * sizeof(head_row<T, SIZE>) + (size_t)round_up(tokens, TILE) * sizeof(float);
}

template <class T, int SIZE, bool BIAS, bool DROP> static void launch(d2v_device *dev, const d2v_attention *op) {
	int64_t groups = (op->tokens + forward_shape<SIZE>::rows - 1) / forward_shape<SIZE>::rows, most = WARPS;
	while (most > 1 && shared_of<T, SIZE>(min(most, groups), op->tokens) > most_shared())
		most--;
	int64_t pieces = (groups + most - 1) / most, warps = (groups + pieces - 1) / pieces;
	size_t shared = shared_of<T, SIZE>(warps, op->tokens);
	if (shared > most_shared()) {
		say_too_long(dev, op);
		return;
	}
	unsigned blocks = (unsigned)(op->rows * op->heads * ((groups + warps - 1) / warps)), threads = (unsigned)(32 * warps);
	score_draws draws;
	if (!d2v_cuda_attention_draw(dev, op, &draws))
		return;
	if constexpr (SIZE == 64 && !BIAS)
		if (op->tokens <= TILE) {
			D2V_LAUNCH(dev, (attend_head<T, SIZE, BIAS, DROP, true>), blocks, threads, shared, *op, draws);
			return;
		}
	D2V_LAUNCH(dev, (attend_head<T, SIZE, BIAS, DROP, false>), blocks, threads, shared, *op, draws);
}

void d2v_cuda_attention_tensor_forward(d2v_device *dev, const d2v_attention *op) {
	BY_HEAD(dev, op, BY_RULES(op, launch<T, SIZE, BIAS, DROP>(dev, op)));
}
