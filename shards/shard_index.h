// The index of a shard: one fixed-size row per record, so that statistics, bucketing and planning never touch a record.
// Stored in blocks of D2V_INDEX_BLOCK rows in the `index` table, each block with an XXH3-64 of its rows.
#ifndef D2V_SHARDS_SHARD_INDEX_H
#define D2V_SHARDS_SHARD_INDEX_H

#include <stdint.h>

#define D2V_INDEX_BLOCK 4096

typedef struct d2v_index_row { // little-endian on disk, 24 bytes, no padding
	uint64_t units; // as in the record
	int32_t label;
	uint32_t size; // bytes of the whole record
	uint8_t codec, flags;
	uint16_t reserved;
	uint32_t reserved2;
} d2v_index_row;
_Static_assert(sizeof(d2v_index_row) == 24, "index rows are 24 bytes");

#endif
