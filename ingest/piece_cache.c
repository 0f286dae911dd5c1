#include "ingest/piece_cache.h"

#include "base/memory.h"

#include <sys/mman.h>

#define FRONT_EVERY 16 // so often a new entry takes the first place of its bucket

_Static_assert(sizeof(d2v_short_piece) == 32 && sizeof(d2v_long_piece) == 64, "entries fill lines");

#define KEEP(bytes) (((uint64_t)1 << 8 * (bytes)) - 1)
#define SIZE(size) \
	{ 0, (uint64_t)(size) << 56 }
const d2v_piece_mask d2v_piece_masks[D2V_PIECE_SIZES] = {
	{ { 0, 0 }, SIZE(0) },
	{ { KEEP(1), 0 }, SIZE(1) },
	{ { KEEP(2), 0 }, SIZE(2) },
	{ { KEEP(3), 0 }, SIZE(3) },
	{ { KEEP(4), 0 }, SIZE(4) },
	{ { KEEP(5), 0 }, SIZE(5) },
	{ { KEEP(6), 0 }, SIZE(6) },
	{ { KEEP(7), 0 }, SIZE(7) },
	{ { UINT64_MAX, 0 }, SIZE(8) },
	{ { UINT64_MAX, KEEP(1) }, SIZE(9) },
	{ { UINT64_MAX, KEEP(2) }, SIZE(10) },
	{ { UINT64_MAX, KEEP(3) }, SIZE(11) },
	{ { UINT64_MAX, KEEP(4) }, SIZE(12) },
	{ { UINT64_MAX, KEEP(5) }, SIZE(13) },
	{ { UINT64_MAX, KEEP(6) }, SIZE(14) },
	{ { UINT64_MAX, KEEP(7) }, SIZE(15) },
	{ { 0, 0 }, SIZE(255) },
};

// The tables lie in large pages where the system has them, since they are read at random.
#define LARGE_PAGE ((size_t)2 << 20)
#define SHORT_BYTES (sizeof(d2v_short_piece) * 2 << D2V_SHORT_BUCKET_BITS)
#define LONG_BYTES (sizeof(d2v_long_piece) * 2 << D2V_LONG_BUCKET_BITS)

d2v_status d2v_piece_cache_init(d2v_piece_cache *cache, d2v_error *err) {
	const size_t size = SHORT_BYTES + LONG_BYTES;
	*cache = (d2v_piece_cache){ 0 };
	D2V_TRY(d2v_alloc(&cache->memory, size + LARGE_PAGE, 1, err));
	unsigned char *tables =
		(unsigned char *)(((uintptr_t)cache->memory + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1));
	(void)madvise(tables, size & ~(LARGE_PAGE - 1), MADV_HUGEPAGE); // only speed depends on it
	memset(tables, 0, size);
	cache->short_pieces = (d2v_short_piece *)(void *)tables;
	cache->long_pieces = (d2v_long_piece *)(void *)(tables + SHORT_BYTES);
	return D2V_OK;
}

void d2v_piece_cache_release(d2v_piece_cache *cache) {
	d2v_free(cache->memory);
	*cache = (d2v_piece_cache){ 0 };
}

static void make_long_key(const unsigned char *piece, size_t size, uint64_t key[4]) {
	memset(key, 0, 32);
	memcpy(key, piece, size);
	((unsigned char *)key)[D2V_LONG_PIECE] = (unsigned char)size;
}

static uint64_t mix(uint64_t a, uint64_t b) {
	unsigned __int128 product =
		(unsigned __int128)(a ^ UINT64_C(0xa0761d6478bd642f)) * (b ^ UINT64_C(0xe7037ed1a0b428db));
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static d2v_long_piece *long_bucket(const d2v_piece_cache *cache, const uint64_t key[4]) {
	uint64_t hash = mix(mix(key[0], key[1]) ^ key[2], key[3]);
	return cache->long_pieces + 2 * (size_t)(hash >> (64 - D2V_LONG_BUCKET_BITS));
}

static d2v_short_piece *second_bucket(const d2v_piece_cache *cache, d2v_piece_key key) {
	uint64_t mixed = d2v_piece_key_hash(key) * UINT64_C(0x9e3779b97f4a7c15);
	return cache->short_pieces + 2 * (size_t)(mixed >> (64 - D2V_SHORT_BUCKET_BITS));
}

static d2v_piece_key short_key(const unsigned char *piece, size_t size) {
	unsigned char padded[D2V_PIECE_READS] = { 0 };
	memcpy(padded, piece, size);
	return d2v_piece_key_make(padded, size);
}

static size_t find_short(const d2v_piece_cache *cache, const unsigned char *piece, size_t size, uint32_t *ids) {
	d2v_piece_key key = short_key(piece, size);
	const d2v_short_piece *entry = d2v_piece_cache_short(second_bucket(cache, key), &key);
	if (!entry)
		return 0;
	memcpy(ids, entry->ids, entry->count * sizeof *ids);
	return entry->count;
}

static size_t find_long(const d2v_piece_cache *cache, const unsigned char *piece, size_t size, uint32_t *ids) {
	uint64_t key[4];
	make_long_key(piece, size, key);
	const d2v_long_piece *entry = long_bucket(cache, key);
	entry += memcmp(entry->key, key, sizeof key) != 0;
	if (memcmp(entry->key, key, sizeof key) != 0)
		return 0;
	memcpy(ids, entry->ids, entry->count * sizeof *ids);
	return entry->count;
}

size_t d2v_piece_cache_rare(const d2v_piece_cache *cache, const unsigned char *piece, size_t size, uint32_t *ids) {
	size_t count = size <= D2V_SHORT_PIECE ? find_short(cache, piece, size, ids) : 0;
	return count || size > D2V_LONG_PIECE ? count : find_long(cache, piece, size, ids);
}

// The entry that a new one replaces: a free one, or one of those that take turns.
static d2v_short_piece *short_place(d2v_piece_cache *cache, d2v_piece_key key) {
	d2v_short_piece *first = d2v_piece_cache_bucket(cache, key), *second = second_bucket(cache, key);
	d2v_short_piece *const places[] = { first, first + 1, second, second + 1 };
	for (int k = 0; k < 4; k++)
		if (!places[k]->count)
			return places[k];
	cache->added++;
	return places[cache->added % FRONT_EVERY == 0 ? 0 : cache->added % 2 ? 1 : 3];
}

static void add_short(
	d2v_piece_cache *cache, const unsigned char *piece, size_t size, const uint32_t *ids, size_t count) {
	d2v_short_piece entry = { .key = short_key(piece, size), .count = (uint32_t)count };
	memcpy(entry.ids, ids, count * sizeof *ids);
	*short_place(cache, entry.key) = entry;
}

static void add_long(
	d2v_piece_cache *cache, const unsigned char *piece, size_t size, const uint32_t *ids, size_t count) {
	d2v_long_piece entry = { .count = (uint32_t)count };
	make_long_key(piece, size, entry.key);
	memcpy(entry.ids, ids, count * sizeof *ids);
	d2v_long_piece *bucket = long_bucket(cache, entry.key);
	bool front = bucket->count == 0 || ++cache->added % FRONT_EVERY == 0;
	bucket[!front] = entry;
}

void d2v_piece_cache_add(
	d2v_piece_cache *cache, const unsigned char *piece, size_t size, const uint32_t *ids, size_t count) {
	if (size <= D2V_SHORT_PIECE && count <= D2V_SHORT_IDS)
		add_short(cache, piece, size, ids, count);
	else if (size <= D2V_LONG_PIECE && count <= D2V_LONG_IDS)
		add_long(cache, piece, size, ids, count);
}
