#include "tests/kernels/harness.h"

#include "base/memory.h"

// ---- patches

typedef struct picture {
	int64_t batch, height, width, in, patch;
	bool bytes;
} picture;

static void check_patches(const picture *s) {
	harness h;
	harness_open(&h);
	int64_t count = s->batch * s->height * s->width * s->in;
	uint8_t *image;
	D2V_ASSERT(d2v_alloc(&image, (size_t)count, 1, NULL) == D2V_OK);
	for (int64_t i = 0; i < count; i++)
		image[i] = (uint8_t)harness_draw(1, (uint64_t)i, 256);
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_patches op = { .batch = s->batch, .height = s->height, .width = s->width, .in = s->in, .patch = s->patch };
		op.image = s->bytes ? harness_table(&h, image, (size_t)count) : NULL;
		op.pixels = s->bytes ? NULL : harness_real(&h, "pixels", IN, count);
		for (int i = 0; i < 3; i++)
			op.mean[i] = 0.4f + 0.05f * (float)i, op.rstd[i] = 4 + (float)i;
		h.reduction = 4;
		op.y = harness_real(&h, "y", OUT, count);
		d2v_patches_forward(h.device, &op);
	}
	harness_compare(&h);
	harness_close(&h);
	d2v_free(image);
}

static void test_patches(void **state) {
	(void)state;
	static const picture pictures[] = {
		{ 1, 1, 1, 3, 1, true },
		{ 0, 4, 4, 3, 2, true },
		{ 3, 12, 12, 3, 4, true },
		{ 2, 6, 10, 3, 2, true },
		{ 2, 6, 10, 2, 2, false },
		{ 3, 24, 24, 3, 8, false },
	};
	for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++)
		check_patches(&pictures[i]);
}

// ---- tokens

enum { PAD = 1 };

typedef struct shape {
	int64_t batch, tokens, width, vocabulary;
	float scale;
	bool positions, padded;
	bool even;    // every word comes equally often, as far as they go
	bool nothing; // but padding
} shape;

static void run(d2v_device *dev, const void *op) {
	d2v_embedding_forward(dev, op);
}

// Few words, so that some come often; padding at the end of the last row, and one within.
static int32_t *make_tokens(const shape *s) {
	int32_t *x;
	int64_t count = s->batch * s->tokens, words = s->vocabulary > 1 ? s->vocabulary - 1 : 1;
	D2V_ASSERT(d2v_alloc(&x, (size_t)count, sizeof *x, NULL) == D2V_OK);
	for (int64_t i = 0; i < count; i++) {
		x[i] = (int32_t)(s->even ? i % words : harness_draw(2, (uint64_t)i, (uint32_t)words));
		x[i] += x[i] >= PAD;
		if (s->nothing || (s->padded && (i >= count - s->tokens / 3 || i == 2)))
			x[i] = PAD;
	}
	return x;
}

static int32_t *make_order(const shape *s, const int32_t *x) {
	int32_t *order;
	int64_t count = s->batch * s->tokens, k = 0;
	D2V_ASSERT(d2v_alloc(&order, (size_t)count, sizeof *order, NULL) == D2V_OK);
	for (int32_t v = 0; v <= s->vocabulary; v++)
		for (int32_t i = 0; i < count; i++)
			if (x[i] == v)
				order[k++] = i;
	D2V_ASSERT(k == count);
	return order;
}

static void check_embedding(const shape *s) {
	harness h;
	harness_open(&h);
	int32_t *x = make_tokens(s), *order = make_order(s, x);
	d2v_embedding reference = { 0 };
	int64_t all = s->batch * s->tokens * s->width, places = s->tokens + 2;
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_embedding op = { .scale = s->scale, .batch = s->batch, .tokens = s->tokens, .width = s->width };
		op.x = harness_table(&h, x, (size_t)(s->batch * s->tokens) * sizeof *x);
		op.order = harness_table(&h, order, (size_t)(s->batch * s->tokens) * sizeof *order);
		op.vocabulary = s->vocabulary, op.places = places, op.pad = PAD;
		op.table = harness_real(&h, "table", IN, s->vocabulary * s->width);
		op.positions = s->positions ? harness_real(&h, "positions", IN, places * s->width) : NULL;
		op.d_y = harness_real(&h, "d_y", IN, all);
		h.reduction = 2;
		op.y = harness_real(&h, "y", OUT, all);
		h.reduction = s->batch * s->tokens;
		op.d_table = harness_float(&h, "d_table", SUM, s->vocabulary * s->width);
		op.d_positions = s->positions ? harness_float(&h, "d_positions", SUM, places * s->width) : NULL;
		d2v_embedding_forward(h.device, &op);
		d2v_embedding_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	if (!s->padded && !s->nothing) { // row `pad` gets no gradient, on purpose
		harness_differences(&h, "table", "d_table", "y", "d_y", run, &reference);
		if (s->positions)
			harness_differences(&h, "positions", "d_positions", "y", "d_y", run, &reference);
	}
	harness_close(&h);
	d2v_free(x);
	d2v_free(order);
}

static void test_embedding(void **state) {
	(void)state;
	static const shape shapes[] = {
		// batch, tokens, width, vocabulary, scale
		{ 1, 1, 1, 1, 1, .positions = true },
		{ 0, 4, 3, 5, 1, .positions = true },
		{ 2, 9, 7, 5, 3, .positions = true },
		{ 2, 9, 7, 5, 1, .positions = true, .padded = true },
		{ 3, 20, 130, 11, 2, .positions = false, .padded = true },
		{ 4, 64, 65, 30, 1, .positions = true, .padded = true },
		{ 2, 9, 16, 5, 3, .positions = true },
		{ 2, 9, 264, 5, 3, .positions = true, .padded = true },
		{ 2, 9, 8, 5, 1, .positions = true, .nothing = true },
		{ 1, 2, 8, 3, 1, .positions = true, .nothing = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check_embedding(&shapes[i]);
}

// A GPU adds 32 places at a time: words that fill one such chunk, a half, several, more than 32, and all but these.
static void test_long_runs(void **state) {
	(void)state;
	static const shape shapes[] = {
		{ 2, 16, 8, 2, 1, .even = true },
		{ 2, 64, 8, 5, 2, .even = true },
		{ 2, 64, 8, 5, 2, .even = true, .padded = true },
		{ 2, 64, 12, 9, 1, .even = true },
		{ 4, 64, 7, 3, 1, .even = true, .positions = true },
		{ 3, 51, 16, 4, 2, .even = true, .positions = true },
		{ 3, 51, 16, 4, 2, .positions = true, .padded = true },
		{ 1, 33, 8, 2, 1, .positions = true },
		{ 40, 33, 8, 2, 1, .positions = true, .padded = true },
		{ 40, 33, 3, 3, 1, .positions = true, .padded = true },
		{ 67, 33, 8, 3, 1, .even = true, .padded = true },
		{ 40, 33, 8, 700, 1, .positions = true, .padded = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check_embedding(&shapes[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_embedding),
		cmocka_unit_test(test_long_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
