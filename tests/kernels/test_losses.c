#include "tests/kernels/harness.h"

#include "base/memory.h"

typedef struct shape {
	int64_t batch, clones, tokens, width, masked;
	float beta;
	int64_t before; // positions of the longer list that this is a piece of
} shape;

static void check_regression(const shape *s) {
	harness h;
	harness_open(&h);
	int64_t rows = s->batch * s->clones, all = rows * s->tokens * s->width, kept = 0;
	int32_t *masked;
	D2V_ASSERT(d2v_alloc(&masked, (size_t)s->masked, sizeof *masked, NULL) == D2V_OK);
	for (int64_t at = 0; at < rows * s->tokens; at++)
		if (harness_draw(3, (uint64_t)at, (uint32_t)(rows * s->tokens - at)) < s->masked - kept)
			masked[kept++] = (int32_t)(s->before + at);
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		h.reduction = 1;
		d2v_regression op = { .masked_count = kept, .beta = s->beta, .scale = .25f, .weight = 1.5f };
		op.masked = harness_table(&h, masked, (size_t)kept * sizeof *masked);
		op.masked_first = s->before;
		op.batch = s->batch;
		op.clones = s->clones;
		op.tokens = s->tokens;
		op.width = s->width;
		op.pred = harness_real(&h, "pred", IN, all);
		op.target = harness_float(&h, "target", IN, s->batch * s->tokens * s->width);
		op.d_pred = harness_real(&h, "d_pred", OUT, all);
		op.loss = harness_double(&h, "loss", OUT, 1);
		op.pred_var = harness_double(&h, "pred_var", OUT, 1);
		op.target_var = harness_double(&h, "target_var", OUT, 1);
		d2v_regression_loss(h.device, &op);
	}
	harness_compare(&h);
	d2v_free(masked);
	harness_close(&h);
}

// The loss itself by differences, element by element, with the same struct on the reference.
static void test_regression_differences(void **state) {
	(void)state;
	for (int smooth = 0; smooth < 2; smooth++) {
		double pred[12], d_pred[12], ignored[12], above, below, loss, step = 1e-6;
		float target[6];
		int32_t masked[3] = { 0, 2, 3 };
		harness h;
		harness_open(&h);
		for (int i = 0; i < 12; i++)
			pred[i] = (double)harness_draw(1, (uint64_t)i, 2000) / 1000 - 1;
		for (int i = 0; i < 6; i++)
			target[i] = (float)harness_draw(2, (uint64_t)i, 2000) / 1000 - 1;
		d2v_regression op = {
			.masked = masked, .masked_count = 3, .beta = smooth ? .3f : 0, .scale = .7f, .weight = 2
		};
		op.batch = 1;
		op.clones = 2;
		op.tokens = 2;
		op.width = 3;
		op.pred = (d2v_real *)(void *)pred;
		op.target = target;
		op.d_pred = (d2v_real *)(void *)d_pred;
		op.loss = &loss;
		d2v_regression_loss(h.devices[REFERENCE], &op);
		op.d_pred = (d2v_real *)(void *)ignored;
		for (int i = 0; i < 12; i++) {
			pred[i] += step;
			op.loss = &above;
			d2v_regression_loss(h.devices[REFERENCE], &op);
			pred[i] -= 2 * step;
			op.loss = &below;
			d2v_regression_loss(h.devices[REFERENCE], &op);
			pred[i] += step;
			double slope = (above - below) / (2 * step);
			if (!(slope - d_pred[i] < 1e-6 && d_pred[i] - slope < 1e-6))
				fail_msg("beta %g, element %d: %.9g, differences say %.9g", (double)op.beta, i, d_pred[i], slope);
		}
		harness_close(&h);
	}
}

static void test_regression(void **state) {
	(void)state;
	static const shape shapes[] = {
		{ 1, 1, 1, 1, 1, .beta = 0 },
		{ 1, 1, 5, 3, 0, .beta = 0 },
		{ 0, 2, 5, 3, 0, .beta = 0 },
		{ 2, 3, 7, 5, 19, .beta = 0 },
		{ 2, 3, 7, 5, 19, .beta = .5f },
		{ 2, 4, 33, 48, 140, .beta = 0 },
		{ 2, 2, 33, 100, 132, .beta = 2 },
		{ 2, 4, 33, 48, 140, .beta = 0, .before = 33 * 4 * 5 },
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check_regression(&shapes[i]);
}

static void test_cls(void **state) {
	(void)state;
	static const shape shapes[] = { { 1, 1, 1, 1, 0, .beta = 0 }, { 0, 2, 3, 4, 0, .beta = 0 },
		{ 3, 4, 9, 33, 0, .beta = 0 }, { 3, 2, 5, 48, 0, .beta = .4f } };
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		const shape *s = &shapes[i];
		harness h;
		harness_open(&h);
		for (int side = 0; side < SIDES; side++) {
			harness_side(&h, side);
			h.reduction = s->tokens;
			d2v_cls op = { .beta = s->beta, .scale = .1f, .weight = 3, .batch = s->batch, .clones = s->clones };
			op.tokens = s->tokens;
			op.width = s->width;
			op.extra_tokens = 2;
			op.row_tokens = 4;
			op.x = harness_real(&h, "x", IN, s->batch * s->clones * 4 * s->width);
			op.target = harness_float(&h, "target", IN, s->batch * s->tokens * s->width);
			op.d_x = harness_real(&h, "d_x", SUM, s->batch * s->clones * 4 * s->width);
			op.loss = harness_double(&h, "loss", OUT, 1);
			d2v_cls_loss(h.device, &op);
		}
		harness_compare(&h);
		harness_close(&h);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regression),
		cmocka_unit_test(test_regression_differences),
		cmocka_unit_test(test_cls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
