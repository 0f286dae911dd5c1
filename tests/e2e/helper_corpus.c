// helper_corpus FOLDER UTTERANCES SEED: a data set of made-up voices, written with the library alone.
//
// What they say is there to be predicted (tests/loaders/made_voice.h). Lengths go from 2.1 to about 8 s.
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "shards/manifest.h"
#include "tests/loaders/made_voice.c" // helpers are linked with the library alone

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORTEST (RATE * 21 / 10)
#define LONGEST (RATE * 8)

static d2v_status append(
	d2v_shard_writer *writer, int16_t *samples, uint64_t seed, uint64_t utterance, d2v_error *err) {
	d2v_random random;
	char name[32];
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_SYNTHETIC, utterance, 1));
	uint32_t length = SHORTEST + d2v_random_below(&random, LONGEST - SHORTEST);
	made_voice_speak(samples, length, seed, utterance);
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
