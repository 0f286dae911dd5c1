#include "tests/loaders/speech_data.h"

#include "base/memory.h"
#include "base/philox.h"
#include "base/random.h"
#include "shards/codec_audio.h"
#include "tests/loaders/made_set.h"

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

static d2v_status append_sound(const speech_data *data, d2v_shard_writer *writer, uint32_t utterance,
	const int16_t *samples, uint32_t length, d2v_error *err) {
	char name[32];
	void *flac = NULL;
	size_t flac_size = 0;
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

static d2v_status append(const void *made, d2v_shard_writer *writer, uint32_t utterance, d2v_error *err) {
	const speech_data *data = made;
	uint32_t length = speech_data_length(data, utterance);
	int16_t *samples;
	D2V_TRY(d2v_alloc(&samples, length, sizeof *samples, err));
	speech_data_sound(data, utterance, samples, length);
	d2v_status status = append_sound(data, writer, utterance, samples, length, err);
	d2v_free(samples);
	return status;
}

static d2v_status describe(const void *data, d2v_manifest *manifest, d2v_error *err) {
	(void)data, (void)err;
	manifest->rate = 16000;
	return D2V_OK;
}

d2v_status speech_data_make(const speech_data *data, d2v_error *err) {
	const made_set set = { .folder = data->folder,
		.modality = D2V_AUDIO,
		.records = data->utterances,
		.shards = data->shards,
		.append = append,
		.describe = describe,
		.data = data };
	return made_set_write(&set, err);
}
