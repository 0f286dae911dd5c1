// Made-up photographs: noise in octaves, each as strong as the next coarser one or a little weaker, which is what the
// spectra of photographs are like; so a JPEG of one costs about what a photograph's costs to store and to decode.
#ifndef D2V_TESTS_LOADERS_MADE_PHOTO_H
#define D2V_TESTS_LOADERS_MADE_PHOTO_H

#include "base/error.h"

#include <stdint.h>

// pixels: (height, width, 3). What photograph i shows is a function of (seed, i).
d2v_status made_photo_draw(
	uint8_t *pixels, uint32_t width, uint32_t height, uint64_t seed, uint64_t photograph, d2v_error *err);

#endif
