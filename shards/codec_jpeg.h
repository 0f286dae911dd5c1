// One JPEG after the other through libjpeg-turbo; what codec_image.h is made of. Messages do not name the file.
#ifndef D2V_SHARDS_CODEC_JPEG_H
#define D2V_SHARDS_CODEC_JPEG_H

#include "shards/codec_image.h"

typedef struct d2v_jpeg d2v_jpeg;

d2v_status d2v_jpeg_new(d2v_jpeg **jpeg, d2v_error *err);
void d2v_jpeg_free(d2v_jpeg *jpeg); // NULL is allowed
// As d2v_image_begin and d2v_image_rows; the region lies inside.
d2v_status d2v_jpeg_begin(d2v_jpeg *jpeg, const void *bytes, size_t size, d2v_image_facts *facts, d2v_error *err);
d2v_status d2v_jpeg_rows(d2v_jpeg *jpeg, const d2v_image_region *region, const d2v_image_sink *sink, d2v_error *err);

#endif
