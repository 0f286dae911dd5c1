// Small data sets of made-up tokens for the text loader's tests.
#ifndef D2V_TESTS_LOADERS_TEXT_DATA_H
#define D2V_TESTS_LOADERS_TEXT_DATA_H

#include "shards/record.h"

enum { TEXT_DATA_IDS = 300 }; // of the vocabulary; every seventh id is in no dictionary

typedef struct text_data {
	const char *folder; // made when absent
	uint64_t seed;
	uint32_t records, shards;
	uint32_t most; // tokens of a record: 1 to so many
	d2v_codec codec;
	bool merged; // its options are those of a merged data set
} text_data;

// Split "train", and a dictionary in which id i (7 does not divide i) has a row by its count.
d2v_status text_data_make(const text_data *data, d2v_error *err);
uint32_t text_data_length(const text_data *data, uint32_t record);
uint32_t text_data_token(const text_data *data, uint64_t place); // of the stream, as d2v_tokens_at gives it

#endif
