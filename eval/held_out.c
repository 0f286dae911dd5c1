#include "eval/held_out.h"

#include "base/random.h"

int64_t d2v_held_out_count(int64_t count, double share) {
	int64_t held = (int64_t)((double)count * share);
	held = held < count ? held : count - 1;
	return held > 0 ? held : count > 1;
}

bool d2v_held_out(uint64_t seed, int64_t count, double share, int64_t sample) {
	d2v_random_key key = d2v_random_key_make(seed, D2V_RANDOM_HELD_OUT, 0, 0);
	return (int64_t)d2v_random_permute(key, (uint64_t)count, (uint64_t)sample) < d2v_held_out_count(count, share);
}
