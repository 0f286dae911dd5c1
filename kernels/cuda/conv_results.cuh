// Which channels a lane's results of a convolution are, for both ways on the tensor cores.
#ifndef D2V_KERNELS_CUDA_CONV_RESULTS_CUH
#define D2V_KERNELS_CUDA_CONV_RESULTS_CUH

#include "kernels/cuda/conv.cuh"

// A lane holds two neighbours of every block of 8 results. Which channels these are is ours to choose, by the order of the
// weights' rows: fours of blocks give a lane 8 channels that follow each other, a pair 4, a single one 2, so that lanes t of
// a place store whole sectors of memory. The first channel of block j for lane t:
template <int BLOCKS> static __device__ __forceinline__ int channel_of(int j, int t) {
	constexpr int fours = BLOCKS / 4 * 4, pairs = BLOCKS / 2 * 2;
	if (j < fours)
		return 8 * (j - j % 4) + 8 * t + 2 * (j % 4);
	if (j < pairs)
		return fours * 8 + 4 * t + (j - fours) * 2;
	return pairs * 8 + 2 * t;
}

// By the number of a group's channels, for which there are kernels: BLOCKS of 8.
#define BY_BLOCKS(channels, ...) \
	do { \
		if ((channels) == 16) { \
			constexpr int BLOCKS = 2; \
			__VA_ARGS__; \
		} else if ((channels) == 24) { \
			constexpr int BLOCKS = 3; \
			__VA_ARGS__; \
		} else if ((channels) == 32) { \
			constexpr int BLOCKS = 4; \
			__VA_ARGS__; \
		} else if ((channels) == 48) { \
			constexpr int BLOCKS = 6; \
			__VA_ARGS__; \
		} else { \
			constexpr int BLOCKS = 8; \
			__VA_ARGS__; \
		} \
	} while (0)

#endif
