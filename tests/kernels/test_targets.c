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
		h.reduction = (tokens + width) * layers;
		op.y = harness_float(&h, "y", OUT, batch * tokens * width);
		d2v_target_forward(h.device, &op);
	}
	harness_compare(&h);
	harness_close(&h);
}

static void test_targets(void **state) {
	(void)state;
	for (int norms = 0; norms < 16; norms++) {
		check(2, 11, 0, 7, 2, norms);
		check(2, 40, 1, 70, 4, norms);
	}
	check(0, 3, 1, 4, 2, 1);
	check(1, 1, 0, 1, 1, 0);
	check(1, 130, 0, 129, 3, 1);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_targets) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
