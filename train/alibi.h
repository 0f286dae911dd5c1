// ALiBi's slopes (spec/model.md 4).
#ifndef D2V_TRAIN_ALIBI_H
#define D2V_TRAIN_ALIBI_H

#include <stdint.h>

// A power of two of heads: 2^(-8i/H), i = 1..H. Otherwise those of the next lower power, then every other one of the
// next higher.
void d2v_alibi_slopes(int64_t heads, float *slopes);

#endif
