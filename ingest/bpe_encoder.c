#include "ingest/bpe_encoder.h"

#include "base/memory.h"
#include "ingest/bpe_splitter.h"
#include "ingest/piece_cache.h"

#include <string.h>

// Pieces are encoded so many at a time, in three passes: where they end, their keys, their ids. Each is one loop with
// few surprises for the processor, and what the second has asked for has come when the third needs it.
#define MOST_PIECES 256

// A short piece's ids are stored as if there were as many as can be, and so is their number behind them.
#define SLACK (D2V_SHORT_IDS + 1)

_Static_assert(D2V_BPE_READS >= D2V_BYTE_MASK + D2V_PIECE_READS, "a piece's key may begin at a block's last byte");
_Static_assert(D2V_BYTE_MASK <= 64, "a block's starts are the bits of a word");

struct d2v_bpe_encoder {
	const d2v_bpe_merges *merges;
	d2v_piece_cache cache;
	size_t count;             // pieces at hand
	size_t ends[MOST_PIECES]; // where they end, from where the first one starts
	d2v_piece_key keys[MOST_PIECES];
	const d2v_short_piece *buckets[MOST_PIECES];
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

// The bits of `starts` but the lowest, as places behind `at`. So many are written at once, right or wrong, because few
// blocks have more, and how many each has is hard to foretell.
#define ENDS_AT_ONCE 16
static inline size_t add_ends(size_t *ends, uint64_t starts, size_t at) {
	uint64_t rest = starts & (starts - 1);
	size_t count = (size_t)__builtin_popcountll(rest);
	for (size_t k = 0; k < count; k += ENDS_AT_ONCE)
		for (size_t i = 0; i < ENDS_AT_ONCE; i++, rest &= rest - 1)
			ends[k + i] = at + (size_t)__builtin_ctzll(rest | (uint64_t)1 << 63);
	return count;
}

// Pieces of a text, as many as there is room for, as long as D2V_BPE_READS bytes can be read; returns their bytes.
static size_t split(d2v_bpe_encoder *encoder, const unsigned char *text, size_t size, size_t readable) {
	size_t at = 0, count = 0;
	while (at < size && readable - at >= D2V_BPE_READS && count <= MOST_PIECES - D2V_BYTE_MASK) {
		uint64_t starts = d2v_bpe_split_block(text + at, size - at);
		if (starts != 1)
			count += add_ends(encoder->ends + count, starts, at);
		else // its first piece was not told
			encoder->ends[count++] = at + d2v_bpe_piece(text + at, size - at);
		at = encoder->ends[count - 1];
	}
	encoder->count = count;
	return at;
}

// The pieces' keys, and the places where they are looked for.
static void fetch(d2v_bpe_encoder *encoder, const unsigned char *text) {
	for (size_t k = 0, start = 0; k < encoder->count; start = encoder->ends[k++]) {
		d2v_piece_key key = d2v_piece_key_make(text + start, encoder->ends[k] - start);
		const d2v_short_piece *bucket = d2v_piece_cache_bucket(&encoder->cache, key);
		__builtin_prefetch(bucket);
		encoder->keys[k] = key;
		encoder->buckets[k] = bucket;
	}
}

// Each of these appends to `out` and returns where the next ids belong.
static uint32_t *add_new_piece(d2v_bpe_encoder *encoder, const unsigned char *piece, size_t size, uint32_t *out) {
	size_t count = d2v_bpe_merge(encoder->merges, piece, size, out);
	d2v_piece_cache_add(&encoder->cache, piece, size, out, count);
	return out + count;
}

__attribute__((noinline)) static uint32_t *add_rare_piece(
	d2v_bpe_encoder *encoder, const unsigned char *piece, size_t size, uint32_t *out) {
	size_t count = d2v_piece_cache_rare(&encoder->cache, piece, size, out);
	return count ? out + count : add_new_piece(encoder, piece, size, out);
}

static uint32_t *add_pieces(d2v_bpe_encoder *encoder, const unsigned char *text, uint32_t *out) {
	for (size_t k = 0; k < encoder->count; k++) {
		const d2v_short_piece *known = d2v_piece_cache_short(encoder->buckets[k], &encoder->keys[k]);
		if (__builtin_expect(known != NULL, 1)) {
			memcpy(out, known->ids, SLACK * sizeof *out);
			out += known->count;
		} else {
			size_t start = k ? encoder->ends[k - 1] : 0;
			out = add_rare_piece(encoder, text + start, encoder->ends[k] - start, out);
		}
	}
	return out;
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
		size_t used = split(encoder, text + at, size - at, readable - at);
		fetch(encoder, text + at);
		*out = add_pieces(encoder, text + at, *out);
		at += used;
	}
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
