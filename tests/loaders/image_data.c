#include "tests/loaders/image_data.h"

#include "base/memory.h"
#include "base/random.h"
#include "shards/codec_image.h"
#include "tests/loaders/made_set.h"

#include <stdio.h>

void image_data_size(const image_data *data, uint32_t picture, uint32_t *width, uint32_t *height) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(data->seed, D2V_RANDOM_SYNTHETIC, 1, picture));
	*width = data->smallest + d2v_random_below(&random, data->largest - data->smallest + 1);
	*height = data->smallest + d2v_random_below(&random, data->largest - data->smallest + 1);
}

// Slopes and some noise, of another kind for each picture.
void image_data_pixels(const image_data *data, uint32_t picture, uint8_t *pixels) {
	uint32_t width, height;
	d2v_random random;
	image_data_size(data, picture, &width, &height);
	d2v_random_start(&random, d2v_random_key_make(data->seed, D2V_RANDOM_SYNTHETIC, 2, picture));
	uint32_t slope[3][2];
	for (int c = 0; c < 3; c++)
		for (int i = 0; i < 2; i++)
			slope[c][i] = d2v_random_below(&random, 9);
	for (uint32_t y = 0; y < height; y++)
		for (uint32_t x = 0; x < width; x++)
			for (int c = 0; c < 3; c++)
				*pixels++ = (uint8_t)(x * slope[c][0] + y * slope[c][1] + d2v_random_below(&random, 20));
}

d2v_status image_data_payload(const image_data *data, uint32_t picture, void **bytes, size_t *size, d2v_error *err) {
	uint32_t width, height;
	uint8_t *pixels;
	image_data_size(data, picture, &width, &height);
	*size = (size_t)width * height * 3;
	D2V_TRY(d2v_alloc(&pixels, *size, 1, err));
	image_data_pixels(data, picture, pixels);
	*bytes = pixels;
	if (data->codec == D2V_CODEC_RGB8)
		return D2V_OK;
	d2v_status status = d2v_image_jpeg_encode(pixels, width, height, 90, bytes, size, err);
	d2v_free(pixels);
	return status;
}

static d2v_status append(const void *made, d2v_shard_writer *writer, uint32_t picture, d2v_error *err) {
	const image_data *data = made;
	char name[32];
	uint32_t width, height;
	void *bytes = NULL;
	size_t size = 0;
	image_data_size(data, picture, &width, &height);
	D2V_TRY(image_data_payload(data, picture, &bytes, &size, err));
	d2v_record record = { .codec = (uint8_t)data->codec,
		.label = (int32_t)(picture % IMAGE_DATA_CLASSES),
		.rate = width,
		.rows = height,
		.units = (uint64_t)width * height,
		.name = name,
		.name_size = (uint32_t)snprintf(name, sizeof name, "p%u", picture),
		.payload = bytes,
		.payload_size = size };
	d2v_status status = d2v_shard_writer_append(writer, &record, err);
	d2v_free(bytes);
	return status;
}

static d2v_status describe(const void *data, d2v_manifest *manifest, d2v_error *err) {
	(void)data;
	for (int i = 0; i < IMAGE_DATA_CLASSES; i++) {
		char name[32];
		snprintf(name, sizeof name, "class%d", i);
		D2V_TRY(d2v_manifest_add_class(manifest, name, NULL, err));
	}
	return D2V_OK;
}

d2v_status image_data_make(const image_data *data, d2v_error *err) {
	const made_set set = { .folder = data->folder,
		.modality = D2V_IMAGE,
		.records = data->pictures,
		.shards = data->shards,
		.append = append,
		.describe = describe,
		.data = data };
	return made_set_write(&set, err);
}
