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
#include "kernels/cuda/attention_groups_backward.cuh"
#include "kernels/cuda/attention_tail.cuh"

// Of a block, beside the filler. (Three, which leave each no registers for going on: 5 to 10 % slower.)
#define GROUPS 2
#define THREADS ((GROUPS + 1) * GROUP_THREADS)
#define REGISTERS 224 // of 168 a thread the filler leaves these to the others
#define FILLER_REGISTERS 48
#define BATCH 320 // tokens that are there together, of a head that does not fit

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

// ---- tails

// d_q of a tail of head n.
template <bool DROP, class F>
static __device__ __forceinline__ void go_back_tail_queries(const tail_work &tail, const d2v_attention &op, unsigned n,
	const group_stage &stage, const group_step &step, float factor, float *columns, F done) {
	tail_gradients sums;
	const float factors[TAIL_COLUMNS] = { factor, factor, factor, factor };
	int free = go_back_tail<false, DROP>(sums, tail, stage.facts, step.scale, done);
	if (columns)
		add_tail_columns(columns, tail, sums.first);
	store_tail(gradients_of(op, n), 3 * op.width, tail, tail.room + free * TAIL_PAIRS, sums.first, factors);
}

// d_k and d_v of a tail of head n; 0 for what is no key.
template <bool DROP, class F>
static __device__ __forceinline__ void go_back_tail_keys(const tail_work &tail, const d2v_attention &op, unsigned n,
	const group_stage &stage, const group_step &step, float factor, float factor_of_values, float *columns, F done) {
	tail_gradients sums;
	float factors[TAIL_COLUMNS], factors_of_values[TAIL_COLUMNS];
	int free = go_back_tail<true, DROP>(sums, tail, stage.facts, step.scale, done);
#pragma unroll
	for (int c = 0; c < TAIL_COLUMNS; c++) {
		bool outside = is_outside(tail.key_places[tail.first + c / 2 * 8 + threadIdx.x % 4 * 2 + c % 2]);
		factors[c] = factor, factors_of_values[c] = factor_of_values;
#pragma unroll
		for (int half = 0; half < 2; half++)
			if (outside)
				sums.first[c / 2][2 * half + c % 2] = sums.second[c / 2][2 * half + c % 2] = 0;
	}
	if (columns) {
		add_tail_columns(columns + GROUP_SIZE, tail, sums.first);
		add_tail_columns(columns + 2 * GROUP_SIZE, tail, sums.second);
	}
	bf16 *d_k = gradients_of(op, n) + op.width;
	bf16 *place = tail.room + free * TAIL_PAIRS;
	store_tail(d_k, 3 * op.width, tail, place, sums.first, factors);
	store_tail(d_k + op.width, 3 * op.width, tail, place + 2 * TAIL_PAIRS, sums.second, factors_of_values);
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
	// The tail `at` of head n against its stage.
	auto find_tail = [&](const group_stage &stage, const uint32_t *draws) -> tail_work {
		return { group, at.slot * GROUP_TOKENS, plan.tokens, row + g, op.key_padding != NULL,
			m.tails + group * TAIL_ELEMENTS(2), step.own, step.second, stage.first, stage.second,
			m.key_places + turn * all, draws, drawn.words_of_rows };
	};
	for (unsigned n = blockIdx.x; n < plan.heads; n += gridDim.x, turn = next_turn(plan, turn)) {
		int first = 0; // the warp's first token of the tile
		step.slope = BIAS ? LOG2_E * make_alibi(op, n % (unsigned)op.heads).factor : 0.0f;
		{
			group_queries own = {}; // so that nothing of it lives through the other pass
			go_through(m, plan, ring, at, n, 0, turn, [&](const group_stage &stage, bool start, bool last) {
				if (start)
					barrier_wait(m.own_full + group, own_parity), own_parity ^= 1;
				if (!BIAS && is_tail(plan, at)) {
					go_back_tail_queries<DROP>(find_tail(stage, DROP ? find_draws(drawn.of_keys, drawn, n, row) : NULL),
						op, n, stage, step, root * kept, sums.columns ? m.columns + warp * COLUMN_SUMS : NULL,
						turn_over);
					return;
				}
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
				if (start)
					barrier_wait(m.own_full + group, own_parity), own_parity ^= 1;
				if (!BIAS && is_tail(plan, at)) {
					go_back_tail_keys<DROP>(find_tail(stage, DROP ? find_draws(drawn.of_queries, drawn, n, row) : NULL),
						op, n, stage, step, root * kept, kept, sums.columns ? m.columns + warp * COLUMN_SUMS : NULL,
						turn_over);
					return;
				}
				if (start) {
					first = at.slot * GROUP_TOKENS + row;
					step.idle = first >= plan.tokens;
					step.draws = DROP ? find_draws(drawn.of_keys, drawn, n, first) : NULL;
					clear(own.d_k), clear(own.d_v);
#pragma unroll
					for (int half = 0; half < 2; half++)
						own.place[half] = m.key_places[turn * all + first + g + 8 * half];
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
