// helper_corpus FOLDER UTTERANCES SEED: one shard of made-up voices.
//
// What they say is there to be predicted (tests/loaders/made_voice.h). Lengths go from 2.1 to about 8 s.
#include "base/random.h"
#include "tests/loaders/made_set.h"
#include "tests/loaders/made_voice.h"

#include <stdio.h>
#include <stdlib.h>

#define SHORTEST (MADE_VOICE_RATE * 21 / 10)
#define LONGEST (MADE_VOICE_RATE * 8)

static d2v_status append(const void *seed, d2v_shard_writer *writer, uint32_t utterance, d2v_error *err) {
	static int16_t samples[LONGEST];
	d2v_random random;
	char name[32];
	d2v_random_start(&random, d2v_random_key_make(*(const uint64_t *)seed, D2V_RANDOM_SYNTHETIC, utterance, 1));
	uint32_t length = SHORTEST + d2v_random_below(&random, LONGEST - SHORTEST);
	made_voice_speak(samples, length, *(const uint64_t *)seed, utterance);
	d2v_record record = { .codec = D2V_CODEC_PCM16,
		.label = D2V_RECORD_NO_LABEL,
		.rate = MADE_VOICE_RATE,
		.rows = 1,
		.units = length,
		.name = name,
		.name_size = (uint32_t)snprintf(name, sizeof name, "u%u", utterance),
		.text = "",
		.payload = samples,
		.payload_size = (uint64_t)length * sizeof *samples };
	return d2v_shard_writer_append(writer, &record, err);
}

static d2v_status describe(const void *seed, d2v_manifest *manifest, d2v_error *err) {
	(void)seed, (void)err;
	manifest->rate = MADE_VOICE_RATE;
	return D2V_OK;
}

int main(int argc, char **argv) {
	d2v_error err = { 0 };
	if (argc != 4) {
		fprintf(stderr, "usage: helper_corpus FOLDER UTTERANCES SEED\n");
		return 2;
	}
	const uint64_t seed = strtoull(argv[3], NULL, 10);
	const made_set set = { .folder = argv[1],
		.modality = D2V_AUDIO,
		.records = (uint32_t)strtoul(argv[2], NULL, 10),
		.shards = 1,
		.append = append,
		.describe = describe,
		.data = &seed };
	if (made_set_write(&set, &err) == D2V_OK)
		return 0;
	fprintf(stderr, "helper_corpus: %s\n", err.text);
	return 1;
}
