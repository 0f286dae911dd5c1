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

typedef struct shape {
	int64_t batch, tokens, width, vocabulary;
	float scale;
	bool positions, padded;
} shape;

static void run(d2v_device *dev, const void *op) {
	d2v_embedding_forward(dev, op);
}

// Few words, so that some come often; padding at the end of the last row, and one within.
static int32_t *make_tokens(const shape *s) {
	int32_t *x;
	int64_t count = s->batch * s->tokens;
	D2V_ASSERT(d2v_alloc(&x, (size_t)count, sizeof *x, NULL) == D2V_OK);
	for (int64_t i = 0; i < count; i++) {
		x[i] = (int32_t)harness_draw(2, (uint64_t)i, (uint32_t)(s->vocabulary > 1 ? s->vocabulary - 1 : 1));
		x[i] += x[i] >= 1; // 1 is padding
		if (s->padded && (i >= count - s->tokens / 3 || i == 2))
			x[i] = 1;
	}
	return x;
}

static void check_embedding(const shape *s) {
	harness h;
	harness_open(&h);
	int32_t *x = make_tokens(s);
	d2v_embedding reference = { 0 };
	int64_t all = s->batch * s->tokens * s->width, places = s->tokens + 2;
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_embedding op = { .scale = s->scale, .batch = s->batch, .tokens = s->tokens, .width = s->width };
		op.x = harness_table(&h, x, (size_t)(s->batch * s->tokens) * sizeof *x);
		op.vocabulary = s->vocabulary, op.places = places, op.pad = 1;
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
	if (!s->padded) { // row `pad` gets no gradient, on purpose
		harness_differences(&h, "table", "d_table", "y", "d_y", run, &reference);
		if (s->positions)
			harness_differences(&h, "positions", "d_positions", "y", "d_y", run, &reference);
	}
	harness_close(&h);
	d2v_free(x);
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
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check_embedding(&shapes[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_embedding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
