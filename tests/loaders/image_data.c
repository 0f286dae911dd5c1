#include "tests/loaders/image_data.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "shards/codec_image.h"
#include "shards/manifest.h"
#include "shards/shard_writer.h"

#include <stdio.h>
#include <string.h>

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

static d2v_status append(const image_data *data, d2v_shard_writer *writer, uint32_t picture, d2v_error *err) {
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

static d2v_status make_shard(const image_data *data, uint32_t shard, d2v_manifest_split *split, d2v_error *err) {
	char path[1024], name[32];
	d2v_shard_writer *writer;
	d2v_shard_facts facts;
	uint32_t first = (uint32_t)((uint64_t)data->pictures * shard / data->shards);
	uint32_t end = (uint32_t)((uint64_t)data->pictures * (shard + 1) / data->shards);
	snprintf(name, sizeof name, "train/%05u.mdb", shard);
	snprintf(path, sizeof path, "%s/%s", data->folder, name);
	D2V_TRY(d2v_shard_writer_begin(&writer, path, 0, err));
	for (uint32_t i = first; i < end; i++) {
		d2v_status status = append(data, writer, i, err);
		if (status != D2V_OK) {
			d2v_shard_writer_abandon(writer);
			return status;
		}
	}
	D2V_TRY(d2v_shard_writer_commit(writer, NULL, &facts, err));
	return d2v_manifest_add_shard(split, name, &facts, err);
}

static d2v_status fill(const image_data *data, d2v_manifest *manifest, d2v_error *err) {
	d2v_manifest_split *split;
	D2V_TRY(d2v_manifest_add_split(manifest, "train", &split, err));
	for (int i = 0; i < IMAGE_DATA_CLASSES; i++) {
		char name[32];
		snprintf(name, sizeof name, "class%d", i);
		D2V_TRY(d2v_manifest_add_class(manifest, name, NULL, err));
	}
	for (uint32_t shard = 0; shard < data->shards; shard++)
		D2V_TRY(make_shard(data, shard, split, err));
	D2V_TRY(d2v_manifest_stats(manifest, split, data->folder, err));
	return d2v_manifest_save(manifest, data->folder, err);
}

d2v_status image_data_make(const image_data *data, d2v_error *err) {
	char path[1024];
	d2v_manifest manifest;
	snprintf(path, sizeof path, "%s/train", data->folder);
	D2V_TRY(d2v_file_make_directories(path, err));
	d2v_manifest_init(&manifest, D2V_IMAGE);
	d2v_status status = fill(data, &manifest, err);
	d2v_manifest_release(&manifest);
	return status;
}
