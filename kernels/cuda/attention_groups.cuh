// Pieces of attention on Hopper's warpgroups (wgmma.cuh), for heads of 64 channels: a head's vectors in shared memory
// as swizzled rows, a token a row, and what is known of the tokens beside them.
//
// A warpgroup has 64 tokens of its own, and meets the others in steps of 64; if a length leaves over no more than 16,
// the last step is one of 16.
#ifndef D2V_KERNELS_CUDA_ATTENTION_GROUPS_CUH
#define D2V_KERNELS_CUDA_ATTENTION_GROUPS_CUH

#include "kernels/cuda/attention_groups.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/wgmma.cuh"

#define GROUP_SIZE 64   // channels of a head
#define GROUP_TOKENS 64 // of a warpgroup
#define GROUP_THREADS 128
#define PACKS (GROUP_SIZE / 8) // of a token's vector, 16 bytes each

// How many of a batch of `most` tokens are gone over where `left` remain; their vectors must be there, be it as zeros.
static __device__ __forceinline__ int covered_tokens(int left, int most) {
	int rest = left % GROUP_TOKENS, whole = left - rest;
	int count = whole + (rest > 16 ? GROUP_TOKENS : (rest + 15) / 16 * 16);
	return count < most ? count : most;
}

// Starts the copies of the first `count` of COUNT tokens from token `first`; zeros for those beyond `tokens`. from: of
// the head, token 0; all threads of the block.
template <int COUNT, int THREADS>
static __device__ __forceinline__ void fetch_tokens(
	bf16 *to, const bf16 *from, int64_t pitch, int first, int count, int tokens) {
	static_assert(COUNT * PACKS % THREADS == 0, "whole rounds");
	int pack = (int)threadIdx.x % PACKS;
#pragma unroll
	for (int i = 0; i < COUNT * PACKS / THREADS; i++) {
		int row = (int)threadIdx.x / PACKS + i * (THREADS / PACKS), token = first + row;
		bool inside = token < tokens;
		if (row < count)
			copy_async(swizzled_pack(to, row, pack), from + (inside ? token : 0) * pitch + pack * 8, inside);
	}
}

#endif
