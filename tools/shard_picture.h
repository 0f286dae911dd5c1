// A picture in memory, for drawing: RGB8 (height, width, 3). Life: new | of_record -> use -> release. Threads: plain
// values.
#ifndef D2V_TOOLS_SHARD_PICTURE_H
#define D2V_TOOLS_SHARD_PICTURE_H

#include "shards/record.h"

typedef struct shard_picture {
	uint8_t *rgb;
	uint32_t width, height;
} shard_picture;

d2v_status shard_picture_new(shard_picture *picture, uint32_t width, uint32_t height, d2v_error *err); // black
// Decodes a record of a picture.
d2v_status shard_picture_of_record(shard_picture *picture, const d2v_record *record, d2v_error *err);
void shard_picture_release(shard_picture *picture);

// Another size, each pixel the mean of the area that it covers: for making pictures smaller; larger ones get blocks.
d2v_status shard_picture_resize(
	const shard_picture *from, uint32_t width, uint32_t height, shard_picture *picture, d2v_error *err);
// The largest size with the shape of width x height that fits into max_width x max_height, at least 1x1; pictures do
// not grow.
void shard_picture_fit(uint32_t *width, uint32_t *height, uint32_t max_width, uint32_t max_height);
// A PNG file. *bytes: d2v_free.
d2v_status shard_picture_png(const shard_picture *picture, void **bytes, size_t *size, d2v_error *err);

#endif
