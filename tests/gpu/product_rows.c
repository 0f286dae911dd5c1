#include "tests/gpu/gpu_rows.h"

#include <stdio.h>
#include <stdlib.h>

BENCH_BODY(linear_forward, d2v_linear)
BENCH_BODY(linear_backward, d2v_linear)

static void linear(bench *b, const char *name, int64_t rows, int64_t in, int64_t out, bool gelu) {
	d2v_linear op = { .rows = rows, .in = in, .out = out, .gelu = gelu };
	if (!bench_is_wanted(b, name))
		return;
	op.x = bench_reals(b, rows * in), op.w = bench_reals(b, out * in), op.bias = bench_reals(b, out),
	op.y = bench_reals(b, rows * out);
	op.pre = gelu ? bench_reals(b, rows * out) : NULL;
	op.d_y = bench_reals(b, rows * out), op.d_x = bench_reals(b, rows * in);
	op.d_w = bench_floats(b, out * in);
	op.d_bias = gelu ? bench_floats(b, out) : NULL; // the others' is summed by whoever writes d_y: a norm, or attention
	double flops = 2.0 * (double)(rows * in * out);
	bench_pair_print(b, &(bench_row){ .name = name, .flops = flops, .run = run_linear_forward, .op = &op },
		&(bench_row){ .flops = 2 * flops, .run = run_linear_backward, .op = &op });
}

// fc1 with GELU, its input kept as a student does or not as a teacher, by both ways there are
// (kernels/cuda/cuda_linear.cu).
static void gelu_layer(bench *b, const char *name, int64_t rows, int64_t in, int64_t out) {
	static const char *const ways[] = { "apart", "wgmma" };
	d2v_linear op = { .rows = rows, .in = in, .out = out, .gelu = true };
	if (!bench_is_wanted(b, name))
		return;
	op.x = bench_reals(b, rows * in), op.w = bench_reals(b, out * in), op.bias = bench_reals(b, out),
	op.y = bench_reals(b, rows * out);
	d2v_real *pre = bench_reals(b, rows * out);
	for (int i = 0; i < 4; i++) {
		char text[80];
		snprintf(text, sizeof text, "%s%s, %s", name, i / 2 ? "" : " kept", ways[i % 2]);
		setenv("D2V_GELU", ways[i % 2], 1);
		op.pre = i / 2 ? NULL : pre;
		bench_row_print(
			b, &(bench_row){
				   .name = text, .flops = 2.0 * (double)(rows * in * out), .run = run_linear_forward, .op = &op });
		unsetenv("D2V_GELU");
	}
	bench_give_all(b);
}

// The kernels around a product that cannot take its GELU: forward the product's result is written, read, and written
// once more; backward it is read with the gradient, which is written, and read by both products. The products
// themselves are over eight channels, next to nothing.
static void gelu_passes(bench *b, const char *name, int64_t rows, int64_t out) {
	enum { IN = 8 };
	d2v_linear op = { .rows = rows, .in = IN, .out = out, .gelu = true };
	if (!bench_is_wanted(b, name))
		return;
	op.x = bench_reals(b, rows * IN), op.w = bench_reals(b, out * IN), op.y = bench_reals(b, rows * out),
	op.pre = bench_reals(b, rows * out);
	op.d_y = bench_reals(b, rows * out), op.d_x = bench_reals(b, rows * IN), op.d_w = bench_floats(b, out * IN),
	op.d_bias = bench_floats(b, out);
	double size = (double)(rows * out) * (double)d2v_device_real_size(b->dev);
	bench_pair_print(b, &(bench_row){ .name = name, .bytes = 3 * size, .run = run_linear_forward, .op = &op },
		&(bench_row){ .bytes = 5 * size, .run = run_linear_backward, .op = &op });
}

static void bias_gradient(bench *b, const char *name, int64_t rows, int64_t out) {
	d2v_linear op = { .rows = rows, .in = 8, .out = out };
	if (!bench_is_wanted(b, name))
		return;
	op.d_y = bench_reals(b, rows * out), op.d_bias = bench_floats(b, out);
	double size = (double)(rows * out) * (double)d2v_device_real_size(b->dev);
	bench_row_print(b, &(bench_row){ .name = name, .bytes = size, .run = run_linear_backward, .op = &op });
	bench_give_all(b);
}

void product_rows(bench *b) {
	const int64_t rows = bench_rows(b, 163840);
	linear(b, "qkv 163840x768x2304", rows, 768, 2304, false);
	linear(b, "out 163840x768x768", rows, 768, 768, false);
	linear(b, "fc1+gelu 163840x768x3072", rows, 768, 3072, true);
	linear(b, "fc2 163840x3072x768", rows, 3072, 768, false);
	gelu_passes(b, "gelu 163840x3072", rows, 3072);
	gelu_layer(b, "fc1, gelu 163840x768x3072", rows, 768, 3072);
	bias_gradient(b, "bias gradient 163840x2304", rows, 2304);
}
