// Small data sets of random pictures for the loader's tests and bench.
#ifndef D2V_TESTS_LOADERS_IMAGE_DATA_H
#define D2V_TESTS_LOADERS_IMAGE_DATA_H

#include "shards/record.h"

#define IMAGE_DATA_CLASSES 7 // picture i is of class i % IMAGE_DATA_CLASSES

typedef struct image_data {
	const char *folder; // made when absent
	uint64_t seed;
	uint32_t pictures, shards;
	uint32_t smallest, largest; // pixels of a side
	d2v_codec codec;            // jpeg or rgb8
} image_data;

// Split "train". Picture i is "p<i>"; what it shows is a function of (seed, i).
d2v_status image_data_make(const image_data *data, d2v_error *err);
void image_data_size(const image_data *data, uint32_t picture, uint32_t *width, uint32_t *height);
void image_data_pixels(const image_data *data, uint32_t picture, uint8_t *pixels); // as drawn; a JPEG of it is near
// The payload of the picture's record; d2v_free.
d2v_status image_data_payload(const image_data *data, uint32_t picture, void **bytes, size_t *size, d2v_error *err);

#endif
