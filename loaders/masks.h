// Which positions the student does not see: the four generators of data2vec 2.0 (model.md section 5), and the index
// lists that both backends gather with. A mask is one byte a position, 1 = masked.
//
// The draws come from the caller's stream, so a sample's mask is a function of that stream's key alone. Threads: plain
// functions on plain values; `scratch` holds d2v_masks_scratch(positions) numbers and is nobody else's meanwhile.
#ifndef D2V_LOADERS_MASKS_H
#define D2V_LOADERS_MASKS_H

#include "base/error.h"
#include "base/random.h"

// Fields carry fairseq's names. All zero is "nothing masked".
typedef struct d2v_mask_settings {
	double mask_prob;
	double mask_prob_adjust; // blocks: how many more centres to draw; the final count is int(L * p) all the same
	int32_t mask_length;     // of a block's side or of a span; at least 1
	bool inverse_mask;       // blocks: draw what is kept
	double mask_dropout;     // blocks: more centres; spans: share of masked positions shown again
	bool any_count;          // not require_same_masks: rows keep the count that the draw gave
	bool add_masks;          // spans: bring rows to the largest count instead of the smallest
	int32_t min_masks;       // spans: at least so many (1 for time)
} d2v_mask_settings;

// D2V_INVALID when a number is out of its range.
d2v_status d2v_masks_check(const d2v_mask_settings *settings, d2v_error *err);

static inline size_t d2v_masks_scratch(int64_t positions) {
	return (size_t)positions + 8;
}

// Blocks on a line (speech): one row of `positions`. Exactly int(positions * p) are masked unless any_count.
void d2v_masks_block_1d(
	const d2v_mask_settings *settings, d2v_random *random, int32_t positions, uint8_t *mask, int32_t *scratch);
// Square blocks on a side x side grid (pictures): one row of side * side.
void d2v_masks_block_2d(
	const d2v_mask_settings *settings, d2v_random *random, int32_t side, uint8_t *mask, int32_t *scratch);
// Single positions (text): int(positions * (1 - mask_prob)) are kept.
void d2v_masks_random(double mask_prob, d2v_random *random, int32_t positions, uint8_t *mask, int32_t *scratch);
// Spans from distinct start points (speech without blocks, fine-tuning): one row, of which only the first `valid`
// positions can be masked. D2V_INVALID when everything would be.
d2v_status d2v_masks_span(const d2v_mask_settings *settings, d2v_random *random, int32_t positions, int32_t valid,
	uint8_t *mask, int32_t *scratch, d2v_error *err);
// The second half of the span generator: brings `rows` rows to one count (unless any_count), then shows mask_dropout's
// share again. valid: (rows), or NULL when nothing is padded.
void d2v_masks_equalise(const d2v_mask_settings *settings, d2v_random *random, int32_t rows, int32_t positions,
	const int32_t *valid, uint8_t *mask, int32_t *scratch);

int32_t d2v_masks_count(const uint8_t *mask, int64_t positions); // of ones

// The index lists of a batch's rows. All rows keep as many as row 0 shows (model.md 5.6), at least one: *kept. The
// order of a row is stable: what is not masked ascending, then what is masked ascending; keep is its first *kept
// entries and restore its inverse. A row with fewer masked than row 0 therefore loses its last visible positions, one
// with more shows its first masked ones. keep: filled as (rows, *kept). keep and masked need room for rows * tokens +
// 1, which must fit an int32_t.
void d2v_masks_index(const uint8_t *mask, int32_t rows, int32_t tokens, int32_t *keep, int32_t *restore,
	int32_t *masked, int32_t *kept, int32_t *masked_count);

#endif
