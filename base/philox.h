// Philox4x32 as inline functions, for loops that draw for many counters at once and are to become vector code, and
// for CUDA kernels, which compile this header as C++. Everybody else uses random.h.
//
// J. Salmon, M. Moraes, R. Dror, D. Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The constants and the
// order of words are those of the authors' Random123, so that its known answers hold. 10 rounds are what they advise; 7
// are the fewest that passed all of TestU01's BigCrush, for draws in such numbers that their cost is felt (dropout).
#ifndef D2V_BASE_PHILOX_H
#define D2V_BASE_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define D2V_PHILOX __host__ __device__ static inline
#else
#define D2V_PHILOX static inline
#endif

typedef struct d2v_philox {
	uint32_t word[4];
} d2v_philox;

D2V_PHILOX d2v_philox d2v_philox_round(d2v_philox counter, uint32_t key0, uint32_t key1) {
	uint64_t product0 = (uint64_t)0xD2511F53u * counter.word[0];
	uint64_t product1 = (uint64_t)0xCD9E8D57u * counter.word[2];
	d2v_philox next = { {
		(uint32_t)(product1 >> 32) ^ counter.word[1] ^ key0,
		(uint32_t)product1,
		(uint32_t)(product0 >> 32) ^ counter.word[3] ^ key1,
		(uint32_t)product0,
	} };
	return next;
}

// counter.word[0] is the lowest word of the 128-bit counter.
D2V_PHILOX d2v_philox d2v_philox_4x32(d2v_philox counter, uint32_t key0, uint32_t key1, int rounds) {
	for (int round = 0; round < rounds; round++) {
		counter = d2v_philox_round(counter, key0, key1);
		key0 += 0x9E3779B9u; // golden ratio
		key1 += 0xBB67AE85u; // sqrt(3) - 1
	}
	return counter;
}

// The block that d2v_random_block gives for the key's two words.
D2V_PHILOX d2v_philox d2v_philox_block(uint32_t key0, uint32_t key1, uint64_t counter, uint64_t sub) {
	d2v_philox words = { { (uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)sub, (uint32_t)(sub >> 32) } };
	return d2v_philox_4x32(words, key0, key1, 10);
}

// The same with 7 rounds.
D2V_PHILOX d2v_philox d2v_philox_block_7(uint32_t key0, uint32_t key1, uint64_t counter, uint64_t sub) {
	d2v_philox words = { { (uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)sub, (uint32_t)(sub >> 32) } };
	return d2v_philox_4x32(words, key0, key1, 7);
}

#endif
