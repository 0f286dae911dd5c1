// The steps of attention's two passes back on Hopper's warpgroups (cuda_attention_groups_backward.cu): a tile of
// queries against a stage's keys for d_q, and a tile of keys against a stage's queries for d_k and d_v.
#ifndef D2V_KERNELS_CUDA_ATTENTION_GROUPS_BACKWARD_CUH
#define D2V_KERNELS_CUDA_ATTENTION_GROUPS_BACKWARD_CUH

#include "kernels/cuda/attention_groups.cuh"

// What all steps of a warp's tile have in common.
struct group_step {
	float scale, slope;        // of q . k, of the distance; in units of log2
	shared_matrix own, second; // the tile's q and d_out, or k and v
	const uint32_t *draws;     // of dropout (find_draws)
	int tokens;
	bool idle; // no token is this warp's, and nobody reads what its rows become
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
	if (step.idle) // (The branch also keeps the compiler from taking the exponentials behind the wait.)
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
	start_product<N>(first_columns<N>(s), step.own, stage.first, at);
	start_product<N>(first_columns<N>(d_p), step.second, stage.second, at);
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
	start_product<N>(first_columns<N>(d_p), step.second, stage.second, at);
	products_commit();
	uint32_t draws = DROP && !step.idle ? read_draws(step.draws, stage.token + at) : 0;
	find_probabilities<N, BIAS>(s, own, step, stage, at);
	products_wait<0>();
	hold_sums(s), hold_sums(d_p);
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

#endif
