// Attention in bf16, forward, on Hopper's warpgroups, for heads of 64 channels (J. Shah et al., "FlashAttention-3",
// 2024). What is computed is what cuda_attention_forward.cu computes, with a base that is raised when it has to be.
//
// Four warpgroups have a tile of 64 queries each and go over the keys and values in the ring (attention_groups.cuh).
// Exponentials are for rows that exist: a warp without queries leaves them out, and only comes along for the products.
// 197 tokens cost 256 x 208 scores of products and 208 x 208 of exponentials.
#include "kernels/cuda/attention_groups.cuh"

#define GROUPS 4   // of a block, beside the filler
#define THREADS ((GROUPS + 1) * GROUP_THREADS)
#define REGISTERS 112 // of 96 a thread the filler leaves these to the others
#define FILLER_REGISTERS 32
#define SLACK 8.0f // of a base, in units of log2

// What stays in registers of a warp's 16 queries; pairs are rows g and g + 8.
struct group_queries {
	float out[GROUP_SIZE / 8][4];
	float top[2], sum[2]; // sum: of this lane's columns
	float place[2];
};

struct forward_step {
	float scale, slope; // of q . k, of the distance; in units of log2
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
		draws = read_draws(step.draws, work.first + at + N, step.tokens);
	products_wait<0>();
}

// A batch's keys, of which there is room for `most`. done: called when q has been read for the last time.
template <bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void attend_batch(group_queries &own, const forward_step &step, 
	const forward_work &work, int most, bool padded, F done) {
	int left = step.tokens - work.first, count = covered_tokens(left, most), at = 0;
	float s[8][4];
	products_fence();
	start_scores(s, work, 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, work.first, step.tokens) : 0;
	products_wait<0>();
	for (; at + GROUP_TOKENS < count; at += GROUP_TOKENS)
		attend_keys<GROUP_TOKENS, true, BIAS, DROP>(s, draws, own, step, work, at, padded);
	done();
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
	const d2v_attention &op, const group_queries &own, unsigned n, int first, float unit, float kept) {
	int r = (int)(n / (unsigned)op.heads), h = (int)(n % (unsigned)op.heads), tokens = (int)op.tokens;
	bf16 *to = (bf16 *)op.out + r * op.tokens * op.width + h * GROUP_SIZE;
	float *lse = op.lse + (int64_t)n * op.tokens, factor[2];
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float sum = row_sum(own.sum[half]);
		int token = first + (int)threadIdx.x % 32 / 4 + 8 * half;
		factor[half] = sum > 0 ? kept / sum : 0.0f;
		if (threadIdx.x % 4 == 0 && token < tokens)
			lse[token] = sum > 0 ? (own.top[half] * unit + log2f(sum)) * LN_2 : -INFINITY;
	}
	store_rows<GROUP_SIZE>(to, op.width, first, tokens, own.out, factor[0], factor[1]);
}

template <bool BIAS, bool DROP>
static __device__ __forceinline__ void attend_ring(
	const ring_memory &m, const ring_plan &plan, const d2v_attention &op, const score_draws &drawn) {
	int warp = warp_number(), group = warp / 4, row = warp % 4 * 16, turn = 0, all = plan.rows * plan.batches;
	bf16 *q = m.own + group * TILE_ELEMENTS;
	ring_place ring = { 0, 0 };
	ring_turn<1> at, next = {};
	at.start(plan, group);
	fetch_own(q, plan, op, at);
	forward_step step = {};
	step.scale = LOG2_E / sqrtf((float)GROUP_SIZE), step.tokens = plan.tokens;
	group_queries own;
	for (unsigned n = blockIdx.x; n < plan.heads; n += gridDim.x, turn = next_turn(plan, turn))
		for (int visit = 0; visit < plan.slots; visit += plan.visit)
			for (int batch = 0; batch < plan.batches; batch++, ring.advance(plan)) {
				bool last = batch + 1 == plan.batches;
				barrier_wait(m.full + ring.stage, ring.parity);
				while (at.n == n && at.slot < visit + plan.visit) {
					int first = at.slot * GROUP_TOKENS + row;
					if (batch == 0) {
						wait_for_own(group);
						start_queries(own);
						step.slope = BIAS ? LOG2_E * make_alibi(op, n % (unsigned)op.heads).factor : 0.0f;
						step.draws = DROP ? find_draws(drawn, n, first, plan.tokens) : NULL;
						step.idle = first >= plan.tokens;
						own.place[0] = BIAS ? m.places[turn * all + min(first + (int)threadIdx.x % 32 / 4, all - 1)] : 0;
						own.place[1] = BIAS ? m.places[turn * all + min(first + (int)threadIdx.x % 32 / 4 + 8, all - 1)] : 0;
					}
					forward_work work = { find_matrix(q), find_matrix(stage_matrix(m, plan, ring.stage, 0)),
						find_matrix(stage_matrix(m, plan, ring.stage, 1)),
						m.key_places + turn * all + batch * plan.rows, batch * plan.rows };
					attend_batch<BIAS, DROP>(own, step, work, plan.rows, op.key_padding, [&] {
						if (!last)
							return;
						next = at;
						next.advance(plan);
						meet_group(group);
						fetch_own(q, plan, op, next);
					});
					if (!last)
						break;
					if (!step.idle)
						finish_queries(op, own, n, first, BIAS ? 1.0f : step.scale, DROP ? drawn.kept : 1.0f);
					at = next;
				}
				leave_stage(m, ring);
			}
	copy_wait<0>();
}

template <bool BIAS, bool DROP>
static __global__ void __launch_bounds__(THREADS, 1)
	attend_groups(d2v_attention op, score_draws drawn, ring_plan plan) {
	D2V_SHARED_MATRICES(bytes);
	ring_memory m;
	lay_out(m, bytes, plan);
	start_ring(m, plan);
	if (warp_number() / 4 == GROUPS) {
		give_registers<FILLER_REGISTERS>();
		fill_ring<1, BIAS>(m, plan, op, 1.0f);
	} else {
		take_registers<REGISTERS>();
		attend_ring<BIAS, DROP>(m, plan, op, drawn);
	}
}

void d2v_cuda_attention_groups_forward(d2v_device *dev, const d2v_attention *op) {
	constexpr int SIZE = GROUP_SIZE;
	ring_plan plan;
	ring_memory m;
	score_draws drawn;
	plan_ring(plan, op, GROUPS, 1);
	if (!d2v_cuda_attention_draw(dev, op, &drawn, 0, NULL))
		return;
	BY_RULES(op, D2V_LAUNCH(dev, (attend_groups<BIAS, DROP>), ring_blocks(plan), THREADS,
		lay_out(m, NULL, plan), *op, drawn, plan));
}

bool d2v_cuda_attention_groups_forward_fits(const d2v_attention *op) {
	ring_plan plan;
	return plan_ring(plan, op, GROUPS, 1);
}
