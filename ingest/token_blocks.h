// Runs of tokens become the records of a split: blocks of D2V_TOKENS_BLOCK tokens, whatever the runs were. Used by an
// outlet only; one thread.
#ifndef D2V_INGEST_TOKEN_BLOCKS_H
#define D2V_INGEST_TOKEN_BLOCKS_H

#include "ingest/item.h"
#include "shards/shard_writer.h"

typedef struct d2v_token_blocks d2v_token_blocks;

d2v_status d2v_token_blocks_new(d2v_token_blocks **blocks, d2v_codec codec, d2v_error *err);
void d2v_token_blocks_free(d2v_token_blocks *blocks); // NULL is allowed; what is not flushed is dropped
// Copies the item's run (a payload of tokens) and appends the blocks that it fills. number: of the next record in the
// split; moved on.
d2v_status d2v_token_blocks_add(
	d2v_token_blocks *blocks, const d2v_item *item, d2v_shard_writer *writer, uint64_t *number, d2v_error *err);
// The shard ends: what there is becomes a block of its own.
d2v_status d2v_token_blocks_flush(d2v_token_blocks *blocks, d2v_shard_writer *writer, uint64_t *number, d2v_error *err);

#endif
