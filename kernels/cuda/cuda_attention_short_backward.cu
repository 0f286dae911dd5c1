// Attention over short heads, backward: a warp a head, from the first copy to the last, without meeting another.
//
// All scores of a head stay in the warp's registers. S^T = k q^T and dP^T = v d_out^T give P^T and, with D = the sum of
// P dP over a query's keys, dS^T, both rounded to pairs; from those d_v^T = d_out^T P, d_k^T = q^T dS and, turned
// within the warp, d_q^T = k^T dS^T. So `out` is not read, which every other way needs for D: of the bytes that are
// left, q, k, v, d_out and three gradients, everything is read or written once.
//
// They are what bounds it: 900 bytes a token against 28 instructions of a warp (36 with the column sums) and 7.5
// products of 16 x 8 x 16, counted in sm_90a's code for 40 tokens, so a multiprocessor can issue a head's instructions
// in a fifth of the time that its bytes take. What matters is that copies never pause. A warp has four matrices in
// shared memory and asks for the next head's v as soon as the scores are there, for its q after d_k, d_out after d_v, k
// after d_q; a fifth matrix is on its way to memory. Of 40 tokens a multiprocessor holds eight heads, 200 KB of which
// most are under way, where 36 KB would do. Beyond 48 tokens some registers are spilled.
//
// Tokens are told apart by eights (octets): what lies beyond the last one is zeros in shared memory, as the copy engine
// leaves them, has probabilities of 0 as keys and as queries, and is not stored.
#include "kernels/cuda/attention_short.cuh"

// ---- scores

// f32 of all keys and N octets of queries, transposed: keys by 16, of which a lane has g and g + 8, by pairs of queries
// 2t, 2t + 1.
template <int OCTETS, int N> struct short_scores { float at[(OCTETS + 1) / 2][N][4]; };

// x = a (all octets) times b (N octets), over the channels. a's octets go in twos: with an odd number the first of what
// follows makes the last one's, whose results are not looked at.
template <int OCTETS, int N>
static __device__ __forceinline__ void multiply_rows(
	short_scores<OCTETS, N> &x, const unsigned char *a_rows, const unsigned char *b_rows, const short_lane &lane) {
	x = {};
#pragma unroll
	for (int half = 0; half < PARTS / 2; half++) {
		uint32_t last[4]; // an octet without a neighbour is loaded for two parts
		if (N % 2)
			load_matrices(last, b_rows + (N - 1) * OCTET_BYTES + lane.one[half]);
#pragma unroll
		for (int i = 0; i < 2; i++) {
			int part = 2 * half + i;
			uint32_t b[(N + 1) / 2][4];
#pragma unroll
			for (int n = 0; n < N / 2; n++)
				load_matrices(b[n], b_rows + 2 * n * OCTET_BYTES + lane.packs_first[part]);
			if (N % 2)
				b[N / 2][0] = last[2 * i], b[N / 2][1] = last[2 * i + 1];
#pragma unroll
			for (int m = 0; m < (OCTETS + 1) / 2; m++) {
				uint32_t a[4];
				load_matrices(a, a_rows + 2 * m * OCTET_BYTES + lane.packs_last[part]);
#pragma unroll
				for (int n = 0; n < N; n++) {
					uint32_t pair[2] = { b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1] };
					mma_16816<bf16>(x.at[m][n], a, pair);
				}
			}
		}
	}
}

// P and dS, with the root of the scores in it, of a head in pairs: of keys' octet i and queries' octet j a lane has key
// g, queries 2t and 2t + 1.
template <int OCTETS> struct short_pairs { uint32_t p[OCTETS][OCTETS], d[OCTETS][OCTETS]; };

// Sum over the lanes of equal t.
static __device__ __forceinline__ float column_sum(float x) {
	x += __shfl_xor_sync(0xffffffffu, x, 4);
	x += __shfl_xor_sync(0xffffffffu, x, 8);
	return x + __shfl_xor_sync(0xffffffffu, x, 16);
}

// Of N octets of queries from `first` on.
template <int OCTETS, int N, bool MASK>
static __device__ __forceinline__ void find_pairs(
	short_pairs<OCTETS> &pairs, const short_memory &m, const short_lane &lane, int first, uint64_t outside) {
	float root = 1.0f / sqrtf((float)CHANNELS), scale = LOG2_E * root;
	short_scores<OCTETS, N> s, d_p;
	int skipped = first * OCTET_BYTES;
	multiply_rows<OCTETS, N>(s, matrix_of<OCTETS>(m, KEYS), matrix_of<OCTETS>(m, QUERIES) + skipped, lane);
	multiply_rows<OCTETS, N>(d_p, matrix_of<OCTETS>(m, VALUES), matrix_of<OCTETS>(m, OUTPUT_GRADIENTS) + skipped, lane);
#pragma unroll
	for (int n = 0; n < N; n++) {
		float2 lse = *(const float2 *)&m.lse[(first + n) * OCTET + (int)threadIdx.x % 4 * 2];
		float inner[2] = { 0, 0 };
#pragma unroll
		for (int key = 0; key < OCTETS; key++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				float &p = s.at[key / 2][n][key % 2 * 2 + i];
				p = power_of_2(p * scale - (i ? lse.y : lse.x));
				if (MASK)
					p = outside >> (8 * key) & 1 ? 0.0f : p;
				inner[i] += p * d_p.at[key / 2][n][key % 2 * 2 + i];
			}
#pragma unroll
		for (int i = 0; i < 2; i++)
			inner[i] = column_sum(inner[i]) * root;
#pragma unroll
		for (int key = 0; key < OCTETS; key++) {
			const float *p = &s.at[key / 2][n][key % 2 * 2], *d = &d_p.at[key / 2][n][key % 2 * 2];
			pairs.p[key][first + n] = round_pair<bf16>(p[0], p[1]);
			pairs.d[key][first + n] =
				round_pair<bf16>(p[0] * (d[0] * root - inner[0]), p[1] * (d[1] * root - inner[1]));
		}
	}
}

// From a lane's point of view: afterwards it has, of octets i and j, query g of octet i and keys 2t and 2t + 1 of octet
// j.
template <int OCTETS> static __device__ __forceinline__ void transpose(uint32_t (&pairs)[OCTETS][OCTETS]) {
#pragma unroll
	for (int i = 0; i < OCTETS; i++)
#pragma unroll
		for (int j = 0; j <= i; j++) {
			uint32_t pair = transpose_matrix(pairs[i][j]);
			pairs[i][j] = i == j ? pair : transpose_matrix(pairs[j][i]);
			pairs[j][i] = pair;
		}
}

// Of all queries, in pieces. Each asks whether the matrices are there, which keeps it from beginning under the one
// before: for both there are no registers.
template <int OCTETS, bool MASK, int FIRST = 0>
static __device__ __forceinline__ void find_all_pairs(
	short_pairs<OCTETS> &pairs, const short_memory &m, const short_lane &lane, uint64_t outside, unsigned parity) {
	constexpr int most = short_shape<OCTETS>::queries, N = OCTETS - FIRST < most ? OCTETS - FIRST : most;
	barrier_wait(m.full, parity);
	find_pairs<OCTETS, N, MASK>(pairs, m, lane, FIRST, outside);
	if constexpr (FIRST + N < OCTETS)
		find_all_pairs<OCTETS, MASK, FIRST + N>(pairs, m, lane, outside, parity);
}

// ---- results

// sum, transposed (COUNT parts of 16 channels from `first` on, all tokens) = the columns of rows times the pairs
// pair(k, n), of which a lane has token g of octet n and tokens 2t, 2t + 1 of the rows' octet k.
template <int OCTETS, int COUNT, class F>
static __device__ __forceinline__ void multiply_columns(
	float (&sum)[COUNT][OCTETS][4], const unsigned char *rows, const short_lane &lane, int first, F pair) {
#pragma unroll
	for (int part = 0; part < COUNT; part++)
#pragma unroll
		for (int n = 0; n < OCTETS; n++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				sum[part][n][i] = 0;
#pragma unroll
	for (int k = 0; k + 1 < OCTETS; k += 2)
#pragma unroll
		for (int part = 0; part < COUNT; part++) {
			uint32_t a[4];
			load_transposed(a, rows + k * OCTET_BYTES + lane.packs_first[first + part]);
#pragma unroll
			for (int n = 0; n < OCTETS; n++) {
				uint32_t b[2] = { pair(k, n), pair(k + 1, n) };
				mma_16816<bf16>(sum[part][n], a, b);
			}
		}
	if (OCTETS % 2)
#pragma unroll
		for (int part = 0; part < COUNT; part += 2) {
			uint32_t words[4];
			load_transposed(words, rows + (OCTETS - 1) * OCTET_BYTES + lane.one[(first + part) / 2]);
#pragma unroll
			for (int i = 0; i < 2; i++) {
				uint32_t a[2] = { words[2 * i], words[2 * i + 1] };
#pragma unroll
				for (int n = 0; n < OCTETS; n++)
					mma_1688<bf16>(sum[part + i][n], a, pair(OCTETS - 1, n));
			}
		}
}

// Into shared memory, as rows of tokens.
template <int OCTETS, int COUNT>
static __device__ __forceinline__ void put_columns(
	unsigned char *rows, const float (&sum)[COUNT][OCTETS][4], const short_lane &lane, int first) {
#pragma unroll
	for (int n = 0; n < OCTETS; n++)
#pragma unroll
		for (int part = 0; part < COUNT; part += 2) {
			uint32_t words[4];
#pragma unroll
			for (int i = 0; i < 4; i++)
				words[i] = round_pair<bf16>(sum[part + i / 2][n][i % 2 * 2], sum[part + i / 2][n][i % 2 * 2 + 1]);
			store_transposed(rows + n * OCTET_BYTES + lane.one[(first + part) / 2], words);
		}
}

// to (channels) += their sums over the tokens, of which each lane takes some, the same every time.
template <int OCTETS, int COUNT>
static __device__ __forceinline__ void add_columns(float *to, const float (&sum)[COUNT][OCTETS][4]) {
	int lane = (int)threadIdx.x % 32;
	float at[2 * COUNT];
#pragma unroll
	for (int i = 0; i < 2 * COUNT; i++) {
		at[i] = 0;
#pragma unroll
		for (int n = 0; n < OCTETS; n++)
			at[i] += sum[i / 2][n][i % 2 * 2] + sum[i / 2][n][i % 2 * 2 + 1];
	}
#pragma unroll
	for (int distance = 2; distance; distance /= 2) { // half of the lanes go on with half of the channels
		const int width = COUNT * distance / 2;
#pragma unroll
		for (int i = 0; i < width; i++) {
			float low = at[i], high = at[i + width];
			float other = __shfl_xor_sync(0xffffffffu, lane & distance ? low : high, distance);
			at[i] = (lane & distance ? high : low) + other;
		}
	}
#pragma unroll
	for (int i = 0; i < COUNT / 2; i++)
		to[(lane % 4 * (COUNT / 2) + i) * 8 + lane / 4] += at[i];
}

// The gradient of the head's q, k or v, on its way to memory.
template <int OCTETS, short_matrix OF, class F>
static __device__ __forceinline__ void find_gradient(const short_memory &m, const short_maps &maps,
	const d2v_attention &op, const short_lane &lane, const short_head &head, short_matrix from, F pair) {
	constexpr int COUNT = short_shape<OCTETS>::parts;
	unsigned char *to = matrix_of<OCTETS>(m, RESULTS);
#pragma unroll
	for (int first = 0; first < PARTS; first += COUNT) {
		float sum[COUNT][OCTETS][4];
		multiply_columns<OCTETS, COUNT>(sum, matrix_of<OCTETS>(m, from), lane, first, pair);
		if (first == 0) { // what is there has gone
			if (is_first_lane())
				stores_wait<0>();
			__syncwarp();
		}
		put_columns<OCTETS, COUNT>(to, sum, lane, first);
		if (m.columns)
			add_columns<OCTETS, COUNT>(m.columns + third_of(OF) * CHANNELS + first * 16, sum);
	}
	shared_fence();
	__syncwarp();
	if (is_first_lane()) {
		store_stack_box(&maps.d_qkv, third_of(OF) * (int)op.width + head.column, 0, head.r, (const bf16 *)to);
		stores_commit();
	}
}

// ---- heads

// A head, whose matrices are there or on their way; those of the next one are asked for.
template <int OCTETS, bool MASK>
static __device__ __forceinline__ void go_over_head(const short_memory &m, const short_maps &maps,
	const d2v_attention &op, const short_lane &lane, short_facts &facts, const short_head &head, const short_head &next,
	unsigned parity) {
	short_pairs<OCTETS> pairs;
	uint64_t outside = put_facts<OCTETS, MASK>(m, facts);
	ask_facts<OCTETS, MASK>(facts, op, next);
	find_all_pairs<OCTETS, MASK>(pairs, m, lane, outside, parity);
	__syncwarp();
	fetch_matrix<OCTETS, VALUES>(m, maps, op, next);
	auto of_d = [&](int k, int n) { return pairs.d[n][k]; };
	// d_k first: dS is rounded when it is used, and S and dP are kept until then.
	find_gradient<OCTETS, KEYS>(m, maps, op, lane, head, QUERIES, of_d);
	fetch_matrix<OCTETS, QUERIES>(m, maps, op, next);
	find_gradient<OCTETS, VALUES>(
		m, maps, op, lane, head, OUTPUT_GRADIENTS, [&](int k, int n) { return pairs.p[n][k]; });
	fetch_matrix<OCTETS, OUTPUT_GRADIENTS>(m, maps, op, next);
	transpose<OCTETS>(pairs.d);
	find_gradient<OCTETS, QUERIES>(m, maps, op, lane, head, KEYS, of_d);
	fetch_matrix<OCTETS, KEYS>(m, maps, op, next);
}

// What the warp has summed, to its row of (warps that have the head, 3D).
static __device__ __forceinline__ void store_columns(
	float *to, const short_memory &m, const d2v_attention &op, const short_head &first) {
	to += (int64_t)(first.n / (unsigned)op.heads) * 3 * op.width + first.column;
	__syncwarp();
	for (int i = (int)threadIdx.x % 32; i < SUMS; i += 32)
		to[i / CHANNELS * op.width + i % CHANNELS] = m.columns[i];
}

// MASK: some of the octets' tokens are no keys. Warps take heads in turns, so that those in memory at the same time are
// neighbours. columns: where a warp's heads all have the same place in their rows, so that one sum does for them, else
// NULL.
template <int OCTETS, bool MASK>
static __global__ void __launch_bounds__(32 * short_shape<OCTETS>::warps, 1)
	go_back(const __grid_constant__ short_maps maps, d2v_attention op, unsigned heads, float *columns) {
	D2V_SHARED_MATRICES(bytes);
	constexpr unsigned WARPS = short_shape<OCTETS>::warps;
	short_memory m = find_memory<OCTETS>(bytes, warp_number());
	short_lane lane = find_lane();
	short_facts facts;
	const short_head first = find_head(op, blockIdx.x * WARPS + (unsigned)warp_number(), heads);
	short_head head = first;
	for (int i = (int)threadIdx.x % 32; i < SUMS; i += 32)
		m.columns[i] = 0;
	m.columns = columns ? m.columns : NULL;
	if (is_first_lane()) {
		barrier_init(m.full, 1);
		barriers_are_made();
	}
	__syncwarp();
	fetch_matrix<OCTETS, VALUES>(m, maps, op, head);
	fetch_matrix<OCTETS, QUERIES>(m, maps, op, head);
	fetch_matrix<OCTETS, OUTPUT_GRADIENTS>(m, maps, op, head);
	fetch_matrix<OCTETS, KEYS>(m, maps, op, head);
	ask_facts<OCTETS, MASK>(facts, op, head);
	for (unsigned parity = 0; head.there; parity ^= 1) {
		short_head next = find_head(op, head.n + gridDim.x * WARPS, heads);
		go_over_head<OCTETS, MASK>(m, maps, op, lane, facts, head, next, parity);
		head = next;
	}
	if (columns)
		store_columns(columns, m, op, first);
	if (is_first_lane())
		stores_wait<0>();
}

// Blocks of a launch. For column sums all of their warps together must be a multiple of a row's heads, which may leave
// multiprocessors without a block; where too many are *sums says no, and a pass over d_qkv has to do it.
static unsigned choose_blocks(const d2v_attention *op, unsigned heads, int warps, bool *sums) {
	unsigned most = (unsigned)gpu_property(cudaDevAttrMultiProcessorCount, 1), blocks = most;
	while (blocks && (int64_t)blocks * warps % op->heads)
		blocks--;
	*sums = op->d_qkv_bias && blocks * 16 >= most * 15;
	return *sums ? blocks : min(most, (heads + (unsigned)warps - 1) / (unsigned)warps);
}

template <int OCTETS> static void launch(d2v_device *dev, const d2v_attention *op) {
	typedef short_shape<OCTETS> shape;
	short_maps maps;
	if (!make_stack_map(&maps.qkv, op->qkv, op->rows, op->tokens, 3 * op->width, shape::tokens) ||
		!make_stack_map(&maps.d_out, op->d_out, op->rows, op->tokens, op->width, shape::tokens) ||
		!make_stack_map(&maps.d_qkv, op->d_qkv, op->rows, op->tokens, 3 * op->width, shape::tokens)) {
		say_no_map(dev);
		return;
	}
	bool sums;
	unsigned heads = (unsigned)(op->rows * op->heads), blocks = choose_blocks(op, heads, shape::warps, &sums);
	int64_t pieces = sums ? blocks * shape::warps / op->heads : 0;
	float *columns = NULL;
	if (sums && !(columns = (float *)d2v_cuda_scratch(dev, (size_t)(pieces * 3 * op->width) * sizeof *columns)))
		return;
	size_t shared = shape::warps * shape::warp_bytes;
	if (op->key_padding || op->tokens % OCTET)
		D2V_LAUNCH(dev, (go_back<OCTETS, true>), blocks, 32 * shape::warps, shared, maps, *op, heads, columns);
	else
		D2V_LAUNCH(dev, (go_back<OCTETS, false>), blocks, 32 * shape::warps, shared, maps, *op, heads, columns);
	if (sums)
		d2v_cuda_add_partials(dev, { { op->d_qkv_bias } }, 1, columns, pieces, 3 * op->width);
	else
		d2v_cuda_add_qkv_columns(dev, op);
}

void d2v_cuda_attention_short_backward(d2v_device *dev, const d2v_attention *op) {
	static void (*const launches[MOST_OCTETS])(d2v_device *, const d2v_attention *) = { launch<1>, launch<2>, launch<3>,
		launch<4>, launch<5>, launch<6>, launch<7>, launch<8> };
	launches[(op->tokens - 1) / OCTET](dev, op);
}

// Compute capability 9.x, as of all that is compiled for sm_90a; heads that an unsigned can count, a turn more
// included.
bool d2v_cuda_attention_fits_short(d2v_device *dev, const d2v_attention *op) {
	return d2v_cuda_is_bf16(dev) && gpu_property(cudaDevAttrComputeCapabilityMajor, 0) == 9 && op->tokens >= 1 &&
		   op->tokens <= MOST_OCTETS * OCTET && op->width == op->heads * CHANNELS && !op->slope && op->drop.p <= 0 &&
		   op->rows * op->heads <= INT32_MAX;
}
