// The mask generators against 10,000 draws of the original's, by distribution (tests/golden/data/masks), and what must
// hold exactly: the counts.
//
// Every statistic is a mean over groups of rows (a group is what is equalised together). Both sides are estimates, so a
// difference is held against 5 standard errors of it, from the spread between our own groups: with some 10,000
// comparisons the chance of one false alarm is below one percent, and the seed is fixed (D2V_TEST_SEED changes it).
#include "base/json.h"
#include "loaders/masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// The files travel inside the program, so that it runs in any folder.
#define EMBED(name, file) \
	__asm__(".section .rodata\n" #name "_start: .incbin \"tests/golden/data/masks/" file "\"\n" #name \
			"_end:\n.previous\n"); \
	extern const char name##_start[] __asm__(#name "_start"), name##_end[] __asm__(#name "_end")
EMBED(block_1d, "block_mask_1d.json");
EMBED(block_2d, "block_mask_2d.json");
EMBED(single, "random_mask.json");
EMBED(span, "span_mask.json");

// One thread that computes: a sanitizer slows it down and has seen it all after a few draws.
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define DRAWS 1000
#else
#define DRAWS 10000
#endif
#define REFERENCE_DRAWS 10000.0

enum { POSITIONS = 600, DISTANCES = 10, OFFSETS = 3, ROWS = 8, SIGMAS = 5 };

static uint64_t seed = 1;

// A statistic's sums over groups.
typedef struct mean {
	double sum, squares;
} mean;

// Everything that is measured, as counts within one group; `groups` of them become means.
typedef struct counts {
	double position[POSITIONS];
	double runs[2][POSITIONS + 1];       // [masked] by length
	double components[2][POSITIONS + 1]; // [masked] by size
	double component_number[2];
	double together[DISTANCES + 1], first[DISTANCES + 1];
	double beside[OFFSETS + 1][2 * OFFSETS + 1], corner[OFFSETS + 1][2 * OFFSETS + 1]; // [dy][dx + OFFSETS], unmasked
	double squares;                                                                    // 3x3, all unmasked
	double masked;
} counts;

typedef struct tally {
	int groups;
	counts now;
	mean position[POSITIONS], runs[2][POSITIONS + 1], components[2][POSITIONS + 1], component_number[2], squares,
		masked;
	mean together[DISTANCES + 1], first[DISTANCES + 1], both[DISTANCES + 1];
	mean beside[OFFSETS + 1][2 * OFFSETS + 1], corner[OFFSETS + 1][2 * OFFSETS + 1],
		grid_both[OFFSETS + 1][2 * OFFSETS + 1];
} tally;

static void add(mean *m, double x) {
	m->sum += x;
	m->squares += x * x;
}

static void count_line(counts *c, const uint8_t *mask, int positions) {
	int start = 0;
	for (int t = 0; t < positions; t++) {
		c->position[t] += mask[t];
		c->masked += mask[t];
		if (t + 1 == positions || mask[t + 1] != mask[t]) {
			c->runs[mask[t]][t + 1 - start]++;
			start = t + 1;
		}
	}
	for (int k = 1; k <= DISTANCES; k++)
		for (int t = 0; t + k < positions; t++) {
			c->first[k] += mask[t];
			c->together[k] += mask[t] & mask[t + k];
		}
}

static int flood(const uint8_t *mask, int side, int at, uint8_t *seen) {
	int stack[POSITIONS], height = 0, size = 0;
	stack[height++] = at;
	seen[at] = 1;
	while (height) {
		int p = stack[--height], y = p / side, x = p % side;
		int next[4] = { y > 0 ? p - side : p, y + 1 < side ? p + side : p, x > 0 ? p - 1 : p,
			x + 1 < side ? p + 1 : p };
		size++;
		for (int i = 0; i < 4; i++)
			if (!seen[next[i]] && mask[next[i]] == mask[at]) {
				seen[next[i]] = 1;
				stack[height++] = next[i];
			}
	}
	return size;
}

static void count_grid(counts *c, const uint8_t *mask, int side) {
	uint8_t seen[POSITIONS] = { 0 };
	for (int p = 0; p < side * side; p++) {
		c->position[p] += mask[p];
		c->masked += mask[p];
		if (!seen[p]) {
			c->components[mask[p]][flood(mask, side, p, seen)]++;
			c->component_number[mask[p]]++;
		}
		int y = p / side, x = p % side, clear = y + 2 < side && x + 2 < side;
		for (int i = 0; clear && i < 9; i++)
			clear = !mask[p + i / 3 * side + i % 3];
		c->squares += clear;
		for (int dy = 0; dy <= OFFSETS && y + dy < side; dy++)
			for (int dx = -OFFSETS; dx <= OFFSETS; dx++)
				if (x + dx >= 0 && x + dx < side) {
					c->corner[dy][dx + OFFSETS] += !mask[p];
					c->beside[dy][dx + OFFSETS] += !mask[p] && !mask[p + dy * side + dx];
				}
	}
}

// Closes a group of `rows` rows: its means enter the tally.
static void close_group(tally *t, int rows) {
	counts *c = &t->now;
	double scale = 1.0 / rows;
	for (int i = 0; i < POSITIONS; i++)
		add(&t->position[i], c->position[i] * scale);
	for (int m = 0; m < 2; m++) {
		for (int i = 0; i <= POSITIONS; i++) {
			add(&t->runs[m][i], c->runs[m][i] * scale);
			add(&t->components[m][i], c->components[m][i] * scale);
		}
		add(&t->component_number[m], c->component_number[m] * scale);
	}
	for (int k = 1; k <= DISTANCES; k++) {
		add(&t->together[k], c->together[k]);
		add(&t->first[k], c->first[k]);
		t->both[k].sum += c->together[k] * c->first[k];
	}
	for (int y = 0; y <= OFFSETS; y++)
		for (int x = 0; x <= 2 * OFFSETS; x++) {
			add(&t->beside[y][x], c->beside[y][x]);
			add(&t->corner[y][x], c->corner[y][x]);
			t->grid_both[y][x].sum += c->beside[y][x] * c->corner[y][x];
		}
	add(&t->squares, c->squares * scale);
	add(&t->masked, c->masked * scale);
	t->groups++;
	memset(c, 0, sizeof *c);
}

static double value_of(const mean *m, int groups) {
	return m->sum / groups;
}

static double variance_of(const mean *m, int groups) {
	double value = value_of(m, groups), variance = m->squares / groups - value * value;
	return variance > 0 ? variance : 0;
}

// `variance`: of one group.
static void compare(const char *what, int index, double ours, double reference, double variance, int groups) {
	double tolerance = SIGMAS * sqrt(variance / groups * (1 + DRAWS / REFERENCE_DRAWS)) +
					   6e-5; // the files round to four digits or more
	if (!(fabs(ours - reference) <= tolerance))
		fail_msg("%s[%d]: %.6f, the original %.6f, tolerance %.6f (seed %llu)", what, index, ours, reference, tolerance,
			(unsigned long long)seed);
}

static double number(const json_t *object, const char *key) {
	const json_t *value = json_object_get(object, key);
	if (!json_is_number(value))
		fail_msg("no %s", key);
	return json_number_value(value);
}

static void compare_positions(const tally *t, const json_t *reference, int positions) {
	const json_t *list = json_object_get(reference, "masked_probability_per_position");
	assert_int_equal(json_array_size(list), positions);
	for (int i = 0; i < positions; i++) {
		double wanted = json_number_value(json_array_get(list, (size_t)i));
		compare("masked_probability_per_position", i, value_of(&t->position[i], t->groups), wanted,
			variance_of(&t->position[i], t->groups), t->groups);
	}
}

// Average numbers per draw by length or size. Those too rare for a normal distribution (fewer than 50 in our
// draws) are compared as one sum.
static void compare_histogram(
	const tally *t, const json_t *reference, const char *key, const mean *ours, int most, int rows) {
	const json_t *table = json_object_get(reference, key);
	double rare = 0, rare_reference = 0;
	assert_true(json_is_object(table));
	for (int length = 1; length <= most; length++) {
		char name[16];
		snprintf(name, sizeof name, "%d", length);
		double wanted = json_number_value(json_object_get(table, name)), got = value_of(&ours[length], t->groups);
		if (wanted * DRAWS < 50) {
			rare += got;
			rare_reference += wanted;
		} else
			compare(key, length, got, wanted, variance_of(&ours[length], t->groups), t->groups);
	}
	// Rare events of different lengths: their number is nearly Poisson, per row; a sum of dozens of rounded numbers.
	compare(key, 0, rare, rare_reference, 1.5 * (rare + rare_reference) / 2 / rows + 1e-4, t->groups);
}

// A ratio of two sums: its variance by the delta method.
static void compare_ratio(
	const char *what, int index, const mean *top, const mean *bottom, const mean *both, double wanted, int groups) {
	double ratio = top->sum / bottom->sum, base = value_of(bottom, groups);
	double covariance = both->sum / groups - value_of(top, groups) * base;
	double variance = variance_of(top, groups) - 2 * ratio * covariance + ratio * ratio * variance_of(bottom, groups);
	compare(what, index, ratio, wanted, variance > 0 ? variance / (base * base) : 0, groups);
}

static void compare_distances(const tally *t, const json_t *reference) {
	const json_t *table = json_object_get(reference, "probability_masked_at_distance_given_masked");
	for (int k = 1; k <= DISTANCES; k++) {
		char name[16];
		snprintf(name, sizeof name, "%d", k);
		compare_ratio("probability_masked_at_distance", k, &t->together[k], &t->first[k], &t->both[k],
			number(table, name), t->groups);
	}
}

static void compare_line(const tally *t, const json_t *reference, int positions, int rows) {
	compare("masked_fraction_mean", 0, value_of(&t->masked, t->groups) / positions,
		number(reference, "masked_fraction_mean"), variance_of(&t->masked, t->groups) / ((double)positions * positions),
		t->groups);
	compare_positions(t, reference, positions);
	compare_histogram(t, reference, "masked_runs_per_draw_by_length", t->runs[1], positions, rows);
	compare_histogram(t, reference, "unmasked_runs_per_draw_by_length", t->runs[0], positions, rows);
	compare_distances(t, reference);
}

static void compare_grid(const tally *t, const json_t *reference, int side) {
	compare_positions(t, reference, side * side);
	compare_histogram(t, reference, "masked_components_per_draw_by_size_4_connected", t->components[1], side * side, 1);
	compare_histogram(
		t, reference, "unmasked_components_per_draw_by_size_4_connected", t->components[0], side * side, 1);
	static const char *const names[2] = { "unmasked_components_per_draw", "masked_components_per_draw" };
	for (int m = 0; m < 2; m++) {
		char key[64];
		double variance = variance_of(&t->component_number[m], t->groups);
		snprintf(key, sizeof key, "%s_mean", names[m]);
		compare(key, 0, value_of(&t->component_number[m], t->groups), number(reference, key), variance, t->groups);
		snprintf(key, sizeof key, "%s_std", names[m]);
		// The standard error of a standard deviation is about s / sqrt(2 n), more for the long tail that small numbers
		// have.
		compare(key, 0, sqrt(variance), number(reference, key), 1.5 * variance, t->groups);
	}
	compare("fully_unmasked_3x3_squares", 0, value_of(&t->squares, t->groups),
		number(reference, "fully_unmasked_3x3_squares_per_draw_mean"), variance_of(&t->squares, t->groups), t->groups);
	const char *key;
	json_t *value;
	json_object_foreach(json_object_get(reference, "probability_unmasked_at_offset_given_unmasked"), key, value) {
		int dy, dx;
		assert_int_equal(sscanf(key, "%d,%d", &dy, &dx), 2);
		compare_ratio("probability_unmasked_at_offset", dy * 10 + dx, &t->beside[dy][dx + OFFSETS],
			&t->corner[dy][dx + OFFSETS], &t->grid_both[dy][dx + OFFSETS], json_number_value(value), t->groups);
	}
}

static json_t *load(const char *start, const char *end) {
	json_t *root;
	d2v_error err;
	if (d2v_json_parse(start, (size_t)(end - start), "masks", &root, &err) != D2V_OK)
		fail_msg("%s", err.text);
	return root;
}

static d2v_mask_settings settings_of(const json_t *reference) {
	const json_t *adjust = json_object_get(reference, "mask_prob_adjust");
	const json_t *length = json_object_get(reference, "mask_length");
	d2v_mask_settings settings = { .mask_prob = number(reference, "mask_prob"),
		.mask_prob_adjust = json_number_value(adjust),
		.mask_length = length ? (int32_t)json_number_value(length) : 1,
		.inverse_mask = json_is_true(json_object_get(reference, "inverse_mask")),
		.min_masks = 1 };
	assert_int_equal(d2v_masks_check(&settings, NULL), D2V_OK);
	return settings;
}

static d2v_random stream(uint64_t draw) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(seed, D2V_RANDOM_MASK, 1, draw));
	return random;
}

static tally *new_tally(void) {
	tally *t = calloc(1, sizeof *t);
	assert_non_null(t);
	return t;
}

static void test_block_1d(void **state) {
	(void)state;
	json_t *root = load(block_1d_start, block_1d_end), *reference;
	const char *name;
	int32_t scratch[POSITIONS + 8];
	uint8_t mask[POSITIONS];
	json_object_foreach(root, name, reference) {
		d2v_mask_settings settings = settings_of(reference);
		int positions = (int)number(reference, "T"), exact = (int)(positions * settings.mask_prob);
		tally *t = new_tally();
		print_message("%s\n", name);
		for (int i = 0; i < DRAWS; i++) {
			d2v_random random = stream((uint64_t)i);
			d2v_masks_block_1d(&settings, &random, positions, mask, scratch);
			assert_int_equal(d2v_masks_count(mask, positions), exact);
			count_line(&t->now, mask, positions);
			close_group(t, 1);
		}
		compare_line(t, reference, positions, 1);
		free(t);
	}
	json_decref(root);
}

static void test_block_2d(void **state) {
	(void)state;
	json_t *root = load(block_2d_start, block_2d_end), *reference;
	const char *name;
	int32_t scratch[POSITIONS + 8];
	uint8_t mask[POSITIONS];
	json_object_foreach(root, name, reference) {
		d2v_mask_settings settings = settings_of(reference);
		int side = (int)json_number_value(json_array_get(json_object_get(reference, "grid"), 0));
		int exact = (int)number(json_object_get(reference, "masked_count_quantiles"), "0.5");
		tally *t = new_tally();
		print_message("%s\n", name);
		for (int i = 0; i < DRAWS; i++) {
			d2v_random random = stream((uint64_t)i);
			d2v_masks_block_2d(&settings, &random, side, mask, scratch);
			assert_int_equal(d2v_masks_count(mask, side * side), exact);
			count_grid(&t->now, mask, side);
			close_group(t, 1);
		}
		compare_grid(t, reference, side);
		free(t);
	}
	json_decref(root);
}

static void test_single(void **state) {
	(void)state;
	json_t *root = load(single_start, single_end), *reference;
	const char *name;
	int32_t scratch[POSITIONS + 8];
	uint8_t mask[POSITIONS];
	json_object_foreach(root, name, reference) {
		int positions = (int)number(reference, "T"), kept = (int)number(reference, "kept");
		tally *t = new_tally();
		print_message("%s\n", name);
		for (int i = 0; i < DRAWS; i++) {
			d2v_random random = stream((uint64_t)i);
			d2v_masks_random(number(reference, "mask_prob"), &random, positions, mask, scratch);
			assert_int_equal(d2v_masks_count(mask, positions), positions - kept);
			count_line(&t->now, mask, positions);
			close_group(t, 1);
		}
		compare_line(t, reference, positions, 1);
		free(t);
	}
	json_decref(root);
}

// Groups of rows drawn from one stream and equalised; `only`: the row that is counted, or -1 for all.
static tally *draw_spans(const json_t *reference, int positions, int rows, const int32_t *valid, int groups, int only) {
	d2v_mask_settings settings = settings_of(reference);
	settings.mask_prob_adjust = 0; // the generator knows none
	int32_t scratch[POSITIONS + 8];
	uint8_t mask[ROWS * POSITIONS];
	tally *t = new_tally();
	for (int g = 0; g < groups; g++) {
		d2v_random random = stream((uint64_t)g);
		for (int r = 0; r < rows; r++)
			assert_int_equal(d2v_masks_span(&settings, &random, positions, valid ? valid[r] : positions,
								 mask + r * positions, scratch, NULL),
				D2V_OK);
		d2v_masks_equalise(&settings, &random, rows, positions, valid, mask, scratch);
		for (int r = 0; r < rows; r++) {
			assert_int_equal(d2v_masks_count(mask + r * positions, positions), d2v_masks_count(mask, positions));
			if (only < 0 || r == only)
				count_line(&t->now, mask + r * positions, valid ? valid[r] : positions);
		}
		close_group(t, only < 0 ? rows : 1);
	}
	return t;
}

static void test_span(void **state) {
	(void)state;
	json_t *root = load(span_start, span_end), *reference;
	const char *name;
	json_object_foreach(root, name, reference) {
		int positions = (int)number(reference, "T"), rows = (int)number(reference, "rows");
		print_message("%s\n", name);
		assert_in_range(rows, 1, ROWS);
		if (!json_object_get(reference, "valid")) {
			tally *t = draw_spans(reference, positions, rows, NULL, DRAWS / rows, -1);
			compare_line(t, reference, positions, rows);
			free(t);
			continue;
		}
		for (int r = 0; r < rows; r++) {
			static const char *const keys[2] = { "row0", "row1" };
			const int32_t valid[2] = { 400, 250 };
			const json_t *row = json_object_get(reference, keys[r]);
			tally *t =
				draw_spans(reference, positions, rows, valid, (int)(number(row, "draws") * DRAWS / REFERENCE_DRAWS), r);
			compare_positions(t, row, positions);
			compare_distances(t, row);
			free(t);
		}
	}
	json_decref(root);
}

// The harness can fail: another block length is not the original's.
static void test_other_masks_are_noticed(void **state) {
	(void)state;
	json_t *root = load(block_1d_start, block_1d_end), *reference = json_object_get(root, "audio_base_T400");
	d2v_mask_settings settings = settings_of(reference);
	settings.mask_prob_adjust = .04;
	int32_t scratch[POSITIONS + 8];
	uint8_t mask[POSITIONS];
	mean together = { 0 }, first = { 0 };
	for (int i = 0; i < DRAWS; i++) {
		d2v_random random = stream((uint64_t)i);
		d2v_masks_block_1d(&settings, &random, 400, mask, scratch);
		counts c = { 0 };
		count_line(&c, mask, 400);
		add(&together, c.together[1]);
		add(&first, c.first[1]);
	}
	double wanted = number(json_object_get(reference, "probability_masked_at_distance_given_masked"), "1");
	assert_true(fabs(together.sum / first.sum - wanted) > 3e-3); // far outside of what test_block_1d allows
	json_decref(root);
}

static void test_counts(void **state) {
	(void)state;
	int32_t scratch[POSITIONS + 8];
	uint8_t mask[POSITIONS];
	static const double shares[] = { 0, .1, .35, .5, .55, .65, .9, 1 };
	for (size_t s = 0; s < sizeof shares / sizeof *shares; s++)
		for (int positions = 1; positions < 200; positions += 1 + positions / 7)
			for (int length = 1; length < 12; length += 3)
				for (int inverse = 0; inverse < 2; inverse++) {
					d2v_mask_settings settings = {
						.mask_prob = shares[s], .mask_prob_adjust = .05, .mask_length = length, .inverse_mask = inverse
					};
					d2v_random random = stream((uint64_t)positions);
					d2v_masks_block_1d(&settings, &random, positions, mask, scratch);
					int expected =
						inverse ? positions - (int)(positions * (1 - shares[s])) : (int)(positions * shares[s]);
					assert_int_equal(d2v_masks_count(mask, positions), expected);
					d2v_masks_random(shares[s], &random, positions, mask, scratch);
					assert_int_equal(d2v_masks_count(mask, positions), positions - (int)(positions * (1 - shares[s])));
				}
}

static void test_span_options(void **state) {
	(void)state;
	enum { T = 100, N = 4 };
	int32_t scratch[T + 8];
	uint8_t mask[N * T];
	for (int add_masks = 0; add_masks < 2; add_masks++) {
		d2v_mask_settings settings = {
			.mask_prob = .5, .mask_length = 10, .min_masks = 1, .add_masks = add_masks, .mask_dropout = .1
		};
		d2v_random random = stream(1);
		int least = T, most = 0;
		for (int r = 0; r < N; r++) {
			assert_int_equal(d2v_masks_span(&settings, &random, T, T, mask + r * T, scratch, NULL), D2V_OK);
			int count = d2v_masks_count(mask + r * T, T);
			least = count < least ? count : least, most = count > most ? count : most;
		}
		assert_true(least < most);
		d2v_masks_equalise(&settings, &random, N, T, NULL, mask, scratch);
		int target = add_masks ? most : least;
		for (int r = 0; r < N; r++)
			assert_int_equal(d2v_masks_count(mask + r * T, T), target - (int)rint(target * .1));
	}
	// Spans that must cover everything: an error, never an assert.
	d2v_mask_settings all = { .mask_prob = 1, .mask_length = 1, .min_masks = 1 };
	d2v_random random = stream(2);
	int refused = 0;
	for (int valid = 1; valid < 20; valid++)
		refused += d2v_masks_span(&all, &random, T, valid, mask, scratch, NULL) == D2V_INVALID;
	assert_true(refused > 0);
	assert_int_equal(d2v_masks_span(&all, &random, T, 0, mask, scratch, NULL), D2V_OK); // nothing to mask
	assert_int_equal(d2v_masks_count(mask, T), 0);
}

static void test_index_is_stable(void **state) {
	(void)state;
	enum { N = 6, T = 97 };
	uint8_t mask[N * T];
	int32_t scratch[T + 8], keep[N * T + 1], restore[N * T], masked[N * T + 1], kept, count;
	for (int trial = 0; trial < 50; trial++) {
		d2v_random random = stream((uint64_t)trial);
		for (int r = 0; r < N; r++) // unequal rows, as cropping makes them
			d2v_masks_random(.3 + .1 * (double)d2v_random_below(&random, 5), &random, T, mask + r * T, scratch);
		d2v_masks_index(mask, N, T, keep, restore, masked, &kept, &count);
		assert_int_equal(kept, T - d2v_masks_count(mask, T));
		int at = 0;
		for (int r = 0; r < N; r++) {
			int order[T], n = 0;
			for (int m = 0; m < 2; m++)
				for (int t = 0; t < T; t++)
					if (mask[r * T + t] == m)
						order[n++] = t;
			for (int i = 0; i < T; i++) {
				assert_int_equal(restore[r * T + order[i]], i);
				if (i < kept)
					assert_int_equal(keep[r * kept + i], order[i]);
				if (mask[r * T + i])
					assert_int_equal(masked[at++], r * T + i);
			}
		}
		assert_int_equal(at, count);
	}
}

static void test_check(void **state) {
	(void)state;
	d2v_mask_settings good = { .mask_prob = .5, .mask_length = 5 };
	assert_int_equal(d2v_masks_check(&good, NULL), D2V_OK);
	d2v_mask_settings bad[] = { good, good, good, good, good };
	bad[0].mask_prob = NAN, bad[1].mask_prob = 1.01, bad[2].mask_length = 0, bad[3].mask_dropout = -1,
	bad[4].mask_prob_adjust = NAN;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(d2v_masks_check(&bad[i], NULL), D2V_INVALID);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_1d),
		cmocka_unit_test(test_block_2d),
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_other_masks_are_noticed),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_span_options),
		cmocka_unit_test(test_index_is_stable),
		cmocka_unit_test(test_check),
	};
	if (getenv("D2V_TEST_SEED"))
		seed = strtoull(getenv("D2V_TEST_SEED"), NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
