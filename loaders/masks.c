#include "loaders/masks.h"

#include <math.h>
#include <string.h>

d2v_status d2v_masks_check(const d2v_mask_settings *settings, d2v_error *err) {
	const d2v_mask_settings *s = settings;
	if (!(s->mask_prob >= 0 && s->mask_prob <= 1))
		return d2v_fail(err, D2V_INVALID, "mask_prob is %g; it must lie in [0, 1]", s->mask_prob);
	if (!(s->mask_prob_adjust >= -1 && s->mask_prob_adjust <= 1))
		return d2v_fail(err, D2V_INVALID, "mask_prob_adjust is %g; it must lie in [-1, 1]", s->mask_prob_adjust);
	if (!(s->mask_dropout >= 0 && s->mask_dropout <= 1))
		return d2v_fail(err, D2V_INVALID, "mask_dropout is %g; it must lie in [0, 1]", s->mask_dropout);
	if (s->mask_length < 1 || s->mask_length > 10000)
		return d2v_fail(err, D2V_INVALID, "mask_length is %d; it must lie in [1, 10000]", (int)s->mask_length);
	if (s->min_masks < 0)
		return d2v_fail(err, D2V_INVALID, "min_masks is %d; it must not be negative", (int)s->min_masks);
	return D2V_OK;
}

int32_t d2v_masks_count(const uint8_t *mask, int64_t positions) {
	int32_t count = 0;
	for (int64_t i = 0; i < positions; i++)
		count += mask[i];
	return count;
}

// Flips `count` of the positions whose byte is `from`, every choice equally likely: the first steps of a shuffle of
// their list. Without branches on the mask, which no processor could predict.
static void flip_some(
	d2v_random *random, int32_t positions, uint8_t from, int32_t count, uint8_t *mask, int32_t *scratch) {
	if (count <= 0)
		return;
	int32_t listed = 0;
	for (int32_t i = 0; i < positions; i++) {
		scratch[listed] = i;
		listed += mask[i] == from;
	}
	D2V_ASSERT(count <= listed);
	for (int32_t i = 0; i < count; i++) {
		int32_t other = i + (int32_t)d2v_random_below(random, (uint32_t)(listed - i));
		int32_t chosen = scratch[other];
		scratch[other] = scratch[i];
		mask[chosen] = !from;
	}
}

static void bring_to(d2v_random *random, int32_t positions, int32_t target, uint8_t *mask, int32_t *scratch) {
	int32_t have = d2v_masks_count(mask, positions);
	if (have > target)
		flip_some(random, positions, 1, have - target, mask, scratch);
	else
		flip_some(random, positions, 0, target - have, mask, scratch);
}

static void invert(int32_t positions, uint8_t *mask) {
	for (int32_t i = 0; i < positions; i++)
		mask[i] ^= 1;
}

// The two numbers that the settings decide, as doubles computed in the order the original writes them (1 - 0.8 is a
// little below 0.2, and int(196 * (1 - 0.8)) is 39). `cells` is what one block covers: length, or length squared.
static int32_t centres_of(const d2v_mask_settings *s, double p, int32_t positions, double cells) {
	double centres = (double)positions * ((p + s->mask_prob_adjust) / cells) * (1 + s->mask_dropout);
	return centres > 0 ? (int32_t)centres : 0;
}

static int32_t target_of(double p, int32_t positions) {
	return (int32_t)((double)positions * p);
}

static double probability_of(const d2v_mask_settings *s) {
	return s->inverse_mask ? 1 - s->mask_prob : s->mask_prob;
}

static void finish_blocks(
	const d2v_mask_settings *s, d2v_random *random, double p, int32_t positions, uint8_t *mask, int32_t *scratch) {
	if (!s->any_count)
		bring_to(random, positions, target_of(p, positions), mask, scratch);
	if (s->inverse_mask)
		invert(positions, mask);
}

void d2v_masks_block_1d(
	const d2v_mask_settings *settings, d2v_random *random, int32_t positions, uint8_t *mask, int32_t *scratch) {
	double p = probability_of(settings);
	int32_t length = settings->mask_length, before = length / 2;
	int32_t centres = centres_of(settings, p, positions, length);
	memset(mask, 0, (size_t)positions);
	for (int32_t i = 0; i < centres; i++) {
		int32_t first = (int32_t)d2v_random_below(random, (uint32_t)positions) - before, end = first + length;
		first = first < 0 ? 0 : first;
		end = end > positions ? positions : end;
		for (int32_t at = first; at < end; at++)
			mask[at] = 1;
	}
	finish_blocks(settings, random, p, positions, mask, scratch);
}

void d2v_masks_block_2d(
	const d2v_mask_settings *settings, d2v_random *random, int32_t side, uint8_t *mask, int32_t *scratch) {
	double p = probability_of(settings);
	int32_t positions = side * side, length = settings->mask_length, before = length / 2;
	int32_t centres = centres_of(settings, p, positions, (double)length * length);
	memset(mask, 0, (size_t)positions);
	for (int32_t i = 0; i < centres; i++) {
		int32_t centre = (int32_t)d2v_random_below(random, (uint32_t)positions);
		int32_t top = centre / side - before, left = centre % side - before;
		for (int32_t y = top < 0 ? 0 : top; y < top + length && y < side; y++)
			for (int32_t x = left < 0 ? 0 : left; x < left + length && x < side; x++)
				mask[y * side + x] = 1;
	}
	finish_blocks(settings, random, p, positions, mask, scratch);
}

void d2v_masks_random(double mask_prob, d2v_random *random, int32_t positions, uint8_t *mask, int32_t *scratch) {
	int32_t kept = (int32_t)((double)positions * (1 - mask_prob));
	memset(mask, 0, (size_t)positions);
	flip_some(random, positions, 0, positions - kept, mask, scratch);
}

d2v_status d2v_masks_span(const d2v_mask_settings *settings, d2v_random *random, int32_t positions, int32_t valid,
	uint8_t *mask, int32_t *scratch, d2v_error *err) {
	D2V_ASSERT(valid >= 0 && valid <= positions);
	int32_t length = settings->mask_length;
	// Rounded up or down at random, so that the expectation is right.
	int32_t spans = (int32_t)(settings->mask_prob * valid / (double)length + d2v_random_unit(random));
	spans = spans < settings->min_masks ? settings->min_masks : spans;
	spans = spans > valid ? valid : spans;
	int32_t last = valid - length <= spans ? spans + 1 : valid - length; // starts lie in [0, last)
	for (int32_t i = 0; i < last; i++)
		scratch[i] = i;
	memset(mask, 0, (size_t)positions);
	for (int32_t i = 0; i < spans; i++) {
		int32_t other = i + (int32_t)d2v_random_below(random, (uint32_t)(last - i));
		int32_t start = scratch[other];
		scratch[other] = scratch[i];
		for (int32_t at = start; at < start + length && at < valid; at++)
			mask[at] = 1;
	}
	if (valid && d2v_masks_count(mask, valid) == valid)
		return d2v_fail(err, D2V_INVALID,
			"the mask covers all %d positions of a row; lower mask_prob (%g) or mask_length (%d)", (int)valid,
			settings->mask_prob, (int)length);
	return D2V_OK;
}

void d2v_masks_equalise(const d2v_mask_settings *settings, d2v_random *random, int32_t rows, int32_t positions,
	const int32_t *valid, uint8_t *mask, int32_t *scratch) {
	int32_t target = 0;
	for (int32_t r = 0; r < rows; r++) {
		int32_t count = d2v_masks_count(mask + (size_t)r * (size_t)positions, positions);
		if (!r || (settings->add_masks ? count > target : count < target))
			target = count;
	}
	for (int32_t r = 0; r < rows; r++) {
		uint8_t *row = mask + (size_t)r * (size_t)positions;
		int32_t usable = valid ? valid[r] : positions;
		if (!settings->any_count)
			bring_to(random, usable, target < usable ? target : usable, row, scratch);
		if (settings->mask_dropout > 0) {
			int32_t count = d2v_masks_count(row, usable);
			flip_some(random, usable, 1, (int32_t)rint(count * settings->mask_dropout), row, scratch);
		}
	}
}

// Where each position of a row stands in the stable order; the first `kept` of that order go to keep, the others to the
// entry behind them, which is the next row's first (or the spare one) and is written after this. No branches: the
// mask is a coin.
static int32_t index_row(const uint8_t *mask, int32_t tokens, int32_t kept, int32_t first, int32_t *keep,
	int32_t *restore, int32_t *masked) {
	int32_t visible = tokens - d2v_masks_count(mask, tokens), seen = 0;
	for (int32_t t = 0; t < tokens; t++) {
		int32_t hidden = mask[t], place = hidden ? visible + t - seen : seen;
		restore[t] = place;
		keep[place < kept ? place : kept] = t;
		masked[t - seen] = first + t;
		seen += 1 - hidden;
	}
	return tokens - visible;
}

void d2v_masks_index(const uint8_t *mask, int32_t rows, int32_t tokens, int32_t *keep, int32_t *restore,
	int32_t *masked, int32_t *kept, int32_t *masked_count) {
	int32_t count = 0, shown = rows ? tokens - d2v_masks_count(mask, tokens) : 0;
	*kept = rows && shown < 1 ? 1 : shown;
	for (int32_t r = 0; r < rows; r++) {
		size_t first = (size_t)r * (size_t)tokens;
		count += index_row(mask + first, tokens, *kept, (int32_t)first, keep + (size_t)r * (size_t)*kept,
			restore + first, masked + count);
	}
	*masked_count = count;
}
