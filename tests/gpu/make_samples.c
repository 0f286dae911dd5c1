// Makes what bench_loader.sh feeds a GPU, from nothing: a machine with a GPU may have no data and no network.
//     make_samples FOLDER PICTURES UTTERANCES MEGABYTES
// writes FOLDER/pictures/CLASS/NUMBER.jpg of 500 x 375, FOLDER/speech/NUMBER.flac of 5 to 15 s at 16 kHz, and
// FOLDER/text/documents.jsonl with a plain sample of the same in FOLDER/text.txt, to learn a tokenizer from. The same
// arguments give the same bytes.
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "shards/codec_audio.h"
#include "shards/codec_image.h"
#include "tests/loaders/made_photo.h"
#include "tests/loaders/made_voice.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 1
#define CLASSES 10
#define WIDTH 500
#define HEIGHT 375
#define QUALITY 94
#define PATH_MAX_BYTES 1024

typedef struct making {
	const char *folder;
	atomic_int failed; // d2v_status of one that did
	d2v_status (*make)(const char *folder, size_t number, d2v_error *err);
} making;

static void make_one(void *context, size_t number) {
	making *self = context;
	d2v_error err = { 0 };
	if (self->failed || self->make(self->folder, number, &err) == D2V_OK)
		return;
	fprintf(stderr, "make_samples: %s\n", err.text);
	self->failed = (int)err.status;
}

static d2v_status make_all(
	const char *folder, size_t count, d2v_status (*make)(const char *folder, size_t number, d2v_error *err)) {
	making self = { .folder = folder, .make = make };
	d2v_parallel_for(count, d2v_parallel_processors(), make_one, &self);
	return (d2v_status)self.failed;
}

static d2v_status make_picture(const char *folder, size_t number, d2v_error *err) {
	char path[PATH_MAX_BYTES];
	uint8_t *pixels;
	void *jpeg = NULL;
	size_t size;
	snprintf(path, sizeof path, "%s/pictures/%zu/%05zu.jpg", folder, number % CLASSES, number);
	D2V_TRY(d2v_alloc(&pixels, WIDTH * HEIGHT * 3, 1, err));
	d2v_status status = made_photo_draw(pixels, WIDTH, HEIGHT, SEED, number, err);
	if (status == D2V_OK)
		status = d2v_image_jpeg_encode(pixels, WIDTH, HEIGHT, QUALITY, &jpeg, &size, err);
	if (status == D2V_OK)
		status = d2v_file_replace(path, jpeg, size, err);
	d2v_free(jpeg);
	d2v_free(pixels);
	return status;
}

static d2v_status make_utterance(const char *folder, size_t number, d2v_error *err) {
	enum { SHORTEST = 5 * MADE_VOICE_RATE, LONGEST = 15 * MADE_VOICE_RATE };
	char path[PATH_MAX_BYTES];
	d2v_random random;
	int16_t *samples;
	void *flac = NULL;
	size_t size;
	snprintf(path, sizeof path, "%s/speech/%05zu.flac", folder, number);
	d2v_random_start(&random, d2v_random_key_make(SEED, D2V_RANDOM_SYNTHETIC, number, 1));
	uint32_t length = SHORTEST + d2v_random_below(&random, LONGEST - SHORTEST);
	D2V_TRY(d2v_alloc(&samples, length, sizeof *samples, err));
	made_voice_speak(samples, length, SEED, number);
	d2v_status status = d2v_codec_flac_encode(samples, length, MADE_VOICE_RATE, &flac, &size, err);
	if (status == D2V_OK)
		status = d2v_file_replace(path, flac, size, err);
	d2v_free(flac);
	d2v_free(samples);
	return status;
}

// ---- text: made-up words, the n-th of which comes about 1/n as often as the first, as words do

static void write_word(FILE *out, d2v_random *random) {
	static const char *const syllables[] = { "ba", "der", "fo", "gin", "ha", "kel", "li", "mor", "na", "pu", "ra",
		"sen", "ti", "u", "ver", "zo" };
	enum { COUNT = sizeof syllables / sizeof *syllables, WORDS = 8192 };
	uint32_t rank = (uint32_t)pow(WORDS, d2v_random_unit(random));
	for (; rank; rank /= COUNT)
		fputs(syllables[rank % COUNT], out);
}

static void write_document(FILE *out, d2v_random *random) {
	for (uint32_t sentences = 5 + d2v_random_below(random, 40); sentences; sentences--) {
		for (uint32_t words = 4 + d2v_random_below(random, 16); words; words--) {
			write_word(out, random);
			fputc(words > 1 ? ' ' : '.', out);
		}
		fputc(' ', out);
	}
}

static d2v_status write_text(const char *path, size_t bytes, const char *before, const char *after, d2v_error *err) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(SEED, D2V_RANDOM_SYNTHETIC, 0, 2));
	FILE *out = fopen(path, "w");
	if (!out)
		return d2v_fail_errno(err, "%s", path);
	while (ftell(out) >= 0 && (size_t)ftell(out) < bytes) {
		fputs(before, out);
		write_document(out, &random);
		fputs(after, out);
	}
	bool failed = ferror(out);
	return fclose(out) || failed ? d2v_fail_errno(err, "%s", path) : D2V_OK;
}

static d2v_status make_text(const char *folder, size_t megabytes, d2v_error *err) {
	char documents[PATH_MAX_BYTES], sample[PATH_MAX_BYTES];
	snprintf(documents, sizeof documents, "%s/text/documents.jsonl", folder);
	snprintf(sample, sizeof sample, "%s/text.txt", folder);
	D2V_TRY(write_text(documents, megabytes << 20, "{\"text\": \"", "\"}\n", err));
	return write_text(sample, 1 << 19, "", "\n", err);
}

// ---- all

static d2v_status make_folders(const char *folder, d2v_error *err) {
	static const char *const names[] = { "speech", "text", "pictures" };
	char path[PATH_MAX_BYTES];
	for (int i = 0; i < 2 + CLASSES; i++) {
		if (i < 2)
			snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		else
			snprintf(path, sizeof path, "%s/%s/%d", folder, names[2], i - 2);
		D2V_TRY(d2v_file_make_directories(path, err));
	}
	return D2V_OK;
}

int main(int argc, char **argv) {
	d2v_error err = { 0 };
	if (argc != 5 || strlen(argv[1]) > PATH_MAX_BYTES - 64)
		return fprintf(stderr, "usage: make_samples FOLDER PICTURES UTTERANCES MEGABYTES\n"), 2;
	d2v_status status = make_folders(argv[1], &err);
	if (status == D2V_OK)
		status = make_text(argv[1], strtoul(argv[4], NULL, 10), &err);
	if (status != D2V_OK)
		return fprintf(stderr, "make_samples: %s\n", err.text), 1;
	return make_all(argv[1], strtoul(argv[2], NULL, 10), make_picture) != D2V_OK ||
		   make_all(argv[1], strtoul(argv[3], NULL, 10), make_utterance) != D2V_OK;
}
