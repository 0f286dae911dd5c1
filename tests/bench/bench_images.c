// From a JPEG file to a 224 x 224 random crop with Pillow's bytes, per core, as a ratio to plain whole-picture decoding
// by libjpeg-turbo in the same run; and what a second thread brings, beside what it brings to libjpeg-turbo alone.
//
// Processor time of the thread is what counts, so that other work on the machine does not show, but for the second
// thread, where it is the clock; rounds of all kinds take turns and the best of each is compared. The pictures are
// those of $D2V_SHARED's ImageNet sample where it is, full sizes only (110 KB a file), otherwise drawn ones. Results
// are lines for people on stderr and one JSON line on stdout.
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "loaders/picture_crop.h"
#include "shards/bicubic.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jpeglib.h>

#define TARGET 1.05
#define SIDE 224
#define ROUNDS 7
#define FULL_SIZE 300 // pixels of the shorter side at least
#define BLOCK 512     // of a tar file

typedef struct picture {
	const unsigned char *bytes;
	size_t size;
} picture;

typedef struct pictures {
	picture *items;
	size_t count, capacity;
	double megapixels, megabytes;
} pictures;

static double clock_of(clockid_t id) {
	struct timespec now;
	clock_gettime(id, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double least(double a, double b) {
	return b < a ? b : a;
}

// ---- pictures

static d2v_status add_picture(pictures *p, d2v_image_decoder *decoder, const void *bytes, size_t size, d2v_error *err) {
	d2v_image_facts facts;
	if (d2v_image_begin(decoder, bytes, size, &facts, NULL) != D2V_OK || facts.format != D2V_IMAGE_JPEG ||
		facts.width < FULL_SIZE || facts.height < FULL_SIZE)
		return D2V_OK;
	D2V_TRY(d2v_reserve(&p->items, &p->capacity, p->count + 1, sizeof *p->items, err));
	p->items[p->count++] = (picture){ bytes, size };
	p->megapixels += 1e-6 * facts.width * facts.height;
	p->megabytes += 1e-6 * (double)size;
	return D2V_OK;
}

// The members of a tar file in memory, and of the tar files in it.
static d2v_status add_members(
	pictures *p, d2v_image_decoder *decoder, const unsigned char *tar, size_t size, d2v_error *err) {
	for (size_t at = 0; at + BLOCK <= size && tar[at];) {
		char digits[13] = { 0 };
		memcpy(digits, tar + at + 124, 12);
		size_t length = strtoul(digits, NULL, 8);
		const unsigned char *member = tar + at + BLOCK;
		if (length > size - at - BLOCK)
			return d2v_fail(err, D2V_CORRUPT, "the tar file is cut short");
		if (strstr((const char *)tar + at, ".tar"))
			D2V_TRY(add_members(p, decoder, member, length, err));
		else
			D2V_TRY(add_picture(p, decoder, member, length, err));
		at += BLOCK + (length + BLOCK - 1) / BLOCK * BLOCK;
	}
	return D2V_OK;
}

static d2v_status draw_pictures(pictures *p, d2v_image_decoder *decoder, d2v_error *err) {
	enum { WIDTH = 500, HEIGHT = 375 };
	uint8_t *pixels;
	D2V_TRY(d2v_alloc(&pixels, WIDTH * HEIGHT, 3, err));
	for (unsigned i = 0; i < 50; i++) {
		d2v_random random;
		void *bytes;
		size_t size;
		d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_SYNTHETIC, i, 0));
		for (unsigned at = 0, y = 0; y < HEIGHT; y++)
			for (unsigned x = 0; x < WIDTH; x++)
				for (unsigned c = 0; c < 3; c++)
					pixels[at++] = (uint8_t)(128 + x * (c + 1) / 9 + y * i / 50 + d2v_random_below(&random, 48));
		D2V_TRY(d2v_image_jpeg_encode(pixels, WIDTH, HEIGHT, 90, &bytes, &size, err));
		D2V_TRY(add_picture(p, decoder, bytes, size, err)); // kept until the end
	}
	d2v_free(pixels);
	return D2V_OK;
}

static d2v_status collect(pictures *p, d2v_image_decoder *decoder, d2v_error *err) {
	const char *shared = getenv("D2V_SHARED");
	char path[1024];
	snprintf(path, sizeof path, "%s/data/imagenet/ILSVRC2012_img_train.tar", shared ? shared : "");
	void *tar;
	size_t size;
	if (!d2v_file_exists(path))
		return draw_pictures(p, decoder, err);
	D2V_TRY(d2v_file_read(path, (size_t)1 << 30, &tar, &size, err)); // kept until the end
	return add_members(p, decoder, tar, size, err);
}

// ---- the two ways

static void decode_whole(const picture *p, struct jpeg_decompress_struct *info, uint8_t *pixels) {
	jpeg_mem_src(info, p->bytes, p->size);
	jpeg_read_header(info, TRUE);
	jpeg_start_decompress(info);
	while (info->output_scanline < info->output_height) {
		JSAMPLE *row = pixels + (size_t)info->output_scanline * info->output_width * (size_t)info->output_components;
		jpeg_read_scanlines(info, &row, 1);
	}
	jpeg_finish_decompress(info);
}

typedef struct plain_decoder {
	const pictures *pictures;
	uint8_t *pixels;
} plain_decoder;

static void *decode_all(void *context) {
	const plain_decoder *d = context;
	struct jpeg_decompress_struct info;
	struct jpeg_error_mgr errors;
	info.err = jpeg_std_error(&errors);
	jpeg_create_decompress(&info);
	for (size_t i = 0; i < d->pictures->count; i++)
		decode_whole(&d->pictures->items[i], &info, d->pixels);
	jpeg_destroy_decompress(&info);
	return NULL;
}

typedef struct cropper {
	const pictures *pictures;
	uint64_t round;
	d2v_image_decoder *decoder;
	d2v_bicubic *resizer;
	d2v_status status;
	d2v_error err;
	uint8_t out[SIDE * SIDE * 3];
} cropper;

static void take_row(void *context, uint32_t y, const uint8_t *rgb) {
	(void)y;
	d2v_bicubic_row(context, rgb);
}

static d2v_status crop(cropper *c, size_t i, d2v_error *err) {
	static const double scale[2] = { 0.2, 1 }, ratio[2] = { 3.0 / 4, 4.0 / 3 };
	const picture *p = &c->pictures->items[i];
	d2v_image_facts facts;
	d2v_random random;
	d2v_image_region needs;
	d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_CROP, c->round, i));
	D2V_TRY(d2v_image_begin(c->decoder, p->bytes, p->size, &facts, err));
	d2v_image_region region = d2v_picture_crop_random(facts.width, facts.height, scale, ratio, &random);
	d2v_bicubic_job job = { .in_width = region.width,
		.in_height = region.height,
		.out_width = SIDE,
		.out_height = SIDE,
		.mirror = d2v_random_below(&random, 2) };
	D2V_TRY(d2v_bicubic_begin(c->resizer, &job, &needs, err));
	needs.top += region.top;
	needs.left += region.left;
	D2V_TRY(d2v_image_rows(c->decoder, &needs, &(d2v_image_sink){ take_row, c->resizer }, err));
	d2v_bicubic_finish(c->resizer, c->out);
	return D2V_OK;
}

static void *crop_all(void *context) {
	cropper *c = context;
	for (size_t i = 0; i < c->pictures->count && c->status == D2V_OK; i++)
		c->status = crop(c, i, &c->err);
	return NULL;
}

static d2v_status cropper_new(cropper **made, const pictures *p, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(made, 1, sizeof **made, err));
	(*made)->pictures = p;
	D2V_TRY(d2v_image_decoder_new(&(*made)->decoder, err));
	return d2v_bicubic_new(&(*made)->resizer, err);
}

// ---- clocks

typedef void *work(void *context);

static double core_seconds(work *all, void *context) {
	double start = clock_of(CLOCK_THREAD_CPUTIME_ID);
	all(context);
	return clock_of(CLOCK_THREAD_CPUTIME_ID) - start;
}

typedef struct by_threads {
	double one, two; // best seconds of the clock: one thread, and two at once that do all of it each
} by_threads;

static void time_threads(by_threads *best, work *all, void *first, void *second) {
	pthread_t other;
	double start = clock_of(CLOCK_MONOTONIC);
	all(first);
	best->one = least(best->one, clock_of(CLOCK_MONOTONIC) - start);
	start = clock_of(CLOCK_MONOTONIC);
	D2V_ASSERT(pthread_create(&other, NULL, all, second) == 0);
	all(first);
	pthread_join(other, NULL);
	best->two = least(best->two, clock_of(CLOCK_MONOTONIC) - start);
}

static double gain(const by_threads *best) {
	return 2 * best->one / best->two;
}

// The part of a crop that is resizing: the same crops from pixels in memory.
static d2v_status resize_seconds(cropper *c, uint8_t *pixels, double *seconds, d2v_error *err) {
	static const double scale[2] = { 0.2, 1 }, ratio[2] = { 3.0 / 4, 4.0 / 3 };
	*seconds = 0;
	for (size_t i = 0; i < c->pictures->count; i++) {
		const picture *p = &c->pictures->items[i];
		d2v_image_facts facts;
		d2v_random random;
		d2v_image_region needs;
		D2V_TRY(d2v_image_begin(c->decoder, p->bytes, p->size, &facts, err));
		D2V_TRY(d2v_image_whole(c->decoder, pixels, err));
		d2v_random_start(&random, d2v_random_key_make(1, D2V_RANDOM_CROP, 0, i));
		d2v_image_region r = d2v_picture_crop_random(facts.width, facts.height, scale, ratio, &random);
		double start = clock_of(CLOCK_THREAD_CPUTIME_ID);
		d2v_bicubic_job job = { .in_width = r.width, .in_height = r.height, .out_width = SIDE, .out_height = SIDE };
		D2V_TRY(d2v_bicubic_begin(c->resizer, &job, &needs, err));
		for (uint32_t y = 0; y < needs.height; y++)
			d2v_bicubic_row(c->resizer, pixels + ((size_t)(r.top + y) * facts.width + r.left) * 3);
		d2v_bicubic_finish(c->resizer, c->out);
		*seconds += clock_of(CLOCK_THREAD_CPUTIME_ID) - start;
	}
	return D2V_OK;
}

static d2v_status measure(d2v_error *err) {
	pictures p = { 0 };
	cropper *croppers[2];
	plain_decoder decoders[2] = { { &p, NULL }, { &p, NULL } };
	double plain = 1e9, cropped = 1e9, resize = 1e9, seconds;
	by_threads plain_by = { 1e9, 1e9 }, cropped_by = { 1e9, 1e9 };
	D2V_TRY(cropper_new(&croppers[0], &p, err));
	D2V_TRY(cropper_new(&croppers[1], &p, err));
	D2V_TRY(collect(&p, croppers[0]->decoder, err));
	for (int i = 0; i < 2; i++)
		D2V_TRY(d2v_alloc(&decoders[i].pixels, (size_t)4096 * 4096, 4, err));
	for (uint64_t round = 0; round < ROUNDS; round++) {
		croppers[0]->round = croppers[1]->round = round % 2; // two sets of crops, the same in every run
		plain = least(plain, core_seconds(decode_all, &decoders[0]));
		cropped = least(cropped, core_seconds(crop_all, croppers[0]));
		time_threads(&plain_by, decode_all, &decoders[0], &decoders[1]);
		time_threads(&cropped_by, crop_all, croppers[0], croppers[1]);
		D2V_TRY(resize_seconds(croppers[0], decoders[0].pixels, &seconds, err));
		resize = least(resize, seconds);
	}
	for (int i = 0; i < 2; i++)
		if (croppers[i]->status != D2V_OK)
			return d2v_fail(err, croppers[i]->status, "%s", croppers[i]->err.text);
	double count = (double)p.count;
	fprintf(stderr,
		"pictures       %zu, %.2f megapixels and %.0f KB on average\n"
		"whole decode   %.0f pictures/s per core, libjpeg-turbo alone\n"
		"crops of %d   %.0f pictures/s per core: %.3f of that (target %.2f)\n"
		"of which resizing takes %.0f %%; two threads make %.2f times one, libjpeg-turbo alone %.2f times\n",
		p.count, p.megapixels / count, 1000 * p.megabytes / count, count / plain, SIDE, count / cropped,
		plain / cropped, TARGET, 100 * resize / cropped, gain(&cropped_by), gain(&plain_by));
	printf("{\"bench\": \"images\", \"whole_decode_per_second\": %.0f, \"crops_per_second\": %.0f, \"ratio\": %.3f, "
		   "\"target\": %.2f, \"resize_share\": %.3f, \"two_threads\": %.2f, \"two_threads_plain\": %.2f}\n",
		count / plain, count / cropped, plain / cropped, TARGET, resize / cropped, gain(&cropped_by), gain(&plain_by));
	for (int i = 0; i < 2; i++)
		d2v_free(decoders[i].pixels);
	return D2V_OK;
}

int main(void) {
	d2v_error err;
	d2v_status status = measure(&err);
	if (status != D2V_OK)
		fprintf(stderr, "bench_images: %s\n", err.text);
	return d2v_status_exit_code(status);
}
