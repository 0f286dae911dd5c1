#include "tests/kernels/harness.h"

#include "base/memory.h"

typedef struct shape {
	int64_t batch, clones, tokens, kept, extra, width;
	bool all;   // keep NULL: every token
	bool plain; // no `add`, no noise given
	float drop;
	int64_t before; // rows of the longer array that this is a piece of
} shape;

// Kept positions ascending, then masked ones, as a loader makes them.
typedef struct tables {
	int32_t *keep, *restore;
	uint8_t *mask;
} tables;

static tables make_tables(const shape *s) {
	tables t;
	int64_t rows = s->batch * s->clones;
	D2V_ASSERT(d2v_alloc(&t.keep, (size_t)(rows * s->kept), sizeof *t.keep, NULL) == D2V_OK);
	D2V_ASSERT(d2v_alloc(&t.restore, (size_t)(rows * s->tokens), sizeof *t.restore, NULL) == D2V_OK);
	D2V_ASSERT(d2v_alloc(&t.mask, (size_t)(rows * s->tokens), 1, NULL) == D2V_OK);
	for (int64_t r = 0; r < rows; r++) {
		int64_t kept = 0, masked = 0;
		for (int64_t p = 0; p < s->tokens; p++) {
			int64_t left = s->tokens - p, wanted = s->kept - kept;
			bool keep = harness_draw(9, (uint64_t)(r * s->tokens + p), (uint32_t)left) < wanted;
			t.mask[r * s->tokens + p] = !keep;
			t.restore[r * s->tokens + p] = (int32_t)(keep ? kept : s->kept + masked);
			if (keep)
				t.keep[r * s->kept + kept++] = (int32_t)p;
			else
				masked++;
		}
	}
	return t;
}

static void release(tables *t) {
	d2v_free(t->keep);
	d2v_free(t->restore);
	d2v_free(t->mask);
}

static const shape shapes[] = {
	// batch, clones, tokens, kept, extra, width
	{ 1, 1, 1, 1, 0, 1, .all = false }, { 0, 2, 3, 2, 1, 4, .all = false }, { 2, 3, 11, 5, 0, 7, .all = false },
	{ 2, 3, 11, 5, 2, 7, .drop = .3f }, { 2, 2, 9, 9, 1, 5, .all = true }, { 2, 2, 9, 4, 1, 6, .plain = true },
	{ 3, 4, 40, 20, 1, 33, .drop = .1f }, { 2, 3, 11, 5, 2, 7, .plain = true, .drop = .3f, .before = 6 },
	{ 2, 3, 11, 5, 2, 16, .plain = true, .drop = .3f, .before = 3 }, { 1, 2, 5, 0, 1, 3, .all = false }, // nothing kept
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static void run_mask(d2v_device *dev, const void *op) {
	d2v_mask_rows_forward(dev, op);
}
static void run_gather(d2v_device *dev, const void *op) {
	d2v_gather_forward(dev, op);
}
static void run_restore(d2v_device *dev, const void *op) {
	d2v_restore_forward(dev, op);
}

static void check_mask_rows(const shape *s) {
	harness h;
	harness_open(&h);
	tables t = make_tables(s);
	d2v_mask_rows reference = { 0 };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		int64_t sample = s->batch * s->tokens * s->width, all = sample * s->clones;
		d2v_mask_rows op = { .batch = s->batch, .clones = s->clones, .tokens = s->tokens, .width = s->width };
		op.mask = harness_table(&h, t.mask, (size_t)(s->batch * s->clones * s->tokens));
		op.x = harness_real(&h, "x", IN, sample);
		op.out = harness_real(&h, "out", OUT, all);
		op.d_out = harness_real(&h, "d_out", IN, all);
		h.reduction = s->clones;
		op.d_x = harness_real(&h, "d_x", SUM, sample);
		d2v_mask_rows_forward(h.device, &op);
		d2v_mask_rows_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	harness_differences(&h, "x", "d_x", "out", "d_out", run_mask, &reference);
	release(&t);
	harness_close(&h);
}

static d2v_gather make_gather(harness *h, const shape *s, const tables *t) {
	int64_t sample = s->batch * s->tokens * s->width, rows = s->batch * s->clones;
	d2v_gather op = { .batch = s->batch, .clones = s->clones, .tokens = s->tokens, .kept = s->kept, .width = s->width };
	op.extra_tokens = s->extra;
	op.keep = s->all ? NULL : harness_table(h, t->keep, (size_t)(rows * s->kept) * sizeof *t->keep);
	op.restore = s->all ? NULL : harness_table(h, t->restore, (size_t)(rows * s->tokens) * sizeof *t->restore);
	op.x = harness_real(h, "x", IN, sample);
	op.extra = s->extra ? harness_real(h, "extra", IN, s->extra * s->width) : NULL;
	op.out = harness_real(h, "out", OUT, rows * (s->extra + s->kept) * s->width);
	op.d_out = harness_real(h, "d_out", IN, rows * (s->extra + s->kept) * s->width);
	if (!s->plain) {
		op.add = harness_real(h, "add", IN, sample * s->clones);
		op.table = harness_real(h, "table", IN, s->tokens * s->width);
		op.d_add = harness_real(h, "d_add", OUT, sample * s->clones);
	}
	h->reduction = rows;
	op.d_x = harness_real(h, "d_x", SUM, sample);
	op.d_extra = s->extra ? harness_float(h, "d_extra", SUM, s->extra * s->width) : NULL;
	return op;
}

static void check_gather(const shape *s) {
	harness h;
	harness_open(&h);
	tables t = make_tables(s);
	d2v_gather reference = { 0 };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_gather op = make_gather(&h, s, &t);
		d2v_gather_forward(h.device, &op);
		d2v_gather_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	harness_differences(&h, "x", "d_x", "out", "d_out", run_gather, &reference);
	if (!s->plain)
		harness_differences(&h, "add", "d_add", "out", "d_out", run_gather, &reference);
	if (s->extra)
		harness_differences(&h, "extra", "d_extra", "out", "d_out", run_gather, &reference);
	release(&t);
	harness_close(&h);
}

static void check_restore(const shape *s) {
	harness h;
	harness_open(&h);
	tables t = make_tables(s);
	d2v_restore reference = { 0 };
	int64_t rows = s->batch * s->clones, x = rows * (s->extra + s->kept) * s->width, out = rows * s->tokens * s->width;
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_restore op = {
			.rows = rows, .tokens = s->tokens, .kept = s->kept, .extra_tokens = s->extra, .width = s->width
		};
		op.restore = harness_table(&h, t.restore, (size_t)(rows * s->tokens) * sizeof *t.restore);
		op.keep = harness_table(&h, t.keep, (size_t)(rows * s->kept) * sizeof *t.keep);
		op.drop = (d2v_dropout){ .p = s->drop, .key = { { 1, 9 } } };
		op.drop.first = s->before * (s->extra + s->kept) * s->width;
		op.noise_first = s->before * s->tokens * s->width;
		op.noise_key = (d2v_random_key){ { 2, 5 } };
		op.noise_std = 0.01f;
		op.x = harness_real(&h, "x", IN, x);
		op.noise = s->plain ? NULL : harness_real(&h, "noise", IN, rows * (s->tokens - s->kept) * s->width);
		op.out = harness_real(&h, "out", OUT, out);
		op.d_out = harness_real(&h, "d_out", IN, out);
		op.d_x = harness_real(&h, "d_x", OUT, x);
		d2v_restore_forward(h.device, &op);
		d2v_restore_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	harness_differences(&h, "x", "d_x", "out", "d_out", run_restore, &reference);
	release(&t);
	harness_close(&h);
}

static void test_mask_rows(void **state) {
	(void)state;
	for (size_t i = 0; i < SHAPES; i++)
		check_mask_rows(&shapes[i]);
}

static void test_gather(void **state) {
	(void)state;
	for (size_t i = 0; i < SHAPES; i++)
		check_gather(&shapes[i]);
}

static void test_restore(void **state) {
	(void)state;
	for (size_t i = 0; i < SHAPES; i++)
		check_restore(&shapes[i]);
}

// Noise alone, at every offset of an element within a block of four, and long enough for its moments to be right.
static void test_noise(void **state) {
	(void)state;
	for (int64_t width = 1; width <= 9; width++)
		check_restore(&(shape){ 1, 2, 7, 2, 0, width, .plain = true });
	check_restore(&(shape){ 2, 2, 50, 5, 0, 100, .plain = true });
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mask_rows),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_noise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
