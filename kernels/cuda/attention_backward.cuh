// What the warps of a block do with a tile of queries on attention's way back (cuda_attention_backward.cu): their keys
// against it, and all keys for its d_q; and how a block's shared memory lies.
#ifndef D2V_KERNELS_CUDA_ATTENTION_BACKWARD_CUH
#define D2V_KERNELS_CUDA_ATTENTION_BACKWARD_CUH

#include "kernels/cuda/attention_tiles.cuh"

#define COLUMNS 32 // queries that a warp has in registers at a time
#define UNIT 32    // channels of d_q that a warp adds up at a time

// M: groups of 16 keys that a warp may have.
template <int SIZE, int M> struct backward_shape {
	static constexpr int warps = M == 1 && SIZE <= 64 ? 12 : 8;    // at most, for their registers
	static constexpr bool own_in_registers = M == 1 && SIZE <= 64; // k's and v's fragments
};

template <class T> struct ds_row {
	T at[TILE + SKEW]; // of a key: dS of a tile's queries
};

// How a launch cuts the work.
struct backward_plan {
	int rounds, warps; // of keys
	int keys;          // of a round: 16 M warps
	int tile, tiles;   // queries of a tile, a multiple of 16
	float *d_q, *sums; // scratch of each block for several rounds: units of d_q, 2 sums a query
	int ahead;         // the block that will probably follow this one is so many heads further
	float *scales;     // (rows, heads) or NULL
	float *columns;    // (rows, 3D) or NULL: sums over a row's tokens
};

// A block's shared memory, each part a multiple of 16 bytes.
template <class T, int SIZE> struct backward_memory {
	float2 *facts;         // of all queries: lse in units of log2, d_out . out
	float *places;         // where they stand
	float *totals;         // one a warp
	float *columns;        // (warps, 3, SIZE) sums over the rows of d_q, d_k and d_v
	head_row<T, SIZE> *k, *v; // the round's keys
	// Of the first of two stages; the second is `stage_bytes` away.
	head_row<T, SIZE> *q, *d_out;
	ds_row<T> *d_s;
	float2 *sums; // per warp and query of the tile: sums of dS and of P * distance
	int stage_bytes;
};

template <class X> static __device__ __forceinline__ X *in_stage(X *first, int stage, int stage_bytes) {
	return (X *)((unsigned char *)first + stage * stage_bytes);
}

template <class T, int SIZE>
static inline __host__ __device__ size_t lay_out(
	backward_memory<T, SIZE> &m, unsigned char *bytes, const backward_plan &plan, bool sums, bool columns) {
	int queries = plan.tiles * plan.tile;
	m.facts = (float2 *)bytes, m.places = (float *)(m.facts + queries), m.totals = m.places + queries;
	m.columns = m.totals + 16;
	m.k = (head_row<T, SIZE> *)(m.columns + (columns ? plan.warps * 3 * SIZE : 0)), m.v = m.k + plan.keys;
	m.q = m.v + plan.keys, m.d_out = m.q + plan.tile;
	m.d_s = (ds_row<T> *)(m.d_out + plan.tile);
	m.sums = (float2 *)(m.d_s + plan.keys);
	m.stage_bytes = (int)((unsigned char *)(m.sums + (sums ? plan.warps * plan.tile : 0)) - (unsigned char *)m.q);
	return (size_t)((unsigned char *)m.q - bytes) + (size_t)m.stage_bytes * (plan.tiles > 1 ? 2 : 1);
}

// What a warp keeps of its keys.
template <int SIZE, int M> struct keys {
	float d_k[M][SIZE / 8][4], d_v[M][SIZE / 8][4];
	uint32_t k[SIZE / 16][4], v[SIZE / 16][4]; // fragments, when own_in_registers
	float place[M][2];                         // rows g, g + 8
	float products;                            // sum of dS * distance
};

// What a block knows of its round.
struct backward_step {
	float scale, slope; // of q . k, of the distance; in units of log2
	float kept;         // dropout's factor: everything but lse and P is without it
	const uint32_t *draws; // of dropout, of the warp's first 16 keys (find_draws)
	int words_of_rows;
	int64_t tokens;
	int keys; // of the round, rounded up to 16
	bool sums;
};

// ---- facts of the queries

// lse, d_out . out and places of all queries; a query that had no key, or is none, gets probabilities of 0. 4 lanes a
// query.
template <class T, int SIZE>
static __device__ __forceinline__ void fetch_facts(const backward_memory<T, SIZE> &m, const d2v_attention &op,
	const backward_plan &plan, int64_t r, int64_t h, float kept) {
	constexpr int at_once = 2;
	int count = plan.tiles * plan.tile, groups = (int)blockDim.x / 4;
	float unkept = kept > 0 ? 1.0f / kept : 0.0f;
	for (int first = (int)threadIdx.x / 4; first < count; first += groups * at_once) { // count: whole warps
		float sum[at_once];
#pragma unroll
		for (int i = 0; i < at_once; i++) {
			int64_t query = first + i * groups, token = query < op.tokens ? query : 0;
			int64_t at = (r * op.tokens + token) * op.width + h * SIZE + threadIdx.x % 4 * 8;
			sum[i] = 0;
#pragma unroll
			for (int pack = 0; pack < SIZE; pack += 32) {
				float a[8], b[8];
				load_pack<T, 8>(a, (const T *)op.d_out + at + pack);
				load_pack<T, 8>(b, (const T *)op.out + at + pack);
#pragma unroll
				for (int e = 0; e < 8; e++)
					sum[i] += a[e] * b[e];
			}
		}
#pragma unroll
		for (int i = 0; i < at_once; i++) {
			int query = first + i * groups;
			float total = row_sum(sum[i]);
			float lse = query < op.tokens ? op.lse[(r * op.heads + h) * op.tokens + query] : -INFINITY;
			if (threadIdx.x % 4 == 0 && query < count) {
				bool there = lse != -INFINITY;
				m.facts[query] = make_float2(there ? lse * LOG2_E : INFINITY, there ? total * unkept : 0.0f);
				m.places[query] = query < op.tokens ? place_of(op, r, query) : 0.0f;
			}
		}
	}
}

// ---- keys against a tile of queries

// s (M * 16 keys, N queries) = own vectors (fragments in registers, or the lane's address) times those of b.
template <int SIZE, int N, int M, bool OWN, class T>
static __device__ __forceinline__ void multiply_queries(
	float (&s)[M][N / 8][4], const uint32_t (&own)[SIZE / 16][4], const T *a_row, const T *b_row) {
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int n = 0; n < N / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				s[m][n][i] = 0;
#pragma unroll
	for (int e = 0; e < SIZE / 16; e++) {
		uint32_t a[M][4];
#pragma unroll
		for (int m = 0; m < M; m++)
			if (OWN) {
#pragma unroll
				for (int i = 0; i < 4; i++)
					a[m][i] = own[e][i];
			} else {
				load_matrices(a[m], a_row + m * 16 * (SIZE + SKEW) + e * 16);
			}
#pragma unroll
		for (int n = 0; n < N / 16; n++) {
			uint32_t b[4];
			load_matrices(b, b_row + n * 16 * (SIZE + SKEW) + e * 16);
#pragma unroll
			for (int m = 0; m < M; m++)
				multiply_16<T>(s[m][2 * n], s[m][2 * n + 1], a[m], b);
		}
	}
}

// Adds up the columns of a warp's x and y over its rows: of column n * 8 + 2 t + i they are in lane (t, 0), as to's x
// and y.
template <int N>
static __device__ __forceinline__ void store_columns(
	float2 *to, const float (&x)[N / 8][2], const float (&y)[N / 8][2]) {
	int lane = threadIdx.x % 32;
	bool second = lane & 4, upper = lane & 8; // lanes that take the second column, and y
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float keep_x = second ? x[n][1] : x[n][0], give_x = second ? x[n][0] : x[n][1];
		float keep_y = second ? y[n][1] : y[n][0], give_y = second ? y[n][0] : y[n][1];
		keep_x += __shfl_xor_sync(0xffffffffu, give_x, 4);
		keep_y += __shfl_xor_sync(0xffffffffu, give_y, 4);
		float sum = (upper ? keep_y : keep_x) + __shfl_xor_sync(0xffffffffu, upper ? keep_x : keep_y, 8);
		sum += __shfl_xor_sync(0xffffffffu, sum, 16);
		if (lane < 16)
			((float *)&to[n * 8 + 2 * (lane % 4) + second])[upper] = sum;
	}
}

// N queries from query `first`, a multiple of 32, at `in_tile` of the stage: d_v, d_k, and dS^T into shared memory.
template <int SIZE, int N, int M, int ROOM, bool BIAS, bool DROP, bool MASK, class T>
static __device__ __forceinline__ void go_over(keys<SIZE, ROOM> &own, const backward_memory<T, SIZE> &m,
	const backward_step &step, int stage, int in_tile, int first, int tile) {
	constexpr bool OWN = backward_shape<SIZE, ROOM>::own_in_registers;
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = (int)threadIdx.x / 32, row = warp * 16 * ROOM;
	const head_row<T, SIZE> *q = in_stage(m.q, stage, m.stage_bytes) + in_tile,
						 *d_out = in_stage(m.d_out, stage, m.stage_bytes) + in_tile;
	uint32_t draws[M];
#pragma unroll
	for (int k = 0; k < M; k++)
		draws[k] = DROP ? read_draws(step.draws + k * step.words_of_rows, first) >> first % D2V_DRAWN_COLUMNS / 2 : 0;
	float s[M][N / 8][4], d_p[M][N / 8][4];
	multiply_queries<SIZE, N, M, OWN>(s, own.k, lane_of_a(m.k + row), lane_of_b(q));
	multiply_queries<SIZE, N, M, OWN>(d_p, own.v, lane_of_a(m.v + row), lane_of_b(d_out));
	float gradients[N / 8][2], distances[N / 8][2];
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		int query = first + n * 8 + 2 * t;
		float4 facts = *(const float4 *)&m.facts[query]; // of two queries
		float2 places = BIAS ? *(const float2 *)&m.places[query] : make_float2(0, 0);
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float lse = i ? facts.z : facts.x, inner = i ? facts.w : facts.y, place = i ? places.y : places.x;
			gradients[n][i] = distances[n][i] = 0;
#pragma unroll
			for (int k = 0; k < 2 * M; k++) {
				float &score = s[k / 2][n][k % 2 * 2 + i], &gradient = d_p[k / 2][n][k % 2 * 2 + i];
				float own_place = own.place[k / 2][k % 2], distance = BIAS ? distance_between(own_place, place) : 0.0f;
				float probability = power_of_2(score * step.scale - (BIAS ? lse + step.slope * distance : lse));
				if (MASK)
					probability = own_place == OUTSIDE ? 0.0f : probability;
				score = !DROP || is_kept(draws[k / 2], n, k % 2, i) ? probability : 0.0f;
				gradient = DROP ? score * gradient - probability * inner : probability * (gradient - inner);
				if (BIAS && step.sums) {
					distance = MASK && own_place == OUTSIDE ? 0.0f : distance;
					gradients[n][i] += gradient;
					distances[n][i] += probability * distance;
					own.products += gradient * distance;
				}
			}
		}
	}
	if (BIAS && step.sums)
		store_columns<N>(in_stage(m.sums, stage, m.stage_bytes) + warp * tile + in_tile, gradients, distances);
	ds_row<T> *d_s = in_stage(m.d_s, stage, m.stage_bytes) + row + g;
#pragma unroll
	for (int n = 0; n < N / 16; n++) {
		uint32_t p[M][4], d[M][4];
#pragma unroll
		for (int k = 0; k < M; k++) {
			pack_fragment<T>(p[k], s[k][2 * n], s[k][2 * n + 1]);
			pack_fragment<T>(d[k], d_p[k][2 * n], d_p[k][2 * n + 1]);
			int column = in_tile + n * 16 + 2 * t;
			*(uint32_t *)&d_s[16 * k].at[column] = d[k][0], *(uint32_t *)&d_s[16 * k + 8].at[column] = d[k][1];
			*(uint32_t *)&d_s[16 * k].at[column + 8] = d[k][2], *(uint32_t *)&d_s[16 * k + 8].at[column + 8] = d[k][3];
		}
#pragma unroll
		for (int c = 0; c < SIZE / 16; c++) {
			uint32_t b[4];
			load_transposed(b, lane_of_a(d_out + n * 16) + c * 16);
#pragma unroll
			for (int k = 0; k < M; k++)
				multiply_16<T>(own.d_v[k][2 * c], own.d_v[k][2 * c + 1], p[k], b);
			load_transposed(b, lane_of_a(q + n * 16) + c * 16);
#pragma unroll
			for (int k = 0; k < M; k++)
				multiply_16<T>(own.d_k[k][2 * c], own.d_k[k][2 * c + 1], d[k], b);
		}
	}
}

// `count` queries, a multiple of 16, for M * 16 keys.
template <int SIZE, int M, int ROOM, bool BIAS, bool DROP, bool MASK, class T>
static __device__ __forceinline__ void go_over_tile(keys<SIZE, ROOM> &own, const backward_memory<T, SIZE> &m,
	const backward_step &step, int stage, int first, int count, int tile) {
	int at = 0;
	for (; at + COLUMNS <= count; at += COLUMNS)
		go_over<SIZE, COLUMNS, M, ROOM, BIAS, DROP, MASK>(own, m, step, stage, at, first + at, tile);
	if (at < count)
		go_over<SIZE, 16, M, ROOM, BIAS, DROP, MASK>(own, m, step, stage, at, first + at, tile);
}

// ---- queries against the round's keys

// d_q (two groups of 16 queries, or the first; UNIT channels) += dS k.
template <class T, int SIZE>
static __device__ __forceinline__ void add_d_q(float (&d_q)[2][UNIT / 8][4], const ds_row<T> *d_s, const head_row<T, SIZE> *k,
	int query, bool both, int channel, int keys) {
	const T *a_row = &d_s[threadIdx.x % 32 / 16 * 8 + threadIdx.x % 8].at[query + threadIdx.x % 16 / 8 * 8];
	const T *b_row = lane_of_a(k) + channel;
#pragma unroll 2
	for (int key = 0; key < keys; key += 16) {
		uint32_t a[2][4];
		load_transposed(a[0], a_row + key * (TILE + SKEW));
		if (both)
			load_transposed(a[1], a_row + key * (TILE + SKEW) + 16);
#pragma unroll
		for (int c = 0; c < UNIT / 16; c++) {
			uint32_t b[4];
			load_transposed(b, b_row + key * (SIZE + SKEW) + c * 16);
			multiply_16<T>(d_q[0][2 * c], d_q[0][2 * c + 1], a[0], b);
			if (both)
				multiply_16<T>(d_q[1][2 * c], d_q[1][2 * c + 1], a[1], b);
		}
	}
}

// The warps that add up d_q take turns. A multiprocessor has four parts, and warp w is in part w % 4: where one or two
// parts have a warp more than the others, those others do it. False: this warp is none of them.
static __device__ __forceinline__ bool find_helper(const backward_plan &plan, int &helper, int &helpers) {
	int warp = (int)threadIdx.x / 32, fuller = plan.warps > 4 ? plan.warps % 4 % 3 : 0;
	helper = warp / 4 * (4 - fuller) + warp % 4 - fuller;
	helpers = fuller ? plan.warps / 4 * (4 - fuller) : plan.warps;
	return warp % 4 >= fuller;
}

// Units of 32 queries and UNIT channels in a tile.
template <int SIZE> static inline __host__ __device__ int units_of(int queries) {
	return (queries + 31) / 32 * (SIZE / UNIT);
}

// d_q of a tile: the round's sum after those of the rounds before. to: of the head.
template <class T, int SIZE>
static __device__ __forceinline__ void go_over_queries(const backward_memory<T, SIZE> &m, const backward_step &step,
	const backward_plan &plan, T *to, int64_t pitch, int stage, int count, int tile, int round, float factor) {
	constexpr int parts = SIZE / UNIT, words = UNIT / 8;
	int helper, helpers, units = units_of<SIZE>(count), before = tile * units_of<SIZE>(plan.tile);
	if (!find_helper(plan, helper, helpers))
		return;
	for (int unit = (helper + helpers - before % helpers) % helpers; unit < units; unit += helpers) {
		int query = unit / parts * 32, channel = unit % parts * UNIT;
		bool both = query + 16 < count;
		// Where the rounds leave a unit's sums: a float4 a lane for every 8 channels.
		float4 *partial =
			(float4 *)plan.d_q + threadIdx.x % 32 +
			((int64_t)blockIdx.x * plan.tiles * units_of<SIZE>(plan.tile) + before + unit) * (2 * words * 32);
		float d_q[2][words][4] = { { { 0 } } };
		if (round)
#pragma unroll
			for (int n = 0; n < 2 * words; n++) {
				float4 sums = partial[n * 32];
				float(&to_add)[4] = d_q[n / words][n % words];
				to_add[0] = sums.x, to_add[1] = sums.y, to_add[2] = sums.z, to_add[3] = sums.w;
			}
		add_d_q(d_q, in_stage(m.d_s, stage, m.stage_bytes), m.k, query, both, channel, step.keys);
		if (round + 1 < plan.rounds) {
#pragma unroll
			for (int n = 0; n < 2 * words; n++) {
				const float(&sums)[4] = d_q[n / words][n % words];
				partial[n * 32] = make_float4(sums[0], sums[1], sums[2], sums[3]);
			}
			continue;
		}
		int64_t first = tile * plan.tile + query;
		store_rows<UNIT>(to + channel, pitch, first, step.tokens, d_q[0], factor, factor);
		if (both)
			store_rows<UNIT>(to + channel, pitch, first + 16, step.tokens, d_q[1], factor, factor);
		if (plan.columns) {
			column_sums<UNIT> sums;
			sums.add(d_q[0]), sums.add(d_q[1]);
			sums.add_to(m.columns + (int)threadIdx.x / 32 * 3 * SIZE + channel);
		}
	}
}

// The sums of dS and of P * distance of a tile's queries over `warps` and the rounds before, a thread a query. After
// the last round: their products, which scale_sums takes back.
template <class T, int SIZE>
static __device__ __forceinline__ float add_scale_sums(
	const backward_memory<T, SIZE> &m, const backward_plan &plan, int warps, int stage, int count, int tile, int round) {
	float correction = 0;
	for (int query = (int)threadIdx.x; query < count; query += (int)blockDim.x) {
		float2 *partial = (float2 *)plan.sums + ((int64_t)blockIdx.x * plan.tiles + tile) * plan.tile + query;
		float2 sums = round ? *partial : make_float2(0, 0);
		for (int warp = 0; warp < warps; warp++) {
			float2 more = in_stage(m.sums, stage, m.stage_bytes)[warp * plan.tile + query];
			sums.x += more.x, sums.y += more.y;
		}
		if (round + 1 < plan.rounds)
			*partial = sums;
		else
			correction += sums.x * sums.y;
	}
	return correction;
}

#endif
