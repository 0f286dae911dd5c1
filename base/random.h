// Counter-based random numbers: a draw is a function of (key, counter) and of nothing else.
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A stream is keyed by what it is for:
//     d2v_random_key(seed, D2V_RANDOM_MASK, epoch, sample)
// so the mask of a sample does not depend on who computes it or when, and resuming needs no generator state.
#ifndef D2V_BASE_RANDOM_H
#define D2V_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

// What a stream is for. Values are part of what makes two runs equal: append, never renumber.
typedef enum d2v_random_purpose {
	D2V_RANDOM_INIT = 1,      // initial parameters
	D2V_RANDOM_ORDER = 2,     // order of an epoch
	D2V_RANDOM_CROP = 3,      // where a sample is cropped
	D2V_RANDOM_MASK = 4,      // masks
	D2V_RANDOM_MASK_CROP = 5, // where a sample's masks are cropped
	D2V_RANDOM_NOISE = 6,     // noise tokens of the decoder
	D2V_RANDOM_DROPOUT = 7,
	D2V_RANDOM_LAYER_DROP = 8,
	D2V_RANDOM_TIES = 9,      // order of equal lengths
	D2V_RANDOM_BATCHES = 10,  // order of the batches of an epoch
	D2V_RANDOM_SYNTHETIC = 11,
	D2V_RANDOM_RETRY = 12,    // jitter of download retries
	D2V_RANDOM_SUBSTITUTE = 13, // what replaces a damaged record
	D2V_RANDOM_HELD_OUT = 20, // samples that a probe is tried on
	D2V_RANDOM_JOINT = 21,    // which data set an update of a joint run takes
	D2V_RANDOM_GALLERY = 22,  // samples that a gallery shows
} d2v_random_purpose;

typedef struct d2v_random_key {
	uint32_t word[2];
} d2v_random_key;

// The key of a stream: seed, purpose and two further numbers, mixed so that any single change gives an unrelated stream.
d2v_random_key d2v_random_key_make(uint64_t seed, d2v_random_purpose purpose, uint64_t a, uint64_t b);

// Four independent 32-bit draws for a 128-bit counter (low word `counter`, high word `sub`).
void d2v_random_block(d2v_random_key key, uint64_t counter, uint64_t sub, uint32_t out[4]);

// A stream that is read from its start, for code that draws a varying number of times (masks, crops).
typedef struct d2v_random {
	d2v_random_key key;
	uint64_t counter;
	uint32_t block[4];
	int left; // unread words of block
} d2v_random;

void d2v_random_start(d2v_random *random, d2v_random_key key);
uint32_t d2v_random_u32(d2v_random *random);
uint64_t d2v_random_u64(d2v_random *random);
uint32_t d2v_random_below(d2v_random *random, uint32_t bound); // uniform in [0, bound), exactly; bound >= 1
double d2v_random_unit(d2v_random *random);                    // uniform in [0, 1), 53 bits
double d2v_random_normal(d2v_random *random);                  // N(0, 1), Box-Muller

// A keyed permutation of [0, count) computed position by position: a Feistel network over the next even power of two with
// cycle walking. permute and invert undo each other. count >= 1.
uint64_t d2v_random_permute(d2v_random_key key, uint64_t count, uint64_t position);
uint64_t d2v_random_invert(d2v_random_key key, uint64_t count, uint64_t value);

#endif
