#include "tests/ref/ref_bicubic.h"

#include <math.h>
#include <stdlib.h>

static double cubic(double x) {
	x = fabs(x);
	if (x < 1)
		return 1.5 * x * x * x - 2.5 * x * x + 1;
	if (x < 2)
		return -0.5 * (x * x * x - 5 * x * x + 8 * x - 4);
	return 0;
}

// Output `at` of `out` along one axis: value i of the input is in[i * step].
static uint8_t sample(const uint8_t *in, size_t step, uint32_t size, uint32_t out, uint32_t at) {
	double scale = (double)size / out, f = scale > 1 ? scale : 1, centre = (at + .5) * scale, sum = 0;
	int first = (int)(centre - 2 * f + .5), end = (int)(centre + 2 * f + .5);
	first = first < 0 ? 0 : first;
	end = end > (int)size ? (int)size : end;
	for (int i = first; i < end; i++)
		sum += cubic((i - centre + .5) / f);
	int64_t total = 1 << 21;
	for (int i = first; i < end; i++)
		total += llround(cubic((i - centre + .5) / f) / sum * (1 << 22)) * in[(size_t)i * step];
	total >>= 22;
	return total < 0 ? 0 : total > 255 ? 255 : (uint8_t)total;
}

void ref_bicubic(const uint8_t *in, uint32_t width, const d2v_image_region *crop, uint8_t *out, uint32_t out_width,
	uint32_t out_height) {
	uint8_t *middle = malloc((size_t)crop->height * out_width * 3);
	in += ((size_t)crop->top * width + crop->left) * 3;
	for (uint32_t y = 0; y < crop->height; y++)
		for (uint32_t x = 0; x < out_width; x++)
			for (int c = 0; c < 3; c++)
				middle[((size_t)y * out_width + x) * 3 + c] =
					sample(in + (size_t)y * width * 3 + c, 3, crop->width, out_width, x);
	for (uint32_t y = 0; y < out_height; y++)
		for (uint32_t x = 0; x < out_width * 3; x++)
			out[(size_t)y * out_width * 3 + x] = sample(middle + x, (size_t)out_width * 3, crop->height, out_height, y);
	free(middle);
}
