#include "loaders/moments.h"

#include "base/error.h"

#include <math.h>

#define FULL_SCALE 32768.0
#define EPSILON 1e-5 // recipes.md section 5, as PyTorch's layer_norm

d2v_moments d2v_moments_of(const int16_t *samples, size_t count) {
	D2V_ASSERT(count >= 1 && count < (size_t)1 << 31);
	int64_t sum = 0, squares = 0; // at most 2^31 * 2^15 and 2^31 * 2^30
	for (size_t i = 0; i < count; i++) {
		int32_t x = samples[i];
		sum += x;
		squares += (uint32_t)(x * x);
	}
	// n * squares - sum^2 is n^2 times the variance, exactly; the difference of two rounded numbers would lose what a
	// quiet recording with an offset consists of.
	__extension__ typedef __int128 wide;
	wide scaled = (wide)count * squares - (wide)sum * sum;
	double n = (double)count;
	double variance = (double)scaled / (n * n * FULL_SCALE * FULL_SCALE);
	return (
		d2v_moments){ .mean = (float)((double)sum / (n * FULL_SCALE)), .rstd = (float)(1 / sqrt(variance + EPSILON)) };
}
