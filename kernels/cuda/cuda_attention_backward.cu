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
#include "kernels/cuda/attention_backward.cuh"

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
