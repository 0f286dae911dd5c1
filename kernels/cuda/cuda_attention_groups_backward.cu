// Attention in bf16, backward, on Hopper's warpgroups, for heads of 64 channels.
//
// Two passes over a head, in tiles of 64: queries against all keys for d_q, then keys against all queries for d_k and
// d_v. That is seven products a score and two exponentials, where five and one would do; but what they leave stays in
// registers: nothing is exchanged between warpgroups, no sum is added to by more than one of them, and each goes its
// own way through the ring (attention_groups.cuh). (With five products every tile of queries ends at a barrier of the
// block: measured on an H200, a third of the time went there.)
//
// Both passes go by in steps of 64. A step of queries asks for the next scores while what it found is summed up; a step
// of keys, whose sums are twice as many, asks for the next scores behind its sums, and has dP come under its
// exponentials: so there are registers for 64 queries. (With 32 that all went on under each other a step took as long,
// by a profile, as one of 64 of the other pass.)
//
// The column sums of what they write, for the gradient of qkv's bias, are added up by each warp in places of its own in
// shared memory over all tiles it gets. Those belong to one of the model's heads: blocks are a multiple of them.
#include "kernels/cuda/attention_groups.cuh"

// Of a block, beside the filler. (Three, which leave each no registers for going on: 5 to 10 % slower.)
#define GROUPS 2
#define THREADS ((GROUPS + 1) * GROUP_THREADS)
#define REGISTERS 224 // of 168 a thread the filler leaves these to the others
#define FILLER_REGISTERS 48
#define BATCH 320 // tokens that are there together, of a head that does not fit

// What all steps of a warp's tile have in common.
struct group_step {
	float scale, slope;        // of q . k, of the distance; in units of log2
	shared_matrix own, second; // the tile's q and d_out, or k and v
	const uint32_t *draws;     // of dropout (find_draws)
	int tokens;
	bool idle; // no token is this warp's
};

// A stage: its two matrices and what is known of its tokens.
struct group_stage {
	shared_matrix first, second; // k and v, or q and d_out
	const float2 *facts;         // of queries
	const float *places;
	int token; // the first
};

// s = the products of the tile's vectors with N of the stage's, under way. own, other: both first, or both second ones.
template <int N>
static __device__ __forceinline__ void start_product(
	float (&s)[N / 8][4], shared_matrix own, shared_matrix other, int at) {
	multiply_anew<N, ROWS, ROWS>(s, own, from_row(other, at));
#pragma unroll
	for (int e = 16; e < GROUP_SIZE; e += 16)
		multiply<N, ROWS, ROWS>(s, from_element(own, e), from_element(from_row(other, at), e), true);
}

template <int N> static __device__ __forceinline__ void clear(float (&sums)[N][4]) {
#pragma unroll
	for (int n = 0; n < N; n++)
		sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;
}

// ---- queries: d_q

// What a warp keeps of its 16 queries; pairs are rows g and g + 8.
struct group_queries {
	float d_q[GROUP_SIZE / 8][4];
	float2 facts[2];
	float place[2];
	scale_sums sums[2]; // of this lane's columns
};

// dS in d_p's place, from S and dP of the warp's queries and N keys.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void find_rows(float (&s)[8][4], float (&d_p)[8][4], group_queries &own,
	const group_step &step, const float *places, bool masked, uint32_t draws) {
	if (masked)
		mask_keys<N>(s, places);
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float2 two = BIAS ? *(const float2 *)&places[n * 8 + threadIdx.x % 4 * 2] : make_float2(0, 0);
#pragma unroll
		for (int half = 0; half < 2; half++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				float place = i ? two.y : two.x, distance = BIAS ? distance_between(own.place[half], place) : 0.0f;
				float exponent = s[n][2 * half + i] * step.scale - own.facts[half].x, &gradient = d_p[n][2 * half + i];
				float probability = power_of_2(BIAS ? exponent - step.slope * distance : exponent);
				bool kept = !DROP || is_kept(draws, n, half, i);
				gradient = probability * ((kept ? gradient : 0.0f) - own.facts[half].y);
				if (BIAS)
					own.sums[half].add(probability, gradient, distance);
			}
	}
}

// d_q += the products of N keys' dS and the keys, under way.
template <int N>
static __device__ __forceinline__ void start_sums(
	group_queries &own, const uint32_t (&d)[GROUP_TOKENS / 16][4], const group_stage &stage, int at) {
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_q, d[n], from_row(stage.first, at + n * 16), true);
}

// N keys from key `at` of the stage, whose s and d_p are there, become d. Sums that are under way go on meanwhile; they
// have ended afterwards.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void take_keys(uint32_t (&d)[GROUP_TOKENS / 16][4], float (&s)[8][4],
	float (&d_p)[8][4], uint32_t draws, group_queries &own, const group_step &step, const group_stage &stage, int at,
	bool masked) {
	if (step.idle)
		clear(d_p);
	else
		find_rows<N, BIAS, DROP>(s, d_p, own, step, stage.places + at, masked, draws);
	products_wait<0>();
	hold_sums(d_p);
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		pack_fragment<bf16>(d[n], d_p[2 * n], d_p[2 * n + 1]);
}

// The same from their products on, while d's 64 keys, those before them, are summed up. done: called when the products
// are there.
template <int N, bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void go_on(uint32_t (&d)[GROUP_TOKENS / 16][4], group_queries &own,
	const group_step &step, const group_stage &stage, int at, bool masked, F done) {
	float s[8][4], d_p[8][4];
	products_fence();
	start_product<GROUP_TOKENS>(s, step.own, stage.first, at);
	start_product<GROUP_TOKENS>(d_p, step.second, stage.second, at);
	products_commit();
	start_sums<GROUP_TOKENS>(own, d, stage, at - GROUP_TOKENS);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, stage.token + at) : 0;
	products_wait<1>();
	done();
	take_keys<N, BIAS, DROP>(d, s, d_p, draws, own, step, stage, at, masked);
}

template <int N>
static __device__ __forceinline__ void end_sums(
	group_queries &own, const uint32_t (&d)[GROUP_TOKENS / 16][4], const group_stage &stage, int at) {
	products_fence();
	start_sums<N>(own, d, stage, at);
	products_commit();
	products_wait<0>();
}

// A stage's keys, of which there is room for `most`. done: called when q and d_out have been read for the last time.
template <bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void go_over_keys(
	group_queries &own, const group_step &step, const group_stage &stage, int most, bool padded, F done) {
	int left = step.tokens - stage.token, count = covered_tokens(left, most), at = GROUP_TOKENS;
	bool ends = left < count;
	uint32_t d[GROUP_TOKENS / 16][4];
	float s[8][4], d_p[8][4];
	products_fence();
	start_product<GROUP_TOKENS>(s, step.own, stage.first, 0);
	start_product<GROUP_TOKENS>(d_p, step.second, stage.second, 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, stage.token) : 0;
	products_wait<0>();
	if (count <= at)
		done();
	if (count < at) {
		take_keys<16, BIAS, DROP>(d, s, d_p, draws, own, step, stage, 0, padded || ends);
		end_sums<16>(own, d, stage, 0);
		return;
	}
	take_keys<GROUP_TOKENS, BIAS, DROP>(d, s, d_p, draws, own, step, stage, 0, padded || (ends && count == at));
	for (; at + GROUP_TOKENS <= count; at += GROUP_TOKENS) {
		bool last = at + GROUP_TOKENS == count;
		go_on<GROUP_TOKENS, BIAS, DROP>(d, own, step, stage, at, padded || (ends && last), [&] {
			if (last)
				done();
		});
	}
	if (at < count) {
		go_on<16, BIAS, DROP>(d, own, step, stage, at, padded || ends, done);
		end_sums<16>(own, d, stage, at);
	} else {
		end_sums<GROUP_TOKENS>(own, d, stage, at - GROUP_TOKENS);
	}
}

// The part of the scale's gradient of a warp's queries. Distances are negative there (alibi_distance).
static __device__ __forceinline__ void store_scale(float *to, const group_queries &own, float factor) {
	float sum = 0;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float gradients = row_sum(own.sums[half].gradients), distances = row_sum(own.sums[half].distances);
		sum += own.sums[half].products - (threadIdx.x % 4 == 0 ? gradients * distances : 0.0f);
	}
	sum = warp_sum(sum);
	if (threadIdx.x % 32 == 0)
		*to = -sum * factor;
}

// ---- keys: d_k and d_v

// What a warp keeps of its 16 keys; pairs are rows g and g + 8.
struct group_keys {
	float d_k[GROUP_SIZE / 8][4], d_v[GROUP_SIZE / 8][4];
	float place[2];
};

// P in the place of S of the warp's keys and N queries from `at` of the stage.
template <int N, bool BIAS>
static __device__ __forceinline__ void find_probabilities(
	float (&s)[8][4], const group_keys &own, const group_step &step, const group_stage &stage, int at) {
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		int query = at + n * 8 + (int)threadIdx.x % 4 * 2;
		float4 facts = *(const float4 *)&stage.facts[query]; // of two queries
		float2 places = BIAS ? *(const float2 *)&stage.places[query] : make_float2(0, 0);
#pragma unroll
		for (int i = 0; i < 4; i++) {
			float lse = i % 2 ? facts.z : facts.x, place = i % 2 ? places.y : places.x;
			float shift = BIAS ? lse + step.slope * distance_between(own.place[i / 2], place) : lse;
			s[n][i] = power_of_2(s[n][i] * step.scale - shift);
		}
	}
}

// P without what is dropped, and dS, in the places of P and dP of the same.
template <int N, bool DROP>
static __device__ __forceinline__ void find_gradients(
	float (&s)[8][4], float (&d_p)[8][4], const group_stage &stage, int at, uint32_t draws) {
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float4 facts = *(const float4 *)&stage.facts[at + n * 8 + threadIdx.x % 4 * 2];
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float inner = i ? facts.w : facts.y;
#pragma unroll
			for (int half = 0; half < 2; half++) {
				float probability = s[n][half * 2 + i], &score = s[n][half * 2 + i], &gradient = d_p[n][half * 2 + i];
				score = !DROP || is_kept(draws, n, half, i) ? probability : 0.0f;
				gradient = DROP ? score * gradient - probability * inner : probability * (gradient - inner);
			}
		}
	}
}

// P and dS in pairs, as a's fragments.
struct group_pairs {
	uint32_t p[GROUP_TOKENS / 16][4], d[GROUP_TOKENS / 16][4];
};

// d_v and d_k += the products of N queries' P and dS with their d_out and q, under way.
template <int N>
static __device__ __forceinline__ void start_sums(
	group_keys &own, const group_pairs &pairs, const group_stage &stage, int at) {
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_v, pairs.p[n], from_row(stage.second, at + n * 16), true);
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_k, pairs.d[n], from_row(stage.first, at + n * 16), true);
}

// N queries from query `at` of the stage, whose s is there, become pairs; dP comes while the exponentials are taken.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void take_queries(group_pairs &pairs, float (&s)[8][4], const group_keys &own,
	const group_step &step, const group_stage &stage, int at) {
	float d_p[8][4];
	products_fence();
	start_product<GROUP_TOKENS>(d_p, step.second, stage.second, at);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, stage.token + at) : 0;
	if (!step.idle)
		find_probabilities<N, BIAS>(s, own, step, stage, at);
	products_wait<0>();
	hold_sums(s), hold_sums(d_p);
	if (step.idle)
		clear(s), clear(d_p);
	else
		find_gradients<N, DROP>(s, d_p, stage, at, draws);
#pragma unroll
	for (int n = 0; n < N / 16; n++) {
		pack_fragment<bf16>(pairs.p[n], s[2 * n], s[2 * n + 1]);
		pack_fragment<bf16>(pairs.d[n], d_p[2 * n], d_p[2 * n + 1]);
	}
}

template <int N>
static __device__ __forceinline__ void end_sums(
	group_keys &own, const group_pairs &pairs, const group_stage &stage, int at) {
	products_fence();
	start_sums<N>(own, pairs, stage, at);
	products_commit();
	products_wait<0>();
}

// A stage's queries, of which there is room for `most`. done: called when k and v have been read for the last time.
template <bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void go_over_queries(
	group_keys &own, const group_step &step, const group_stage &stage, int most, F done) {
	int count = covered_tokens(step.tokens - stage.token, most), at = 0;
	group_pairs pairs;
	float s[8][4];
	products_fence();
	start_product<GROUP_TOKENS>(s, step.own, stage.first, 0);
	products_commit();
	products_wait<0>();
	hold_sums(s);
#pragma unroll 1 // the code once: the registers are for the sums
	for (; at + GROUP_TOKENS < count; at += GROUP_TOKENS) {
		take_queries<GROUP_TOKENS, BIAS, DROP>(pairs, s, own, step, stage, at);
		products_fence();
		start_sums<GROUP_TOKENS>(own, pairs, stage, at);
		start_product<GROUP_TOKENS>(s, step.own, stage.first, at + GROUP_TOKENS);
		products_commit();
		products_wait<0>();
		hold_sums(s);
	}
	if (at + GROUP_TOKENS == count) {
		take_queries<GROUP_TOKENS, BIAS, DROP>(pairs, s, own, step, stage, at);
		done();
		end_sums<GROUP_TOKENS>(own, pairs, stage, at);
	} else {
		take_queries<16, BIAS, DROP>(pairs, s, own, step, stage, at);
		done();
		end_sums<16>(own, pairs, stage, at);
	}
}

// ---- the passes

// Scratch that a launch leaves, or NULL: not wanted.
struct back_sums {
	float *scales;  // (heads of all rows, tiles, 4): a warp's part of the gradient of the bias's scale
	float *columns; // (blocks / heads, warps, 3D): see store_columns
};

// What a warpgroup does with its tiles of one pass over a head. go(stage, first batch, last batch): the tile `at`
// against a stage.
template <class F>
static __device__ __forceinline__ void go_through(const ring_memory &m, const ring_plan &plan, ring_place &ring,
	ring_turn<2> &at, unsigned n, int pass, int turn, F go) {
	int all = plan.rows * plan.batches;
	for (int visit = 0; visit < plan.slots; visit += plan.visit)
		for (int batch = 0; batch < plan.batches; batch++, ring.advance(plan)) {
			int token = batch * plan.rows;
			bool last = batch + 1 == plan.batches;
			barrier_wait(m.full + ring.stage, ring.parity);
			group_stage stage = { find_matrix(stage_matrix(m, plan, ring.stage, 0)),
				find_matrix(stage_matrix(m, plan, ring.stage, 1)), m.facts + turn * all + token,
				(pass ? m.places : m.key_places) + turn * all + token, token };
			while (at.n == n && at.pass == pass && at.slot < visit + plan.visit) {
				go(stage, batch == 0, last);
				if (!last)
					break;
			}
			leave_stage(m, ring);
		}
}

// The gradients of what is no key are 0. (What its probabilities were meanwhile stays in its row.)
static __device__ __forceinline__ void clear_outside(group_keys &own) {
#pragma unroll
	for (int half = 0; half < 2; half++)
#pragma unroll
		for (int c = 0; is_outside(own.place[half]) && c < GROUP_SIZE / 8; c++)
			own.d_k[c][2 * half] = own.d_k[c][2 * half + 1] = own.d_v[c][2 * half] = own.d_v[c][2 * half + 1] = 0;
}

// Where the gradients of a head's queries begin.
static __device__ __forceinline__ bf16 *gradients_of(const d2v_attention &op, unsigned n) {
	int64_t token = (int64_t)(n / (unsigned)op.heads) * op.tokens;
	return (bf16 *)op.d_qkv + token * 3 * op.width + (int)(n % (unsigned)op.heads) * GROUP_SIZE;
}

// Adds a tile's columns to the warp's sums.
static __device__ __forceinline__ void add_columns(float *sums, const float (&rows)[GROUP_SIZE / 8][4]) {
	column_sums<GROUP_SIZE> columns;
	columns.add(rows);
	columns.add_to(sums);
}

// What the warp has summed, to its row of (warps of the blocks that have the head, 3D).
static __device__ __forceinline__ void store_columns(
	float *to, const float *sums, const d2v_attention &op, int warp, float factor, float factor_of_values) {
	unsigned heads = (unsigned)op.heads;
	to += (int64_t)(blockIdx.x / heads * (GROUPS * 4) + warp) * 3 * op.width + blockIdx.x % heads * GROUP_SIZE;
	__syncwarp();
	for (int i = (int)threadIdx.x % 32; i < COLUMN_SUMS; i += 32)
		to[i / GROUP_SIZE * op.width + i % GROUP_SIZE] = sums[i] * (i < 2 * GROUP_SIZE ? factor : factor_of_values);
}

template <bool BIAS, bool DROP>
static __device__ __forceinline__ void go_back_ring(const ring_memory &m, const ring_plan &plan, const ring_maps &maps,
	const d2v_attention &op, const score_draws &drawn, const back_sums &sums) {
	int warp = warp_number(), group = warp / 4, row = warp % 4 * 16, g = (int)threadIdx.x % 32 / 4, turn = 0;
	int all = plan.rows * plan.batches;
	const float root = 1.0f / sqrtf((float)GROUP_SIZE), kept = DROP ? drawn.kept : 1.0f;
	unsigned own_parity = 0;
	ring_place ring = { 0, 0 };
	ring_turn<2> at;
	at.start(plan, group);
	fetch_own(m, plan, maps, op, at, group);
	group_step step = {};
	step.scale = LOG2_E * root, step.tokens = plan.tokens;
	step.own = find_matrix(m.own + 2 * group * TILE_ELEMENTS);
	step.second = from_row(step.own, GROUP_TOKENS);
	for (int i = (int)threadIdx.x % 32; i < COLUMN_SUMS; i += 32)
		m.columns[warp * COLUMN_SUMS + i] = 0;
	__syncwarp();
	// The tile's own vectors are done with: the next one's may come.
	auto turn_over = [&] {
		at.advance(plan);
		meet_group(group);
		fetch_own(m, plan, maps, op, at, group);
	};
	for (unsigned n = blockIdx.x; n < plan.heads; n += gridDim.x, turn = next_turn(plan, turn)) {
		int first = 0; // the warp's first token of the tile
		step.slope = BIAS ? LOG2_E * make_alibi(op, n % (unsigned)op.heads).factor : 0.0f;
		{
			group_queries own = {}; // so that nothing of it lives through the other pass
			go_through(m, plan, ring, at, n, 0, turn, [&](const group_stage &stage, bool start, bool last) {
				if (start) {
					first = at.slot * GROUP_TOKENS + row;
					step.idle = first >= plan.tokens;
					step.draws = DROP ? find_draws(drawn.of_queries, drawn, n, first) : NULL;
					clear(own.d_q);
#pragma unroll
					for (int half = 0; half < 2; half++) {
						int query = turn * all + min(first + g + 8 * half, all - 1);
						own.facts[half] = m.facts[query], own.place[half] = BIAS ? m.places[query] : 0.0f;
						own.sums[half] = { 0, 0, 0 };
					}
					barrier_wait(m.own_full + group, own_parity), own_parity ^= 1;
				}
				go_over_keys<BIAS, DROP>(own, step, stage, plan.rows, op.key_padding, [&] {
					if (last)
						turn_over();
				});
				if (!last)
					return;
				if (!step.idle)
					store_rows<GROUP_SIZE>(
						gradients_of(op, n), 3 * op.width, first, plan.tokens, own.d_q, root * kept, root * kept);
				if (!step.idle && sums.columns)
					add_columns(m.columns + warp * COLUMN_SUMS, own.d_q);
				if (BIAS && sums.scales)
					store_scale(sums.scales + ((int64_t)n * plan.tiles + first / GROUP_TOKENS) * 4 + warp % 4, own,
						make_alibi(op, n % (unsigned)op.heads).slope * kept);
			});
		}
		{
			group_keys own = {};
			go_through(m, plan, ring, at, n, 1, turn, [&](const group_stage &stage, bool start, bool last) {
				if (start) {
					first = at.slot * GROUP_TOKENS + row;
					step.idle = first >= plan.tokens;
					step.draws = DROP ? find_draws(drawn.of_keys, drawn, n, first) : NULL;
					clear(own.d_k), clear(own.d_v);
#pragma unroll
					for (int half = 0; half < 2; half++)
						own.place[half] = m.key_places[turn * all + first + g + 8 * half];
					barrier_wait(m.own_full + group, own_parity), own_parity ^= 1;
				}
				go_over_queries<BIAS, DROP>(own, step, stage, plan.rows, [&] {
					if (last)
						turn_over();
				});
				if (!last || step.idle)
					return;
				if (op.key_padding || first + 16 > plan.tokens)
					clear_outside(own);
				bf16 *d_k = gradients_of(op, n) + op.width;
				store_rows<GROUP_SIZE>(d_k, 3 * op.width, first, plan.tokens, own.d_k, root * kept, root * kept);
				store_rows<GROUP_SIZE>(d_k + op.width, 3 * op.width, first, plan.tokens, own.d_v, kept, kept);
				if (sums.columns) {
					float *columns = m.columns + warp * COLUMN_SUMS + GROUP_SIZE;
					add_columns(columns, own.d_k);
					add_columns(columns + GROUP_SIZE, own.d_v);
				}
			});
		}
	}
	if (sums.columns)
		store_columns(sums.columns, m.columns + warp * COLUMN_SUMS, op, warp, root * kept, kept);
}

template <bool BIAS, bool DROP>
static __global__ void __launch_bounds__(THREADS, 1) go_back(
	const __grid_constant__ ring_maps maps, d2v_attention op, score_draws drawn, ring_plan plan, back_sums sums) {
	D2V_SHARED_MATRICES(bytes);
	ring_memory m;
	lay_out(m, bytes, plan);
	start_ring(m, plan);
	if (warp_number() / 4 == GROUPS) {
		give_registers<FILLER_REGISTERS>();
		fill_ring<2, BIAS>(m, plan, maps, op, DROP ? drawn.kept : 1.0f);
	} else {
		take_registers<REGISTERS>();
		go_back_ring<BIAS, DROP>(m, plan, maps, op, drawn, sums);
	}
}

// Blocks of a launch. For column sums they must be a multiple of the heads, which may leave multiprocessors without
// one; where too many are *columns says no, and a pass over d_qkv has to do it.
static unsigned choose_blocks(const d2v_attention *op, const ring_plan &plan, bool *columns) {
	unsigned blocks = ring_blocks(plan), whole = blocks - blocks % (unsigned)op->heads;
	*columns = op->d_qkv_bias && whole * 16 >= blocks * 15;
	return *columns ? whole : blocks;
}

void d2v_cuda_attention_groups_backward(d2v_device *dev, const d2v_attention *op) {
	constexpr int SIZE = GROUP_SIZE;
	ring_plan plan;
	ring_memory m;
	score_draws drawn;
	ring_maps maps = {};
	bool scales = op->slope && op->d_scale, columns;
	plan_ring(plan, op, GROUPS, 2, BATCH);
	unsigned blocks = choose_blocks(op, plan, &columns);
	int64_t pieces = columns ? blocks / (unsigned)op->heads * (GROUPS * 4) : 0;
	size_t scale_count = scales ? (size_t)plan.heads * (size_t)plan.tiles * 4 : 0;
	size_t bytes = (scale_count + (size_t)(pieces * 3 * op->width)) * sizeof(float);
	void *scratch;
	if (!make_maps(dev, maps, op, true) || !d2v_cuda_attention_find_draws(dev, op, &drawn, bytes, &scratch))
		return;
	back_sums sums = { scales ? (float *)scratch : NULL, columns ? (float *)scratch + scale_count : NULL };
	BY_RULES(op,
		D2V_LAUNCH(dev, (go_back<BIAS, DROP>), blocks, THREADS, lay_out(m, NULL, plan), maps, *op, drawn, plan, sums));
	if (scales)
		d2v_cuda_add_attention_scales(dev, op, sums.scales, plan.tiles * 4);
	if (columns)
		d2v_cuda_add_partials(dev, { { op->d_qkv_bias } }, 1, sums.columns, pieces, 3 * op->width);
	else
		d2v_cuda_add_qkv_columns(dev, op);
}

// Compute capability 9.x, of which alone sm_90a is.
bool d2v_cuda_attention_fits_groups(d2v_device *dev, const d2v_attention *op) {
	ring_plan backward;
	return d2v_cuda_is_bf16(dev) && op->width == op->heads * GROUP_SIZE &&
		   gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 && d2v_cuda_attention_groups_forward_fits(op) &&
		   plan_ring(backward, op, GROUPS, 2, BATCH);
}
