#include "tests/kernels/harness.h"

static void check(int64_t batch, int64_t tokens, int64_t extra, int64_t width, int64_t layers, int norms) {
	static const char *const names[] = { "layer 0", "layer 1", "layer 2", "layer 3" };
	harness h;
	harness_open(&h);
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		const d2v_real *arrays[4];
		for (int64_t i = 0; i < layers; i++)
			arrays[i] = harness_real(&h, names[i], IN, batch * (extra + tokens) * width);
		d2v_target op = { .layers = arrays, .count = layers, .batch = batch, .tokens = tokens, .extra_tokens = extra };
		op.width = width;
		op.instance_norm_layer = norms & 1;
		op.layer_norm_layer = norms & 2;
		op.layer_norm_mean = norms & 4;
		op.instance_norm_mean = norms & 8;
		op.batch_norm_layer = norms & 16;
		h.reduction = (tokens + width) * layers;
		op.y = harness_float(&h, "y", OUT, batch * tokens * width);
		d2v_target_forward(h.device, &op);
	}
	harness_compare(&h);
	harness_close(&h);
}

static void test_targets(void **state) {
	(void)state;
	for (int norms = 0; norms < 32; norms++) {
		check(2, 11, 0, 7, 2, norms);
		check(2, 40, 1, 70, 4, norms);
	}
	for (int norms = 0; norms < 16; norms++)
		check(2, 41, 1, 72, 3, norms);
	for (int mean = 0; mean < 16; mean += 12) { // instance norm of the layers, by strips of one warp and of several
		check(2, 100, 1, 72, 2, mean | 1);
		check(2, 196, 1, 72, 3, mean | 1);
		check(1, 208, 0, 8, 2, mean | 1);
		check(1, 300, 0, 40, 2, mean | 1);
		check(1, 512, 1, 24, 2, mean | 1);
		check(1, 600, 1, 24, 2, mean | 1);
		check(1, 1100, 0, 16, 1, mean | 1);
		check(1, 2100, 0, 16, 2, mean | 1);
		check(1, 2600, 0, 16, 1, mean | 1); // too many tokens for any
	}
	check(1, 3, 1, 1400, 2, 4); // too wide for a warp
	check(2, 3, 1, 1400, 2, 5);
	check(1, 5, 1, 512, 4, 2);
	check(1, 5, 1, 768, 4, 6);
	check(1, 2, 0, 1280, 4, 6);
	check(0, 3, 1, 4, 2, 1);
	check(1, 1, 0, 1, 1, 0);
	check(1, 130, 0, 129, 3, 1);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_targets) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
