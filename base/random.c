#include "base/random.h"

#include "base/error.h"
#include "base/philox.h"

#include <math.h>
#include <string.h>

#define GOLDEN UINT64_C(0x9E3779B97F4A7C15)
#define FEISTEL_ROUNDS 8
#define TWO_PI 6.283185307179586476925

// The finaliser of splitmix64: a bijection in which every bit of the input reaches every bit of the output.
static uint64_t mix(uint64_t x) {
	x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
	return x ^ x >> 31;
}

d2v_random_key d2v_random_key_make(uint64_t seed, d2v_random_purpose purpose, uint64_t a, uint64_t b) {
	// Each number enters after a full mix of those before it, so their order counts and small numbers do not cancel
	// out.
	uint64_t h = mix(seed + GOLDEN);
	h = mix(h ^ mix((uint64_t)purpose + 2 * GOLDEN));
	h = mix(h ^ mix(a + 3 * GOLDEN));
	h = mix(h ^ mix(b + 4 * GOLDEN));
	return (d2v_random_key){ { (uint32_t)h, (uint32_t)(h >> 32) } };
}

void d2v_random_block(d2v_random_key key, uint64_t counter, uint64_t sub, uint32_t out[4]) {
	d2v_philox block = d2v_philox_block(key.word[0], key.word[1], counter, sub);
	memcpy(out, block.word, sizeof block.word);
}

void d2v_random_start(d2v_random *random, d2v_random_key key) {
	*random = (d2v_random){ .key = key };
}

uint32_t d2v_random_u32(d2v_random *random) {
	if (!random->left) {
		d2v_random_block(random->key, random->counter++, 0, random->block);
		random->left = 4;
	}
	return random->block[4 - random->left--];
}

uint64_t d2v_random_u64(d2v_random *random) {
	uint64_t low = d2v_random_u32(random);
	return low | (uint64_t)d2v_random_u32(random) << 32;
}

// D. Lemire, "Fast random integer generation in an interval", 2019: multiply, and draw again in the few cases that
// would make some values more likely than others.
uint32_t d2v_random_below(d2v_random *random, uint32_t bound) {
	D2V_ASSERT(bound >= 1);
	uint64_t product = (uint64_t)d2v_random_u32(random) * bound;
	if ((uint32_t)product < bound) {
		uint32_t surplus = -bound % bound; // 2^32 mod bound
		while ((uint32_t)product < surplus)
			product = (uint64_t)d2v_random_u32(random) * bound;
	}
	return (uint32_t)(product >> 32);
}

double d2v_random_unit(d2v_random *random) {
	return (double)(d2v_random_u64(random) >> 11) * 0x1p-53;
}

double d2v_random_normal(d2v_random *random) {
	double radius = sqrt(-2.0 * log(1.0 - d2v_random_unit(random))); // 1 - u is never 0
	return radius * cos(TWO_PI * d2v_random_unit(random));
}

// Half of the bits of the smallest domain 2^(2 * half) that holds count values.
static int half_bits(uint64_t count) {
	int bits = count > 1 ? 64 - __builtin_clzll(count - 1) : 0;
	return bits < 2 ? 1 : (bits + 1) / 2;
}

static uint64_t round_function(uint64_t key, uint64_t half, int round) {
	return mix(key + (half * FEISTEL_ROUNDS + (uint64_t)round + 1) * GOLDEN);
}

static uint64_t feistel(uint64_t key, int bits, uint64_t value) {
	uint64_t mask = (UINT64_C(1) << bits) - 1, left = value >> bits, right = value & mask;
	for (int round = 0; round < FEISTEL_ROUNDS; round++) {
		uint64_t next = left ^ (round_function(key, right, round) & mask);
		left = right;
		right = next;
	}
	return left << bits | right;
}

static uint64_t feistel_back(uint64_t key, int bits, uint64_t value) {
	uint64_t mask = (UINT64_C(1) << bits) - 1, left = value >> bits, right = value & mask;
	for (int round = FEISTEL_ROUNDS - 1; round >= 0; round--) {
		uint64_t before = right ^ (round_function(key, left, round) & mask);
		right = left;
		left = before;
	}
	return left << bits | right;
}

static uint64_t key_bits(d2v_random_key key) {
	return key.word[0] | (uint64_t)key.word[1] << 32;
}

// Cycle walking: a value outside [0, count) is sent on until it falls inside, which undoes itself in the other
// direction. The domain is less than four times count, so a few steps do.
uint64_t d2v_random_permute(d2v_random_key key, uint64_t count, uint64_t position) {
	D2V_ASSERT(position < count);
	int bits = half_bits(count);
	do
		position = feistel(key_bits(key), bits, position);
	while (position >= count);
	return position;
}

uint64_t d2v_random_invert(d2v_random_key key, uint64_t count, uint64_t value) {
	D2V_ASSERT(value < count);
	int bits = half_bits(count);
	do
		value = feistel_back(key_bits(key), bits, value);
	while (value >= count);
	return value;
}
