// Small data sets of random sound for the loader's tests and bench.
#ifndef D2V_TESTS_LOADERS_SPEECH_DATA_H
#define D2V_TESTS_LOADERS_SPEECH_DATA_H

#include "shards/record.h"

typedef struct speech_data {
	const char *folder; // made when absent
	uint64_t seed;
	uint32_t utterances, shards;
	uint32_t shortest, longest; // samples; lengths are uniform multiples of 16 between them
	d2v_codec codec;
} speech_data;

// Split "train". Utterance i is "u<i>"; its sound is a function of (seed, i).
d2v_status speech_data_make(const speech_data *data, d2v_error *err);
uint32_t speech_data_length(const speech_data *data, uint32_t utterance);
void speech_data_sound(const speech_data *data, uint32_t utterance, int16_t *samples, uint32_t length);

#endif
