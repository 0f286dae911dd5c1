// Attention in bf16, forward, on Hopper's warpgroups, for heads of 64 channels (J. Shah et al., "FlashAttention-3",
// 2024). What is computed is what cuda_attention_forward.cu computes, with a base that is raised when it has to be.
//
// Four warpgroups have a tile of 64 queries each and go over the keys and values in the ring (attention_groups.cuh).
// Exponentials are for rows that exist: a warp without queries leaves them out, and only comes along for the products.
// 197 tokens cost 256 x 208 scores of products and 208 x 208 of exponentials.
#include "kernels/cuda/attention_groups.cuh"
#include "kernels/cuda/attention_tail.cuh"

#define GROUPS 4 // of a block, beside the filler
#define THREADS ((GROUPS + 1) * GROUP_THREADS)
#define REGISTERS 112 // of 96 a thread the filler leaves these to the others
#define FILLER_REGISTERS 32
#define BATCH 128  // keys that are there together, of a head that does not fit
#define SLACK 8.0f // of a base, in units of log2

// What stays in registers of a warp's 16 queries; pairs are rows g and g + 8.
struct group_queries {
	float out[GROUP_SIZE / 8][4];
	float top[2], sum[2]; // sum: of this lane's columns
	float place[2];
};

struct forward_step {
	float scale, slope;    // of q . k, of the distance; in units of log2
	const uint32_t *draws; // of dropout (find_draws)
	int tokens;
	bool idle; // no query is this warp's, and nobody reads what its rows become
};

// places: of the columns' keys.
template <int N>
static __device__ __forceinline__ void add_bias(
	float (&s)[8][4], const group_queries &own, const forward_step &step, const float *places) {
#pragma unroll
	for (int n = 0; n < N / 8; n++) {
		float2 two = *(const float2 *)&places[n * 8 + threadIdx.x % 4 * 2];
#pragma unroll
		for (int i = 0; i < 4; i++)
			s[n][i] = s[n][i] * step.scale - step.slope * distance_between(own.place[i / 2], i % 2 ? two.y : two.x);
	}
}

// Moves the bases of the rows to their newest maxima when one has grown by much; what they shrink what was summed up
// by.
static __device__ __forceinline__ bool raise_tops(
	float (&shrink)[2], group_queries &own, const float (&best)[2], float unit) {
	bool grown = best[0] * unit > own.top[0] * unit + SLACK || best[1] * unit > own.top[1] * unit + SLACK;
	if (!__any_sync(0xffffffffu, grown))
		return false;
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float top = fmaxf(own.top[half], best[half]);
		shrink[half] = top == -INFINITY ? 0.0f : power_of_2((own.top[half] - top) * unit);
		own.top[half] = top, own.sum[half] *= shrink[half];
	}
	return true;
}

// Scores of N keys become weights, which are summed up beside. Whether, and by what, what was summed up of the values
// shrinks.
template <int N, bool BIAS>
static __device__ __forceinline__ bool weigh_keys(float (&s)[8][4], float (&shrink)[2], group_queries &own,
	const forward_step &step, const float *places, bool masked) {
	if (BIAS)
		add_bias<N>(s, own, step, places);
	if (masked)
		mask_keys<N>(s, places);
	float unit = BIAS ? 1.0f : step.scale, best[2]; // unit: of s
#pragma unroll
	for (int half = 0; half < 2; half++) {
		best[half] = -INFINITY;
#pragma unroll
		for (int n = 0; n < N / 8; n++)
			best[half] = fmaxf(best[half], fmaxf(s[n][2 * half], s[n][2 * half + 1]));
		best[half] = row_max(best[half]);
	}
	bool raised = raise_tops(shrink, own, best, unit);
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float base = own.top[half] == -INFINITY ? 0.0f : own.top[half] * unit, sum = 0;
#pragma unroll
		for (int n = 0; n < N / 8; n++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				float &weight = s[n][2 * half + i];
				weight = power_of_2(weight * unit - base);
				sum += weight;
			}
		own.sum[half] += sum;
	}
	return raised;
}

// The weights in pairs, without those that are dropped: a's fragments for the products with the values.
template <int N, bool DROP>
static __device__ __forceinline__ void pack_weights(
	uint32_t (&p)[GROUP_TOKENS / 16][4], const float (&s)[8][4], uint32_t draws) {
#pragma unroll
	for (int half = 0; half < 2; half++)
#pragma unroll
		for (int n = 0; n < N / 8; n++) {
			uint32_t &pair = p[n / 2][n % 2 * 2 + half];
			pair = round_pair<bf16>(s[n][2 * half], s[n][2 * half + 1]);
			int sign = 6 - 4 * (n % 2) - 2 * half; // is_kept: of the second, where byte n / 2 has its sign then
			if (DROP)
				pair &= spread_signs(draws << (sign + 1), draws << sign, n / 2);
		}
}

// A batch's matrices, the queries being the warpgroup's, and what else its steps have in common.
struct forward_work {
	shared_matrix q, k, v;
	const float *places;
	int first; // key
};

// s = the scores of N keys, as products that are under way.
template <int N>
static __device__ __forceinline__ void start_scores(float (&s)[8][4], const forward_work &work, int at) {
	multiply_anew<N, ROWS, ROWS>(first_columns<N>(s), work.q, from_row(work.k, at));
#pragma unroll
	for (int e = 16; e < GROUP_SIZE; e += 16)
		multiply<N, ROWS, ROWS>(
			first_columns<N>(s), from_element(work.q, e), from_element(from_row(work.k, at), e), true);
}

// out += the products of N keys' weights and values, under way.
template <int N>
static __device__ __forceinline__ void start_sums(
	group_queries &own, const uint32_t (&p)[GROUP_TOKENS / 16][4], const forward_work &work, int at) {
#pragma unroll
	for (int n = 0; n < N / 16; n++)
		multiply<GROUP_SIZE, COLUMNS>(own.out, p[n], from_row(work.v, at + n * 16), true);
}

// N keys from key `at` of the batch, whose scores s are there, become weights. Sums that are under way go on meanwhile;
// they have ended afterwards.
template <int N, bool BIAS, bool DROP>
static __device__ __forceinline__ void attend_keys(uint32_t (&p)[GROUP_TOKENS / 16][4], float (&s)[8][4],
	uint32_t draws, group_queries &own, const forward_step &step, const forward_work &work, int at, bool masked) {
	float shrink[2];
	bool raised = !step.idle && weigh_keys<N, BIAS>(s, shrink, own, step, work.places + at, masked);
	products_wait<0>();
	hold_sums(s);
	if (raised)
#pragma unroll
		for (int c = 0; c < GROUP_SIZE / 8; c++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				own.out[c][i] *= shrink[i / 2];
	pack_weights<N, DROP>(p, s, draws);
}

// The same from their scores on, while the 64 keys before them, whose weights p has, are summed up. done: called when
// the scores are there.
template <int N, bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void go_on(uint32_t (&p)[GROUP_TOKENS / 16][4], group_queries &own,
	const forward_step &step, const forward_work &work, int at, bool masked, F done) {
	float s[8][4];
	products_fence();
	start_scores<N>(s, work, at);
	products_commit();
	start_sums<GROUP_TOKENS>(own, p, work, at - GROUP_TOKENS);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, work.first + at) : 0;
	products_wait<1>();
	done();
	attend_keys<N, BIAS, DROP>(p, s, draws, own, step, work, at, masked);
}

template <int N>
static __device__ __forceinline__ void end_sums(
	group_queries &own, const uint32_t (&p)[GROUP_TOKENS / 16][4], const forward_work &work, int at) {
	products_fence();
	start_sums<N>(own, p, work, at);
	products_commit();
	products_wait<0>();
}

// A batch's keys, of which there is room for `most`. done: called when q has been read for the last time.
template <bool BIAS, bool DROP, class F>
static __device__ __forceinline__ void attend_batch(
	group_queries &own, const forward_step &step, const forward_work &work, int most, bool padded, F done) {
	int left = step.tokens - work.first, count = covered_tokens(left, most), at = GROUP_TOKENS;
	bool ends = left < count;
	uint32_t p[GROUP_TOKENS / 16][4];
	float s[8][4];
	products_fence();
	start_scores<GROUP_TOKENS>(s, work, 0);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, work.first) : 0;
	products_wait<0>();
	if (count <= at)
		done();
	if (count < at) {
		attend_keys<16, BIAS, DROP>(p, s, draws, own, step, work, 0, padded || ends);
		end_sums<16>(own, p, work, 0);
		return;
	}
	attend_keys<GROUP_TOKENS, BIAS, DROP>(p, s, draws, own, step, work, 0, padded || (ends && count == at));
	for (; at + GROUP_TOKENS <= count; at += GROUP_TOKENS) {
		bool last = at + GROUP_TOKENS == count;
		go_on<GROUP_TOKENS, BIAS, DROP>(p, own, step, work, at, padded || (ends && last), [&] {
			if (last)
				done();
		});
	}
	if (at < count) {
		go_on<16, BIAS, DROP>(p, own, step, work, at, padded || ends, done);
		end_sums<16>(own, p, work, at);
	} else {
		end_sums<GROUP_TOKENS>(own, p, work, at - GROUP_TOKENS);
	}
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
		factor[half] = sum > 0 ? kept * fast_reciprocal(sum) : 0.0f;
		if (threadIdx.x % 4 == 0 && token < tokens)
			lse[token] = sum > 0 ? (own.top[half] * unit + fast_log2(sum)) * LN_2 : -INFINITY;
	}
	store_rows<GROUP_SIZE>(to, op.width, first, tokens, own.out, factor[0], factor[1]);
}

template <bool BIAS, bool DROP>
static __device__ __forceinline__ void attend_ring(const ring_memory &m, const ring_plan &plan, const ring_maps &maps,
	const d2v_attention &op, const score_draws &drawn) {
	int warp = warp_number(), group = warp / 4, row = warp % 4 * 16, turn = 0, all = plan.rows * plan.batches;
	unsigned own_parity = 0;
	shared_matrix q = find_matrix(m.own + group * TILE_ELEMENTS);
	ring_place ring = { 0, 0 };
	ring_turn<1> at;
	at.start(plan, group);
	fetch_own(m, plan, maps, op, at, group);
	forward_step step = {};
	step.scale = LOG2_E / sqrtf((float)GROUP_SIZE), step.tokens = plan.tokens;
	const float kept = DROP ? drawn.kept : 1.0f;
	group_queries own;
	// The tile's queries are done with: the next one's may come.
	auto turn_over = [&] {
		at.advance(plan);
		meet_group(group);
		fetch_own(m, plan, maps, op, at, group);
	};
	for (unsigned n = blockIdx.x; n < plan.heads; n += gridDim.x, turn = next_turn(plan, turn))
		for (int visit = 0; visit < plan.slots; visit += plan.visit)
			for (int batch = 0; batch < plan.batches; batch++, ring.advance(plan)) {
				bool last = batch + 1 == plan.batches;
				barrier_wait(m.full + ring.stage, ring.parity);
				forward_work work = { q, find_matrix(stage_matrix(m, plan, ring.stage, 0)),
					find_matrix(stage_matrix(m, plan, ring.stage, 1)), m.key_places + turn * all + batch * plan.rows,
					batch * plan.rows };
				while (at.n == n && at.slot < visit + plan.visit) {
					int first = at.slot * GROUP_TOKENS + row;
					if (batch == 0)
						barrier_wait(m.own_full + group, own_parity), own_parity ^= 1;
					if (!BIAS && is_tail(plan, at)) {
						tail_work tail = { group, at.slot * GROUP_TOKENS, plan.tokens, row + (int)threadIdx.x % 32 / 4,
							op.key_padding != NULL, m.tails + group * TAIL_ELEMENTS(1), q, q, work.k, work.v,
							work.places, DROP ? find_draws(drawn.of_keys, drawn, n, row) : NULL, drawn.words_of_rows };
						attend_tail<DROP>(op, n, tail, step.scale, kept, turn_over);
						continue;
					}
					if (batch == 0) {
						start_queries(own);
						step.slope = BIAS ? LOG2_E * make_alibi(op, n % (unsigned)op.heads).factor : 0.0f;
						step.draws = DROP ? find_draws(drawn.of_queries, drawn, n, first) : NULL;
						step.idle = first >= plan.tokens;
						own.place[0] =
							BIAS ? m.places[turn * all + min(first + (int)threadIdx.x % 32 / 4, all - 1)] : 0;
						own.place[1] =
							BIAS ? m.places[turn * all + min(first + (int)threadIdx.x % 32 / 4 + 8, all - 1)] : 0;
					}
					attend_batch<BIAS, DROP>(own, step, work, plan.rows, op.key_padding, [&] {
						if (last)
							turn_over();
					});
					if (!last)
						break;
					if (!step.idle)
						finish_queries(op, own, n, first, BIAS ? 1.0f : step.scale, kept);
				}
				leave_stage(m, ring);
			}
}

template <bool BIAS, bool DROP>
static __global__ void __launch_bounds__(THREADS, 1)
	attend_groups(const __grid_constant__ ring_maps maps, d2v_attention op, score_draws drawn, ring_plan plan) {
	D2V_SHARED_MATRICES(bytes);
	ring_memory m;
	lay_out(m, bytes, plan);
	start_ring(m, plan);
	if (warp_number() / 4 == GROUPS) {
		give_registers<FILLER_REGISTERS>();
		fill_ring<1, BIAS>(m, plan, maps, op, 1.0f);
	} else {
		take_registers<REGISTERS>();
		attend_ring<BIAS, DROP>(m, plan, maps, op, drawn);
	}
}

void d2v_cuda_attention_groups_forward(d2v_device *dev, const d2v_attention *op) {
	constexpr int SIZE = GROUP_SIZE;
	ring_plan plan;
	ring_memory m;
	score_draws drawn;
	ring_maps maps = {};
	plan_ring(plan, op, GROUPS, 1, BATCH);
	if (!make_maps(dev, maps, op, false) || !d2v_cuda_attention_draw(dev, op, &drawn))
		return;
	BY_RULES(op, D2V_LAUNCH(dev, (attend_groups<BIAS, DROP>), ring_blocks(plan), THREADS, lay_out(m, NULL, plan), maps,
					 *op, drawn, plan));
}

bool d2v_cuda_attention_groups_forward_fits(const d2v_attention *op) {
	ring_plan plan;
	return plan_ring(plan, op, GROUPS, 1, BATCH);
}
