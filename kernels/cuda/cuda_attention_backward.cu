// Attention in 16 bits on the tensor cores, backward: scores computed again from lse, nothing of their size in memory, and
// five products a score where separate passes for queries and keys would need seven.
//
// A block takes one head, or several after another. Its warps have 16 or 32 keys each, whose d_k and d_v stay in
// registers while the queries go by in tiles of 64: S^T = k q^T and dP^T = v d_out^T come out as the next products want
// them, d_v += P^T d_out and d_k += dS^T q. dS goes through shared memory, twice buffered, so that one barrier a tile
// is enough; after it some of the warps add d_q = dS k over all keys of the block, in units of 32 queries and 32
// channels. Heads with more keys than the warps have take them in several rounds of equal size: d_q then grows in
// scratch memory that belongs to the block, in the order of the rounds. So every sum has one order, and no atomics are
// needed.
//
// Column sums, for the gradient of qkv's bias, are taken of what is stored when it is: each warp has places for them in shared
// memory, and what a head's warps have is added up in order behind its last round.
//
// 32 keys a warp halve what is read of the queries, but leave registers for 8 warps only; 16 a warp leave them for 12.
// Which is better depends on what the number of tokens leaves over (count_cost).
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

// ---- a head

// Where one row and head are.
template <class T> struct head_place {
	const T *qkv, *d_out;
	T *d_qkv;
	int64_t r, h, pitch; // of qkv and d_qkv
};

template <class T, int SIZE> static __device__ __forceinline__ head_place<T> find_head(const d2v_attention &op, int64_t n) {
	head_place<T> at;
	unsigned heads = (unsigned)op.heads;
	at.h = (unsigned)n % heads, at.r = (unsigned)n / heads, at.pitch = 3 * op.width;
	at.qkv = (const T *)op.qkv + at.r * op.tokens * at.pitch + at.h * SIZE;
	at.d_out = (const T *)op.d_out + at.r * op.tokens * op.width + at.h * SIZE;
	at.d_qkv = (T *)op.d_qkv + at.r * op.tokens * at.pitch + at.h * SIZE;
	return at;
}

// Has the head that the multiprocessor will turn to next brought into the cache while it is busy with this one: a block
// that fills it alone has nobody else to wait with.
template <class T, int SIZE> static __device__ __forceinline__ void announce_head(const d2v_attention &op, int64_t n) {
	if (n >= op.rows * op.heads)
		return;
	head_place<T> at = find_head<T, SIZE>(op, n);
	for (int i = (int)threadIdx.x; i < 5 * (int)op.tokens; i += (int)blockDim.x) {
		int64_t token = i / 5, part = i % 5;
		const T *out = (const T *)op.out + (at.d_out - (const T *)op.d_out);
		prefetch(
			part < 3 ? at.qkv + token * at.pitch + part * op.width : (part == 3 ? at.d_out : out) + token * op.width);
	}
}

template <int SIZE, int M, class T>
static __device__ __forceinline__ void start_keys(
	keys<SIZE, M> &own, const d2v_attention &op, const head_place<T> &at, int64_t first) {
	own.products = 0;
#pragma unroll
	for (int m = 0; m < M; m++) {
#pragma unroll
		for (int half = 0; half < 2; half++)
			own.place[m][half] = key_place(op, at.r, first + m * 16 + threadIdx.x % 32 / 4 + 8 * half);
#pragma unroll
		for (int n = 0; n < SIZE / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				own.d_k[m][n][i] = own.d_v[m][n][i] = 0;
	}
}

// Adds the columns of a warp's d_k and d_v to its sums. (Keys that do not exist have zeros.)
template <int SIZE, int M> static __device__ __forceinline__ void add_columns(float *to, const keys<SIZE, M> &own) {
	column_sums<SIZE> d_k, d_v;
#pragma unroll
	for (int m = 0; m < M; m++)
		d_k.add(own.d_k[m]), d_v.add(own.d_v[m]);
	d_k.add_to(to), d_v.add_to(to + SIZE);
}

// A round of keys against all queries. next: the head to come. Returns what the thread knows of the scale's gradient.
template <int SIZE, int M, bool BIAS, bool DROP, class T>
static __device__ __forceinline__ float go_round(const backward_memory<T, SIZE> &m, const d2v_attention &op,
	const backward_plan &plan, backward_step step, const head_place<T> &at, int64_t next, int round, float root) {
	int warp = (int)threadIdx.x / 32, tokens = (int)op.tokens, start = round * plan.keys, first = start + warp * 16 * M;
	auto count_of = [&](int tile) {
		int left = tokens - tile * plan.tile;
		return left < plan.tile ? (left + 15) / 16 * 16 : plan.tile;
	};
	auto fetch_tile = [&](int tile) {
		if (tile < plan.tiles) {
			head_row<T, SIZE> *q = in_stage(m.q, tile % 2, m.stage_bytes),
						   *d_out = in_stage(m.d_out, tile % 2, m.stage_bytes);
			fetch_rows<SIZE>(q, at.qkv, at.pitch, tile * plan.tile, count_of(tile), tokens);
			fetch_rows<SIZE>(d_out, at.d_out, op.width, tile * plan.tile, count_of(tile), tokens);
		}
		copy_commit();
	};
	step.keys = min(plan.keys, (tokens - start + 15) / 16 * 16);
	fetch_rows<SIZE>(m.k, at.qkv + op.width, at.pitch, start, step.keys, tokens);
	fetch_rows<SIZE>(m.v, at.qkv + 2 * op.width, at.pitch, start, step.keys, tokens);
	fetch_tile(0);
	if (round == 0)
		fetch_facts(m, op, plan, at.r, at.h, step.kept);
	keys<SIZE, M> own;
	start_keys<SIZE, M>(own, op, at, first);
	step.draws += DROP ? first / D2V_DRAWN_ROWS * step.words_of_rows : 0;
	int groups = (tokens - first + 15) / 16; // of the warp's keys
	bool masked = op.key_padding || first + 16 * M > tokens;
	copy_wait<0>();
	__syncthreads();
	if (backward_shape<SIZE, M>::own_in_registers && groups > 0)
#pragma unroll
		for (int e = 0; e < SIZE / 16; e++) {
			load_matrices(own.k[e], lane_of_a(m.k + warp * 16) + e * 16);
			load_matrices(own.v[e], lane_of_a(m.v + warp * 16) + e * 16);
		}
	if (round + 1 == plan.rounds && plan.warps > 4)
		announce_head<T, SIZE>(op, next);
	float correction = 0;
	for (int tile = 0; tile < plan.tiles; tile++) {
		int stage = tile % 2, count = count_of(tile), query = tile * plan.tile;
		fetch_tile(tile + 1);
		if (groups >= M && !masked && !BIAS)
			go_over_tile<SIZE, M, M, BIAS, DROP, false>(own, m, step, stage, query, count, plan.tile);
		else if (groups >= M)
			go_over_tile<SIZE, M, M, BIAS, DROP, true>(own, m, step, stage, query, count, plan.tile);
		else if (groups > 0)
			go_over_tile<SIZE, 1, M, BIAS, DROP, true>(own, m, step, stage, query, count, plan.tile);
		copy_wait<0>();
		__syncthreads(); // dS of all keys is there, and so is the next tile
		go_over_queries(m, step, plan, at.d_qkv, at.pitch, stage, count, tile, round, root * step.kept);
		if (BIAS && step.sums)
			correction += add_scale_sums(m, plan, (step.keys + 16 * M - 1) / (16 * M), stage, count, tile, round);
	}
#pragma unroll
	for (int k = 0; k < M; k++)
		if (groups > k) {
			float factor = root * step.kept;
			store_rows<SIZE>(at.d_qkv + op.width, at.pitch, first + k * 16, tokens, own.d_k[k], factor, factor);
			store_rows<SIZE>(
				at.d_qkv + 2 * op.width, at.pitch, first + k * 16, tokens, own.d_v[k], step.kept, step.kept);
		}
	if (plan.columns && groups > 0)
		add_columns(m.columns + (warp * 3 + 1) * SIZE, own);
	__syncthreads(); // the keys are done with
	return own.products - correction;
}

// The block's sum into one place, with the warps added in their order.
template <class T, int SIZE>
static __device__ __forceinline__ void store_scale(
	const backward_memory<T, SIZE> &m, const backward_plan &plan, float *to, float products, float factor) {
	products = warp_sum(products);
	if (threadIdx.x % 32 == 0)
		m.totals[threadIdx.x / 32] = products;
	__syncthreads();
	float total = 0;
	for (int warp = 0; warp < plan.warps; warp++)
		total += m.totals[warp];
	if (threadIdx.x == 0)
		*to = total * factor;
}

// The head's column sums to their places of a row's, with the warps added in their order. The whole block.
template <class T, int SIZE>
static __device__ __forceinline__ void store_columns(const backward_memory<T, SIZE> &m, const backward_plan &plan,
	const d2v_attention &op, int64_t n, float factor, float factor_of_values) {
	head_place<T> at = find_head<T, SIZE>(op, n); // once more: registers
	float *to = plan.columns + at.r * at.pitch + at.h * SIZE;
	for (int i = (int)threadIdx.x; i < 3 * SIZE; i += (int)blockDim.x) {
		float total = 0;
		for (int warp = 0; warp < plan.warps; warp++)
			total += m.columns[warp * 3 * SIZE + i];
		to[i / SIZE * op.width + i % SIZE] = total * (i < 2 * SIZE ? factor : factor_of_values);
	}
	__syncthreads(); // the next head's may come
}

template <class T, int SIZE, int M, bool BIAS, bool DROP>
static __global__ void __launch_bounds__(32 * backward_shape<SIZE, M>::warps, 1)
	go_back(d2v_attention op, score_draws draws, backward_plan plan) {
	D2V_SHARED(unsigned char, bytes);
	backward_memory<T, SIZE> m;
	lay_out(m, bytes, plan, plan.scales != NULL, plan.columns != NULL);
	float root = 1.0f / sqrtf((float)SIZE);
	for (int64_t n = blockIdx.x; n < op.rows * op.heads; n += gridDim.x) {
		head_place<T> at = find_head<T, SIZE>(op, n);
		alibi bias = make_alibi(op, at.h);
		backward_step step;
		step.scale = LOG2_E * root, step.slope = LOG2_E * bias.factor, step.kept = DROP ? draws.kept : 1.0f;
		step.draws = DROP ? find_draws(draws.of_keys, draws, n, 0) : NULL, step.words_of_rows = draws.words_of_rows;
		step.tokens = op.tokens, step.sums = plan.scales != NULL;
		float products = 0;
		for (int i = (int)threadIdx.x; plan.columns && i < plan.warps * 3 * SIZE; i += (int)blockDim.x)
			m.columns[i] = 0;
		for (int round = 0; round < plan.rounds; round++)
			products += go_round<SIZE, M, BIAS, DROP>(m, op, plan, step, at, n + plan.ahead, round, root);
		if (BIAS && plan.scales) // distances are negative there (alibi_distance)
			store_scale(m, plan, plan.scales + n, products, -bias.slope * step.kept);
		if (plan.columns)
			store_columns(m, plan, op, n, root * step.kept, step.kept);
	}
}

// ---- choosing

// Rounds and warps for a number of tokens, with `most` warps a block.
static backward_plan plan_keys(int64_t tokens, int most, int m) {
	backward_plan plan = {};
	int64_t groups = (tokens + 15) / 16, pieces = (groups + m - 1) / m;
	plan.rounds = (int)((pieces + most - 1) / most);
	plan.warps = (int)((pieces + plan.rounds - 1) / plan.rounds);
	plan.keys = 16 * m * plan.warps;
	plan.tile = groups < TILE / 16 ? (int)groups * 16 : TILE;
	plan.tiles = (int)((tokens + plan.tile - 1) / plan.tile);
	return plan;
}

// The same with as many warps as registers and shared memory allow.
template <class T, int SIZE, int M> static backward_plan plan_head(const d2v_attention *op, size_t *shared) {
	bool scales = op->slope && op->d_scale;
	backward_memory<T, SIZE> m;
	for (int most = backward_shape<SIZE, M>::warps;; most--) {
		backward_plan plan = plan_keys(op->tokens, most, M);
		*shared = lay_out(m, NULL, plan, scales, op->d_qkv_bias);
		if (*shared <= most_shared() || most == 1)
			return plan;
	}
}

// Groups of 16 keys that the fullest part of a multiprocessor has to go over.
static int count_cost(const backward_plan *plan, int m) {
	return plan->rounds * m * ((plan->warps + 3) / 4);
}

// Blocks that the GPU holds at a time.
static int count_blocks(const backward_plan *plan, size_t shared, int most) {
	int each = min(most / plan->warps, (int)(most_shared() / (shared + 1024)));
	return gpu_property(cudaDevAttrMultiProcessorCount, 1) * max(each, 1);
}

template <class T, int SIZE, int M, bool BIAS, bool DROP>
static void launch_plan(d2v_device *dev, const d2v_attention *op, backward_plan plan, size_t shared) {
	if (shared > most_shared()) {
		say_too_long(dev, op);
		return;
	}
	bool scales = op->slope && op->d_scale;
	plan.ahead = count_blocks(&plan, shared, backward_shape<SIZE, M>::warps);
	// With several rounds only as many as run at a time, so that their scratch stays small, and in the cache.
	int64_t heads = op->rows * op->heads, blocks = plan.rounds == 1 ? heads : min(heads, (int64_t)plan.ahead);
	int64_t tiles = plan.rounds > 1 ? blocks * plan.tiles : 0, unit = units_of<SIZE>(plan.tile) * 32 * UNIT;
	int64_t columns = op->d_qkv_bias ? op->rows * 3 * op->width : 0;
	size_t count = (size_t)(tiles * (unit + 2 * plan.tile) + (scales ? heads : 0) + columns);
	score_draws draws;
	void *rest;
	if (!d2v_cuda_attention_find_draws(dev, op, &draws, count * sizeof(float), &rest))
		return;
	float *scratch = (float *)rest;
	plan.d_q = scratch, plan.sums = scratch + tiles * unit;
	plan.scales = scales ? plan.sums + tiles * 2 * plan.tile : NULL;
	plan.columns = columns ? scratch + count - columns : NULL;
	D2V_LAUNCH(
		dev, (go_back<T, SIZE, M, BIAS, DROP>), (unsigned)blocks, (unsigned)(32 * plan.warps), shared, *op, draws, plan);
	if (scales)
		d2v_cuda_add_attention_scales(dev, op, plan.scales, 1);
	if (columns)
		d2v_cuda_add_partials(dev, { { op->d_qkv_bias } }, 1, plan.columns, op->rows, 3 * op->width);
}

template <class T, int SIZE, bool BIAS, bool DROP> static void launch(d2v_device *dev, const d2v_attention *op) {
	constexpr int M = SIZE == 64 ? 2 : 1;
	size_t narrow_shared, wide_shared;
	backward_plan narrow = plan_head<T, SIZE, 1>(op, &narrow_shared), wide = plan_head<T, SIZE, M>(op, &wide_shared);
	if (M == 1 || count_cost(&narrow, 1) < count_cost(&wide, M))
		launch_plan<T, SIZE, 1, BIAS, DROP>(dev, op, narrow, narrow_shared);
	else
		launch_plan<T, SIZE, M, BIAS, DROP>(dev, op, wide, wide_shared);
}

void d2v_cuda_attention_tensor_backward(d2v_device *dev, const d2v_attention *op) {
	BY_HEAD(dev, op, BY_RULES(op, launch<T, SIZE, BIAS, DROP>(dev, op)));
}
