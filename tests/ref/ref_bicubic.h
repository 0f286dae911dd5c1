// Pillow's bicubic resize as plain loops: what shards/bicubic.c is held against.
#ifndef D2V_TESTS_REF_REF_BICUBIC_H
#define D2V_TESTS_REF_REF_BICUBIC_H

#include "shards/codec_image.h"

// The crop of `in`, which is (height, width, 3), resized to (out_height, out_width, 3).
void ref_bicubic(const uint8_t *in, uint32_t width, const d2v_image_region *crop, uint8_t *out, uint32_t out_width,
	uint32_t out_height);

#endif
