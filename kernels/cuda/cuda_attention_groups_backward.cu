// Attention in bf16, backward, on Hopper's warpgroups, for heads of 64 channels.
//
// Two passes over a head, in tiles of 64: queries against all keys for d_q, then keys against all queries for d_k and
// d_v. That is seven products a score and two exponentials, where five and one would do; but what they leave stays in
// registers: nothing is exchanged between warpgroups, no sum is added to by more than one of them, and each goes its own
// way through the ring (attention_groups.cuh). (With five products every tile of queries ends at a barrier of the block:
// measured on an H200, a third of the time went there.)
#include "kernels/cuda/attention_groups.cuh"

#define GROUPS 3 // of a block, beside the filler
#define THREADS ((GROUPS + 1) * GROUP_THREADS)
#define REGISTERS 152 // of 128 a thread the filler leaves these to the others
#define FILLER_REGISTERS 56
#define STEP 32  // queries whose scores a warpgroup of keys has in registers

// What all steps of a warp's tile have in common.
struct group_step {
	float scale, slope;        // of q . k, of the distance; in units of log2
	shared_matrix own, second; // the tile's q and d_out, or k and v
	const uint32_t *draws;     // of dropout: the lane's, at token 0 of what is not the warp's
	int lowest;                // the bit of key g in words of the warp's keys
	int tokens;
	bool idle, sums; // no token is this warp's; sums of the scale are wanted
};

// A stage: its two matrices and what is known of its tokens.
struct group_stage {
	shared_matrix first, second; // k and v, or q and d_out
	const float2 *facts;         // of queries
	const float *places;
	int token; // the first
};

// s and d_p = the products of the tile's two matrices with N of the stage's tokens, under way.
template <int N>
static __device__ __forceinline__ void start_products(
	float (&s)[N / 8][4], float (&d_p)[N / 8][4], const group_step &step, const group_stage &stage, int at) {
#pragma unroll
	for (int e = 0; e < GROUP_SIZE; e += 16)
		multiply<N, ROWS, ROWS>(s, from_element(step.own, e), from_element(from_row(stage.first, at), e), e > 0);
#pragma unroll
	for (int e = 0; e < GROUP_SIZE; e += 16)
		multiply<N, ROWS, ROWS>(d_p, from_element(step.second, e), from_element(from_row(stage.second, at), e), e > 0);
}

template <int N> static __device__ __forceinline__ void clear(uint32_t (&words)[N / 16][4]) {
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		words[n][0] = words[n][1] = words[n][2] = words[n][3] = 0;
}

static __device__ __forceinline__ void clear(float (&sums)[GROUP_SIZE / 8][4]) {
#pragma unroll
	for (int n = 0; n < GROUP_SIZE / 8; n++)
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

// dS in pairs, as a's fragments, from S and dP of the warp's queries and N keys.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void find_rows(uint32_t (&d)[N / 16][4], const float (&s)[8][4],
	const float (&d_p)[8][4], group_queries &own, const group_step &step, const float *places, bool masked,
	uint32_t draws) {
	int row = (int)threadIdx.x % 32 / 4, shift = (int)threadIdx.x % 4 * 2;
	uint32_t bits[2][2] = { { 0, 0 }, { 0, 0 } };
	if (DROP)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			bits[half][0] = __shfl_sync(0xffffffffu, draws, row + 8 * half) >> shift;
			bits[half][1] = N > 32 ? __shfl_sync(0xffffffffu, draws, row + 8 * half + 16) >> shift : 0;
		}
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float2 two = BIAS || masked ? *(const float2 *)&places[n * 8 + shift] : make_float2(0, 0);
#pragma unroll
		for (int half = 0; half < 2; half++) {
			float gradient[2];
#pragma unroll
			for (int i = 0; i < 2; i++) {
				float place = i ? two.y : two.x, distance = BIAS ? distance_between(own.place[half], place) : 0.0f;
				float exponent = s[n][2 * half + i] * step.scale - own.facts[half].x;
				float probability = power_of_2(BIAS ? exponent - step.slope * distance : exponent);
				if (BIAS || masked)
					probability = place == OUTSIDE ? 0.0f : probability;
				bool kept = !DROP || bits[half][n / 4] & 1u << (n % 4 * 8 + i);
				gradient[i] = probability * ((kept ? d_p[n][2 * half + i] : 0.0f) - own.facts[half].y);
				if (BIAS && step.sums)
					own.sums[half].add(probability, gradient[i], place == OUTSIDE ? 0.0f : distance);
			}
			d[n / 2][n % 2 * 2 + half] = round_pair<bf16>(gradient[0], gradient[1]);
		}
	}
}

// N keys from key `at` of the stage, whose s and d_p are there; with NEXT they become those of the 64 after them.
template <int N, bool NEXT, bool BIAS, bool DROP>
static __device__ __forceinline__ void go_over_keys(float (&s)[8][4], float (&d_p)[8][4], uint32_t &draws,
	group_queries &own, const group_step &step, const group_stage &stage, int at, bool masked) {
	uint32_t d[N / 16][4];
	if (step.idle)
		clear<N>(d);
	else
		find_rows<N, BIAS, DROP>(d, s, d_p, own, step, stage.places + at, masked, draws);
	products_fence();
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_q, d[n], from_row(stage.first, at + n * 16), true);
	if (NEXT)
		start_products<GROUP_TOKENS>(s, d_p, step, stage, at + N);
	products_commit();
	if (NEXT && DROP && !step.idle)
		draws = read_draws(step.draws, stage.token + at + N, step.tokens);
	products_wait<0>();
}

// A stage's keys, of which there is room for `most`. done: called when q and d_out have been read for the last time.
template <bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void go_over_keys(group_queries &own, const group_step &step,
	const group_stage &stage, int most, bool padded, F done) {
	int left = step.tokens - stage.token, count = covered_tokens(left, most), at = 0;
	float s[8][4], d_p[8][4];
	products_fence();
	start_products<GROUP_TOKENS>(s, d_p, step, stage, 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, stage.token, step.tokens) : 0;
	products_wait<0>();
	for (; at + GROUP_TOKENS < count; at += GROUP_TOKENS)
		go_over_keys<GROUP_TOKENS, true, BIAS, DROP>(s, d_p, draws, own, step, stage, at, padded);
	done();
	if (at + GROUP_TOKENS == count)
		go_over_keys<GROUP_TOKENS, false, BIAS, DROP>(s, d_p, draws, own, step, stage, at, padded || left < count);
	else
		go_over_keys<16, false, BIAS, DROP>(s, d_p, draws, own, step, stage, at, padded || left < count);
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

// P and dS in pairs, as a's fragments, from S and dP of the warp's keys and N queries from `at` of the stage.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void find_columns(uint32_t (&p)[N / 16][4], uint32_t (&d)[N / 16][4],
	float (&s)[STEP / 8][4], float (&d_p)[STEP / 8][4], const group_keys &own, const group_step &step,
	const group_stage &stage, int at, uint32_t draws) {
	int t = (int)threadIdx.x % 4;
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		int query = at + n * 8 + 2 * t;
		float4 facts = *(const float4 *)&stage.facts[query]; // of two queries
		float2 places = BIAS ? *(const float2 *)&stage.places[query] : make_float2(0, 0);
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float lse = i ? facts.z : facts.x, inner = i ? facts.w : facts.y, place = i ? places.y : places.x;
			uint32_t kept = DROP ? __shfl_sync(0xffffffffu, draws, n * 8 + 2 * t + i) >> step.lowest : 0;
#pragma unroll
			for (int half = 0; half < 2; half++) {
				float &score = s[n][half * 2 + i], &gradient = d_p[n][half * 2 + i];
				float distance = BIAS ? step.slope * distance_between(own.place[half], place) : 0.0f;
				float probability = power_of_2(score * step.scale - (lse + distance));
				probability = own.place[half] == OUTSIDE ? 0.0f : probability;
				score = !DROP || kept & 1u << (8 * half) ? probability : 0.0f;
				gradient = DROP ? score * gradient - probability * inner : probability * (gradient - inner);
			}
		}
	}
#pragma unroll
	for (int n = 0; n < N / 16; n++) {
		pack_fragment<bf16>(p[n], s[2 * n], s[2 * n + 1]);
		pack_fragment<bf16>(d[n], d_p[2 * n], d_p[2 * n + 1]);
	}
}

// N queries from query `at` of the stage, whose s and d_p are there; with NEXT they become those of the STEP after them.
template <int N, bool NEXT, bool BIAS, bool DROP>
static __device__ __forceinline__ void go_over_queries(float (&s)[STEP / 8][4], float (&d_p)[STEP / 8][4],
	uint32_t &draws, group_keys &own, const group_step &step, const group_stage &stage, int at) {
	uint32_t p[N / 16][4], d[N / 16][4];
	if (step.idle)
		clear<N>(p), clear<N>(d);
	else
		find_columns<N, BIAS, DROP>(p, d, s, d_p, own, step, stage, at, draws);
	products_fence();
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_v, p[n], from_row(stage.second, at + n * 16), true);
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.d_k, d[n], from_row(stage.first, at + n * 16), true);
	if (NEXT)
		start_products<STEP>(s, d_p, step, stage, at + N);
	products_commit();
	if (NEXT && DROP && !step.idle)
		draws = step.draws[stage.token + at + N]; // lane n has query n's
	products_wait<0>();
}

// A stage's queries, of which there is room for `most`. done: called when k and v have been read for the last time.
template <bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void go_over_queries(
	group_keys &own, const group_step &step, const group_stage &stage, int most, F done) {
	int left = step.tokens - stage.token, at = 0;
	int count = min((left + 15) / 16 * 16, most);
	float s[STEP / 8][4], d_p[STEP / 8][4];
	products_fence();
	start_products<STEP>(s, d_p, step, stage, 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? step.draws[stage.token] : 0;
	products_wait<0>();
#pragma unroll 1 // the code once: the registers are for the sums
	for (; at + STEP < count; at += STEP)
		go_over_queries<STEP, true, BIAS, DROP>(s, d_p, draws, own, step, stage, at);
	done();
	if (at + STEP == count)
		go_over_queries<STEP, false, BIAS, DROP>(s, d_p, draws, own, step, stage, at);
	else
		go_over_queries<16, false, BIAS, DROP>(s, d_p, draws, own, step, stage, at);
}

// ---- the passes

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

template <bool BIAS, bool DROP>
static __device__ __forceinline__ void go_back_ring(
	const ring_memory &m, const ring_plan &plan, const d2v_attention &op, const score_draws &drawn, float *scales) {
	int warp = warp_number(), group = warp / 4, row = warp % 4 * 16, g = (int)threadIdx.x % 32 / 4, turn = 0;
	int all = plan.rows * plan.batches;
	int64_t pitch = 3 * op.width;
	float root = 1.0f / sqrtf((float)GROUP_SIZE), kept = DROP ? drawn.kept : 1.0f;
	bf16 *own_matrices = m.own + group * 2 * TILE_ELEMENTS;
	ring_place ring = { 0, 0 };
	ring_turn<2> at;
	at.start(plan, group);
	fetch_own(own_matrices, plan, op, at);
	group_step step;
	step.scale = LOG2_E / sqrtf((float)GROUP_SIZE), step.tokens = plan.tokens, step.sums = scales != NULL;
	step.own = find_matrix(own_matrices), step.second = find_matrix(own_matrices + TILE_ELEMENTS);
	// The tile's own vectors are done with: the next one's may come.
	auto turn_over = [&] {
		at.advance(plan);
		meet_group(group);
		fetch_own(own_matrices, plan, op, at);
	};
	for (unsigned n = blockIdx.x; n < plan.heads; n += gridDim.x, turn = next_turn(plan, turn)) {
		alibi bias = make_alibi(op, n % (unsigned)op.heads);
		int64_t token = (int64_t)(n / (unsigned)op.heads) * op.tokens;
		bf16 *d_qkv = (bf16 *)op.d_qkv + token * pitch + (int)(n % (unsigned)op.heads) * GROUP_SIZE;
		step.slope = LOG2_E * bias.factor;
		{
			group_queries own = {}; // so that nothing of it lives through the other pass
			int tile = 0, first = 0;
			go_through(m, plan, ring, at, n, 0, turn, [&](const group_stage &stage, bool start, bool last) {
				if (start) {
					tile = at.slot, first = tile * GROUP_TOKENS + row;
					step.idle = first >= plan.tokens;
					step.draws = DROP ? find_draws(drawn, n, first, plan.tokens) : NULL;
					clear(own.d_q);
#pragma unroll
					for (int half = 0; half < 2; half++) {
						int query = turn * all + min(first + g + 8 * half, all - 1);
						own.facts[half] = m.facts[query], own.place[half] = BIAS ? m.places[query] : 0.0f;
						own.sums[half] = { 0, 0, 0 };
					}
					wait_for_own(group);
				}
				go_over_keys<BIAS, DROP>(own, step, stage, plan.rows, op.key_padding, [&] {
					if (last)
						turn_over();
				});
				if (!last)
					return;
				if (!step.idle)
					store_rows<GROUP_SIZE>(d_qkv, pitch, first, plan.tokens, own.d_q, root * kept, root * kept);
				if (BIAS && step.sums)
					store_scale(scales + ((int64_t)n * plan.tiles + tile) * 4 + warp % 4, own, bias.slope * kept);
			});
		}
		{
			group_keys own = {};
			int first = 0;
			go_through(m, plan, ring, at, n, 1, turn, [&](const group_stage &stage, bool start, bool last) {
				if (start) {
					first = at.slot * GROUP_TOKENS + row;
					step.idle = first >= plan.tokens;
					if (DROP)
						step.draws = draws_of(drawn, n) + first / DRAWN_KEYS * plan.tokens + threadIdx.x % 32,
						step.lowest = first % DRAWN_KEYS + g;
					clear(own.d_k), clear(own.d_v);
#pragma unroll
					for (int half = 0; half < 2; half++)
						own.place[half] = first + g + 8 * half < plan.tokens ? m.key_places[turn * all + first + g + 8 * half] : OUTSIDE;
					wait_for_own(group);
				}
				go_over_queries<BIAS, DROP>(own, step, stage, plan.rows, [&] {
					if (last)
						turn_over();
				});
				if (!last || step.idle)
					return;
				store_rows<GROUP_SIZE>(d_qkv + op.width, pitch, first, plan.tokens, own.d_k, root * kept, root * kept);
				store_rows<GROUP_SIZE>(d_qkv + 2 * op.width, pitch, first, plan.tokens, own.d_v, kept, kept);
			});
		}
	}
	copy_wait<0>();
}

// scales (heads of all rows, tiles, 4): a warp's part of the gradient of the bias's scale; NULL: not wanted.
template <bool BIAS, bool DROP>
static __global__ void __launch_bounds__(THREADS, 1)
	go_back(d2v_attention op, score_draws drawn, ring_plan plan, float *scales) {
	D2V_SHARED_MATRICES(bytes);
	ring_memory m;
	lay_out(m, bytes, plan);
	start_ring(m, plan);
	if (warp_number() / 4 == GROUPS) {
		give_registers<FILLER_REGISTERS>();
		fill_ring<2, BIAS>(m, plan, op, DROP ? drawn.kept : 1.0f);
	} else {
		take_registers<REGISTERS>();
		go_back_ring<BIAS, DROP>(m, plan, op, drawn, scales);
	}
}

void d2v_cuda_attention_groups_backward(d2v_device *dev, const d2v_attention *op) {
	constexpr int SIZE = GROUP_SIZE;
	ring_plan plan;
	ring_memory m;
	score_draws drawn;
	void *scales;
	plan_ring(plan, op, GROUPS, 2);
	size_t sums = op->slope && op->d_scale ? (size_t)plan.heads * (size_t)plan.tiles * 4 * sizeof(float) : 0;
	if (!d2v_cuda_attention_draw(dev, op, &drawn, sums, &scales))
		return;
	BY_RULES(op, D2V_LAUNCH(dev, (go_back<BIAS, DROP>), ring_blocks(plan), THREADS, lay_out(m, NULL, plan),
		*op, drawn, plan, sums ? (float *)scales : NULL));
	if (sums)
		d2v_cuda_add_attention_scales(dev, op, (const float *)scales, plan.tiles * 4);
}

// Compute capability 9.x, of which alone sm_90a is.
bool d2v_cuda_attention_fits_groups(d2v_device *dev, const d2v_attention *op) {
	ring_plan backward;
	return d2v_cuda_is_bf16(dev) && op->width == op->heads * GROUP_SIZE &&
		   gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 && d2v_cuda_attention_groups_forward_fits(op) &&
		   plan_ring(backward, op, GROUPS, 2);
}
