#include "train/alibi.h"

#include <math.h>

static double slope_of_power(int64_t heads, int64_t index) {
	return pow(2, -8.0 * (double)(index + 1) / (double)heads);
}

void d2v_alibi_slopes(int64_t heads, float *slopes) {
	int64_t power = 1;
	while (2 * power <= heads)
		power *= 2;
	for (int64_t h = 0; h < heads; h++)
		slopes[h] = (float)(h < power ? slope_of_power(power, h) : slope_of_power(2 * power, 2 * (h - power)));
}
