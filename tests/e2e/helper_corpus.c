// helper_corpus FOLDER UTTERANCES SEED: a data set of made-up voices, written with the library alone.
//
// Every utterance is a row of syllables: a buzz through three resonances that move, or hiss, with pauses between; so
// there is something to predict. Lengths go from 2.1 to about 8 s.
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "shards/manifest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE 16000
#define SHORTEST (RATE * 21 / 10)
#define LONGEST (RATE * 8)

typedef struct voice {
	double pitch, phase;
	double state[3][2]; // of the resonances
} voice;

static double resonate(double state[2], double hertz, double input) {
	const double radius = 0.97;
	double output = input + 2 * radius * cos(2 * M_PI * hertz / RATE) * state[0] - radius * radius * state[1];
	state[1] = state[0];
	return state[0] = output;
}

static double sound(voice *speaker, d2v_random *random, const double hertz[3], bool hiss) {
	double source = d2v_random_unit(random) * 2 - 1;
	if (!hiss) {
		speaker->phase += speaker->pitch / RATE;
		speaker->phase -= floor(speaker->phase);
		source = (speaker->phase < 0.1) + 0.02 * source;
	}
	double out = 0;
	for (int i = 0; i < 3; i++)
		out += resonate(speaker->state[i], hertz[i], source) / (i + 1);
	return out;
}

static void speak(int16_t *samples, uint32_t length, uint64_t seed, uint64_t utterance) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, utterance, 0));
	voice speaker = { .pitch = 90 + 140 * d2v_random_unit(&random) };
	uint32_t at = 0;
	while (at < length) {
		double hertz[3] = { 250 + 600 * d2v_random_unit(&random), 900 + 1400 * d2v_random_unit(&random),
			2400 + 800 * d2v_random_unit(&random) };
		bool hiss = d2v_random_below(&random, 4) == 0, pause = d2v_random_below(&random, 5) == 0;
		uint32_t end = at + RATE / 12 + d2v_random_below(&random, RATE / 6);
		for (; at < end && at < length; at++)
			samples[at] = pause ? (int16_t)d2v_random_below(&random, 20)
								: (int16_t)(fmax(-1, fmin(1, sound(&speaker, &random, hertz, hiss) / 40)) * 12000);
	}
}

static d2v_status append(
	d2v_shard_writer *writer, int16_t *samples, uint64_t seed, uint64_t utterance, d2v_error *err) {
	d2v_random random;
	char name[32];
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, utterance, 1));
	uint32_t length = SHORTEST + d2v_random_below(&random, LONGEST - SHORTEST);
	speak(samples, length, seed, utterance);
	d2v_record record = {
		.codec = D2V_CODEC_PCM16, .label = D2V_RECORD_NO_LABEL, .rate = RATE, .rows = 1, .units = length
	};
	record.name = name,
	record.name_size = (uint32_t)snprintf(name, sizeof name, "u%llu", (unsigned long long)utterance);
	record.text = "", record.payload = samples, record.payload_size = (uint64_t)length * sizeof *samples;
	return d2v_shard_writer_append(writer, &record, err);
}

static d2v_status write_shard(const char *path, uint64_t count, uint64_t seed, d2v_shard_facts *facts, d2v_error *err) {
	d2v_shard_writer *writer;
	int16_t *samples;
	D2V_TRY(d2v_alloc(&samples, LONGEST, sizeof *samples, err));
	d2v_status status = d2v_shard_writer_begin(&writer, path, 0, err);
	for (uint64_t i = 0; i < count && status == D2V_OK; i++)
		status = append(writer, samples, seed, i, err);
	d2v_free(samples);
	if (status == D2V_OK)
		return d2v_shard_writer_commit(writer, NULL, facts, err);
	d2v_shard_writer_abandon(writer);
	return status;
}

static d2v_status make(const char *folder, uint64_t count, uint64_t seed, d2v_error *err) {
	d2v_manifest manifest;
	d2v_manifest_split *split;
	d2v_shard_facts facts;
	char train[512], shard[560];
	snprintf(train, sizeof train, "%s/train", folder);
	snprintf(shard, sizeof shard, "%s/00000.mdb", train);
	D2V_TRY(d2v_file_make_directories(train, err));
	D2V_TRY(write_shard(shard, count, seed, &facts, err));
	d2v_manifest_init(&manifest, D2V_AUDIO);
	manifest.rate = RATE;
	d2v_status status = d2v_manifest_add_split(&manifest, "train", &split, err);
	if (status == D2V_OK)
		status = d2v_manifest_add_shard(split, "train/00000.mdb", &facts, err);
	if (status == D2V_OK)
		status = d2v_manifest_stats(&manifest, split, folder, err);
	if (status == D2V_OK)
		status = d2v_manifest_save(&manifest, folder, err);
	d2v_manifest_release(&manifest);
	return status;
}

int main(int argc, char **argv) {
	d2v_error err = { 0 };
	if (argc != 4) {
		fprintf(stderr, "usage: helper_corpus FOLDER UTTERANCES SEED\n");
		return 2;
	}
	if (make(argv[1], strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), &err) == D2V_OK)
		return 0;
	fprintf(stderr, "helper_corpus: %s\n", err.text);
	return 1;
}
