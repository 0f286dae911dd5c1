// Pictures of any size to test with, the same for the same arguments.
//     helper_picture WIDTH HEIGHT SEED FILE.jpg|FILE.png|FILE...     the format is told by the ending; seeds count up
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "shards/codec_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Slopes of colour with some noise over them.
static void fill(uint8_t *pixels, uint32_t width, uint32_t height, uint64_t seed) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_RETRY, 0, 0));
	double slope[6];
	for (int i = 0; i < 6; i++)
		slope[i] = d2v_random_unit(&random);
	for (uint32_t y = 0; y < height; y++)
		for (uint32_t x = 0; x < width; x++)
			for (int c = 0; c < 3; c++) {
				double value = 200 * (slope[c] * x / width + slope[3 + c] * y / height) / 2;
				pixels[((size_t)y * width + x) * 3 + (size_t)c] = (uint8_t)(value + 50 * d2v_random_unit(&random));
			}
}

static d2v_status write_picture(const char *path, uint32_t width, uint32_t height, uint64_t seed, d2v_error *err) {
	uint8_t *pixels;
	void *bytes = NULL;
	size_t size, length = strlen(path);
	bool is_png = length > 4 && strcmp(path + length - 4, ".png") == 0;
	D2V_TRY(d2v_alloc(&pixels, (size_t)width * height * 3, 1, err));
	fill(pixels, width, height, seed);
	d2v_status status = is_png ? d2v_image_png_encode(pixels, width, height, &bytes, &size, err)
							   : d2v_image_jpeg_encode(pixels, width, height, 85, &bytes, &size, err);
	if (status == D2V_OK)
		status = d2v_file_replace(path, bytes, size, err);
	d2v_free(bytes);
	d2v_free(pixels);
	return status;
}

int main(int argc, char **argv) {
	d2v_error err;
	if (argc < 5)
		return fprintf(stderr, "usage: helper_picture WIDTH HEIGHT SEED FILE...\n"), 2;
	for (int i = 4; i < argc; i++)
		if (write_picture(argv[i], (uint32_t)atoi(argv[1]), (uint32_t)atoi(argv[2]),
				strtoull(argv[3], NULL, 10) + (uint64_t)i, &err) != D2V_OK)
			return fprintf(stderr, "helper_picture: %s\n", err.text), 1;
	return 0;
}
