// Pieces seen before and their ids. Most pieces of a text are among some thousand words, so most of encoding is looking
// them up here.
//
// A piece is its own key: its bytes with zeros behind them and its size in the last one. Two tables: short pieces, up
// to 15 bytes with up to 3 ids, and long ones, up to 31 bytes with up to 7; others are not kept. They are made of
// buckets of two entries. A short key may lie in either of two buckets, so that few are driven out; nearly all lie in
// the first. Whatever comes first mostly stays there, since a frequent word comes early; later ones take turns in the
// other places.
//
// The short table is too large for the processor's first caches. So looking up is done in two steps: make the key and
// let its first bucket be fetched, and some pieces later find it. Making a key reads D2V_PIECE_READS bytes from where
// the piece starts, whatever its size. Threads: one at a time.
#ifndef D2V_INGEST_PIECE_CACHE_H
#define D2V_INGEST_PIECE_CACHE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define D2V_SHORT_PIECE 15
#define D2V_SHORT_IDS 3
#define D2V_LONG_PIECE 31
#define D2V_LONG_IDS 7
#define D2V_PIECE_READS 16
#define D2V_SHORT_BUCKET_BITS 16 // 4 MiB
#define D2V_LONG_BUCKET_BITS 12  // 512 KiB

typedef uint64_t d2v_piece_key __attribute__((vector_size(16)));

typedef struct d2v_short_piece {
	d2v_piece_key key;
	uint32_t ids[D2V_SHORT_IDS];
	uint32_t count;
} d2v_short_piece;

typedef struct d2v_long_piece {
	uint64_t key[4];
	uint32_t ids[D2V_LONG_IDS];
	uint32_t count;
} d2v_long_piece;

typedef struct d2v_piece_cache {
	void *memory;
	d2v_short_piece *short_pieces;
	d2v_long_piece *long_pieces;
	uint32_t added;
} d2v_piece_cache;

d2v_status d2v_piece_cache_init(d2v_piece_cache *cache, d2v_error *err);
void d2v_piece_cache_release(d2v_piece_cache *cache);

// By size: the masks that keep a piece's bytes, and its size. What is not short has a size that no entry has.
#define D2V_PIECE_SIZES (D2V_SHORT_PIECE + 2)
typedef struct d2v_piece_mask {
	d2v_piece_key bytes, size;
} d2v_piece_mask;
extern const d2v_piece_mask d2v_piece_masks[D2V_PIECE_SIZES];

static inline d2v_piece_key d2v_piece_key_make(const unsigned char *piece, size_t size) {
	d2v_piece_key key;
	memcpy(&key, piece, sizeof key);
	const d2v_piece_mask *mask = &d2v_piece_masks[size < D2V_PIECE_SIZES - 1 ? size : D2V_PIECE_SIZES - 1];
	return (key & mask->bytes) | mask->size;
}

static inline uint64_t d2v_piece_key_hash(d2v_piece_key key) {
	return (key[0] ^ key[1] * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
}

// The key's first bucket: two entries.
static inline d2v_short_piece *d2v_piece_cache_bucket(const d2v_piece_cache *cache, d2v_piece_key key) {
	return cache->short_pieces + 2 * (size_t)(d2v_piece_key_hash(key) >> (64 - D2V_SHORT_BUCKET_BITS));
}

// NULL when the piece is not in this bucket.
static inline const d2v_short_piece *d2v_piece_cache_short(const d2v_short_piece *bucket, const d2v_piece_key *key) {
	if (__builtin_expect(memcmp(&bucket[0].key, key, sizeof *key) == 0, 1))
		return bucket;
	return memcmp(&bucket[1].key, key, sizeof *key) == 0 ? bucket + 1 : NULL;
}

// A piece that is not in its first bucket, or has none: writes its ids, at most D2V_LONG_IDS; returns how many, 0 when
// it is not there. Reads only the piece.
size_t d2v_piece_cache_rare(const d2v_piece_cache *cache, const unsigned char *piece, size_t size, uint32_t *ids);
// Keeps a piece when it is small enough. Reads only the piece.
void d2v_piece_cache_add(
	d2v_piece_cache *cache, const unsigned char *piece, size_t size, const uint32_t *ids, size_t count);

#endif
