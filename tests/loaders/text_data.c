#include "tests/loaders/text_data.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "shards/codec_tokens.h"
#include "shards/dictionary.h"
#include "tests/loaders/made_set.h"

#include <stdio.h>

uint32_t text_data_length(const text_data *data, uint32_t record) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(data->seed, D2V_RANDOM_SYNTHETIC, 1, record));
	return 1 + d2v_random_below(&random, data->most);
}

uint32_t text_data_token(const text_data *data, uint64_t place) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(data->seed, D2V_RANDOM_SYNTHETIC, 2, place));
	uint32_t token = d2v_random_below(&random, TEXT_DATA_IDS + 20);
	return token < TEXT_DATA_IDS ? token : D2V_TOKEN_LINE_END;
}

// Of the stream, where record `number` begins.
static uint64_t place_of(const text_data *data, uint32_t number) {
	uint64_t place = 0;
	for (uint32_t i = 0; i < number; i++)
		place += text_data_length(data, i);
	return place;
}

static d2v_status append(const void *made, d2v_shard_writer *writer, uint32_t number, d2v_error *err) {
	const text_data *data = made;
	uint32_t count = text_data_length(data, number), end = count;
	uint64_t place = place_of(data, number);
	bool narrow = data->codec == D2V_CODEC_TOK16;
	char name[32];
	void *payload;
	size_t size = d2v_codec_tokens_size(data->codec, count, 1);
	D2V_TRY(d2v_alloc(&payload, size, 1, err));
	for (uint32_t i = 0; i < count; i++) {
		uint32_t token = text_data_token(data, place + i);
		if (narrow)
			((uint16_t *)payload)[i] = token == D2V_TOKEN_LINE_END ? D2V_TOKEN_LINE_END_16 : (uint16_t)token;
		else
			((uint32_t *)payload)[i] = token;
	}
	d2v_codec_tokens_encode(data->codec, payload, count, &end, 1, payload);
	d2v_record record = { .codec = (uint8_t)data->codec,
		.label = D2V_RECORD_NO_LABEL,
		.rows = 1,
		.units = count,
		.name = name,
		.name_size = (uint32_t)snprintf(name, sizeof name, "%08u", number),
		.payload = payload,
		.payload_size = size };
	d2v_status status = d2v_shard_writer_append(writer, &record, err);
	d2v_free(payload);
	return status;
}

static d2v_status make_dictionary(const text_data *data, d2v_error *err) {
	uint64_t counts[TEXT_DATA_IDS];
	d2v_dictionary *dictionary;
	char path[1024];
	snprintf(path, sizeof path, "%s/tokenizer", data->folder);
	D2V_TRY(d2v_file_make_directories(path, err));
	for (uint32_t i = 0; i < TEXT_DATA_IDS; i++)
		counts[i] = i % 7 ? 1000 - i * 3 : 0;
	D2V_TRY(d2v_dictionary_build(&dictionary, counts, TEXT_DATA_IDS, err));
	snprintf(path, sizeof path, "%s/tokenizer/dict.txt", data->folder);
	d2v_status status = d2v_dictionary_save(dictionary, path, err);
	d2v_dictionary_free(dictionary);
	return status;
}

static d2v_status describe(const void *made, d2v_manifest *manifest, d2v_error *err) {
	const text_data *data = made;
	D2V_TRY(make_dictionary(data, err));
	json_decref(manifest->options);
	manifest->options = data->merged ? json_pack("{s:[{s:i}, {}]}", "merged", "vocabulary", TEXT_DATA_IDS)
									 : json_pack("{s:i}", "vocabulary", TEXT_DATA_IDS);
	return manifest->options ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "the options");
}

d2v_status text_data_make(const text_data *data, d2v_error *err) {
	const made_set set = { .folder = data->folder,
		.modality = D2V_TEXT,
		.records = data->records,
		.shards = data->shards,
		.append = append,
		.describe = describe,
		.data = data };
	return made_set_write(&set, err);
}
