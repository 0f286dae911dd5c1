// What an element of dropout is held against, the same number on every device (d2v_dropout in ops.h).
#ifndef D2V_KERNELS_DROP_RULE_H
#define D2V_KERNELS_DROP_RULE_H

#include <math.h>
#include <stdint.h>

#define D2V_DRAWS_BLOCK 8 // draws of a Philox block, 16 bits each

typedef struct d2v_drop_rule {
	uint32_t threshold; // a draw that is not below it is kept
	float kept;         // the factor of a kept element
} d2v_drop_rule;

// p > 0. Where no draw is high enough the threshold is as high as a draw can be, and the factor 0.
static inline d2v_drop_rule d2v_drop_rule_make(float p) {
	double dropped = ceil((double)p * 0x1p16);
	d2v_drop_rule rule = { UINT16_MAX, 0 };
	if (dropped < 0x1p16) {
		rule.threshold = (uint32_t)dropped;
		rule.kept = (float)(0x1p16 / (0x1p16 - dropped));
	}
	return rule;
}

#endif
