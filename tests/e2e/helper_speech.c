// Speech for tests that must not need anybody's recordings: LibriSpeech's folders and transcripts, with raw 16-bit
// samples (NAME.raw, 16 kHz, mono) that the caller encodes. Tones and noise under an envelope, the same for the same
// arguments.
//     helper_speech FOLDER SPLIT SPEAKERS UTTERANCES-EACH SEED
#include "base/error.h"
#include "base/file.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE 16000

static uint64_t state;
static double uniform(void) { // SplitMix64, in [0, 1)
	uint64_t z = state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static int write_utterance(const char *path) {
	size_t count = (size_t)(RATE * (1 + 3 * uniform()));
	double pitch = 80 + 200 * uniform(), syllables = 3 + 3 * uniform(), loud = 4000 + 8000 * uniform();
	FILE *file = fopen(path, "wb");
	if (!file)
		return perror(path), 1;
	for (size_t i = 0; i < count; i++) {
		double t = (double)i / RATE, envelope = fabs(sin(3.14159265 * syllables * t)), sound = 0;
		for (int k = 1; k <= 5; k++)
			sound += sin(6.2831853 * pitch * k * t) / k;
		int16_t sample = (int16_t)(envelope * loud * (sound / 2.3 + 0.1 * (uniform() - 0.5)));
		unsigned char bytes[2] = { (unsigned char)(sample & 255), (unsigned char)((uint16_t)sample >> 8) };
		fwrite(bytes, 1, 2, file);
	}
	return fclose(file) != 0;
}

static void write_words(FILE *file) {
	static const char *const words[] = { "THE", "RIVER", "DIDN'T", "WAIT", "FOR", "ANY", "OF", "US", "THAT", "NIGHT",
		"A", "LAMP" };
	for (int n = 2 + (int)(uniform() * 8); n > 0; n--)
		fprintf(file, " %s", words[(int)(uniform() * 12)]);
	fputc('\n', file);
}

static int write_chapter(const char *folder, int speaker, int chapter, int utterances) {
	char path[4096];
	d2v_error err;
	if (d2v_file_make_directories(folder, &err) != D2V_OK)
		return fprintf(stderr, "%s\n", err.text), 1;
	snprintf(path, sizeof path, "%s/%d-%d.trans.txt", folder, speaker, chapter);
	FILE *transcripts = fopen(path, "w");
	if (!transcripts)
		return perror(path), 1;
	int bad = 0;
	for (int i = 0; i < utterances && !bad; i++) {
		fprintf(transcripts, "%d-%d-%04d", speaker, chapter, i);
		write_words(transcripts);
		snprintf(path, sizeof path, "%s/%d-%d-%04d.raw", folder, speaker, chapter, i);
		bad = write_utterance(path);
	}
	return fclose(transcripts) != 0 || bad;
}

int main(int argc, char **argv) {
	if (argc != 6)
		return fprintf(stderr, "usage: helper_speech FOLDER SPLIT SPEAKERS UTTERANCES-EACH SEED\n"), 2;
	int speakers = atoi(argv[3]), utterances = atoi(argv[4]);
	state = strtoull(argv[5], NULL, 10);
	for (int i = 0; i < speakers; i++) {
		char folder[2048];
		int speaker = 100 + 17 * i, chapter = 5000 + 13 * i;
		snprintf(folder, sizeof folder, "%s/LibriSpeech/%s/%d/%d", argv[1], argv[2], speaker, chapter);
		if (write_chapter(folder, speaker, chapter, utterances) != 0)
			return 1;
	}
	return 0;
}
