#include "tests/kernels/harness.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct shape {
	int64_t rows, tokens, extra, heads, width;
	bool slope, scale, positions, padding;
	float drop;
	bool teacher;   // goes forward only
	bool unsummed;  // without the gradient of the bias
	bool far;       // scores are near -100: exp(0 - lse) is beyond f32
	bool late;      // and from token 64 on near 100
	int64_t before; // rows of the longer array that this is a piece of
} shape;

// What every side reads: kept positions ascending with gaps, padding at the end of odd rows and everywhere in the last.
typedef struct tables {
	int32_t *positions;
	uint8_t *padding;
} tables;

static void run(d2v_device *dev, const void *op) {
	d2v_attention_forward(dev, op);
}

static tables make_tables(const shape *s) {
	tables t;
	int64_t frames = s->tokens - s->extra;
	D2V_ASSERT(d2v_alloc(&t.positions, (size_t)(s->rows * frames), sizeof *t.positions, NULL) == D2V_OK);
	D2V_ASSERT(d2v_alloc(&t.padding, (size_t)(s->rows * s->tokens), 1, NULL) == D2V_OK);
	for (int64_t i = 0; i < s->rows * frames; i++)
		t.positions[i] = (int32_t)(i % frames ? t.positions[i - 1] + 1 + (int32_t)harness_draw(5, (uint64_t)i, 3) : 0);
	for (int64_t i = 0; i < s->rows * s->tokens; i++) {
		int64_t row = i / s->tokens, token = i % s->tokens;
		t.padding[i] = (row % 2 && token > s->tokens / 2) || (row == s->rows - 1 && s->rows > 2);
	}
	return t;
}

static void go_far(harness *h, const shape *s) {
	int64_t size = s->width / s->heads;
	for (int64_t i = 0; i < s->rows * s->tokens * s->heads; i++)
		for (int64_t part = 0; part < 2; part++) // q, k
			harness_put(h, h->side, "qkv", (i / s->heads * 3 + part) * s->width + i % s->heads * size,
				part && !(s->late && i / s->heads % s->tokens >= 64) ? -28 : 28);
}

static d2v_attention make(harness *h, const shape *s, const tables *t) {
	int64_t all = s->rows * s->tokens * s->width;
	d2v_attention op = {
		.rows = s->rows, .tokens = s->tokens, .extra = s->extra, .heads = s->heads, .width = s->width
	};
	op.drop = (d2v_dropout){ .p = s->drop, .key = { { 7, 8 } } };
	op.drop.first = s->before * s->heads * s->tokens * d2v_attention_draws(s->tokens);
	int64_t frames = s->rows * (s->tokens - s->extra);
	op.positions = s->positions ? harness_table(h, t->positions, (size_t)frames * sizeof *t->positions) : NULL;
	op.key_padding = s->padding ? harness_table(h, t->padding, (size_t)(s->rows * s->tokens)) : NULL;
	op.slope = s->slope ? harness_float(h, "slope", IN, s->heads) : NULL;
	op.scale = s->scale ? harness_float(h, "scale", IN, s->heads) : NULL;
	op.qkv = harness_real(h, "qkv", IN, 3 * all);
	op.d_out = harness_real(h, "d_out", IN, all);
	if (s->far)
		go_far(h, s);
	// A score of -100 is rounded a hundred times as coarsely as others, with each of its terms, and so is its probability.
	int64_t rounded = s->far ? s->width / s->heads * 13 * 13 : 0;
	h->reduction = s->tokens + rounded;
	op.out = harness_real(h, "out", OUT, all);
	op.lse = harness_float(h, "lse", OUT, s->rows * s->heads * s->tokens);
	h->reduction = s->tokens + s->width + rounded;
	op.d_qkv = harness_real(h, "d_qkv", OUT, 3 * all);
	// Terms of either sign, the sum of which is small beside them: what d_out . out of a query is off by, as a sum of
	// `width` products, comes into it times the mean distance, a third of the tokens.
	h->reduction = s->rows * s->tokens * s->width * (16 + s->tokens * s->tokens / 9);
	op.d_scale = s->slope ? harness_float(h, "d_scale", SUM, s->heads) : NULL;
	h->reduction = s->rows * s->tokens * (s->tokens + s->width + rounded);
	op.d_qkv_bias = s->unsummed || s->teacher ? NULL : harness_float(h, "d_qkv_bias", SUM, 3 * s->width);
	return op;
}

// What forward leaves for backward, if it leaves anything.
static void *make_kept(d2v_device *dev, const d2v_attention *op) {
	size_t bytes = d2v_attention_kept_bytes(dev, op);
	void *kept = NULL;
	if (bytes)
		assert_int_equal(d2v_device_alloc(dev, &kept, bytes, NULL), D2V_OK);
	return kept;
}

// The last side keeps what can be kept, the one before it does not: it makes no difference to any byte.
static void check(const shape *s) {
	harness h;
	harness_open(&h);
	tables t = make_tables(s);
	d2v_attention reference = { 0 };
	void *kept = NULL;
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_attention op = make(&h, s, &t);
		if (side == MANY_THREADS)
			op.kept = kept = make_kept(h.device, &op);
		d2v_attention_forward(h.device, &op);
		if (!s->teacher)
			d2v_attention_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	d2v_device_free(h.devices[MANY_THREADS], kept);
	if (s->tokens < 50) {
		harness_differences(&h, "qkv", "d_qkv", "out", "d_out", run, &reference);
		if (s->slope && s->scale)
			harness_differences(&h, "scale", "d_scale", "out", "d_out", run, &reference);
	}
	d2v_free(t.positions);
	d2v_free(t.padding);
	harness_close(&h);
}

static void test_attention(void **state) {
	(void)state;
	static const shape shapes[] = {
		// rows, tokens, extra, heads, width
		{ 1, 1, 0, 1, 1, .slope = false }, { 0, 4, 0, 2, 4, .slope = false }, { 2, 5, 0, 1, 3, .slope = false },
		{ 2, 7, 1, 2, 8, .slope = true }, { 2, 7, 1, 2, 8, .slope = true, .scale = true, .positions = true },
		{ 3, 19, 2, 4, 24, .slope = true, .scale = true, .positions = true, .drop = .2f },
		{ 3, 19, 2, 4, 24, .slope = true, .scale = true, .drop = .2f, .before = 5 },
		{ 3, 18, 1, 2, 24, .padding = true },
		{ 4, 21, 1, 3, 36, .slope = true, .scale = true, .positions = true, .padding = true, .drop = .1f },
		{ 1, 33, 0, 2, 256, .slope = false },
		{ 2, 40, 1, 2, 64, .slope = false }, // heads that a GPU's tensor cores take: 32, 64, 96, 128
		{ 3, 70, 1, 2, 128, .slope = true, .scale = true, .positions = true, .padding = true, .drop = .1f },
		{ 3, 130, 0, 1, 96, .padding = true }, { 2, 65, 2, 1, 128, .slope = true, .scale = true, .drop = .2f },
		{ 2, 300, 1, 2, 32, .slope = true, .scale = true, .positions = true,
			.drop = .1f }, // more than a block of queries
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check(&shapes[i]);
}

// The lengths of the recipes, heads of 64 channels, and what lies around the sizes that GPUs cut such work by.
static void test_lengths(void **state) {
	(void)state;
	static const shape shapes[] = {
		{ 1, 1, 0, 1, 64, .slope = false },
		{ 2, 7, 0, 1, 64, .padding = true },
		{ 1, 15, 0, 1, 64, .drop = .1f },
		{ 1, 16, 0, 2, 128, .slope = false },
		{ 1, 17, 1, 1, 64, .slope = true, .scale = true, .drop = .3f },
		{ 1, 48, 0, 1, 128, .drop = .1f },
		{ 3, 63, 0, 1, 64, .padding = true, .drop = .1f },
		{ 1, 65, 1, 1, 64, .slope = true, .scale = true, .positions = true },
		{ 1, 129, 0, 1, 32, .drop = .1f },
		{ 1, 129, 2, 1, 64, .slope = true, .positions = true, .drop = .1f },
		{ 1, 161, 1, 1, 96, .slope = true, .scale = true, .drop = .1f },
		{ 1, 150, 1, 1, 128, .slope = true, .scale = true, .drop = .1f },
		{ 3, 255, 0, 1, 64, .slope = true, .scale = true, .padding = true },
		{ 1, 257, 0, 1, 64, .slope = false },
		{ 2, 40, 1, 2, 128, .slope = false }, // pictures
		{ 1, 197, 1, 1, 64, .slope = false }, // their teacher
		{ 1, 266, 0, 1, 64, .drop = .1f },    // text
		{ 2, 310, 0, 1, 64, .slope = true, .scale = true, .positions = true, .padding = true, .drop = .1f }, // speech
		{ 5, 70, 1, 2, 128, .padding = true, .drop = .2f }, // few tokens behind the last 64: tails
		{ 9, 80, 0, 1, 64, .drop = .1f },
		{ 2, 144, 0, 2, 128, .padding = true, .unsummed = true },
		{ 1, 396, 0, 1, 64, .drop = .1f },
		{ 2, 139, 0, 1, 64, .far = true, .late = true },
		{ 2, 63, 1, 2, 128, .drop = .1f, .before = 3 },
		{ 2, 40, 1, 2, 128, .slope = true, .drop = .1f, .before = 1 },
		{ 1, 400, 0, 1, 64, .slope = true, .scale = true, .drop = .1f },
		{ 3, 40, 1, 2, 128, .unsummed = true },
		{ 1, 140, 0, 2, 128, .drop = .1f, .unsummed = true },
		{ 2, 140, 0, 3, 192, .slope = true, .scale = true, .drop = .1f }, // heads are no divisor of the blocks
		{ 2, 1, 0, 1, 64, .drop = .5f }, // draws come in words of 32
		{ 2, 32, 0, 1, 64, .drop = .5f, .before = 1 },
		{ 1, 96, 0, 2, 64, .slope = true, .drop = .5f, .before = 2 },
		{ 3, 31, 0, 1, 64, .padding = true, .drop = .3f },
		{ 3, 33, 1, 1, 64, .slope = true, .padding = true, .drop = .3f, .before = 1 },
		{ 1, 65, 0, 2, 64, .drop = .5f }, // heads that the tensor cores take in bf16 alone
		{ 2, 192, 0, 1, 64, .drop = 1 },
		{ 1, 512, 0, 1, 64, .slope = false, .teacher = true },
		{ 1, 620, 0, 1, 64, .slope = true, .scale = true, .positions = true, .teacher = true },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check(&shapes[i]);
}

// Backward reads what is kept: wiped out it says that every score was dropped, and the values' gradient is 0. Its size is
// what a plan for such a device counts, and 0 where there is nothing to keep.
static void test_kept(void **state) {
	(void)state;
	harness h;
	d2v_device *outline;
	shape s = { 2, 70, 0, 2, 128, .drop = .5f };
	harness_open(&h);
	tables t = make_tables(&s);
	harness_side(&h, ONE_THREAD);
	d2v_attention op = make(&h, &s, &t);
	size_t bytes = d2v_attention_kept_bytes(h.device, &op);
	assert_int_equal(d2v_device_outline(&outline, d2v_device_real_size(h.device), 0, NULL), D2V_OK);
	assert_int_equal(d2v_attention_kept_bytes(outline, &op), bytes);
	d2v_device_close(outline);
	if (bytes) {
		op.kept = make_kept(h.device, &op);
		d2v_attention_forward(h.device, &op);
		d2v_device_zero(h.device, op.kept, bytes);
		d2v_attention_backward(h.device, &op);
		for (int64_t token = 0; token < s.rows * s.tokens; token++)
			for (int64_t c = 0; c < s.width; c++)
				assert_true(harness_get(&h, ONE_THREAD, "d_qkv", (token * 3 + 2) * s.width + c) == 0);
	}
	d2v_attention whole = op;
	whole.drop.p = 0;
	assert_int_equal(d2v_attention_kept_bytes(h.device, &whole), 0);
	whole = op, whole.rows = 0;
	assert_int_equal(d2v_attention_kept_bytes(h.device, &whole), 0);
	d2v_device_free(h.device, op.kept);
	d2v_free(t.positions);
	d2v_free(t.padding);
	harness_close(&h);
}

// Short heads without bias and dropout, of which a GPU may go over several after another without a pause: lengths around the
// eights that they are told apart by, and more heads than there are warps.
static void test_short(void **state) {
	(void)state;
	for (int64_t tokens = 1; tokens <= 64; tokens += tokens % 8 == 5 ? 3 : tokens % 8 == 0 ? 1 : 4)
		check(&(shape){ 2, tokens, 0, 1, 64, .padding = tokens % 3 == 0 });
	check(&(shape){ 13, 3, 0, 4, 256, .slope = false });
	check(&(shape){ 25, 24, 0, 1, 64, .padding = true });
	check(&(shape){ 12, 40, 1, 3, 192, .slope = false });
	check(&(shape){ 8, 50, 1, 2, 128, .slope = false });
	check(&(shape){ 2, 13, 0, 2, 128, .far = true });
}

static void test_bias(void **state) {
	(void)state;
	harness h;
	harness_open(&h);
	shape s = { 2, 13, 2, 3, 12, .slope = true, .scale = true, .positions = true };
	tables t = make_tables(&s);
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_attention op = { .rows = 2, .tokens = 13, .extra = 2, .heads = 3, .width = 12 };
		op.positions = harness_table(&h, t.positions, 2 * 11 * sizeof *t.positions);
		op.slope = harness_float(&h, "slope", IN, 3);
		op.scale = harness_float(&h, "scale", IN, 3);
		d2v_attention_bias(h.device, &op, harness_float(&h, "bias", OUT, 3 * 13 * 13));
	}
	harness_compare(&h);
	d2v_free(t.positions);
	d2v_free(t.padding);
	harness_close(&h);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attention),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_bias),
	};
	cmocka_set_test_filter(getenv("D2V_TEST_ONLY")); // one of them, for a way that is for it alone; or NULL
	return cmocka_run_group_tests(tests, NULL, NULL);
}
