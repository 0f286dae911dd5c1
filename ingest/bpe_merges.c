#include "ingest/bpe_merges.h"

#include "base/memory.h"

#include <string.h>

// Inside, tokens are numbered by what makes them: 0 to 255 are the bytes, 256 + k is the product of merge k. So one
// number is both the urgency of a merge and its product.
#define NUMBER_BITS 20
#define NO_MERGE UINT32_MAX
#define BYTE_PAIRS (256 * 256)

_Static_assert(D2V_VOCABULARY_MAX_IDS <= (uint32_t)1 << NUMBER_BITS, "numbers fit into their bits of a slot");

struct d2v_bpe_merges {
	uint32_t *ids;   // by number
	uint64_t *slots; // open addressing: left, right, product + 1 from the highest bits down; 0 is free
	size_t mask;     // slots - 1
	uint32_t *sizes; // by number: bytes
	uint32_t *pairs; // products of two bytes: 256 * left + right
	size_t longest;  // the largest of them
};

static uint64_t slot_key(uint32_t left, uint32_t right) {
	return (uint64_t)left << 2 * (NUMBER_BITS + 1) | (uint64_t)right << (NUMBER_BITS + 1);
}

static size_t slot_of(const d2v_bpe_merges *merges, uint64_t key) {
	return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & merges->mask;
}

// The product of a pair, or NO_MERGE.
static uint32_t find_merge(const d2v_bpe_merges *merges, uint32_t left, uint32_t right) {
	uint64_t key = slot_key(left, right), slot;
	for (size_t at = slot_of(merges, key); (slot = merges->slots[at]); at = (at + 1) & merges->mask)
		if (slot >> (NUMBER_BITS + 1) == key >> (NUMBER_BITS + 1))
			return (uint32_t)(slot & (((uint64_t)1 << (NUMBER_BITS + 1)) - 1)) - 1;
	return NO_MERGE;
}

static uint32_t find_byte_merge(const d2v_bpe_merges *merges, unsigned char left, unsigned char right) {
	return merges->pairs[256 * left + right];
}

static void insert(d2v_bpe_merges *merges, uint32_t left, uint32_t right, uint32_t product) {
	uint64_t key = slot_key(left, right);
	size_t at = slot_of(merges, key);
	while (merges->slots[at])
		at = (at + 1) & merges->mask;
	merges->slots[at] = key | (product + 1);
}

static void fill(d2v_bpe_merges *merges, const d2v_vocabulary *vocabulary, uint32_t *numbers) {
	uint32_t count;
	const d2v_merge *list = d2v_vocabulary_merges(vocabulary, &count);
	memset(merges->pairs, 0xff, BYTE_PAIRS * sizeof *merges->pairs); // NO_MERGE
	for (uint32_t byte = 0; byte < 256; byte++) {
		merges->ids[byte] = d2v_vocabulary_byte(vocabulary, (unsigned char)byte);
		merges->sizes[byte] = 1;
		numbers[merges->ids[byte]] = byte;
	}
	for (uint32_t k = 0; k < count; k++) {
		merges->ids[256 + k] = list[k].product;
		numbers[list[k].product] = 256 + k;
		uint32_t left = numbers[list[k].left], right = numbers[list[k].right];
		insert(merges, left, right, 256 + k);
		if (left < 256 && right < 256)
			merges->pairs[256 * left + right] = 256 + k;
		merges->sizes[256 + k] = (uint32_t)d2v_vocabulary_token(vocabulary, list[k].product).size;
		if (merges->sizes[256 + k] > merges->longest)
			merges->longest = merges->sizes[256 + k];
	}
}

d2v_status d2v_bpe_merges_new(d2v_bpe_merges **out, const d2v_vocabulary *vocabulary, d2v_error *err) {
	uint32_t count, *numbers = NULL;
	d2v_bpe_merges *merges;
	*out = NULL;
	d2v_vocabulary_merges(vocabulary, &count);
	D2V_TRY(d2v_alloc_zero(&merges, 1, sizeof *merges, err));
	merges->longest = 1;
	for (merges->mask = 1023; merges->mask < (size_t)count * 2; merges->mask = merges->mask * 2 + 1)
		;
	d2v_status status = d2v_alloc_zero(&merges->slots, merges->mask + 1, sizeof *merges->slots, err);
	if (status == D2V_OK)
		status = d2v_alloc(&merges->ids, (size_t)count + 256, sizeof *merges->ids, err);
	if (status == D2V_OK)
		status = d2v_alloc(&merges->sizes, (size_t)count + 256, sizeof *merges->sizes, err);
	if (status == D2V_OK)
		status = d2v_alloc(&merges->pairs, BYTE_PAIRS, sizeof *merges->pairs, err);
	if (status == D2V_OK)
		status = d2v_alloc(&numbers, d2v_vocabulary_size(vocabulary), sizeof *numbers, err);
	if (status == D2V_OK)
		fill(merges, vocabulary, numbers);
	d2v_free(numbers);
	if (status == D2V_OK)
		*out = merges;
	else
		d2v_bpe_merges_free(merges);
	return status;
}

void d2v_bpe_merges_free(d2v_bpe_merges *merges) {
	if (!merges)
		return;
	d2v_free(merges->slots);
	d2v_free(merges->ids);
	d2v_free(merges->sizes);
	d2v_free(merges->pairs);
	d2v_free(merges);
}

// ---- one window

#define PLACE_BITS 9
#define NOWHERE UINT16_MAX
#define LANES 8 // candidates are compared so many at a time

_Static_assert(D2V_BPE_WINDOW == 1 << PLACE_BITS, "a place fits into its bits");
_Static_assert(NUMBER_BITS + PLACE_BITS < 32, "a candidate fits, and is less than NO_MERGE");

// A piece or a part of one being merged. A token lies where its first byte was and knows its neighbours.
typedef struct window {
	uint32_t tokens[D2V_BPE_WINDOW];     // when merged: `count` of them, one behind another
	uint32_t candidates[D2V_BPE_WINDOW]; // product and place of the pair that starts here: the least is joined next
	uint16_t before[D2V_BPE_WINDOW], behind[D2V_BPE_WINDOW]; // NOWHERE: none
	size_t size, count;
} window;

static uint32_t candidate(uint32_t product, size_t place) {
	return product == NO_MERGE ? NO_MERGE : product << PLACE_BITS | (uint32_t)place;
}

static void load(const d2v_bpe_merges *merges, window *w, const unsigned char *bytes, size_t size) {
	w->size = size;
	for (size_t i = 0; i < size; i++) {
		w->tokens[i] = bytes[i];
		w->before[i] = (uint16_t)(i - 1);
		w->behind[i] = (uint16_t)(i + 1);
	}
	w->before[0] = w->behind[size - 1] = NOWHERE;
	for (size_t i = 0; i + 1 < size; i++)
		w->candidates[i] = candidate(find_byte_merge(merges, bytes[i], bytes[i + 1]), i);
	for (size_t i = size - 1; i < size || i % LANES; i++)
		w->candidates[i] = NO_MERGE;
}

static uint32_t least_candidate(const window *w) {
	uint32_t lanes[LANES], least = NO_MERGE;
	memcpy(lanes, w->candidates, sizeof lanes);
	for (size_t i = LANES; i < w->size; i += LANES)
		for (size_t k = 0; k < LANES; k++)
			lanes[k] = w->candidates[i + k] < lanes[k] ? w->candidates[i + k] : lanes[k];
	for (size_t k = 0; k < LANES; k++)
		least = lanes[k] < least ? lanes[k] : least;
	return least;
}

static void join(const d2v_bpe_merges *merges, window *w, size_t place, uint32_t product) {
	size_t second = w->behind[place], behind = w->behind[second], before = w->before[place];
	w->tokens[place] = product;
	w->behind[place] = (uint16_t)behind;
	w->candidates[place] = w->candidates[second] = NO_MERGE;
	if (behind != NOWHERE) {
		w->before[behind] = (uint16_t)place;
		w->candidates[place] = candidate(find_merge(merges, product, w->tokens[behind]), place);
	}
	if (before != NOWHERE)
		w->candidates[before] = candidate(find_merge(merges, w->tokens[before], product), before);
}

static void gather(window *w) {
	w->count = 0;
	for (size_t place = 0; place != NOWHERE; place = w->behind[place])
		w->tokens[w->count++] = w->tokens[place];
}

// Joining the leftmost of the most urgent pairs, again and again, is joining them all from left to right: what a merge
// makes only takes part in less urgent ones. size is 1 to D2V_BPE_WINDOW.
static void merge_window(const d2v_bpe_merges *merges, window *w, const unsigned char *bytes, size_t size) {
	uint32_t least;
	load(merges, w, bytes, size);
	while ((least = least_candidate(w)) != NO_MERGE)
		join(merges, w, least & (D2V_BPE_WINDOW - 1), least >> PLACE_BITS);
	gather(w);
}

// ---- long pieces

#define KEPT (D2V_BPE_WINDOW * 3 / 4) // tokens that end later in a window may be others when the piece goes on
#define MAX_RETREAT (D2V_BPE_WINDOW / 4)

// Word for word: in place, and slow. For vocabularies with tokens as long as windows.
static size_t merge_plainly(const d2v_bpe_merges *merges, const unsigned char *piece, size_t size, uint32_t *tokens) {
	for (size_t i = 0; i < size; i++)
		tokens[i] = piece[i];
	for (;;) {
		uint32_t best = NO_MERGE;
		for (size_t i = 0; i + 1 < size; i++) {
			uint32_t product = find_merge(merges, tokens[i], tokens[i + 1]);
			best = product < best ? product : best;
		}
		if (best == NO_MERGE)
			return size;
		size_t out = 0;
		for (size_t i = 0; i < size; out++) {
			bool joined = i + 1 < size && find_merge(merges, tokens[i], tokens[i + 1]) == best;
			tokens[out] = joined ? best : tokens[i];
			i += joined ? 2 : 1;
		}
		size = out;
	}
}

// True when a token that ends at `border` and one that starts there stay apart.
static bool stay_apart(const d2v_bpe_merges *merges, const unsigned char *border, uint32_t left, uint32_t right) {
	window w;
	size_t left_size = merges->sizes[left];
	merge_window(merges, &w, border - left_size, left_size + merges->sizes[right]);
	return w.count == 2 && w.tokens[0] == left;
}

// Appends the window's tokens that end within its first `limit` bytes; returns their bytes.
static size_t append(const d2v_bpe_merges *merges, const window *w, size_t limit, uint32_t *tokens, size_t *count) {
	size_t at = 0;
	for (size_t k = 0; k < w->count && at + merges->sizes[w->tokens[k]] <= limit; k++) {
		tokens[(*count)++] = w->tokens[k];
		at += merges->sizes[w->tokens[k]];
	}
	return at;
}

// Tokens, not ids. A window adds at least KEPT - longest bytes, which is more than a retreat takes back.
static size_t merge_long(const d2v_bpe_merges *merges, const unsigned char *piece, size_t size, uint32_t *tokens) {
	size_t count = 0, at = 0, retreat = 0;
	window w;
	if (merges->longest > MAX_RETREAT)
		return merge_plainly(merges, piece, size, tokens);
	while (at < size) {
		size_t left = size - at;
		merge_window(merges, &w, piece + at, left < D2V_BPE_WINDOW ? left : D2V_BPE_WINDOW);
		if (count && !stay_apart(merges, piece + at, tokens[count - 1], w.tokens[0])) {
			if (retreat >= MAX_RETREAT)
				return merge_plainly(merges, piece, size, tokens);
			retreat += merges->sizes[tokens[count - 1]];
			at -= merges->sizes[tokens[--count]];
			continue;
		}
		at += append(merges, &w, left <= D2V_BPE_WINDOW ? left : KEPT, tokens, &count);
		retreat = 0;
	}
	return count;
}

static void to_ids(const d2v_bpe_merges *merges, uint32_t *tokens, size_t count) {
	for (size_t k = 0; k < count; k++)
		tokens[k] = merges->ids[tokens[k]];
}

size_t d2v_bpe_merge(const d2v_bpe_merges *merges, const unsigned char *piece, size_t size, uint32_t *ids) {
	if (size > D2V_BPE_WINDOW) {
		size_t count = merge_long(merges, piece, size, ids);
		to_ids(merges, ids, count);
		return count;
	}
	if (size == 0)
		return 0;
	window w;
	merge_window(merges, &w, piece, size);
	for (size_t k = 0; k < w.count; k++)
		ids[k] = merges->ids[w.tokens[k]];
	return w.count;
}
