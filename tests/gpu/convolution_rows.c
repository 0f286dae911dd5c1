#include "tests/gpu/gpu_rows.h"

#include <stdio.h>
#include <stdlib.h>

BENCH_BODY(conv1d_forward, d2v_conv1d)
BENCH_BODY(conv1d_backward, d2v_conv1d)
BENCH_BODY(conv2d_forward, d2v_conv2d)
BENCH_BODY(conv2d_backward, d2v_conv2d)

// A convolution: its operation, and that again without one gradient or the other.
typedef struct convolution {
	const char *name;
	double flops; // forward, and of either gradient
	bench_body *forward, *backward;
	const void *op, *of_input, *of_weights;
} convolution;

// Forward and either gradient by both ways there are for groups (kernels/cuda/cuda_conv_grouped.cu).
static void convolution_by_ways(bench *b, const convolution *c) {
	static const char *const ways[] = { "mma", "wgmma" };
	for (int i = 0; i < 2; i++) {
		char text[64], of_x[96], of_w[96];
		snprintf(text, sizeof text, "%s, %s", c->name, ways[i]);
		snprintf(of_x, sizeof of_x, "%s, input's gradient", text);
		snprintf(of_w, sizeof of_w, "%s, weights' gradient", text);
		setenv("D2V_CONV", ways[i], 1);
		bench_row_print(b, &(bench_row){ .name = text, .flops = c->flops, .run = c->forward, .op = c->op });
		bench_row_print(b, &(bench_row){ .name = of_x, .flops = c->flops, .run = c->backward, .op = c->of_input });
		bench_row_print(b, &(bench_row){ .name = of_w, .flops = c->flops, .run = c->backward, .op = c->of_weights });
	}
	unsetenv("D2V_CONV");
}

// gradients: how many of the two there are.
static void convolution_rows_of(bench *b, const convolution *c, int64_t groups, int gradients) {
	if (groups > 1)
		convolution_by_ways(b, c);
	bench_pair_print(b, &(bench_row){ .name = c->name, .flops = c->flops, .run = c->forward, .op = c->op },
		&(bench_row){ .flops = gradients * c->flops, .run = c->backward, .op = c->op });
}

static void conv1d(bench *b, const char *name, d2v_conv1d op) {
	int64_t weights = op.out * op.in / op.groups * op.kernel;
	if (!bench_is_wanted(b, name))
		return;
	op.rows = bench_rows(b, op.rows);
	op.steps_in = b->small && op.steps_in > 1000 ? 1000 : op.steps_in;
	op.steps_out = (op.steps_in + 2 * op.pad - op.kernel) / op.stride + 1;
	int64_t in = op.rows * op.steps_in * op.in, out = op.rows * op.steps_out * op.out;
	op.x = bench_reals(b, in), op.w = bench_reals(b, weights);
	op.y = bench_reals(b, out), op.d_y = bench_reals(b, out);
	op.d_x = op.in > 1 ? bench_reals(b, in) : NULL;
	op.d_w = bench_floats(b, weights);
	d2v_conv1d of_input = op, of_weights = op;
	of_input.d_w = NULL, of_weights.d_x = NULL;
	convolution c = { name, 2.0 * (double)(op.rows * op.steps_out * weights), run_conv1d_forward, run_conv1d_backward,
		&op, &of_input, &of_weights };
	convolution_rows_of(b, &c, op.groups, op.in > 1 ? 2 : 1);
}

static void conv2d(
	bench *b, const char *name, int64_t rows, int64_t side, int64_t width, int64_t kernel, int64_t groups) {
	d2v_conv2d op = {
		.rows = bench_rows(b, rows), .height = side, .width = side, .in = width, .out = width, .kernel = kernel
	};
	int64_t weights = width * width / groups * kernel * kernel, all = op.rows * side * side * width;
	if (!bench_is_wanted(b, name))
		return;
	op.groups = groups;
	op.x = bench_reals(b, all), op.w = bench_reals(b, weights), op.y = bench_reals(b, all);
	op.d_y = bench_reals(b, all), op.d_x = bench_reals(b, all);
	op.d_w = bench_floats(b, weights);
	d2v_conv2d of_input = op, of_weights = op;
	of_input.d_w = NULL, of_weights.d_x = NULL;
	convolution c = { name, 2.0 * (double)(op.rows * side * side * weights), run_conv2d_forward, run_conv2d_backward,
		&op, &of_input, &of_weights };
	convolution_rows_of(b, &c, groups, 2);
}

void convolution_rows(bench *b) {
	conv2d(b, "image decoder 14x14x768, 3x3, g16", 1024, 14, 768, 3, 16);
	conv1d(b, "positions 620x768, k19, g16",
		(d2v_conv1d){
			.rows = 320, .steps_in = 620, .in = 768, .out = 768, .kernel = 19, .stride = 1, .pad = 9, .groups = 16 });
	conv1d(b, "audio decoder 620x384, k7, g16",
		(d2v_conv1d){
			.rows = 320, .steps_in = 620, .in = 384, .out = 384, .kernel = 7, .stride = 1, .pad = 3, .groups = 16 });
	conv1d(b, "text decoder 512x768, k9",
		(d2v_conv1d){
			.rows = 128, .steps_in = 512, .in = 768, .out = 768, .kernel = 9, .stride = 1, .pad = 4, .groups = 1 });
	conv1d(b, "extractor 0: 1 to 512, k10, s5",
		(d2v_conv1d){ .rows = 20, .steps_in = 198400, .in = 1, .out = 512, .kernel = 10, .stride = 5, .groups = 1 });
	conv1d(b, "extractor 1: 512, k3, s2",
		(d2v_conv1d){ .rows = 20, .steps_in = 39679, .in = 512, .out = 512, .kernel = 3, .stride = 2, .groups = 1 });
}
