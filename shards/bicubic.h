// Resizing pictures with Pillow's bytes: bicubic (a = -0.5), widened when shrinking, horizontal pass first with 8-bit
// rows between, weights of 22 bits. tests/ref/ref_bicubic.c is the same as plain loops; spec/recipes.md 4 the formulas.
//
// Rows go in one after the other, as a decoder gives them, and each is narrowed at once; what is kept in between is the
// narrowed rows. A resizer belongs to one thread and is used again and again:
//     begin -> row for each row of `needs` from top to bottom -> finish -> begin ...
// Only begin allocates, and only when a picture needs more than any before. A crop is resized by taking the crop for
// the whole input: pixels outside of it have no influence.
#ifndef D2V_SHARDS_BICUBIC_H
#define D2V_SHARDS_BICUBIC_H

#include "shards/codec_image.h"

typedef struct d2v_bicubic d2v_bicubic;

typedef struct d2v_bicubic_job {
	uint32_t in_width, in_height;
	uint32_t out_width, out_height;
	d2v_image_region window; // of the output, which is all that is made; height 0: the whole output
	bool mirror;             // left and right of the window change places
} d2v_bicubic_job;

d2v_status d2v_bicubic_new(d2v_bicubic **resizer, d2v_error *err);
void d2v_bicubic_free(d2v_bicubic *resizer); // NULL is allowed
// needs: the part of the input that decides the window; sides are at least 1 and the window lies in the output.
d2v_status d2v_bicubic_begin(d2v_bicubic *resizer, const d2v_bicubic_job *job, d2v_image_region *needs, d2v_error *err);
// The next row of `needs`: needs.width * 3 bytes, borrowed until it returns.
void d2v_bicubic_row(d2v_bicubic *resizer, const uint8_t *rgb);
// The window's pixels, (height, width, 3).
void d2v_bicubic_finish(d2v_bicubic *resizer, uint8_t *pixels);

// All of that for a picture in memory.
d2v_status d2v_bicubic_resize(
	d2v_bicubic *resizer, const d2v_bicubic_job *job, const uint8_t *in, uint8_t *out, d2v_error *err);

#endif
