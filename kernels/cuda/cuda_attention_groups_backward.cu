// Attention in bf16, backward, on Hopper's warpgroups, for heads of 64 channels: five products a score, as in
// cuda_attention_backward.cu.
//
// A block has up to four warpgroups, takes one head after another, and of it as many keys at a time as it has
// warpgroups, 64 each, in rounds of equal size. A warpgroup keeps d_k and d_v of its keys in registers while the
// queries go by in tiles of 64: S^T = k q^T and dP^T = v d_out^T come out as the next products want them, d_v += P^T
// d_out and d_k += dS^T q. dS goes through shared memory, from where one warpgroup, each in its turn, adds d_q = dS k
// over all keys of the round while the others go on; two stages of dS, so that one barrier a tile is enough. With
// several rounds d_q grows in scratch memory that belongs to the block, in the order of the rounds. So every sum has
// one order, and no atomics are needed.
//
// Products of 32 queries at a time leave registers for four warpgroups, a warp of each in every part of the
// multiprocessor: one's exponentials run under another's products.
#include "kernels/cuda/attention_groups_backward.cuh"

// What a warp keeps of its 16 keys; pairs are rows g and g + 8.
struct group_keys {
	float d_k[GROUP_SIZE / 8][4], d_v[GROUP_SIZE / 8][4];
	float place[2];
	float products; // sum of dS * distance
};

// What all steps of a warp have in common.
struct group_step {
	float scale, slope; // of q . k, of the distance; in units of log2
	shared_matrix k, v; // the warpgroup's keys
	// Of dropout, at the lane's query of the first STEP: the words that have the warp's keys, key g as bit `lowest`.
	const uint32_t *draws;
	int lowest, tokens;
	bool idle, sums; // no key is this warp's; sums of the scale are wanted
};

// A tile of queries: its matrices, and those of its queries' facts.
struct query_tile {
	shared_matrix q, d_out;
	const float2 *facts;
	const float *places;
	bf16 *d_s;    // the warpgroup's
	float2 *sums; // the warp's
	int first;    // query
};

// Adds up 8 columns of a warp's x and y over its rows, of which lane (g, t) has columns 2 t and 2 t + 1, as to's x and
// y.
static __device__ __forceinline__ void store_columns(float2 *to, const float (&x)[2], const float (&y)[2]) {
	int lane = (int)threadIdx.x % 32;
	bool second = lane & 4, upper = lane & 8; // lanes that take the second column, and y
	float keep_x = second ? x[1] : x[0], give_x = second ? x[0] : x[1];
	float keep_y = second ? y[1] : y[0], give_y = second ? y[0] : y[1];
	keep_x += __shfl_xor_sync(0xffffffffu, give_x, 4);
	keep_y += __shfl_xor_sync(0xffffffffu, give_y, 4);
	float sum = (upper ? keep_y : keep_x) + __shfl_xor_sync(0xffffffffu, upper ? keep_x : keep_y, 8);
	sum += __shfl_xor_sync(0xffffffffu, sum, 16);
	if (lane < 16)
		((float *)&to[2 * (lane % 4) + second])[upper] = sum;
}

// P and dS in pairs, as a's fragments, from S and dP of the warp's keys and the STEP queries from `at` of the tile.
template <bool BIAS, bool DROP>
static __device__ __forceinline__ void find_gradients(uint32_t (&p)[STEP / 16][4], uint32_t (&d)[STEP / 16][4],
	float (&s)[STEP / 8][4], float (&d_p)[STEP / 8][4], group_keys &own, const group_step &step, const query_tile &tile,
	int at, uint32_t draws) {
	int t = (int)threadIdx.x % 4;
#pragma unroll
	for (int n = 0; n < STEP / 8; n++) {
		int query = at + n * 8 + 2 * t;
		float4 facts = *(const float4 *)&tile.facts[query]; // of two queries
		float2 places = BIAS ? *(const float2 *)&tile.places[query] : make_float2(0, 0);
		float gradients[2] = { 0, 0 }, distances[2] = { 0, 0 };
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float lse = i ? facts.z : facts.x, inner = i ? facts.w : facts.y, place = i ? places.y : places.x;
			uint32_t kept = DROP ? __shfl_sync(0xffffffffu, draws, n * 8 + 2 * t + i) >> step.lowest : 0;
#pragma unroll
			for (int half = 0; half < 2; half++) {
				float &score = s[n][half * 2 + i], &gradient = d_p[n][half * 2 + i];
				bool outside = own.place[half] == OUTSIDE;
				float distance = BIAS ? distance_between(own.place[half], place) : 0.0f;
				float probability = power_of_2(score * step.scale - (BIAS ? lse + step.slope * distance : lse));
				probability = outside ? 0.0f : probability;
				score = !DROP || kept & 1u << (8 * half) ? probability : 0.0f;
				gradient = DROP ? score * gradient - probability * inner : probability * (gradient - inner);
				if (BIAS && step.sums) {
					distance = outside ? 0.0f : distance;
					gradients[i] += gradient;
					distances[i] += probability * distance;
					own.products += gradient * distance;
				}
			}
		}
		if (BIAS && step.sums)
			store_columns(tile.sums + at + n * 8, gradients, distances);
	}
#pragma unroll
	for (int n = 0; n < STEP / 16; n++) {
		pack_fragment<bf16>(p[n], s[2 * n], s[2 * n + 1]);
		pack_fragment<bf16>(d[n], d_p[2 * n], d_p[2 * n + 1]);
	}
}

// dS^T of the warp's keys and the STEP queries from `at` into shared memory.
static __device__ __forceinline__ void store_gradients(bf16 *d_s, const uint32_t (&d)[STEP / 16][4], int at) {
	int row = (int)threadIdx.x % GROUP_THREADS / 32 * 16 + (int)threadIdx.x % 32 / 4;
#pragma unroll
	for (int n = 0; n < STEP / 16; n++)
#pragma unroll
		for (int i = 0; i < 4; i++) // rows g, g + 8 of queries 0 to 7, then of 8 to 15
			store_shared(
				(uint32_t *)swizzled_pack(d_s, row + i % 2 * 8, at / 8 + 2 * n + i / 2) + threadIdx.x % 4, d[n][i]);
}

// STEP queries from `at` of the tile: d_v, d_k, and dS^T into shared memory.
template <bool BIAS, bool DROP>
static __device__ __forceinline__ void go_over(
	group_keys &own, const group_step &step, const query_tile &tile, int at) {
	float s[STEP / 8][4], d_p[STEP / 8][4];
	uint32_t p[STEP / 16][4], d[STEP / 16][4];
	products_fence();
#pragma unroll
	for (int e = 0; e < GROUP_SIZE; e += 16)
		multiply<STEP, ROWS, ROWS>(s, from_element(step.k, e), from_element(from_row(tile.q, at), e), e > 0);
#pragma unroll
	for (int e = 0; e < GROUP_SIZE; e += 16)
		multiply<STEP, ROWS, ROWS>(d_p, from_element(step.v, e), from_element(from_row(tile.d_out, at), e), e > 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? step.draws[tile.first + at] : 0; // lane n has query n's
	products_wait<0>();
	if (step.idle) {
#pragma unroll
		for (int n = 0; n < STEP / 16; n++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				p[n][i] = d[n][i] = 0;
	} else {
		find_gradients<BIAS, DROP>(p, d, s, d_p, own, step, tile, at, draws);
	}
	store_gradients(tile.d_s, d, at);
	products_fence();
#pragma unroll
	for (int n = 0; n < STEP / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_v, p[n], from_row(tile.d_out, at + n * 16), true);
#pragma unroll
	for (int n = 0; n < STEP / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_k, d[n], from_row(tile.q, at + n * 16), true);
	products_commit();
	products_wait<0>();
}

// d_q of a tile: the round's sum over the keys of `groups` warpgroups after those of the rounds before. A warpgroup.
static __device__ __forceinline__ void add_d_q(const group_plan &plan, shared_matrix d_s, shared_matrix k, int groups,
	bf16 *to, int64_t pitch, int tokens, int tile, int round, float factor) {
	float d_q[GROUP_SIZE / 8][4];
	// Where the rounds leave a tile's sums: a float4 a thread for every 8 channels.
	float4 *partial = (float4 *)plan.d_q + (int)threadIdx.x % GROUP_THREADS +
					  ((int64_t)blockIdx.x * plan.tiles + tile) * (GROUP_SIZE / 8 * GROUP_THREADS);
#pragma unroll
	for (int n = 0; n < GROUP_SIZE / 8; n++) {
		float4 sums = round ? partial[n * GROUP_THREADS] : make_float4(0, 0, 0, 0);
		d_q[n][0] = sums.x, d_q[n][1] = sums.y, d_q[n][2] = sums.z, d_q[n][3] = sums.w;
	}
	for (int group = 0; group < groups; group++) {
		products_fence();
#pragma unroll
		for (int key = 0; key < GROUP_TOKENS; key += 16)
			multiply<GROUP_SIZE, COLUMNS, COLUMNS>(
				d_q, from_row(d_s, group * GROUP_TOKENS + key), from_row(k, group * GROUP_TOKENS + key), true);
		products_commit();
		products_wait<0>(); // at once: else the compiler adds a fence of its own
	}
	if (round + 1 < plan.rounds) {
#pragma unroll
		for (int n = 0; n < GROUP_SIZE / 8; n++)
			partial[n * GROUP_THREADS] = make_float4(d_q[n][0], d_q[n][1], d_q[n][2], d_q[n][3]);
		return;
	}
	int first = tile * GROUP_TOKENS + (int)threadIdx.x % GROUP_THREADS / 32 * 16;
	store_rows<GROUP_SIZE>(to, pitch, first, tokens, d_q, factor, factor);
}

// The sums of dS and of P * distance of a tile's `count` queries over `warps` and the rounds before, a thread a query.
// After the last round: their products, which scale_sums takes back.
static __device__ __forceinline__ float add_scale_sums(
	const float2 *of_warps, const group_plan &plan, int warps, int count, int tile, int round) {
	int query = (int)threadIdx.x;
	if (query >= min(count, GROUP_TOKENS))
		return 0;
	float2 *partial = (float2 *)plan.sums + ((int64_t)blockIdx.x * plan.tiles + tile) * GROUP_TOKENS + query;
	float2 sums = round ? *partial : make_float2(0, 0);
	for (int warp = 0; warp < warps; warp++) {
		float2 more = of_warps[warp * GROUP_TOKENS + query];
		sums.x += more.x, sums.y += more.y;
	}
	if (round + 1 < plan.rounds)
		*partial = sums;
	return round + 1 < plan.rounds ? 0.0f : sums.x * sums.y;
}

static __device__ __forceinline__ void start_keys(group_keys &own, const d2v_attention &op, int r, int first) {
	own.products = 0;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		own.place[half] = key_place(op, r, first + (int)threadIdx.x % 32 / 4 + 8 * half);
#pragma unroll
		for (int n = 0; n < GROUP_SIZE / 8; n++)
			own.d_k[n][2 * half] = own.d_k[n][2 * half + 1] = own.d_v[n][2 * half] = own.d_v[n][2 * half + 1] = 0;
	}
}

// A round of keys against all queries. next: the head to come. Returns what the thread knows of the scale's gradient.
template <bool BIAS, bool DROP>
static __device__ __forceinline__ float go_round(const group_memory &m, const d2v_attention &op,
	const score_draws &draws, const group_plan &plan, group_step step, const group_head &at, unsigned next, int round) {
	int warp = warp_number(), group = warp / 4, tokens = step.tokens, keys = plan.groups * GROUP_TOKENS;
	int start = round * keys, first = start + warp * 16, left = tokens - start;
	int active = min(plan.groups, (left + GROUP_TOKENS - 1) / GROUP_TOKENS); // warpgroups that have keys
	int64_t pitch = 3 * op.width;
	float root = 1.0f / sqrtf((float)GROUP_SIZE), kept = DROP ? draws.kept : 1.0f;
	auto fetch_tile = [&](int tile) {
		if (tile < plan.tiles) {
			int query = tile * GROUP_TOKENS;
			fetch_some(m.q + tile % 2 * TILE_ELEMENTS, at.qkv, pitch, query, GROUP_TOKENS, tokens);
			fetch_some(m.d_out + tile % 2 * TILE_ELEMENTS, at.d_out, op.width, query, GROUP_TOKENS, tokens);
		}
		copy_commit();
	};
	fetch_some(m.k, at.qkv + op.width, pitch, start, active * GROUP_TOKENS, tokens);
	fetch_some(m.v, at.qkv + 2 * op.width, pitch, start, active * GROUP_TOKENS, tokens);
	fetch_tile(0);
	fetch_tile(1);
	if (round == 0)
		fetch_facts(m, op, at, plan.tiles, kept);
	group_keys own;
	start_keys(own, op, at.r, first);
	step.idle = first >= tokens;
	step.draws += DROP ? first / DRAWN_KEYS * tokens : 0, step.lowest = first % DRAWN_KEYS + (int)threadIdx.x % 32 / 4;
	step.k = from_row(find_matrix(m.k), group * GROUP_TOKENS),
	step.v = from_row(find_matrix(m.v), group * GROUP_TOKENS);
	copy_wait<1>();
	shared_fence();
	__syncthreads();
	if (round + 1 == plan.rounds)
		announce_head(op, next);
	float correction = 0;
	for (int tile = 0; tile < plan.tiles; tile++) {
		int stage = tile % 2;
		bf16 *d_s = m.d_s + stage * plan.groups * TILE_ELEMENTS;
		float2 *sums = m.sums + stage * plan.groups * 4 * GROUP_TOKENS;
		query_tile now;
		now.q = find_matrix(m.q + stage * TILE_ELEMENTS), now.d_out = find_matrix(m.d_out + stage * TILE_ELEMENTS);
		now.first = tile * GROUP_TOKENS;
		now.facts = m.facts + now.first, now.places = m.places + now.first;
		now.d_s = d_s + group * TILE_ELEMENTS, now.sums = sums + warp * GROUP_TOKENS;
		if (group < active)
#pragma unroll 1 // the code once: the registers are for the sums
			for (int at = 0; at < min(GROUP_TOKENS, tokens - now.first); at += STEP)
				go_over<BIAS, DROP>(own, step, now, at);
		copy_wait<0>();
		shared_fence();
		__syncthreads(); // dS of all keys is there, and so is the next tile; this one is done with
		fetch_tile(tile + 2);
		if (tile % active == group)
			add_d_q(
				plan, find_matrix(d_s), find_matrix(m.k), active, at.d_qkv, pitch, tokens, tile, round, root * kept);
		if (BIAS && step.sums)
			correction +=
				add_scale_sums(sums, plan, (left < keys ? left + 15 : keys) / 16, tokens - now.first, tile, round);
	}
	if (!step.idle) {
		store_rows<GROUP_SIZE>(at.d_qkv + op.width, pitch, first, tokens, own.d_k, root * kept, root * kept);
		store_rows<GROUP_SIZE>(at.d_qkv + 2 * op.width, pitch, first, tokens, own.d_v, kept, kept);
	}
	copy_wait<0>();
	__syncthreads(); // the keys are done with
	return own.products - correction;
}

// The block's sum into one place, with the warps added in their order.
static __device__ __forceinline__ void store_scale(const group_memory &m, float *to, float products, float factor) {
	products = warp_sum(products);
	if (threadIdx.x % 32 == 0)
		m.totals[threadIdx.x / 32] = products;
	__syncthreads();
	float total = 0;
	for (int warp = 0; warp < (int)blockDim.x / 32; warp++)
		total += m.totals[warp];
	if (threadIdx.x == 0)
		*to = total * factor;
}

template <bool BIAS, bool DROP>
static __global__ void __launch_bounds__(GROUP_THREADS *MOST_GROUPS, 1)
	go_back(d2v_attention op, score_draws draws, group_plan plan) {
	D2V_SHARED_MATRICES(bytes);
	group_memory m;
	lay_out(m, bytes, plan);
	for (unsigned n = blockIdx.x; n < op.rows * op.heads; n += gridDim.x) {
		group_head at = find_head(op, n);
		alibi bias = make_alibi(op, at.h);
		group_step step;
		step.scale = LOG2_E / sqrtf((float)GROUP_SIZE), step.slope = LOG2_E * bias.factor;
		step.draws = DROP ? draws_of(draws, n) + threadIdx.x % 32 : NULL;
		step.tokens = (int)op.tokens, step.sums = plan.scales != NULL;
		float products = 0;
		for (int round = 0; round < plan.rounds; round++)
			products += go_round<BIAS, DROP>(m, op, draws, plan, step, at, n + (unsigned)plan.ahead, round);
		if (BIAS && plan.scales) // distances are negative there (alibi_distance)
			store_scale(m, plan.scales + n, products, -bias.slope * (DROP ? draws.kept : 1.0f));
	}
}

// ---- choosing

static group_plan plan_head(const d2v_attention *op) {
	group_plan plan = {};
	int tokens = (int)op->tokens, pieces = (tokens + GROUP_TOKENS - 1) / GROUP_TOKENS;
	plan.rounds = (pieces + MOST_GROUPS - 1) / MOST_GROUPS;
	plan.groups = (pieces + plan.rounds - 1) / plan.rounds;
	plan.tiles = pieces;
	plan.scales = op->slope && op->d_scale ? op->d_scale : NULL; // for lay_out; the launch sets it
	return plan;
}

template <bool BIAS, bool DROP> static void launch(d2v_device *dev, const d2v_attention *op) {
	group_plan plan = plan_head(op);
	group_memory m;
	size_t shared = lay_out(m, NULL, plan);
	if (shared > most_shared()) {
		say_too_long(dev, op);
		return;
	}
	int64_t heads = op->rows * op->heads, blocks = min(heads, (int64_t)gpu_property(cudaDevAttrMultiProcessorCount, 1));
	int64_t tiles = plan.rounds > 1 ? blocks * plan.tiles : 0, tile = GROUP_TOKENS * GROUP_SIZE;
	size_t count = (size_t)(tiles * (tile + 2 * GROUP_TOKENS) + heads);
	score_draws draws;
	void *rest;
	if (!d2v_cuda_attention_draw(dev, op, &draws, count * sizeof(float), &rest))
		return;
	float *scratch = (float *)rest;
	bool scales = plan.scales != NULL;
	plan.ahead = (int)blocks, plan.d_q = scratch, plan.sums = scratch + tiles * tile;
	plan.scales = scales ? plan.sums + tiles * 2 * GROUP_TOKENS : NULL;
	D2V_LAUNCH(
		dev, (go_back<BIAS, DROP>), (unsigned)blocks, (unsigned)(GROUP_THREADS * plan.groups), shared, *op, draws, plan);
	if (scales)
		d2v_cuda_add_attention_scales(dev, op, plan.scales, 1);
}

void d2v_cuda_attention_groups_backward(d2v_device *dev, const d2v_attention *op) {
	constexpr int SIZE = GROUP_SIZE;
	BY_RULES(op, launch<BIAS, DROP>(dev, op));
}
