// Which rectangle of a picture a sample shows: torchvision's RandomResizedCrop, and the centre for looking.
//
// Threads: plain functions on plain values.
#ifndef D2V_LOADERS_PICTURE_CROP_H
#define D2V_LOADERS_PICTURE_CROP_H

#include "base/random.h"
#include "shards/codec_image.h"

#define D2V_PICTURE_CROP_TRIES 10

// At most 10 tries (recipes.md 4): area A = W * H * U(scale), ratio = exp(U(ln ratio)), w = round(sqrt(A * ratio)), h =
// round(sqrt(A / ratio)), halves to even; the first that fits, at a uniform place. Otherwise the largest rectangle at
// the centre whose ratio is allowed.
d2v_image_region d2v_picture_crop_random(
	uint32_t width, uint32_t height, const double scale[2], const double ratio[2], d2v_random *random);

// A picture resized so that its shorter side is `side`: *width and *height of that, the longer one int(side * long /
// short).
void d2v_picture_crop_resized(
	uint32_t width, uint32_t height, uint32_t side, uint32_t *out_width, uint32_t *out_height);
// Where a centre of `size` begins on a side of `length` >= size: round((length - size) / 2), halves to even.
uint32_t d2v_picture_crop_centre(uint32_t length, uint32_t size);

#endif
