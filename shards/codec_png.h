// One PNG after the other through libpng; what codec_image.h is made of. Messages do not name the file.
#ifndef D2V_SHARDS_CODEC_PNG_H
#define D2V_SHARDS_CODEC_PNG_H

#include "shards/codec_image.h"

typedef struct d2v_png d2v_png;

d2v_status d2v_png_new(d2v_png **png, d2v_error *err);
void d2v_png_free(d2v_png *png); // NULL is allowed
bool d2v_png_is(const void *bytes, size_t size);
// As d2v_image_begin and d2v_image_rows; the region lies inside.
d2v_status d2v_png_begin(d2v_png *png, const void *bytes, size_t size, d2v_image_facts *facts, d2v_error *err);
d2v_status d2v_png_rows(d2v_png *png, const d2v_image_region *region, const d2v_image_sink *sink, d2v_error *err);

#endif
