// Operations at the shapes of the base recipes, and whole training steps at their published batches, on one GPU: time,
// what was reached, and that as a share of the matrix products and of the copying measured in the same run.
// A table on stdout, one JSON object a line beside it. Arguments: [DEVICE [WORD...]]; only rows that have a word.
#include "base/memory.h"
#include "base/progress.h"
#include "kernels/cuda/attention_draws.h"
#include "kernels/ops.h"
#include "tests/gpu/whole_step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 5
#define CALLS 10         // of an operation, between two looks at the clock
#define DATASHEET 989e12 // H100 and H200 SXM, bf16 dense (NVIDIA)

typedef struct bench {
	d2v_device *dev;
	char **words;
	void *arrays[64];
	int count;
	double product_peak, copy_peak; // FLOP and bytes per second
	bool failed;
} bench;

typedef void body(d2v_device *dev, const void *op);

static void stop(const d2v_error *err) {
	fprintf(stderr, "bench_gpu: %s\n", err->text);
	exit(d2v_status_exit_code(err->status));
}

static void must(d2v_status status, const d2v_error *err) {
	if (status != D2V_OK)
		stop(err);
}

static void *take(bench *b, size_t bytes) {
	d2v_error err = { 0 };
	D2V_ASSERT(b->count < 64);
	must(d2v_device_alloc(b->dev, &b->arrays[b->count], bytes, &err), &err);
	return b->arrays[b->count++];
}

// No zeros: products of those run faster than they ever will.
static float *floats(bench *b, int64_t count) {
	enum { PIECE = 1 << 20 };
	static float host[PIECE];
	if (host[1] == 0)
		for (int i = 0; i < PIECE; i++)
			host[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f;
	float *p = take(b, (size_t)count * sizeof *p);
	for (int64_t at = 0; at < count; at += PIECE) {
		size_t bytes = (size_t)(count - at < PIECE ? count - at : PIECE) * sizeof *p;
		if (at == 0)
			d2v_device_upload(b->dev, p, host, bytes);
		else
			d2v_device_copy(b->dev, p + at, p, bytes);
	}
	return p;
}

static d2v_real *reals(bench *b, int64_t count) {
	float *from = floats(b, count);
	d2v_real *to = take(b, (size_t)count * d2v_device_real_size(b->dev));
	d2v_device_to_real(b->dev, to, from, (size_t)count);
	d2v_error err = { 0 };
	must(d2v_device_sync(b->dev, &err), &err);
	d2v_device_free(b->dev, from);
	b->arrays[b->count - 2] = to;
	b->count--;
	return to;
}

static void *table(bench *b, const void *host, size_t bytes) {
	void *p = take(b, bytes);
	d2v_device_upload(b->dev, p, host, bytes);
	return p;
}

static void give_all(bench *b) {
	while (b->count)
		d2v_device_free(b->dev, b->arrays[--b->count]);
}

// Seconds of one call, the best of a few rounds.
static double seconds_of(bench *b, body *run, const void *op) {
	double best = INFINITY;
	d2v_error err = { 0 };
	for (int i = 0; i < REPEATS + 1; i++) { // the first warms up
		must(d2v_device_sync(b->dev, &err), &err);
		double start = d2v_clock();
		for (int call = 0; call < CALLS; call++)
			run(b->dev, op);
		must(d2v_device_sync(b->dev, &err), &err);
		best = i ? fmin(best, (d2v_clock() - start) / CALLS) : best;
	}
	return best;
}

static bool wanted(const bench *b, const char *name) {
	for (char **word = b->words; *word; word++)
		if (strstr(name, *word))
			return true;
	return !*b->words;
}

// flops > 0: held against products; otherwise bytes against copying.
static void row(bench *b, const char *name, double flops, double bytes, body *run, const void *op) {
	if (!wanted(b, name))
		return;
	double seconds = seconds_of(b, run, op), work = flops > 0 ? flops : bytes;
	double ratio = work / seconds / (flops > 0 ? b->product_peak : b->copy_peak);
	printf("%-50s %9.3f ms %8.1f %-8s %5.1f %% of %s\n", name, seconds * 1e3,
		work / seconds * (flops > 0 ? 1e-12 : 1e-9), flops > 0 ? "TFLOP/s" : "GB/s", 100 * ratio,
		flops > 0 ? "products" : "copying");
	printf("{\"bench\":\"gpu\",\"op\":\"%s\",\"seconds\":%.6g,\"ratio\":%.4g,\"limit\":\"%s\"}\n", name, seconds, ratio,
		flops > 0 ? "products" : "copying");
	fflush(stdout);
}

static void pair(bench *b, const char *name, double flops, double back_flops, double bytes, double back_bytes,
	body *forward, body *backward, const void *op) {
	char back[64];
	snprintf(back, sizeof back, "%s, backward", name);
	row(b, name, flops, bytes, forward, op);
	if (backward)
		row(b, back, back_flops, back_bytes, backward, op);
	give_all(b);
}

#define BODY(name, type) \
	static void run_##name(d2v_device *dev, const void *op) { \
		d2v_##name(dev, (const type *)op); \
	}
BODY(linear_forward, d2v_linear)
BODY(linear_backward, d2v_linear)
BODY(norm_forward, d2v_norm)
BODY(norm_backward, d2v_norm)
BODY(conv1d_forward, d2v_conv1d)
BODY(conv1d_backward, d2v_conv1d)
BODY(conv2d_forward, d2v_conv2d)
BODY(conv2d_backward, d2v_conv2d)
BODY(attention_forward, d2v_attention)
BODY(attention_backward, d2v_attention)
BODY(gather_forward, d2v_gather)
BODY(gather_backward, d2v_gather)
BODY(restore_forward, d2v_restore)
BODY(restore_backward, d2v_restore)
BODY(target_forward, d2v_target)
BODY(adam_update, d2v_adam)
BODY(ema_update, d2v_ema)

typedef struct copying {
	void *to, *from;
	size_t bytes;
} copying;
static void run_copy(d2v_device *dev, const void *op) {
	const copying *c = op;
	d2v_device_copy(dev, c->to, c->from, c->bytes);
}

static void measure_peaks(bench *b) {
	enum { N = 8192 };
	d2v_linear op = { .rows = N, .in = N, .out = N };
	op.x = reals(b, N * N), op.w = reals(b, N * N), op.y = reals(b, N * N);
	b->product_peak = 2.0 * N * N * N / seconds_of(b, run_linear_forward, &op);
	give_all(b);
	copying c = { .bytes = (size_t)1 << 30 };
	c.to = take(b, c.bytes), c.from = take(b, c.bytes);
	b->copy_peak = 2.0 * (double)c.bytes / seconds_of(b, run_copy, &c);
	give_all(b);
	printf("%s: products of 8192^3 %.1f TFLOP/s, copying %.0f GB/s (read and written)\n", d2v_device_name(b->dev),
		b->product_peak * 1e-12, b->copy_peak * 1e-9);
	printf("{\"bench\":\"gpu\",\"device\":\"%s\",\"tflops\":%.6g,\"gbs\":%.6g}\n", d2v_device_name(b->dev),
		b->product_peak * 1e-12, b->copy_peak * 1e-9);
}

// ---- operations

static void linear(bench *b, const char *name, int64_t rows, int64_t in, int64_t out, bool gelu) {
	d2v_linear op = { .rows = rows, .in = in, .out = out, .gelu = gelu };
	if (!wanted(b, name))
		return;
	op.x = reals(b, rows * in), op.w = reals(b, out * in), op.bias = reals(b, out), op.y = reals(b, rows * out);
	op.pre = gelu ? reals(b, rows * out) : NULL;
	op.d_y = reals(b, rows * out), op.d_x = reals(b, rows * in);
	op.d_w = floats(b, out * in);
	op.d_bias = gelu ? floats(b, out) : NULL; // the others' is summed by whoever writes d_y: a norm, or attention
	double flops = 2.0 * (double)(rows * in * out);
	pair(b, name, flops, 2 * flops, 0, 0, run_linear_forward, run_linear_backward, &op);
}

// fc1 with GELU, its input kept as a student does or not as a teacher, by both ways there are (kernels/cuda/cuda_linear.cu).
static void gelu_layer(bench *b, const char *name, int64_t rows, int64_t in, int64_t out) {
	static const char *const ways[] = { "apart", "wgmma" };
	d2v_linear op = { .rows = rows, .in = in, .out = out, .gelu = true };
	if (!wanted(b, name))
		return;
	op.x = reals(b, rows * in), op.w = reals(b, out * in), op.bias = reals(b, out), op.y = reals(b, rows * out);
	d2v_real *pre = reals(b, rows * out);
	for (int i = 0; i < 4; i++) {
		char text[80];
		snprintf(text, sizeof text, "%s%s, %s", name, i / 2 ? "" : " kept", ways[i % 2]);
		setenv("D2V_GELU", ways[i % 2], 1);
		op.pre = i / 2 ? NULL : pre;
		row(b, text, 2.0 * (double)(rows * in * out), 0, run_linear_forward, &op);
		unsetenv("D2V_GELU");
	}
	give_all(b);
}

// The way back without the sums for a bias that ride on it: what they cost. (Apart they are a `bias gradient`.)
static void without_sums(bench *b, const char *name, double flops, double bytes, body *backward, const void *op) {
	char text[128];
	snprintf(text, sizeof text, "%s, backward without sums", name);
	row(b, text, flops, bytes, backward, op);
}

// What a step's forward leaves for its backward.
static void *take_kept(bench *b, const d2v_attention *op) {
	size_t bytes = d2v_attention_kept_bytes(b->dev, op);
	return bytes ? take(b, bytes) : NULL;
}

// The same by one of the ways there are (kernels/cuda/cuda_attention.cu): side by side they tell which is to be chosen.
static void attention_by(bench *b, const char *way, const char *name, double flops, const d2v_attention *op) {
	char text[64], back[80];
	snprintf(text, sizeof text, "%s, %s", name, way);
	snprintf(back, sizeof back, "%s, backward", text);
	setenv("D2V_ATTENTION", way, 1);
	row(b, text, flops, 0, run_attention_forward, op);
	row(b, back, 2.5 * flops, 0, run_attention_backward, op);
	unsetenv("D2V_ATTENTION");
}

// Backward over short heads without a bias, a warp a head: bound by its bytes, of q, k, v, d_out and three gradients.
static void attention_short(bench *b, const char *name, const d2v_attention *op) {
	char text[80];
	d2v_attention unsummed = *op;
	double bytes = 7.0 * (double)(op->rows * op->tokens * op->width) * (double)d2v_device_real_size(b->dev);
	unsummed.d_qkv_bias = NULL;
	snprintf(text, sizeof text, "%s, short", name);
	setenv("D2V_ATTENTION", "short", 1);
	without_sums(b, text, 0, bytes, run_attention_backward, &unsummed);
	snprintf(text, sizeof text, "%s, short, backward", name);
	row(b, text, 0, bytes, run_attention_backward, op);
	unsetenv("D2V_ATTENTION");
}

static void attention(bench *b, const char *name, int64_t rows, int64_t tokens, bool bias, float drop) {
	enum { HEADS = 12, WIDTH = 768 };
	d2v_attention op = { .rows = rows, .tokens = tokens, .heads = HEADS, .width = WIDTH };
	int64_t all = rows * tokens * WIDTH;
	if (!wanted(b, name))
		return;
	if (bias) {
		int32_t *positions;
		D2V_ASSERT(d2v_alloc(&positions, (size_t)(rows * tokens), sizeof *positions, NULL) == D2V_OK);
		for (int64_t i = 0; i < rows * tokens; i++)
			positions[i] = (int32_t)(i % tokens * 2);
		op.positions = table(b, positions, (size_t)(rows * tokens) * sizeof *positions);
		d2v_free(positions);
		op.slope = floats(b, HEADS), op.scale = floats(b, HEADS), op.d_scale = floats(b, HEADS);
	}
	op.qkv = reals(b, 3 * all), op.out = reals(b, all), op.d_out = reals(b, all), op.d_qkv = reals(b, 3 * all);
	op.lse = floats(b, rows * HEADS * tokens);
	op.d_qkv_bias = floats(b, 3 * WIDTH);
	op.drop.p = drop;
	op.kept = take_kept(b, &op);
	double flops = 4.0 * (double)(all * tokens);
	attention_by(b, "tiles", name, flops, &op);
	attention_by(b, "wgmma", name, flops, &op);
	if (tokens <= 64 && !bias && drop <= 0)
		attention_short(b, name, &op);
	d2v_attention unsummed = op;
	unsummed.d_qkv_bias = NULL;
	without_sums(b, name, 2.5 * flops, 0, run_attention_backward, &unsummed);
	pair(b, name, flops, 2.5 * flops, 0, 0, run_attention_forward, run_attention_backward, &op);
}

static void run_draws(d2v_device *dev, const void *op) {
	score_draws draws;
	d2v_cuda_attention_draw(dev, op, &draws);
}

// What dropout adds to attention before it begins, of a step forward alone: what is kept serves both ways. It is bound by
// instructions, not by what it writes, twice.
static void draws(bench *b, const char *name, int64_t rows, int64_t tokens) {
	d2v_attention op = { .rows = rows, .tokens = tokens, .heads = 12, .width = 768, .drop.p = .1f };
	op.kept = take_kept(b, &op);
	row(b, name, 0, (double)d2v_attention_kept_bytes(b->dev, &op), run_draws, &op);
	give_all(b);
}

// The kernels around a product that cannot take its GELU: forward the product's result is written, read, and written once
// more; backward it is read with the gradient, which is written, and read by both products. The products themselves are over
// eight channels, next to nothing.
static void gelu_passes(bench *b, const char *name, int64_t rows, int64_t out) {
	enum { IN = 8 };
	d2v_linear op = { .rows = rows, .in = IN, .out = out, .gelu = true };
	if (!wanted(b, name))
		return;
	op.x = reals(b, rows * IN), op.w = reals(b, out * IN), op.y = reals(b, rows * out), op.pre = reals(b, rows * out);
	op.d_y = reals(b, rows * out), op.d_x = reals(b, rows * IN), op.d_w = floats(b, out * IN), op.d_bias = floats(b, out);
	double size = (double)(rows * out) * (double)d2v_device_real_size(b->dev);
	pair(b, name, 0, 0, 3 * size, 5 * size, run_linear_forward, run_linear_backward, &op);
}

static void bias_gradient(bench *b, const char *name, int64_t rows, int64_t out) {
	d2v_linear op = { .rows = rows, .in = 8, .out = out };
	if (!wanted(b, name))
		return;
	op.d_y = reals(b, rows * out), op.d_bias = floats(b, out);
	row(b, name, 0, (double)(rows * out) * (double)d2v_device_real_size(b->dev), run_linear_backward, &op);
	give_all(b);
}

// add: of a decoder's layer, which has no gain. Behind a branch or a convolution there is a bias to sum for.
static void norm(bench *b, const char *name, int64_t rows, int64_t channels, bool residual, bool gelu, bool add) {
	d2v_norm op = { .rows = rows, .channels = channels, .eps = 1e-5f, .gelu = gelu };
	int64_t all = rows * channels;
	double size = (double)all * (double)d2v_device_real_size(b->dev);
	if (!wanted(b, name))
		return;
	op.x = reals(b, all), op.y = reals(b, all);
	if (add) {
		op.add = reals(b, all);
	} else {
		op.gain = reals(b, channels), op.bias = reals(b, channels);
		op.d_gain = floats(b, channels), op.d_bias = floats(b, channels);
	}
	op.mean = floats(b, rows), op.rstd = floats(b, rows), op.d_y = reals(b, all), op.d_sum = reals(b, all);
	if (residual)
		op.residual = reals(b, all), op.sum = reals(b, all), op.d_residual = reals(b, all);
	if (residual || add) {
		without_sums(b, name, 0, size * (residual ? 4 : 3), run_norm_backward, &op);
		op.d_bias_before = floats(b, channels);
	}
	pair(b, name, 0, 0, size * (residual ? 4 : add ? 3 : 2), size * (residual ? 4 : 3), run_norm_forward, run_norm_backward, &op);
}

// Forward and either gradient by both ways there are for groups (kernels/cuda/cuda_conv_grouped.cu).
static void convolution_by_ways(bench *b, const char *name, double flops, body *forward, body *backward, const void *op,
	const void *of_input, const void *of_weights) {
	static const char *const ways[] = { "mma", "wgmma" };
	for (int i = 0; i < 2; i++) {
		char text[64], of_x[96], of_w[96];
		snprintf(text, sizeof text, "%s, %s", name, ways[i]);
		snprintf(of_x, sizeof of_x, "%s, input's gradient", text);
		snprintf(of_w, sizeof of_w, "%s, weights' gradient", text);
		setenv("D2V_CONV", ways[i], 1);
		row(b, text, flops, 0, forward, op);
		row(b, of_x, flops, 0, backward, of_input);
		row(b, of_w, flops, 0, backward, of_weights);
	}
	unsetenv("D2V_CONV");
}

static void conv1d(bench *b, const char *name, d2v_conv1d op) {
	int64_t weights = op.out * op.in / op.groups * op.kernel;
	if (!wanted(b, name))
		return;
	op.steps_out = (op.steps_in + 2 * op.pad - op.kernel) / op.stride + 1;
	op.x = reals(b, op.rows * op.steps_in * op.in), op.w = reals(b, weights);
	op.y = reals(b, op.rows * op.steps_out * op.out), op.d_y = reals(b, op.rows * op.steps_out * op.out);
	op.d_x = op.in > 1 ? reals(b, op.rows * op.steps_in * op.in) : NULL;
	op.d_w = floats(b, weights);
	double flops = 2.0 * (double)(op.rows * op.steps_out * weights);
	d2v_conv1d of_input = op, of_weights = op;
	of_input.d_w = NULL, of_weights.d_x = NULL;
	if (op.groups > 1)
		convolution_by_ways(b, name, flops, run_conv1d_forward, run_conv1d_backward, &op, &of_input, &of_weights);
	pair(b, name, flops, flops * (op.in > 1 ? 2 : 1), 0, 0, run_conv1d_forward, run_conv1d_backward, &op);
}

static void conv2d(bench *b, const char *name, int64_t rows, int64_t side, int64_t width, int64_t kernel, int64_t groups) {
	d2v_conv2d op = { .rows = rows, .height = side, .width = side, .in = width, .out = width, .kernel = kernel };
	int64_t weights = width * width / groups * kernel * kernel, all = rows * side * side * width;
	if (!wanted(b, name))
		return;
	op.groups = groups;
	op.x = reals(b, all), op.w = reals(b, weights), op.y = reals(b, all), op.d_y = reals(b, all), op.d_x = reals(b, all);
	op.d_w = floats(b, weights);
	double flops = 2.0 * (double)(rows * side * side * weights);
	d2v_conv2d of_input = op, of_weights = op;
	of_input.d_w = NULL, of_weights.d_x = NULL;
	if (groups > 1)
		convolution_by_ways(b, name, flops, run_conv2d_forward, run_conv2d_backward, &op, &of_input, &of_weights);
	pair(b, name, flops, 2 * flops, 0, 0, run_conv2d_forward, run_conv2d_backward, &op);
}

static void copies(bench *b) {
	enum { B = 64, M = 8, T = 512, K = 266, D = 768 };
	static int32_t keep[B * M * K], restore[B * M * T];
	if (!wanted(b, "gather") && !wanted(b, "restore"))
		return;
	for (int i = 0; i < B * M * T; i++)
		restore[i] = i % T;
	for (int i = 0; i < B * M * K; i++)
		keep[i] = i % K;
	d2v_gather gather = { .batch = B, .clones = M, .tokens = T, .kept = K, .width = D };
	d2v_restore back = { .rows = B * M, .tokens = T, .kept = K, .width = D, .noise_std = .01f };
	gather.keep = back.keep = table(b, keep, sizeof keep);
	gather.restore = back.restore = table(b, restore, sizeof restore);
	gather.x = reals(b, (int64_t)B * T * D), gather.d_x = reals(b, (int64_t)B * T * D);
	gather.out = reals(b, (int64_t)B * M * K * D), back.x = gather.out;
	gather.d_out = reals(b, (int64_t)B * M * K * D), back.d_x = reals(b, (int64_t)B * M * K * D);
	back.out = reals(b, (int64_t)B * M * T * D), back.d_out = back.out;
	double size = (double)d2v_device_real_size(b->dev) * D, kept = size * B * M * K, all = size * B * M * T;
	row(b, "gather 64x8 of 512", 0, kept * 2, run_gather_forward, &gather);
	row(b, "gather 64x8 of 512, backward", 0, kept + size * B * T * 2, run_gather_backward, &gather);
	row(b, "restore 64x8 of 512", 0, kept + all, run_restore_forward, &back);
	row(b, "restore 64x8 of 512, backward", 0, kept * 2, run_restore_backward, &back);
	give_all(b);
}

// op: its options, and its sizes but the width.
static void targets(bench *b, const char *name, d2v_target op) {
	enum { D = 768, MOST = 12 };
	const d2v_real *layers[MOST];
	if (!wanted(b, name))
		return;
	for (int i = 0; i < op.count; i++)
		layers[i] = reals(b, op.batch * (op.tokens + op.extra_tokens) * D);
	op.layers = layers, op.width = D;
	op.y = floats(b, op.batch * op.tokens * D);
	double size = (double)(op.batch * op.tokens) * D;
	row(b, name, 0, size * ((double)op.count * (double)d2v_device_real_size(b->dev) + 4), run_target_forward, &op);
	give_all(b);
}

static void parameters(bench *b) {
	enum { COUNT = 93783308 };
	static const d2v_range all = { 0, COUNT };
	if (!wanted(b, "Adam") && !wanted(b, "teacher"))
		return;
	d2v_adam op = { .ranges = &all, .range_count = 1, .lr = 1e-9, .beta1 = .9, .beta2 = .98, .eps = 1e-6 };
	op.grad_scale = 1, op.step = 1000;
	op.param = floats(b, COUNT), op.grad = floats(b, COUNT), op.m = floats(b, COUNT), op.v = floats(b, COUNT);
	op.working = reals(b, COUNT);
	d2v_ema ema = { .teacher_ranges = &all, .student_ranges = &all, .range_count = 1, .rate = 1e-4 };
	ema.teacher = op.m, ema.student = op.param, ema.working = op.working;
	row(b, "Adam, 93.8 M parameters", 0, 30.0 * COUNT, run_adam_update, &op);
	row(b, "teacher's move, 93.8 M parameters", 0, 14.0 * COUNT, run_ema_update, &ema);
	give_all(b);
}

static void operations(bench *b) {
	linear(b, "qkv 163840x768x2304", 163840, 768, 2304, false);
	linear(b, "out 163840x768x768", 163840, 768, 768, false);
	linear(b, "fc1+gelu 163840x768x3072", 163840, 768, 3072, true);
	linear(b, "fc2 163840x3072x768", 163840, 3072, 768, false);
	attention(b, "attention 4096x12, 40 tokens", 4096, 40, false, 0);
	attention(b, "attention 2048x12, 50 tokens", 2048, 50, false, 0); // of a large model
	attention(b, "attention 256x12, 197 tokens", 256, 197, false, 0);
	attention(b, "attention 512x12, 266 tokens", 512, 266, false, 0);
	attention(b, "attention 512x12, 266 tokens, dropout", 512, 266, false, .1f);
	attention(b, "attention 320x12, 310 tokens, alibi", 320, 310, true, 0);
	attention(b, "attention 320x12, 310 tokens, alibi, dropout", 320, 310, true, .1f);
	draws(b, "attention's draws 512x12, 266 tokens", 512, 266);
	draws(b, "attention's draws 320x12, 310 tokens", 320, 310);
	attention(b, "attention 64x12, 620 tokens, alibi", 64, 620, true, 0);
	attention(b, "attention 64x12, 999 tokens, alibi", 64, 999, true, 0);
	conv2d(b, "image decoder 14x14x768, 3x3, g16", 1024, 14, 768, 3, 16);
	conv1d(b, "positions 620x768, k19, g16", (d2v_conv1d){ .rows = 320, .steps_in = 620, .in = 768, .out = 768, .kernel = 19,
		.stride = 1, .pad = 9, .groups = 16 });
	conv1d(b, "audio decoder 620x384, k7, g16", (d2v_conv1d){ .rows = 320, .steps_in = 620, .in = 384, .out = 384, .kernel = 7,
		.stride = 1, .pad = 3, .groups = 16 });
	conv1d(b, "text decoder 512x768, k9", (d2v_conv1d){ .rows = 128, .steps_in = 512, .in = 768, .out = 768, .kernel = 9,
		.stride = 1, .pad = 4, .groups = 1 });
	conv1d(b, "extractor 0: 1 to 512, k10, s5", (d2v_conv1d){ .rows = 20, .steps_in = 198400, .in = 1, .out = 512,
		.kernel = 10, .stride = 5, .groups = 1 });
	conv1d(b, "extractor 1: 512, k3, s2", (d2v_conv1d){ .rows = 20, .steps_in = 39679, .in = 512, .out = 512, .kernel = 3,
		.stride = 2, .groups = 1 });
	gelu_passes(b, "gelu 163840x3072", 163840, 3072);
	gelu_layer(b, "fc1, gelu 163840x768x3072", 163840, 768, 3072);
	bias_gradient(b, "bias gradient 163840x2304", 163840, 2304);
	norm(b, "layer norm 163840x768", 163840, 768, false, false, false);
	norm(b, "layer norm+residual 163840x768", 163840, 768, true, false, false);
	norm(b, "layer norm+gelu 800000x512", 800000, 512, false, true, false);
	norm(b, "layer norm+gelu+add 200704x768", 200704, 768, false, true, true);
	copies(b);
	targets(b, "targets of 10 layers", // of pictures
		(d2v_target){ .count = 10, .instance_norm_layer = true, .layer_norm_mean = true, .batch = 256, .tokens = 196,
			.extra_tokens = 1 });
	targets(b, "targets of 12 layers, 512 tokens",
		(d2v_target){ .count = 12, .instance_norm_layer = true, .batch = 64, .tokens = 512 });
	targets(b, "targets of 8 layers, 620 tokens",
		(d2v_target){ .count = 8, .instance_norm_layer = true, .batch = 40, .tokens = 620 });
	targets(b, "targets by token, 12 layers",
		(d2v_target){ .count = 12, .layer_norm_layer = true, .batch = 64, .tokens = 512 });
	parameters(b);
}

// ---- whole steps

static void print_times(const bench *b, const char *name, double flops, whole_step_times times) {
	printf("%-42s %9.1f ms (median %.1f) %8.1f TFLOP/s  %5.1f %% of products, %.1f %% of 989\n", name, times.mean * 1e3,
		times.median * 1e3, flops / times.mean * 1e-12, 100 * flops / times.mean / b->product_peak,
		100 * flops / times.mean / DATASHEET);
}

static void print_step(const bench *b, const char *name, const whole_step *step, const whole_step_result *r) {
	print_times(b, name, r->flops, r->plain);
	print_times(b, "    as graphs", r->flops, r->as_graph);
	printf("    %.1f TFLOP a step%s; %.1f GB taken, %.1f GB planned, %+.1f %%; graphs so far: %llu launched, %llu made, %llu changed\n",
		r->flops * 1e-12, step->layer_drop ? ", layers left out counted" : "", r->taken * 1e-9, r->planned * 1e-9,
		100 * (r->taken / r->planned - 1), (unsigned long long)r->graphs.launched, (unsigned long long)r->graphs.made,
		(unsigned long long)r->graphs.changed);
	printf("{\"bench\":\"gpu_step\",\"name\":\"%s\",\"recipe\":\"%s\",\"layer_drop\":%s,\"recompute\":%s,\"clone_groups\":%lld,\"samples\":%d,"
		"\"seconds\":%.6g,\"median\":%.6g,\"as_graph\":%.6g,\"as_graph_median\":%.6g,\"tflop\":%.6g,\"ratio\":%.4g,"
		"\"mfu\":%.4g,\"bytes\":%.6g,\"planned\":%.6g}\n",
		name, step->recipe, step->layer_drop ? "true" : "false", step->memory.recompute ? "true" : "false",
		(long long)step->memory.clone_groups, step->samples, r->plain.mean, r->plain.median, r->as_graph.mean,
		r->as_graph.median, r->flops * 1e-12, r->flops / r->plain.mean / b->product_peak,
		r->flops / r->plain.mean / DATASHEET, r->taken, r->planned);
	fflush(stdout);
}

static void name_step(char *name, size_t size, const whole_step *step) {
	bool groups = step->memory.clone_groups > 1, recompute = step->memory.recompute;
	snprintf(name, size, "%s, %d a batch%s%s%s%s", step->recipe, step->samples, recompute ? " recomputed" : "",
		groups ? " in groups" : "", recompute || groups ? "" : " at once", step->layer_drop ? ", layer drop" : "");
}

// way: what is added to its name.
static void measure_step(bench *b, const whole_step *step, const char *way) {
	d2v_error err = { 0 };
	char name[64], text[96];
	whole_step_result result;
	name_step(name, sizeof name, step);
	snprintf(text, sizeof text, "%s%s", name, way);
	if (!wanted(b, text))
		return;
	if (whole_step_measure(b->dev, step, DATASHEET, &result, &err) == D2V_OK) {
		print_step(b, text, step, &result);
	} else {
		printf("%-42s %s\n", text, err.text);
		b->failed = true;
	}
}

static void whole_steps(bench *b) {
	static const whole_step list[] = {
		{ "image-base", 256, 0, 0, { .clone_groups = 1 }, false, 0 },     // 256 pictures x 16 copies
		{ "image-base", 16, 0, 0, { .clone_groups = 1 }, false, 0 },      // small enough for the host to count
		{ "audio-base", 40, 200000, 0, { .clone_groups = 1 }, false, 0 }, // 500 s x 8
		{ "audio-base", 40, 200000, 0, { .clone_groups = 1 }, true, 40 }, // as published; enough updates for the mean of its drops
		{ "text-base", 64, 0, 512, { .clone_groups = 1 }, false, 0 },
		// The same in less memory.
		{ "image-base", 256, 0, 0, { .clone_groups = 4 }, false, 0 },
		{ "image-base", 256, 0, 0, { .recompute = true, .clone_groups = 1 }, false, 0 },
		{ "image-base", 256, 0, 0, { .recompute = true, .clone_groups = 4 }, false, 0 },
		{ "audio-base", 40, 200000, 0, { .recompute = true, .clone_groups = 4 }, false, 0 },
		{ "text-base", 64, 0, 512, { .recompute = true, .clone_groups = 4 }, false, 0 },
	};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		measure_step(b, &list[i], "");
	setenv("D2V_ATTENTION", "short", 1);
	measure_step(b, &list[0], ", short attention");
	unsetenv("D2V_ATTENTION");
}

int main(int argc, char **argv) {
	bench b = { .words = argv + (argc > 1 ? 2 : 1) };
	d2v_error err = { 0 };
	must(d2v_device_open(&b.dev, argc > 1 ? argv[1] : "cuda", &err), &err);
	measure_peaks(&b);
	operations(&b);
	whole_steps(&b);
	d2v_device_close(b.dev);
	return b.failed ? 1 : 0;
}
