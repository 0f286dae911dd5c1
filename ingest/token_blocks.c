#include "ingest/token_blocks.h"

#include "base/memory.h"
#include "shards/codec_tokens.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK D2V_TOKENS_BLOCK

struct d2v_token_blocks {
	d2v_codec codec;
	unsigned char *payload; // room for a block in which every token ends a document
	uint64_t count;         // tokens in it
	uint32_t ends[BLOCK];
	uint32_t documents;
	char origin[D2V_MEMBER_PATH_MAX + 1]; // the member in which the block begins
};

d2v_status d2v_token_blocks_new(d2v_token_blocks **blocks, d2v_codec codec, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(blocks, 1, sizeof **blocks, err));
	(*blocks)->codec = codec;
	d2v_status status = d2v_alloc(&(*blocks)->payload, d2v_codec_tokens_size(codec, BLOCK, BLOCK), 1, err);
	if (status != D2V_OK) {
		d2v_free(*blocks);
		*blocks = NULL;
	}
	return status;
}

void d2v_token_blocks_free(d2v_token_blocks *blocks) {
	if (!blocks)
		return;
	d2v_free(blocks->payload);
	d2v_free(blocks);
}

d2v_status d2v_token_blocks_flush(
	d2v_token_blocks *blocks, d2v_shard_writer *writer, uint64_t *number, d2v_error *err) {
	char name[24];
	if (!blocks->count)
		return D2V_OK;
	d2v_codec_tokens_encode(
		blocks->codec, blocks->payload, blocks->count, blocks->ends, blocks->documents, blocks->payload);
	d2v_record record = { .codec = (uint8_t)blocks->codec,
		.label = D2V_RECORD_NO_LABEL,
		.rows = blocks->documents,
		.units = blocks->count,
		.name = name,
		.name_size = (uint32_t)snprintf(name, sizeof name, "%08" PRIu64, *number),
		.text = blocks->origin,
		.text_size = (uint32_t)strlen(blocks->origin),
		.payload = blocks->payload,
		.payload_size = d2v_codec_tokens_size(blocks->codec, blocks->count, blocks->documents) };
	D2V_TRY(d2v_shard_writer_append(writer, &record, err));
	blocks->count = blocks->documents = 0;
	++*number;
	return D2V_OK;
}

// In the host's order, as d2v_codec_tokens_encode wants them.
static void copy_tokens(d2v_token_blocks *blocks, const d2v_tokens *run, uint64_t from, uint64_t count) {
	uint16_t *narrow = (uint16_t *)(void *)blocks->payload + blocks->count;
	uint32_t *wide = (uint32_t *)(void *)blocks->payload + blocks->count;
	if (run->narrow)
		for (uint64_t i = 0; i < count; i++)
			narrow[i] = le16toh(run->narrow[from + i]);
	else
		for (uint64_t i = 0; i < count; i++)
			wide[i] = le32toh(run->wide[from + i]);
}

d2v_status d2v_token_blocks_add(
	d2v_token_blocks *blocks, const d2v_item *item, d2v_shard_writer *writer, uint64_t *number, d2v_error *err) {
	d2v_record record = { .codec = (uint8_t)item->codec,
		.rows = item->rows,
		.units = item->units,
		.payload = item->payload,
		.payload_size = item->payload_size };
	d2v_tokens run;
	uint32_t document = 0;
	D2V_TRY(d2v_codec_tokens_view(&record, &run, err));
	for (uint64_t from = 0; from < run.count;) {
		uint64_t left = run.count - from, room = BLOCK - blocks->count, count = left < room ? left : room;
		if (!blocks->count)
			snprintf(blocks->origin, sizeof blocks->origin, "%s", item->place.name);
		copy_tokens(blocks, &run, from, count);
		for (; document < run.documents && d2v_tokens_end(&run, document) <= from + count; document++)
			blocks->ends[blocks->documents++] = (uint32_t)(blocks->count + d2v_tokens_end(&run, document) - from);
		blocks->count += count;
		from += count;
		if (blocks->count == BLOCK)
			D2V_TRY(d2v_token_blocks_flush(blocks, writer, number, err));
	}
	return D2V_OK;
}
