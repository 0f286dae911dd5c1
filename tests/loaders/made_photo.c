#include "tests/loaders/made_photo.h"

#include "base/memory.h"
#include "base/random.h"

#include <math.h>

#define COARSEST 256 // pixels between the points of the coarsest octave
#define LIGHT 22.0   // its amplitude
#define COLOUR 14.0
#define FADING 0.88 // of an octave's amplitude is the next finer one's
#define FINEST_COLOUR 8

// Random heights at points `cell` apart, straight between them, added to the plane.
static d2v_status add_octave(float *plane, uint32_t width, uint32_t height, uint32_t cell, double amplitude,
	d2v_random *random, d2v_error *err) {
	uint32_t across = width / cell + 2, down = height / cell + 2;
	float *points;
	D2V_TRY(d2v_alloc(&points, (size_t)across * down, sizeof *points, err));
	for (size_t i = 0; i < (size_t)across * down; i++)
		points[i] = (float)(amplitude * 3.4641 * (d2v_random_unit(random) - 0.5)); // of that standard deviation
	for (uint32_t y = 0; y < height; y++) {
		const float *above = points + (size_t)(y / cell) * across, *below = above + across;
		float v = (float)(y % cell) / (float)cell;
		for (uint32_t x = 0; x < width; x++) {
			uint32_t i = x / cell;
			float u = (float)(x % cell) / (float)cell;
			float top = above[i] + u * (above[i + 1] - above[i]), bottom = below[i] + u * (below[i + 1] - below[i]);
			plane[(size_t)y * width + x] += top + v * (bottom - top);
		}
	}
	d2v_free(points);
	return D2V_OK;
}

static d2v_status draw_plane(float *plane, uint32_t width, uint32_t height, double amplitude, uint32_t finest,
	d2v_random *random, d2v_error *err) {
	for (uint32_t cell = COARSEST; cell >= finest; cell /= 2, amplitude *= FADING)
		D2V_TRY(add_octave(plane, width, height, cell, amplitude, random, err));
	return D2V_OK;
}

static uint8_t clipped(float value) {
	return (uint8_t)fmaxf(0, fminf(255, value));
}

d2v_status made_photo_draw(
	uint8_t *pixels, uint32_t width, uint32_t height, uint64_t seed, uint64_t photograph, d2v_error *err) {
	size_t count = (size_t)width * height;
	d2v_random random;
	float *planes; // light, and two of colour
	D2V_TRY(d2v_alloc_zero(&planes, 3 * count, sizeof *planes, err));
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, photograph, 0));
	d2v_status status = draw_plane(planes, width, height, LIGHT, 1, &random, err);
	for (int i = 1; i < 3 && status == D2V_OK; i++)
		status = draw_plane(planes + (size_t)i * count, width, height, COLOUR, FINEST_COLOUR, &random, err);
	for (size_t i = 0; i < count && status == D2V_OK; i++) {
		float light = 120 + planes[i], red = planes[count + i], blue = planes[2 * count + i];
		pixels[3 * i] = clipped(light + red);
		pixels[3 * i + 1] = clipped(light - (red + blue) / 2);
		pixels[3 * i + 2] = clipped(light + blue);
	}
	d2v_free(planes);
	return status;
}
