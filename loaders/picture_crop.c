#include "loaders/picture_crop.h"

#include <math.h>

static double uniform(d2v_random *random, double low, double high) {
	return low + (high - low) * d2v_random_unit(random);
}

// The centre of the largest rectangle whose ratio is allowed.
static d2v_image_region fall_back(uint32_t width, uint32_t height, const double ratio[2]) {
	double whole = (double)width / height, w = width, h = height;
	if (whole < ratio[0])
		h = rint(w / ratio[0]);
	else if (whole > ratio[1])
		w = rint(h * ratio[1]);
	d2v_image_region region = { .height = h < 1 ? 1 : (uint32_t)h, .width = w < 1 ? 1 : (uint32_t)w };
	region.height = region.height < height ? region.height : height;
	region.width = region.width < width ? region.width : width;
	region.top = (height - region.height) / 2;
	region.left = (width - region.width) / 2;
	return region;
}

d2v_image_region d2v_picture_crop_random(
	uint32_t width, uint32_t height, const double scale[2], const double ratio[2], d2v_random *random) {
	double area = (double)width * height, low = log(ratio[0]), high = log(ratio[1]);
	for (int i = 0; i < D2V_PICTURE_CROP_TRIES; i++) {
		double target = area * uniform(random, scale[0], scale[1]), aspect = exp(uniform(random, low, high));
		double w = rint(sqrt(target * aspect)), h = rint(sqrt(target / aspect));
		if (!(w > 0 && w <= width && h > 0 && h <= height))
			continue;
		d2v_image_region region = { .height = (uint32_t)h, .width = (uint32_t)w };
		region.top = d2v_random_below(random, height - region.height + 1);
		region.left = d2v_random_below(random, width - region.width + 1);
		return region;
	}
	return fall_back(width, height, ratio);
}

void d2v_picture_crop_resized(
	uint32_t width, uint32_t height, uint32_t side, uint32_t *out_width, uint32_t *out_height) {
	uint64_t shorter = width < height ? width : height, longer = width < height ? height : width;
	uint32_t other = (uint32_t)(side * longer / shorter);
	*out_width = width < height ? side : other;
	*out_height = width < height ? other : side;
}

uint32_t d2v_picture_crop_centre(uint32_t length, uint32_t size) {
	return (uint32_t)rint((length - size) / 2.0);
}
