// Pictures for the demo: six kinds of shapes on sloping backgrounds, a folder for each kind.
//     draw_shapes FOLDER TRAIN TEST      writes FOLDER/train/circle/000.jpg and so on, TRAIN and TEST of each kind
// Colours, places, sizes and angles are drawn at random, so that only the form tells what a picture shows. The same
// arguments give the same pictures.
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "shards/codec_image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SIDE 40
#define FINE 3 // points per pixel and axis that are asked whether they lie inside
#define NOISE 16
#define QUALITY 92

// Whether a point lies inside, in coordinates in which the shape reaches from about -1 to 1.
static bool circle(double x, double y) {
	return x * x + y * y < 1;
}

static bool ring(double x, double y) {
	return circle(x, y) && x * x + y * y > .36;
}

static bool square(double x, double y) {
	return fabs(x) < .85 && fabs(y) < .85;
}

static bool triangle(double x, double y) {
	return y < .7 && y > 1.9 * fabs(x) - 1.1;
}

static bool cross(double x, double y) {
	return fmin(fabs(x), fabs(y)) < .3 && fmax(fabs(x), fabs(y)) < 1;
}

static bool bars(double x, double y) {
	return square(x, y) && fabs(fabs(x) - .55) < .3 && fabs(y) < .85;
}

static const struct {
	const char *name;
	bool (*inside)(double x, double y);
} kinds[] = { { "bars", bars }, { "circle", circle }, { "cross", cross }, { "ring", ring }, { "square", square },
	{ "triangle", triangle } };
#define KINDS (sizeof kinds / sizeof *kinds)

typedef struct scene {
	bool (*inside)(double x, double y);
	double x, y, radius, angle; // in pixels and radians
	double shape[3], corner[3], slope[3][2];
} scene;

static double between(d2v_random *random, double low, double high) {
	return low + (high - low) * d2v_random_unit(random);
}

static scene draw_scene(size_t kind, d2v_random *random) {
	scene s = { .inside = kinds[kind].inside, .radius = between(random, SIDE * .25, SIDE * .4) };
	s.x = between(random, s.radius, SIDE - s.radius);
	s.y = between(random, s.radius, SIDE - s.radius);
	s.angle = between(random, -.4, .4);
	bool bright = d2v_random_unit(random) < .5; // the shape, against its background
	for (int c = 0; c < 3; c++) {
		s.shape[c] = bright ? between(random, 150, 255) : between(random, 0, 105);
		s.corner[c] = bright ? between(random, 0, 90) : between(random, 130, 220);
		for (int axis = 0; axis < 2; axis++)
			s.slope[c][axis] = between(random, 0, 40) / SIDE;
	}
	return s;
}

// The share of a pixel that the shape covers.
static double covered(const scene *s, int column, int row) {
	int hits = 0;
	for (int i = 0; i < FINE * FINE; i++) {
		double x = (column + (i % FINE + .5) / FINE - s->x) / s->radius;
		double y = (row + (i / FINE + .5) / FINE - s->y) / s->radius;
		hits += s->inside(x * cos(s->angle) + y * sin(s->angle), y * cos(s->angle) - x * sin(s->angle));
	}
	return (double)hits / (FINE * FINE);
}

static void paint(const scene *s, d2v_random *random, uint8_t *pixels) {
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			double share = covered(s, column, row);
			for (int c = 0; c < 3; c++) {
				double ground = s->corner[c] + s->slope[c][0] * column + s->slope[c][1] * row;
				double value = share * s->shape[c] + (1 - share) * ground + between(random, -NOISE, NOISE);
				*pixels++ = (uint8_t)fmin(fmax(value, 0), 255);
			}
		}
}

static d2v_status write_picture(const char *folder, size_t kind, int number, d2v_random *random, d2v_error *err) {
	uint8_t pixels[SIDE * SIDE * 3];
	char path[4096];
	void *bytes;
	size_t size;
	scene s = draw_scene(kind, random);
	paint(&s, random, pixels);
	snprintf(path, sizeof path, "%s/%03d.jpg", folder, number);
	D2V_TRY(d2v_image_jpeg_encode(pixels, SIDE, SIDE, QUALITY, &bytes, &size, err));
	d2v_status status = d2v_file_replace(path, bytes, size, err);
	d2v_free(bytes);
	return status;
}

static d2v_status write_kind(
	const char *root, const char *split, size_t kind, int count, d2v_random *random, d2v_error *err) {
	char folder[4000];
	snprintf(folder, sizeof folder, "%s/%s/%s", root, split, kinds[kind].name);
	D2V_TRY(d2v_file_make_directories(folder, err));
	for (int i = 0; i < count; i++)
		D2V_TRY(write_picture(folder, kind, i, random, err));
	return D2V_OK;
}

static d2v_status write_all(const char *root, int train, int test, d2v_error *err) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_RETRY, 0, 0));
	for (size_t kind = 0; kind < KINDS; kind++) {
		D2V_TRY(write_kind(root, "train", kind, train, &random, err));
		D2V_TRY(write_kind(root, "test", kind, test, &random, err));
	}
	return D2V_OK;
}

int main(int argc, char **argv) {
	d2v_error err;
	if (argc != 4)
		return fprintf(stderr, "usage: draw_shapes FOLDER TRAIN TEST\n"), 2;
	if (write_all(argv[1], atoi(argv[2]), atoi(argv[3]), &err) == D2V_OK)
		return 0;
	return fprintf(stderr, "draw_shapes: %s\n", err.text), 1;
}
