#include "tests/loaders/speech_data.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/philox.h"
#include "base/random.h"
#include "shards/codec.h"
#include "shards/manifest.h"
#include "shards/shard_writer.h"

#include <stdio.h>

uint32_t speech_data_length(const speech_data *data, uint32_t utterance) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(data->seed, D2V_RANDOM_SYNTHETIC, 1, utterance));
	return data->shortest + 16 * d2v_random_below(&random, (data->longest - data->shortest) / 16 + 1);
}

// Noise of another loudness and offset for each utterance, so that mean and spread differ.
void speech_data_sound(const speech_data *data, uint32_t utterance, int16_t *samples, uint32_t length) {
	d2v_random_key key = d2v_random_key_make(data->seed, D2V_RANDOM_SYNTHETIC, 2, utterance);
	int32_t offset = (int32_t)(utterance % 7) * 100 - 300, shift = 1 + (int32_t)(utterance % 5);
	for (uint32_t i = 0; i < length; i += 8) {
		d2v_philox words = d2v_philox_block(key.word[0], key.word[1], i / 8, 0);
		for (uint32_t j = 0; j < 8 && i + j < length; j++)
			samples[i + j] = (int16_t)(((int16_t)(words.word[j / 2] >> 16 * (j % 2)) >> shift) + offset);
	}
}

static d2v_status append(
	const speech_data *data, d2v_shard_writer *writer, uint32_t utterance, int16_t *samples, d2v_error *err) {
	uint32_t length = speech_data_length(data, utterance);
	char name[32];
	void *flac = NULL;
	size_t flac_size = 0;
	speech_data_sound(data, utterance, samples, length);
	d2v_record record = { .codec = (uint8_t)data->codec,
		.label = D2V_RECORD_NO_LABEL,
		.rate = 16000,
		.rows = 1,
		.units = length,
		.name = name,
		.name_size = (uint32_t)snprintf(name, sizeof name, "u%u", utterance),
		.payload = samples,
		.payload_size = length * sizeof *samples };
	if (data->codec == D2V_CODEC_FLAC) {
		D2V_TRY(d2v_codec_flac_encode(samples, length, 16000, &flac, &flac_size, err));
		record.payload = flac;
		record.payload_size = flac_size;
	}
	d2v_status status = d2v_shard_writer_append(writer, &record, err);
	d2v_free(flac);
	return status;
}

static d2v_status make_shard(
	const speech_data *data, uint32_t shard, d2v_manifest_split *split, int16_t *samples, d2v_error *err) {
	char path[1024], name[32];
	d2v_shard_writer *writer;
	d2v_shard_facts facts;
	uint32_t first = (uint32_t)((uint64_t)data->utterances * shard / data->shards);
	uint32_t end = (uint32_t)((uint64_t)data->utterances * (shard + 1) / data->shards);
	snprintf(name, sizeof name, "train/%05u.mdb", shard);
	snprintf(path, sizeof path, "%s/%s", data->folder, name);
	D2V_TRY(d2v_shard_writer_begin(&writer, path, 0, err));
	for (uint32_t i = first; i < end; i++) {
		d2v_status status = append(data, writer, i, samples, err);
		if (status != D2V_OK) {
			d2v_shard_writer_abandon(writer);
			return status;
		}
	}
	D2V_TRY(d2v_shard_writer_commit(writer, NULL, &facts, err));
	return d2v_manifest_add_shard(split, name, &facts, err);
}

d2v_status speech_data_make(const speech_data *data, d2v_error *err) {
	char path[1024];
	d2v_manifest manifest;
	d2v_manifest_split *split;
	int16_t *samples = NULL;
	snprintf(path, sizeof path, "%s/train", data->folder);
	D2V_TRY(d2v_file_make_directories(path, err));
	d2v_manifest_init(&manifest, D2V_AUDIO);
	manifest.rate = 16000;
	d2v_status status = d2v_manifest_add_split(&manifest, "train", &split, err);
	if (status == D2V_OK)
		status = d2v_alloc(&samples, data->longest, sizeof *samples, err);
	for (uint32_t shard = 0; status == D2V_OK && shard < data->shards; shard++)
		status = make_shard(data, shard, split, samples, err);
	if (status == D2V_OK)
		status = d2v_manifest_stats(&manifest, split, data->folder, err);
	if (status == D2V_OK)
		status = d2v_manifest_save(&manifest, data->folder, err);
	d2v_manifest_release(&manifest);
	d2v_free(samples);
	return status;
}
