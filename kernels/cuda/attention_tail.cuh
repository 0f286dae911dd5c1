// A head's last tokens, if they are few, on Hopper's warpgroups (attention_groups.cuh): 197 tokens are three tiles of
// 64 and five tokens.
//
// As a tile of their own they would be rows of products, of which a warpgroup computes 64 whatever they are, and one of
// its warps would have all that comes between the products. So here the stage's tokens are the rows, 16 of each 64 a
// warp's, and the tail's are 16 columns:
//
//     S^T = K Q^T,  O^T += V^T P^T                                     forward, the tail's tokens being queries
//     S^T = K Q^T,  dP^T = V dO^T,  dQ^T += K^T dS^T                   backward, queries
//     S = Q K^T,    dP = dO V^T,    dV^T += dO^T P,  dK^T += Q^T dS    backward, keys
//
// What the second products take as b, (64 tokens of the stage, 16 of the tail), goes through shared memory, where each
// warp puts its rows. (It takes turns between two places: who writes to one knows by the barrier since that all warps
// have seen the end of the products that read it.)
#ifndef D2V_KERNELS_CUDA_ATTENTION_TAIL_CUH
#define D2V_KERNELS_CUDA_ATTENTION_TAIL_CUH

#include "kernels/cuda/attention_groups.cuh"

#define TAIL_COLUMNS 4 // of a lane: 8 n + 2 t + i at 2 n + i

// What a lane has of a matrix of 64 rows and the tail's columns: rows g and g + 8 of its warp's 16.
typedef float tail_part[TAIL_TOKENS / 8][4];

// A warpgroup's tail: which tokens, and where it has room for what goes between its warps.
struct tail_work {
	int group, first;                  // the first token
	int tokens;                        // of the head
	int row;                           // the lane's upper one, of 64
	bool padded;                       // some keys may be none
	bf16 *room;                        // TAIL_ELEMENTS
	shared_matrix own, second;         // its vectors: q, and d_out or k and v
	shared_matrix stage, stage_second; // the head's
	const float *key_places;           // of the head's tokens
	const uint32_t *draws;             // of dropout, the stage's tokens being rows (find_draws), of the warp's first 16
	int words_of_rows;                 // from 16 rows to the next
};

static __device__ __forceinline__ void clear_part(tail_part &part) {
#pragma unroll
	for (int n = 0; n < TAIL_TOKENS / 8; n++)
		part[n][0] = part[n][1] = part[n][2] = part[n][3] = 0;
}

// part = the products of 64 of the stage's vectors from `at` on with the tail's, under way.
static __device__ __forceinline__ void start_tail_product(
	tail_part &part, shared_matrix stage, shared_matrix own, int at) {
	multiply_anew<TAIL_TOKENS, ROWS, ROWS>(part, from_row(stage, at), own);
#pragma unroll
	for (int e = 16; e < GROUP_SIZE; e += 16)
		multiply<TAIL_TOKENS, ROWS, ROWS>(part, from_element(from_row(stage, at), e), from_element(own, e), true);
}

// The lane's words of dropout of the 64 rows from `at` on.
static __device__ __forceinline__ uint32_t read_tail_draws(const tail_work &tail, int at) {
	bool there = at + tail.row / 16 * 16 < tail.tokens;
	return there ? read_draws(tail.draws + at / D2V_DRAWN_ROWS * tail.words_of_rows, tail.first) : 0;
}

// ---- between the warps

// Puts the warp's 16 rows where products find them as b. to: TAIL_PAIRS, (2, 8, 8, 8): halves of the columns, eighths
// of the rows, rows, columns.
static __device__ __forceinline__ void put_pairs(bf16 *to, const tail_work &tail, const tail_part &part) {
	uint32_t *words = (uint32_t *)to + tail.row / 16 * 64 + threadIdx.x % 32;
#pragma unroll
	for (int n = 0; n < TAIL_TOKENS / 8; n++)
#pragma unroll
		for (int half = 0; half < 2; half++)
			store_shared(words + n * 256 + half * 32, round_pair<bf16>(part[n][2 * half], part[n][2 * half + 1]));
}

// sums (64 channels, tail) += the products of N of the stage's vectors from `at` on and what put_pairs put there, under
// way.
template <int N>
static __device__ __forceinline__ void start_tail_sums(
	tail_part &sums, shared_matrix stage, int at, const bf16 *pairs) {
	loose_matrix b = find_loose_matrix(pairs, 8, 64);
#pragma unroll
	for (int k = 0; k < N; k += 16)
		multiply<TAIL_TOKENS, COLUMNS, COLUMNS>(sums, from_row(stage, at + k), from_pack(b, k), true);
}

// Of each column the maximum over all rows, or the sum. at: 64 floats of the room, with a barrier between two uses.
template <bool MAXIMUM>
static __device__ __forceinline__ void reduce_columns(
	float (&columns)[TAIL_COLUMNS], float *at, const tail_work &tail) {
#pragma unroll
	for (int c = 0; c < TAIL_COLUMNS; c++)
#pragma unroll
		for (int distance = 4; distance < 32; distance *= 2) {
			float other = __shfl_xor_sync(0xffffffffu, columns[c], distance);
			columns[c] = MAXIMUM ? fmaxf(columns[c], other) : columns[c] + other;
		}
	int lane = (int)threadIdx.x % 32;
	if (lane < 4)
		*(float4 *)&at[(tail.row / 16 * 4 + lane) * 4] = make_float4(columns[0], columns[1], columns[2], columns[3]);
	meet_group(tail.group);
#pragma unroll
	for (int warp = 0; warp < 4; warp++) {
		float4 four = *(const float4 *)&at[(warp * 4 + lane % 4) * 4];
		const float others[TAIL_COLUMNS] = { four.x, four.y, four.z, four.w };
#pragma unroll
		for (int c = 0; c < TAIL_COLUMNS; c++)
			columns[c] = warp == 0 ? others[c] : MAXIMUM ? fmaxf(columns[c], others[c]) : columns[c] + others[c];
	}
}

// ---- the way out

// Stores part (64 channels, tail), times each column's factor, as vectors of tokens. to: channel 0 of the head's token
// 0; place: TAIL_PAIRS of the room, which nobody reads. The warpgroup; its barrier is between.
static __device__ __forceinline__ void store_tail(bf16 *to, int64_t pitch, const tail_work &tail, bf16 *place,
	const tail_part &part, const float (&factor)[TAIL_COLUMNS]) {
	int t = (int)threadIdx.x % 4, thread = (int)threadIdx.x % GROUP_THREADS;
#pragma unroll
	for (int n = 0; n < TAIL_TOKENS / 8; n++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int channel = tail.row + i / 2 * 8, token = n * 8 + 2 * t + i % 2;
			swizzled_pack(place, token, channel / 8)[channel % 8] =
				from_float<bf16>(part[n][i] * factor[2 * n + i % 2]);
		}
	meet_group(tail.group);
	int token = thread / PACKS;
	if (tail.first + token < tail.tokens)
		*(uint4 *)(to + (int64_t)(tail.first + token) * pitch + thread % PACKS * 8) =
			*(const uint4 *)swizzled_pack(place, token, thread % PACKS);
}

// Adds what the warp has of its 16 channels to its own sums of the head's columns.
static __device__ __forceinline__ void add_tail_columns(float *sums, const tail_work &tail, const tail_part &part) {
#pragma unroll
	for (int half = 0; half < 2; half++) {
		float sum = row_sum(part[0][2 * half] + part[0][2 * half + 1] + part[1][2 * half] + part[1][2 * half + 1]);
		if (threadIdx.x % 4 == 0)
			sums[tail.row + half * 8] += sum;
	}
	__syncwarp();
}

// How many of the stage's tokens a step sums up.
struct whole_step {
	static constexpr int rows = GROUP_TOKENS;
};
struct last_step {
	static constexpr int rows = TAIL_TOKENS;
};

// Goes over the head's tokens, 64 by 64 and 16 at the end. start(at): asks for the products of 64 from `at` on, which
// are there when first() is called for the first ones, and weigh(at, turn, step) for all: it puts what they become in
// place `turn`. sum(at, turn, step): asks for the sums of that. last(): called before the last step, when the tail's
// own vectors have been read. Returns which of the two places no warp's products can be reading any more.
template <class Start, class First, class Weigh, class Sum, class Last>
static __device__ __forceinline__ int go_over_head(
	const tail_work &tail, Start start, First first, Weigh weigh, Sum sum, Last last) {
	int at = 0, turn = 0;
	products_fence();
	start(0);
	products_commit();
	products_wait<0>();
	first();
	for (; at + GROUP_TOKENS < tail.tokens; at += GROUP_TOKENS, turn ^= 1) {
		weigh(at, turn, whole_step());
		shared_fence();
		meet_group(tail.group);
		products_fence();
		sum(at, turn, whole_step());
		start(at + GROUP_TOKENS);
		products_commit();
		products_wait<0>();
	}
	last();
	weigh(at, turn, last_step());
	shared_fence();
	meet_group(tail.group);
	products_fence();
	sum(at, turn, last_step());
	products_commit();
	products_wait<0>();
	return turn ^ 1;
}

// ---- forward

#define FAR_POWER 0x1p60f // what a column sums up to is within this and its inverse, or its base is another

// Scores of rows that are no keys become -infinity.
static __device__ __forceinline__ void mask_rows(tail_part &s, const tail_work &tail, int at) {
#pragma unroll
	for (int half = 0; half < 2; half++) {
		int row = at + tail.row + 8 * half;
		bool outside = row >= tail.tokens || is_outside(tail.key_places[row]);
#pragma unroll
		for (int n = 0; n < TAIL_TOKENS / 8; n++)
#pragma unroll
			for (int i = 0; i < 2; i++)
				s[n][2 * half + i] = outside ? -INFINITY : s[n][2 * half + i];
	}
}

static __device__ __forceinline__ void find_tops(float (&top)[TAIL_COLUMNS], const tail_part &s) {
#pragma unroll
	for (int c = 0; c < TAIL_COLUMNS; c++)
		top[c] = fmaxf(top[c], fmaxf(s[c / 2][c % 2], s[c / 2][2 + c % 2]));
}

// The greatest score of each column.
static __device__ __forceinline__ void find_all_tops(float (&top)[TAIL_COLUMNS], float *room, const tail_work &tail) {
	tail_part s;
	for (int at = 0; at < tail.tokens; at += GROUP_TOKENS) {
		products_fence();
		start_tail_product(s, tail.stage, tail.own, at);
		products_commit();
		products_wait<0>();
		hold_sums(s);
		mask_rows(s, tail, at);
		find_tops(top, s);
	}
	reduce_columns<true>(top, room, tail);
}

// out and lse of a tail of head n. unit: of q . k, in units of log2; kept: see score_draws. done: called when the
// tail's own vectors have been read for the last time.
//
// A column's base is the greatest score of the first 64 keys, which serves as long as no other is beyond it by
// FAR_POWER. If one is (or there is none among the first), all is done again, with the greatest of all.
template <bool DROP, class F>
static __device__ __forceinline__ void attend_tail(
	const d2v_attention &op, unsigned n, const tail_work &tail, float unit, float kept, F done) {
	float base[TAIL_COLUMNS], sum[TAIL_COLUMNS], *room = (float *)(tail.room + 2 * TAIL_PAIRS);
	tail_part s, out;
	auto clear = [](float(&columns)[TAIL_COLUMNS], float to) {
#pragma unroll
		for (int c = 0; c < TAIL_COLUMNS; c++)
			columns[c] = to;
	};
	auto choose_base = [&] {
#pragma unroll
		for (int c = 0; c < TAIL_COLUMNS; c++)
			base[c] = base[c] == -INFINITY ? 0.0f : base[c] * unit;
	};
	bool exact = false;
#pragma unroll 1
	for (;;) {
		clear(sum, 0.0f), clear_part(out);
		go_over_head(
			tail, [&](int at) { start_tail_product(s, tail.stage, tail.own, at); },
			[&] {
				if (exact)
					return;
				hold_sums(s);
				if (tail.padded)
					mask_rows(s, tail, 0);
				clear(base, -INFINITY);
				find_tops(base, s);
				reduce_columns<true>(base, room, tail);
				choose_base();
			},
			[&](int at, int turn, auto step) {
				hold_sums(s), hold_sums(out);
				if (tail.padded || step.rows == TAIL_TOKENS)
					mask_rows(s, tail, at);
				uint32_t draws = DROP ? read_tail_draws(tail, at) : 0;
#pragma unroll
				for (int c = 0; c < TAIL_COLUMNS; c++)
#pragma unroll
					for (int half = 0; half < 2; half++) {
						float &weight = s[c / 2][2 * half + c % 2];
						weight = power_of_2(fmaf(weight, unit, -base[c]));
						sum[c] += weight;
						weight = !DROP || is_kept(draws, c / 2, half, c % 2) ? weight : 0.0f;
					}
				put_pairs(tail.room + turn * TAIL_PAIRS, tail, s);
			},
			[&](int at, int turn, auto step) {
				start_tail_sums<step.rows>(out, tail.stage_second, at, tail.room + turn * TAIL_PAIRS);
			},
			[] {});
		hold_sums(out);
		reduce_columns<false>(sum, room + 64, tail);
		bool far = false;
#pragma unroll
		for (int c = 0; c < TAIL_COLUMNS; c++)
			far = far || !(sum[c] > 1 / FAR_POWER && sum[c] < FAR_POWER);
		if (exact || !__any_sync(0xffffffffu, far)) // of the same numbers in all warps
			break;
		exact = true;
		clear(base, -INFINITY);
		find_all_tops(base, room, tail);
		choose_base();
	}
	done();
	int r = (int)(n / (unsigned)op.heads), h = (int)(n % (unsigned)op.heads);
	float factor[TAIL_COLUMNS];
#pragma unroll
	for (int c = 0; c < TAIL_COLUMNS; c++) {
		int token = tail.first + c / 2 * 8 + (int)threadIdx.x % 4 * 2 + c % 2;
		factor[c] = sum[c] > 0 ? kept * fast_reciprocal(sum[c]) : 0.0f;
		if (tail.row == 0 && token < tail.tokens)
			op.lse[(int64_t)n * op.tokens + token] = sum[c] > 0 ? (base[c] + fast_log2(sum[c])) * LN_2 : -INFINITY;
	}
	store_tail((bf16 *)op.out + r * op.tokens * op.width + h * GROUP_SIZE, op.width, tail, tail.room, out, factor);
}

// ---- backward

// The gradients of a tail, of its queries or of its keys.
struct tail_gradients {
	tail_part first, second; // d_q; or d_k and d_v
};

// facts: of the head's queries. scale: of q . k, in units of log2. Returns which places of the room are free, for
// store_tail: that, and with KEYS 2 further on.
template <bool KEYS, bool DROP, class F>
static __device__ __forceinline__ int go_back_tail(
	tail_gradients &sums, const tail_work &tail, const float2 *facts, float scale, F done) {
	float2 of_columns[TAIL_COLUMNS];
#pragma unroll
	for (int c = 0; c < TAIL_COLUMNS; c++)
		of_columns[c] = facts[tail.first + c / 2 * 8 + threadIdx.x % 4 * 2 + c % 2];
	tail_part s, d_p;
	clear_part(sums.first), clear_part(sums.second);
	int free = go_over_head(
		tail,
		[&](int at) {
			start_tail_product(s, tail.stage, tail.own, at);
			start_tail_product(d_p, tail.stage_second, tail.second, at);
		},
		[] {},
		[&](int at, int turn, auto step) {
			hold_sums(s), hold_sums(d_p), hold_sums(sums.first), hold_sums(sums.second);
			uint32_t draws = DROP ? read_tail_draws(tail, at) : 0;
#pragma unroll
			for (int half = 0; half < 2; half++) {
				int row = at + tail.row + 8 * half;
				bool masked = !KEYS && (tail.padded || step.rows == TAIL_TOKENS);
				bool outside = masked && is_outside(tail.key_places[row]);
				float2 of_row = KEYS ? facts[row] : make_float2(0, 0);
#pragma unroll
				for (int c = 0; c < TAIL_COLUMNS; c++) {
					float2 fact = KEYS ? of_row : of_columns[c];
					float &score = s[c / 2][2 * half + c % 2], &gradient = d_p[c / 2][2 * half + c % 2];
					bool kept = !DROP || is_kept(draws, c / 2, half, c % 2);
					float probability = power_of_2(outside ? -INFINITY : fmaf(score, scale, -fact.x));
					gradient = probability * ((kept ? gradient : 0.0f) - fact.y);
					score = kept ? probability : 0.0f;
				}
			}
			put_pairs(tail.room + turn * TAIL_PAIRS, tail, d_p);
			if (KEYS)
				put_pairs(tail.room + (2 + turn) * TAIL_PAIRS, tail, s);
		},
		[&](int at, int turn, auto step) {
			start_tail_sums<step.rows>(sums.first, tail.stage, at, tail.room + turn * TAIL_PAIRS);
			if (KEYS)
				start_tail_sums<step.rows>(sums.second, tail.stage_second, at, tail.room + (2 + turn) * TAIL_PAIRS);
		},
		done);
	hold_sums(sums.first), hold_sums(sums.second);
	return free;
}

#endif
