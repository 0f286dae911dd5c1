// Which samples a data set without a test split holds back: a keyed draw, a function of (seed, sample) alone.
#ifndef D2V_EVAL_HELD_OUT_H
#define D2V_EVAL_HELD_OUT_H

#include <stdbool.h>
#include <stdint.h>

// Of `count` samples exactly floor(count * share) are held back, at least one and not all when there are two or more.
int64_t d2v_held_out_count(int64_t count, double share);
bool d2v_held_out(uint64_t seed, int64_t count, double share, int64_t sample);

#endif
