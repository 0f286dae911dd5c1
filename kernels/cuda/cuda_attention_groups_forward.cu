// Attention in bf16, forward, on Hopper's warpgroups, for heads of 64 channels (J. Shah et al., "FlashAttention-3",
// 2024). What is computed is what cuda_attention_forward.cu computes, with a base that is raised when it has to be.
//
// A block has W warpgroups, each with 64 queries whose vectors are in registers, and takes one piece of work after
// another: a head's next 64 W queries. The keys come in batches of 64 W tokens, two batches' room in shared memory: the
// next one, be it another head's, is under way from the barrier that ends the last. So the memory never waits for the
// products. Up to 256 tokens one batch has a whole head and four warpgroups share it: nothing is fetched twice, and
// they meet only where a head ends. For more tokens two blocks of two warpgroups share a multiprocessor.
//
// In a multiprocessor's four parts there are thus four warps each, one of a warpgroup, whose exponentials run under
// the products of the others. Exponentials are for rows that exist: a warp without queries leaves them out, and only
// comes along for the products. 197 tokens cost 256 x 208 scores of products and 208 x 208 of exponentials.
#include "kernels/cuda/attention_groups.cuh"

#define SLACK 8.0f // of a base, in units of log2

// A block's shared memory: two stages of keys and values and of what is known of the tokens; the queries of two pieces
// of work, which take turns of their own.
template <int W> struct forward_batch {
	static constexpr int tokens = W * GROUP_TOKENS, threads = W * GROUP_THREADS;
	static constexpr int elements = tokens * SWIZZLED_ROW; // of one of a stage's three matrices
	static constexpr size_t bytes = 2 * (3 * elements * sizeof(bf16) + 2 * tokens * sizeof(float));
	bf16 *q, *k, *v;
	float *key_places, *query_places;
};
template <int W>
static __device__ __forceinline__ forward_batch<W> find_batch(unsigned char *bytes, int stage, int turn) {
	constexpr int elements = forward_batch<W>::elements, tokens = forward_batch<W>::tokens;
	forward_batch<W> batch;
	batch.k = (bf16 *)bytes + stage * 2 * elements, batch.v = batch.k + elements;
	batch.q = (bf16 *)bytes + (4 + turn) * elements;
	batch.key_places = (float *)((bf16 *)bytes + 6 * elements) + stage * 2 * tokens;
	batch.query_places = batch.key_places + tokens;
	return batch;
}

// A piece of work: 64 W queries of a row's head. Pieces of a head lie together, so that blocks share its keys' way.
struct forward_piece {
	int r, h, first; // query
};
static __device__ __forceinline__ forward_piece find_piece(const d2v_attention &op, unsigned n, int tokens) {
	unsigned pieces = ((unsigned)op.tokens + (unsigned)tokens - 1) / (unsigned)tokens, head = n / pieces;
	forward_piece piece;
	piece.first = (int)(n % pieces) * tokens;
	piece.h = (int)(head % (unsigned)op.heads), piece.r = (int)(head / (unsigned)op.heads);
	return piece;
}

// What stays in registers of a warp's 16 queries; pairs are rows g and g + 8.
struct group_queries {
	float out[GROUP_SIZE / 8][4];
	float top[2], sum[2]; // sum: of this lane's columns
	float place[2];
};

struct forward_step {
	float scale, slope;    // of q . k, of the distance; in units of log2
	const uint32_t *draws; // of dropout: the lane's at key 0 (find_draws)
	int tokens;
	bool idle; // no query is this warp's
};

// Bias and mask. places: of the columns' keys.
template <int N, bool BIAS>
static __device__ __forceinline__ void add_bias(
	float (&s)[8][4], const group_queries &own, const forward_step &step, const float *places) {
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float2 two = *(const float2 *)&places[n * 8 + threadIdx.x % 4 * 2];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			float place = i % 2 ? two.y : two.x;
			if (BIAS)
				s[n][i] = s[n][i] * step.scale - step.slope * distance_between(own.place[i / 2], place);
			s[n][i] = place == OUTSIDE ? -INFINITY : s[n][i];
		}
	}
}

// Moves the bases of the rows to their newest maxima when one has grown by much.
static __device__ __forceinline__ void raise_tops(group_queries &own, const float (&best)[2], float unit) {
	bool grown = best[0] * unit > own.top[0] * unit + SLACK || best[1] * unit > own.top[1] * unit + SLACK;
	if (!__any_sync(0xffffffffu, grown))
		return;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float top = fmaxf(own.top[half], best[half]);
		float shrink = top == -INFINITY ? 0.0f : power_of_2((own.top[half] - top) * unit);
		own.top[half] = top, own.sum[half] *= shrink;
#pragma unroll
		for (int c = 0; c < GROUP_SIZE / 8; c++)
			own.out[c][2 * half] *= shrink, own.out[c][2 * half + 1] *= shrink;
	}
}

// Which of 64 keys each of the warp's queries keeps: of query i lane i has the first 32 keys, a bit each, and lane
// i + 16 the others.
static __device__ __forceinline__ const uint32_t *find_draws(
	const score_draws &draws, int64_t head, int query, int tokens) {
	int lane = (int)threadIdx.x % 32;
	return draws_of(draws, head) + query + lane % 16 + lane / 16 * tokens;
}
static __device__ __forceinline__ uint32_t read_draws(const forward_step &step, int key) {
	return step.draws[key / DRAWN_KEYS * step.tokens];
}

// Scores of N keys become weights, in pairs: a's fragments for the products with the values.
template <int N, bool DROP>
static __device__ __forceinline__ void weigh(
	uint32_t (&p)[N / 16][4], const float (&s)[8][4], group_queries &own, float unit, uint32_t draws) {
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float base = own.top[half] == -INFINITY ? 0.0f : own.top[half] * unit, sum = 0;
		int row = half * 8 + (int)threadIdx.x % 32 / 4;
		uint32_t kept[2] = { 0, 0 }; // of 32 keys each: byte n is of the 8 from key 8 n, its sign of the lane's second
		if (DROP) {
			kept[0] = __shfl_sync(0xffffffffu, draws, row) << (6 - threadIdx.x % 4 * 2);
			kept[1] = N > 32 ? __shfl_sync(0xffffffffu, draws, row + 16) << (6 - threadIdx.x % 4 * 2) : 0;
		}
#pragma unroll
		for (int n = 0; n < N / 8; n++) {
			float weight[2];
#pragma unroll
			for (int i = 0; i < 2; i++) {
				weight[i] = power_of_2(s[n][2 * half + i] * unit - base);
				sum += weight[i];
			}
			uint32_t &pair = p[n / 2][n % 2 * 2 + half];
			pair = round_pair<bf16>(weight[0], weight[1]);
			if (DROP)
				pair &= spread_signs(kept[n / 4] << 1, kept[n / 4], n % 4);
		}
		own.sum[half] += sum;
	}
}

// The weights of N keys, and the sums beside them, from their scores.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void weigh_keys(uint32_t (&p)[N / 16][4], float (&s)[8][4], group_queries &own,
	const forward_step &step, const float *places, bool masked, uint32_t draws) {
	if (BIAS || masked)
		add_bias<N, BIAS>(s, own, step, places);
	float unit = BIAS ? 1.0f : step.scale, best[2]; // unit: of s
#pragma unroll
	for (int half = 0; half < 2; half++) {
		best[half] = -INFINITY;
#pragma unroll
		for (int n = 0; n < N / 8; n++)
			best[half] = fmaxf(best[half], fmaxf(s[n][2 * half], s[n][2 * half + 1]));
		best[half] = row_max(best[half]);
	}
	raise_tops(own, best, unit);
	weigh<N, DROP>(p, s, own, unit, draws);
}

// A batch's matrices, the queries being the warpgroup's, and what else its steps have in common.
struct forward_work {
	shared_matrix q, k, v;
	const float *places;
	int first; // key
};

// s = the scores of 64 keys, as products that are under way.
static __device__ __forceinline__ void start_scores(float (&s)[8][4], const forward_work &work, int at) {
#pragma unroll
	for (int e = 0; e < GROUP_SIZE / 16; e++)
		multiply<GROUP_TOKENS, ROWS, ROWS>(
			s, from_element(work.q, e * 16), from_element(from_row(work.k, at), e * 16), e > 0);
}

// N keys from key `at` of the batch, whose scores s are there; with NEXT s becomes the scores of the 64 after them, and
// draws theirs.
template <int N, bool NEXT, bool BIAS, bool DROP>
static __device__ __forceinline__ void attend_keys(float (&s)[8][4], uint32_t &draws, group_queries &own,
	const forward_step &step, const forward_work &work, int at, bool masked) {
	uint32_t p[N / 16][4];
	if (step.idle) {
#pragma unroll
		for (int n = 0; n < N / 16; n++)
			p[n][0] = p[n][1] = p[n][2] = p[n][3] = 0;
	} else {
		weigh_keys<N, BIAS, DROP>(p, s, own, step, work.places + at, masked, draws);
	}
	products_fence();
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.out, p[n], from_row(work.v, at + n * 16), true);
	if (NEXT)
		start_scores(s, work, at + N);
	products_commit();
	if (NEXT && DROP && !step.idle)
		draws = read_draws(step, work.first + at + N);
	products_wait<0>();
}

template <bool BIAS, bool DROP>
static __device__ __forceinline__ void attend_batch(
	group_queries &own, const forward_step &step, const forward_work &work, int most, bool padded) {
	int left = step.tokens - work.first, count = covered_tokens(left, most), at = 0;
	float s[8][4];
	products_fence();
	start_scores(s, work, 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step, work.first) : 0;
	products_wait<0>();
	for (; at + GROUP_TOKENS < count; at += GROUP_TOKENS)
		attend_keys<GROUP_TOKENS, true, BIAS, DROP>(s, draws, own, step, work, at, padded);
	if (at + GROUP_TOKENS == count)
		attend_keys<GROUP_TOKENS, false, BIAS, DROP>(s, draws, own, step, work, at, padded || left < count);
	else
		attend_keys<16, false, BIAS, DROP>(s, draws, own, step, work, at, padded || left < count);
}

static __device__ __forceinline__ void start_queries(group_queries &own) {
#pragma unroll
	for (int half = 0; half < 2; half++) {
		own.top[half] = -INFINITY, own.sum[half] = 0;
#pragma unroll
		for (int c = 0; c < GROUP_SIZE / 8; c++)
			own.out[c][2 * half] = own.out[c][2 * half + 1] = 0;
	}
}

// out and lse of the warp's queries from `first`.
static __device__ __forceinline__ void finish_queries(
	const d2v_attention &op, const group_queries &own, const forward_piece &piece, int first, float unit, float kept) {
	bf16 *to = (bf16 *)op.out + piece.r * op.tokens * op.width + piece.h * GROUP_SIZE;
	float *lse = op.lse + (piece.r * op.heads + piece.h) * op.tokens, factor[2];
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float sum = row_sum(own.sum[half]);
		int token = first + (int)threadIdx.x % 32 / 4 + 8 * half;
		factor[half] = sum > 0 ? kept / sum : 0.0f;
		if (threadIdx.x % 4 == 0 && token < op.tokens)
			lse[token] = sum > 0 ? own.top[half] * unit * LN_2 + logf(sum) : -INFINITY;
	}
	store_rows<GROUP_SIZE>(to, op.width, first, op.tokens, own.out, factor[0], factor[1]);
}

// Starts the copies of a piece's keys from key `first`, with the first of them its queries.
template <int W>
static __device__ __forceinline__ void fetch_batch(
	const forward_batch<W> &batch, const d2v_attention &op, const forward_piece &piece, int first) {
	constexpr int COUNT = forward_batch<W>::tokens, THREADS = forward_batch<W>::threads;
	int tokens = (int)op.tokens;
	int64_t pitch = 3 * op.width;
	const bf16 *from = (const bf16 *)op.qkv + piece.r * op.tokens * pitch + piece.h * GROUP_SIZE;
	if (first == 0)
		fetch_tokens<COUNT, THREADS>(
			batch.q, from, pitch, piece.first, covered_tokens(tokens - piece.first, COUNT), tokens);
	int count = covered_tokens(tokens - first, COUNT);
	fetch_tokens<COUNT, THREADS>(batch.k, from + op.width, pitch, first, count, tokens);
	fetch_tokens<COUNT, THREADS>(batch.v, from + 2 * op.width, pitch, first, count, tokens);
}

// The thread's token of a batch, half of the threads having a key each, the others a query, and what memory says of it:
// loads that nobody waits for before place_at.
struct batch_token {
	int token, position;
	bool is_key;
	uint8_t padded;
};
template <int W, bool BIAS>
static __device__ __forceinline__ batch_token find_token(
	const d2v_attention &op, const forward_piece &piece, int first) {
	constexpr int COUNT = forward_batch<W>::tokens;
	batch_token at;
	at.is_key = (int)threadIdx.x < COUNT, at.token = (at.is_key ? first : piece.first) + (int)threadIdx.x % COUNT;
	at.position = at.token - (int)op.extra, at.padded = 0;
	if (BIAS && op.positions && at.token < op.tokens && at.position >= 0)
		at.position = op.positions[piece.r * (op.tokens - op.extra) + at.position];
	if (op.key_padding && at.is_key && at.token < op.tokens)
		at.padded = op.key_padding[piece.r * op.tokens + at.token];
	return at;
}
template <bool BIAS> static __device__ __forceinline__ float place_at(const d2v_attention &op, const batch_token &at) {
	if (at.is_key && (at.padded || at.token >= op.tokens))
		return OUTSIDE;
	if (!BIAS)
		return 0;
	return at.token < op.extra ? NAN : (float)at.position;
}

template <int W, bool BIAS, bool DROP>
static __global__ void __launch_bounds__(GROUP_THREADS *W, 4 / W)
	attend_groups(d2v_attention op, score_draws draws, unsigned pieces) {
	constexpr int COUNT = forward_batch<W>::tokens;
	D2V_SHARED_MATRICES(bytes);
	int warp = warp_number(), own_row = warp * 16, group_row = warp / 4 * GROUP_TOKENS, stage = 0, turn = 0;
	forward_step step;
	step.scale = LOG2_E / sqrtf((float)GROUP_SIZE), step.tokens = (int)op.tokens;
	unsigned n = blockIdx.x;
	forward_piece piece = find_piece(op, n, COUNT);
	forward_batch<W> batch = find_batch<W>(bytes, 0, 0);
	fetch_batch<W>(batch, op, piece, 0);
	copy_commit();
	batch.key_places[threadIdx.x] = place_at<BIAS>(op, find_token<W, BIAS>(op, piece, 0));
	for (; n < pieces; n += gridDim.x, turn ^= 1) {
		piece = find_piece(op, n, COUNT);
		group_queries own;
		start_queries(own);
		step.slope = BIAS ? LOG2_E * make_alibi(op, piece.h).factor : 0.0f;
		if (DROP)
			step.draws = find_draws(draws, piece.r * op.heads + piece.h, piece.first + own_row, step.tokens);
		step.idle = piece.first + own_row >= step.tokens;
		for (int first = 0; first < step.tokens; first += COUNT, stage ^= 1) {
			copy_wait<0>();
			shared_fence();
			__syncthreads(); // this batch is there, the last one is done with
			unsigned next = first + COUNT < step.tokens ? n : n + gridDim.x;
			int next_first = next == n ? first + COUNT : 0;
			forward_piece next_piece = find_piece(op, next, COUNT);
			forward_batch<W> next_batch = find_batch<W>(bytes, stage ^ 1, next == n ? turn : turn ^ 1);
			batch_token next_token = {};
			batch = find_batch<W>(bytes, stage, turn);
			if (next < pieces) {
				fetch_batch<W>(next_batch, op, next_piece, next_first);
				next_token = find_token<W, BIAS>(op, next_piece, next_first);
			}
			copy_commit();
			if (first == 0) {
				own.place[0] = batch.query_places[own_row + (int)threadIdx.x % 32 / 4];
				own.place[1] = batch.query_places[own_row + (int)threadIdx.x % 32 / 4 + 8];
			}
			forward_work work = { from_row(find_matrix(batch.q), group_row), find_matrix(batch.k), find_matrix(batch.v),
				batch.key_places, first };
			if (piece.first + group_row < step.tokens)
				attend_batch<BIAS, DROP>(own, step, work, COUNT, op.key_padding);
			next_batch.key_places[threadIdx.x] = place_at<BIAS>(op, next_token);
		}
		if (!step.idle)
			finish_queries(op, own, piece, piece.first + own_row, BIAS ? 1.0f : step.scale, DROP ? draws.kept : 1.0f);
	}
}

template <int W, bool BIAS, bool DROP>
static void launch_groups(d2v_device *dev, const d2v_attention *op, const score_draws &draws) {
	int64_t tokens = forward_batch<W>::tokens, pieces = op->rows * op->heads * ((op->tokens + tokens - 1) / tokens);
	int64_t blocks = gpu_property(cudaDevAttrMultiProcessorCount, 1) * (4 / W);
	D2V_LAUNCH(dev, (attend_groups<W, BIAS, DROP>), (unsigned)min(pieces, blocks), forward_batch<W>::threads,
		forward_batch<W>::bytes, *op, draws, (unsigned)pieces);
}

template <bool BIAS, bool DROP> static void launch(d2v_device *dev, const d2v_attention *op) {
	score_draws draws;
	if (!d2v_cuda_attention_draw(dev, op, &draws, 0, NULL))
		return;
	if (op->tokens > 2 * GROUP_TOKENS && op->tokens <= 4 * GROUP_TOKENS)
		launch_groups<4, BIAS, DROP>(dev, op, draws);
	else
		launch_groups<2, BIAS, DROP>(dev, op, draws);
}

void d2v_cuda_attention_groups_forward(d2v_device *dev, const d2v_attention *op) {
	constexpr int SIZE = GROUP_SIZE;
	BY_RULES(op, launch<BIAS, DROP>(dev, op));
}

// Compute capability 9.x, of which alone sm_90a is.
bool d2v_cuda_attention_fits_groups(d2v_device *dev, const d2v_attention *op) {
	return d2v_cuda_is_bf16(dev) && op->width == op->heads * GROUP_SIZE &&
		   gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9;
}
