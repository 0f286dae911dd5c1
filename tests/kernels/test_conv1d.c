#include "tests/kernels/harness.h"

typedef struct shape {
	int64_t rows, steps, in, out, kernel, stride, pad, groups;
	int64_t fewer; // output steps left out (SamePad)
	bool bias, accumulate, no_d_x;
} shape;

static void run(d2v_device *dev, const void *op) {
	d2v_conv1d_forward(dev, op);
}

static d2v_conv1d make(harness *h, const shape *s) {
	int64_t steps_out = (s->steps + 2 * s->pad - s->kernel) / s->stride + 1 - s->fewer;
	int64_t weights = s->out * (s->in / s->groups) * s->kernel;
	d2v_conv1d op = { .rows = s->rows, .steps_in = s->steps, .steps_out = steps_out, .in = s->in, .out = s->out };
	op.kernel = s->kernel;
	op.stride = s->stride;
	op.pad = s->pad;
	op.groups = s->groups;
	op.accumulate_d_x = s->accumulate;
	op.x = harness_real(h, "x", IN, s->rows * s->steps * s->in);
	op.w = harness_real(h, "w", IN, weights);
	op.bias = s->bias ? harness_real(h, "bias", IN, s->out) : NULL;
	op.d_y = harness_real(h, "d_y", IN, s->rows * steps_out * s->out);
	h->reduction = s->in / s->groups * s->kernel;
	op.y = harness_real(h, "y", OUT, s->rows * steps_out * s->out);
	h->reduction = s->out / s->groups * s->kernel;
	op.d_x = s->no_d_x ? NULL : harness_real(h, "d_x", s->accumulate ? SUM : OUT, s->rows * s->steps * s->in);
	h->reduction = s->rows * steps_out;
	op.d_w = harness_float(h, "d_w", SUM, weights);
	op.d_bias = s->bias ? harness_float(h, "d_bias", SUM, s->out) : NULL;
	return op;
}

static void check(const shape *s) {
	harness h;
	harness_open(&h);
	d2v_conv1d reference = { 0 };
	for (int side = 0; side < SIDES; side++) {
		harness_side(&h, side);
		d2v_conv1d op = make(&h, s);
		d2v_conv1d_forward(h.device, &op);
		d2v_conv1d_backward(h.device, &op);
		reference = side == REFERENCE ? op : reference;
	}
	harness_compare(&h);
	if (s->steps < 100 && s->in * s->out * s->kernel < 50000) { // the reference is slow
		if (!s->no_d_x)
			harness_differences(&h, "x", "d_x", "y", "d_y", run, &reference);
		harness_differences(&h, "w", "d_w", "y", "d_y", run, &reference);
		if (s->bias)
			harness_differences(&h, "bias", "d_bias", "y", "d_y", run, &reference);
	}
	harness_close(&h);
}

static void test_conv1d(void **state) {
	(void)state;
	static const shape shapes[] = {
		// rows, steps, in, out, kernel, stride, pad, groups
		{ 1, 1, 1, 1, 1, 1, 0, 1, .bias = false }, { 0, 9, 2, 3, 3, 1, 1, 1, .bias = true },
		{ 2, 40, 1, 16, 10, 5, 0, 1, .no_d_x = true },         // the first layer of the extractor
		{ 2, 41, 5, 7, 3, 2, 0, 1, .bias = false },            // the next ones, and a step at the end that is not used
		{ 2, 40, 6, 9, 2, 2, 0, 1, .accumulate = true },       //
		{ 3, 23, 4, 6, 2, 3, 0, 1, .bias = false },            // steps between the windows
		{ 2, 31, 8, 8, 5, 1, 2, 1, .bias = true },             // dense decoder
		{ 2, 31, 8, 12, 5, 1, 2, 4, .bias = true },            // grouped decoder
		{ 2, 31, 12, 8, 19, 1, 9, 4, .accumulate = true },     // positional
		{ 2, 30, 8, 8, 6, 1, 3, 2, .bias = true, .fewer = 1 }, // even kernel, SamePad
		{ 2, 3, 4, 4, 7, 1, 3, 1, .bias = true },              // shorter than the kernel
		{ 2, 20, 4, 6, 5, 3, 2, 2, .accumulate = true },       // everything at once
		{ 2, 20, 4, 6, 4, 2, 1, 1, .bias = true },             //
		{ 1, 12, 3, 3, 2, 1, 3, 1, .bias = false },            // more padding than kernel
		{ 2, 300, 96, 96, 19, 1, 9, 2, .bias = true },         // groups of 48, as in the base recipe
		{ 2, 530, 48, 48, 7, 1, 3, 2, .accumulate = true },    // 24, more than a tile
		{ 3, 37, 96, 48, 7, 1, 3, 2, .bias = true },           // 48 to 24
		{ 1, 41, 32, 64, 4, 1, 2, 2, .fewer = 1 },             // 16 to 32, SamePad
		{ 1, 40, 128, 32, 2, 1, 3, 2, .accumulate = true },    // more padding than kernel
		{ 1, 1200, 96, 96, 3, 1, 1, 2, .bias = true },         // stretches of a row
		{ 5, 37, 64, 64, 7, 1, 3, 2, .accumulate = true },     // several rows a tile
		{ 1, 9, 3, 3, 3, 1, 0, 3, .fewer = 7 },                // nothing left
		{ 3, 1300, 24, 24, 7, 1, 3, 3, .bias = true },         // more than a piece
		{ 2, 2100, 12, 8, 3, 2, 0, 1, .bias = false },         //
		{ 2, 1400, 1, 24, 10, 5, 0, 1, .no_d_x = true },      // waveforms: more than a tile of positions
		{ 3, 2700, 1, 520, 10, 5, 0, 1, .bias = true, .no_d_x = true }, // more channels than a block has
		{ 2, 90, 1, 8, 3, 2, 1, 1, .bias = true },                      // few taps, and padding
		{ 2, 700, 1, 16, 32, 1, 16, 1, .no_d_x = true, .fewer = 1 },    // as many as there may be
		{ 520, 9, 1, 8, 4, 2, 0, 1, .no_d_x = true },                   // many rows: several to a piece
		// dense, with channels in packs: through cuDNN where there is one
		{ 3, 41, 512, 512, 3, 2, 0, 1, .bias = false },     // the extractor's layers
		{ 2, 19, 512, 512, 2, 2, 0, 1, .accumulate = true }, //
		{ 2, 37, 64, 64, 9, 1, 4, 1, .bias = true, .accumulate = true }, // the text decoder's
		{ 1, 5, 128, 64, 3, 1, 1, 1, .bias = true },                     //
		{ 2, 23, 24, 40, 6, 1, 3, 1, .bias = true, .fewer = 1 },         // SamePad of an even kernel
		{ 2, 23, 16, 8, 3, 2, 1, 1, .no_d_x = true, .fewer = 2 },        // fewer steps than could be
		{ 4, 700, 8, 16, 5, 1, 2, 1, .bias = true },                     //
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check(&shapes[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_conv1d) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
