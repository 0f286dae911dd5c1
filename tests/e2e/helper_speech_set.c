// Makes a small data set of noise for the end-to-end tests: helper_speech_set DIR UTTERANCES SHORTEST LONGEST (audio
// samples).
#include "tests/loaders/speech_data.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: %s DIR UTTERANCES SHORTEST LONGEST\n", argv[0]);
		return 2;
	}
	const speech_data data = { .folder = argv[1],
		.seed = 1,
		.utterances = (uint32_t)atoi(argv[2]),
		.shards = 2,
		.shortest = (uint32_t)atoi(argv[3]),
		.longest = (uint32_t)atoi(argv[4]),
		.codec = D2V_CODEC_PCM16 };
	d2v_error err = { 0 };
	if (speech_data_make(&data, &err) == D2V_OK)
		return 0;
	fprintf(stderr, "%s\n", err.text);
	return 1;
}
