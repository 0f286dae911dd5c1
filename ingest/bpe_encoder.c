#include "ingest/bpe_encoder.h"

#include "base/memory.h"
#include "ingest/bpe_splitter.h"
#include "ingest/piece_cache.h"

#include <string.h>

_Static_assert(D2V_BPE_READS >= D2V_BYTE_MASK + D2V_PIECE_READS, "a piece's key may begin at a block's last byte");
_Static_assert(D2V_PIECE_SIZES >= D2V_BYTE_MASK, "pieces of a block have masks");

// A short piece's ids are stored as if there were as many as can be, and so is their number behind them.
#define SLACK (D2V_SHORT_IDS + 1)

// A piece between the moment when its place in the cache is known and being fetched and that when it is needed.
typedef struct waiting {
	d2v_piece_key key;
	const d2v_short_piece *bucket;
	uint32_t start, end; // in the block
} waiting;

typedef struct queue {
	const unsigned char *block;
	size_t count;
	waiting pieces[D2V_BYTE_MASK];
} queue;

struct d2v_bpe_encoder {
	const d2v_bpe_merges *merges;
	d2v_piece_cache cache;
	queue queues[2];
	int turn; // whose pieces wait
};

d2v_status d2v_bpe_encoder_new(d2v_bpe_encoder **encoder, const d2v_bpe_merges *merges, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(encoder, 1, sizeof **encoder, err));
	(*encoder)->merges = merges;
	d2v_status status = d2v_piece_cache_init(&(*encoder)->cache, err);
	if (status != D2V_OK) {
		d2v_free(*encoder);
		*encoder = NULL;
	}
	return status;
}

void d2v_bpe_encoder_free(d2v_bpe_encoder *encoder) {
	if (!encoder)
		return;
	d2v_piece_cache_release(&encoder->cache);
	d2v_free(encoder);
}

// ---- pieces

// Each of these appends to `out` and returns where the next ids belong.
static uint32_t *add_new_piece(d2v_bpe_encoder *encoder, const unsigned char *piece, size_t size, uint32_t *out) {
	size_t count = d2v_bpe_merge(encoder->merges, piece, size, out);
	d2v_piece_cache_add(&encoder->cache, piece, size, out, count);
	return out + count;
}

__attribute__((noinline)) static uint32_t *add_rare_piece(
	d2v_bpe_encoder *encoder, const unsigned char *piece, size_t size, uint32_t *out) {
	size_t count = d2v_piece_cache_long(&encoder->cache, piece, size, out);
	return count ? out + count : add_new_piece(encoder, piece, size, out);
}

static inline uint32_t *add_waiting(d2v_bpe_encoder *encoder, queue *waiting_ones, uint32_t *out) {
	const waiting *end = waiting_ones->pieces + waiting_ones->count;
	for (const waiting *piece = waiting_ones->pieces; piece < end; piece++) {
		const d2v_short_piece *known = d2v_piece_cache_short(piece->bucket, &piece->key);
		if (__builtin_expect(known != NULL, 1)) {
			memcpy(out, known->ids, SLACK * sizeof *out);
			out += known->count;
		} else {
			out = add_rare_piece(encoder, waiting_ones->block + piece->start, piece->end - piece->start, out);
		}
	}
	waiting_ones->count = 0;
	return out;
}

// The pieces of a block, of which `starts` tells, into a queue.
static inline void wait_for(const d2v_piece_cache *cache, const unsigned char *block, uint64_t starts, queue *into) {
	waiting *piece = into->pieces;
	uint32_t start = 0;
	for (uint64_t rest = starts & (starts - 1); rest; rest &= rest - 1, piece++) {
		uint32_t end = (uint32_t)__builtin_ctzll(rest);
		piece->key = d2v_piece_key_make(block + start, end - start);
		piece->bucket = d2v_piece_cache_bucket(cache, piece->key);
		__builtin_prefetch(piece->bucket);
		piece->start = start;
		piece->end = start = end;
	}
	into->block = block;
	into->count = (size_t)(piece - into->pieces);
}

// Makes a block's pieces wait and encodes those that waited; returns the block's bytes, 0 when its first piece is not
// told. D2V_BPE_READS bytes can be read.
static inline size_t add_block(d2v_bpe_encoder *encoder, const unsigned char *text, size_t left, uint32_t **out) {
	uint64_t starts = d2v_bpe_split_block(text, left);
	queue *waited = &encoder->queues[encoder->turn];
	encoder->turn ^= 1;
	wait_for(&encoder->cache, text, starts, &encoder->queues[encoder->turn]);
	*out = add_waiting(encoder, waited, *out);
	return 63 - (size_t)__builtin_clzll(starts);
}

static uint32_t *add_all_waiting(d2v_bpe_encoder *encoder, uint32_t *out) {
	return add_waiting(encoder, &encoder->queues[encoder->turn], out);
}

// The piece that text starts with, by the plain splitter.
static size_t add_plainly(d2v_bpe_encoder *encoder, const unsigned char *text, size_t left, uint32_t **out) {
	size_t size = d2v_bpe_piece(text, left);
	*out = add_rare_piece(encoder, text, size, add_all_waiting(encoder, *out));
	return size;
}

// ---- texts

static d2v_status make_room(d2v_ids *ids, size_t size, d2v_error *err) {
	size_t need;
	if (!d2v_add_fits(ids->count, size, &need) || !d2v_add_fits(need, SLACK, &need))
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for the tokens of %zu bytes", size);
	return d2v_reserve(&ids->ids, &ids->capacity, need, sizeof *ids->ids, err);
}

// As much of the text as has D2V_BPE_READS readable bytes behind where its blocks start; returns how much.
static size_t add_blocks(
	d2v_bpe_encoder *encoder, const unsigned char *text, size_t size, size_t readable, uint32_t **out) {
	size_t at = 0;
	while (at < size && readable - at >= D2V_BPE_READS) {
		size_t used = add_block(encoder, text + at, size - at, out);
		at += used ? used : add_plainly(encoder, text + at, size - at, out);
	}
	*out = add_all_waiting(encoder, *out);
	return at;
}

d2v_status d2v_bpe_encode_within(
	d2v_bpe_encoder *encoder, const void *text, size_t size, size_t readable, d2v_ids *ids, d2v_error *err) {
	unsigned char copy[2 * D2V_BPE_READS];
	D2V_TRY(make_room(ids, size, err));
	uint32_t *out = ids->ids + ids->count;
	size_t done = add_blocks(encoder, text, size, readable, &out), left = size - done;
	if (left) { // less than D2V_BPE_READS
		memcpy(copy, (const unsigned char *)text + done, left);
		memset(copy + left, 0, D2V_BPE_READS);
		add_blocks(encoder, copy, left, sizeof copy, &out);
	}
	ids->count = (size_t)(out - ids->ids);
	return D2V_OK;
}

d2v_status d2v_bpe_encode(d2v_bpe_encoder *encoder, const void *text, size_t size, d2v_ids *ids, d2v_error *err) {
	return d2v_bpe_encode_within(encoder, text, size, size, ids, err);
}
