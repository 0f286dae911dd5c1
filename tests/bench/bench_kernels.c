// Every operation at the shapes of an `audio-small` step (6 x 10 s, 4 clones): its time, and that as a ratio to a limit
// measured in the same run: the best matrix product for those that multiply, memcpy for those that move memory. The
// last column is what the operation costs of a whole step, so that the list is also a list of what to do next. Then
// what the steps of `image-small` and `text-small` have that this one lacks.
// Arguments: words; only rows that have one.
#include "base/memory.h"
#include "base/progress.h"
#include "kernels/cpu/gemm.h"
#include "kernels/ops.h"
#include "train/token_order.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	B = 6,
	CLONES = 4,
	R = B * CLONES,
	T = 499,
	K = 250,
	D = 384,
	H = 6,
	BLOCKS = 6,
	DECODER = 192,
	PARAMS = 13076358
};
#define ROOM ((size_t)5 << 29) // bytes of arrays: the largest row's
#define REPEATS 5

typedef struct bench {
	d2v_device *dev;
	char *arena;
	size_t used;
	char **words;
	double gemm_peak, copy_peak; // per second: FLOP, bytes
	double step, flops;          // sums over a step
	int rows;
} bench;

typedef void body(d2v_device *dev, const void *op);

static void *room(bench *b, size_t bytes) {
	void *p = b->arena + b->used;
	b->used += (bytes + 255) / 256 * 256;
	D2V_ASSERT(b->used <= ROOM);
	return p;
}

static float *floats(bench *b, int64_t count) {
	float *p = room(b, (size_t)count * sizeof *p);
#pragma omp parallel for
	for (int64_t i = 0; i < count; i++)
		p[i] = (float)(i * 2654435761 % 1000) / 1000.0f - 0.5f;
	return p;
}

static d2v_real *reals(bench *b, int64_t count) {
	return (d2v_real *)(void *)floats(b, count);
}

static bool wanted(const bench *b, const char *name) {
	for (char **word = b->words; *word; word++)
		if (strstr(name, *word))
			return true;
	return !*b->words;
}

// times: how often a step does it. Sets the arena back for the next row when `done`.
static void row(bench *b, const char *name, double times, double flops, double bytes, body *run, const void *op) {
	if (!wanted(b, name))
		return;
	double best = INFINITY;
	run(b->dev, op);
	for (int i = 0; i < REPEATS; i++) {
		double start = d2v_clock();
		run(b->dev, op);
		best = fmin(best, d2v_clock() - start);
	}
	b->step += times * best;
	b->flops += times * flops;
	double ratio = flops > 0 ? flops / best / b->gemm_peak : bytes / best / b->copy_peak;
	printf("%-28s %9.3f ms %7.1f %-8s %5.2f of %-6s x%-3g = %8.2f ms\n", name, best * 1e3,
		(flops > 0 ? flops : bytes) / best * 1e-9, flops > 0 ? "GFLOP/s" : "GB/s", ratio, flops > 0 ? "gemm" : "memcpy",
		times, times * best * 1e3);
	printf("{\"bench\":\"kernels\",\"op\":\"%s\",\"seconds\":%.6g,\"ratio\":%.4g,\"limit\":\"%s\",\"times\":%g}\n",
		name, best, ratio, flops > 0 ? "gemm" : "memcpy", times);
	fflush(stdout);
	b->rows++;
}

#define BODY(name, type) \
	static void run_##name(d2v_device *dev, const void *op) { \
		d2v_##name(dev, (const type *)op); \
	}
BODY(wave_forward, d2v_wave)
BODY(linear_forward, d2v_linear)
BODY(linear_backward, d2v_linear)
BODY(norm_forward, d2v_norm)
BODY(norm_backward, d2v_norm)
BODY(conv1d_forward, d2v_conv1d)
BODY(conv1d_backward, d2v_conv1d)
BODY(patches_forward, d2v_patches)
BODY(embedding_forward, d2v_embedding)
BODY(embedding_backward, d2v_embedding)
BODY(conv2d_forward, d2v_conv2d)
BODY(conv2d_backward, d2v_conv2d)
BODY(attention_forward, d2v_attention)
BODY(attention_backward, d2v_attention)
BODY(mask_rows_forward, d2v_mask_rows)
BODY(mask_rows_backward, d2v_mask_rows)
BODY(gather_forward, d2v_gather)
BODY(gather_backward, d2v_gather)
BODY(restore_forward, d2v_restore)
BODY(restore_backward, d2v_restore)
BODY(target_forward, d2v_target)
BODY(regression_loss, d2v_regression)
BODY(adam_update, d2v_adam)
BODY(ema_update, d2v_ema)

// Two rows: NAME and NAME', forward and backward; `back` 0: no backward.
static void pair(bench *b, const char *name, double times, double back, double flops, double back_flops, double bytes,
	double back_bytes, body *forward, body *backward, const void *op) {
	char primed[64];
	snprintf(primed, sizeof primed, "%s'", name);
	row(b, name, times, flops, bytes, forward, op);
	if (back > 0)
		row(b, primed, back, back_flops, back_bytes, backward, op);
	b->used = 0;
}

static void linear(
	bench *b, const char *name, double times, double back, int64_t rows, int64_t in, int64_t out, bool gelu) {
	d2v_linear op = { .rows = rows, .in = in, .out = out, .gelu = gelu };
	op.x = reals(b, rows * in);
	op.w = reals(b, out * in);
	op.bias = reals(b, out);
	op.y = reals(b, rows * out);
	op.pre = gelu && back > 0 ? reals(b, rows * out) : NULL;
	op.d_y = reals(b, rows * out);
	op.d_x = reals(b, rows * in);
	op.d_w = floats(b, out * in);
	op.d_bias = floats(b, out);
	double flops = 2.0 * (double)(rows * in * out);
	pair(b, name, times, back, flops, 2 * flops, 0, 0, run_linear_forward, run_linear_backward, &op);
}

static void norm(bench *b, const char *name, double times, double back, d2v_norm op, bool affine, bool residual) {
	int64_t all = op.rows * op.channels;
	op.x = reals(b, all);
	op.gain = affine ? reals(b, op.channels) : NULL;
	op.bias = affine ? reals(b, op.channels) : NULL;
	op.d_gain = affine ? floats(b, op.channels) : NULL;
	op.d_bias = affine ? floats(b, op.channels) : NULL;
	op.residual = residual ? reals(b, all) : NULL;
	op.sum = residual ? reals(b, all) : NULL;
	op.d_residual = residual ? reals(b, all) : NULL;
	op.d_bias_before = residual || !affine ? floats(b, op.channels) : NULL; // behind a branch, or a decoder's convolution
	op.y = reals(b, all);
	op.d_y = reals(b, all);
	op.d_sum = reals(b, all);
	op.mean = floats(b, op.rows);
	op.rstd = floats(b, op.rows);
	op.eps = 1e-5f;
	double size = 4.0 * (double)all;
	pair(b, name, times, back, 0, 0, size * (residual ? 4 : 2), size * (residual ? 4 : 3), run_norm_forward,
		run_norm_backward, &op);
}

static void conv(bench *b, const char *name, double times, double back, d2v_conv1d op, bool bias, bool d_x) {
	int64_t weights = op.out * op.in / op.groups * op.kernel;
	op.steps_out = (op.steps_in + 2 * op.pad - op.kernel) / op.stride + 1;
	op.x = reals(b, op.rows * op.steps_in * op.in);
	op.w = reals(b, weights);
	op.bias = bias ? reals(b, op.out) : NULL;
	op.y = reals(b, op.rows * op.steps_out * op.out);
	op.d_y = reals(b, op.rows * op.steps_out * op.out);
	op.d_x = d_x ? reals(b, op.rows * op.steps_in * op.in) : NULL;
	op.d_w = floats(b, weights);
	op.d_bias = bias ? floats(b, op.out) : NULL;
	double flops = 2.0 * (double)(op.rows * op.steps_out * weights);
	pair(b, name, times, back, flops, flops * (d_x ? 2 : 1), 0, 0, run_conv1d_forward, run_conv1d_backward, &op);
}

// biased: with ALiBi.
static void attention(
	bench *b, const char *name, double times, double back, int64_t rows, int64_t tokens, float drop, bool biased) {
	d2v_attention op = { .rows = rows, .tokens = tokens, .heads = H, .width = D, .drop = { .p = drop } };
	int64_t all = rows * tokens * D;
	int32_t *positions = room(b, (size_t)(rows * tokens) * sizeof *positions);
	for (int64_t i = 0; i < rows * tokens; i++)
		positions[i] = (int32_t)(i % tokens * (T / tokens));
	op.positions = positions;
	op.slope = biased ? floats(b, H) : NULL;
	op.scale = biased ? floats(b, H) : NULL;
	op.qkv = reals(b, 3 * all);
	op.out = reals(b, all);
	op.lse = floats(b, rows * H * tokens);
	op.d_out = reals(b, all);
	op.d_qkv = reals(b, 3 * all);
	op.d_scale = biased ? floats(b, H) : NULL;
	op.d_qkv_bias = floats(b, 3 * D);
	double flops = 4.0 * (double)(all * tokens);
	pair(b, name, times, back, flops, 2 * flops, 0, 0, run_attention_forward, run_attention_backward, &op);
}

static void extractor(bench *b) {
	static const int64_t kernels[] = { 10, 3, 3, 3, 3, 2, 2 }, strides[] = { 5, 2, 2, 2, 2, 2, 2 };
	int64_t steps = 160000, in = 1;
	for (int i = 0; i < 7; i++) {
		char name[32];
		snprintf(name, sizeof name, "extractor.%d conv", i);
		conv(b, name, 1, 1,
			(d2v_conv1d){ .rows = B,
				.steps_in = steps,
				.in = in,
				.out = 256,
				.kernel = kernels[i],
				.stride = strides[i],
				.groups = 1 },
			false, i > 0);
		steps = (steps - kernels[i]) / strides[i] + 1;
		in = 256;
		snprintf(name, sizeof name, "extractor.%d norm+gelu", i);
		norm(b, name, 1, 1, (d2v_norm){ .rows = B * steps, .channels = 256, .gelu = true }, true, false);
	}
	norm(b, "project norm", 1, 1, (d2v_norm){ .rows = B * T, .channels = 256 }, true, false);
	linear(b, "project linear", 1, 1, B * T, 256, D, false);
}

static void positions(bench *b) {
	d2v_conv1d op = { .steps_in = T, .in = D, .out = D, .kernel = 19, .stride = 1, .pad = 9, .groups = 16 };
	op.rows = R;
	conv(b, "positions conv", 5, 5, op, true, true);
	op.rows = B;
	conv(b, "teacher positions conv", 5, 0, op, true, true);
	norm(b, "positions norm+gelu", 5, 5, (d2v_norm){ .rows = R * T, .channels = D, .gelu = true }, false, false);
	norm(
		b, "teacher positions norm+gelu", 5, 0, (d2v_norm){ .rows = B * T, .channels = D, .gelu = true }, false, false);
}

static void blocks(bench *b) {
	d2v_norm add = { .rows = R * K, .channels = D, .drop = { .p = .1f } };
	linear(b, "qkv", BLOCKS, BLOCKS, R * K, D, 3 * D, false);
	attention(b, "attention", BLOCKS, BLOCKS, R, K, .1f, true);
	linear(b, "out", BLOCKS, BLOCKS, R * K, D, D, false);
	linear(b, "fc1+gelu", BLOCKS, BLOCKS, R * K, D, 4 * D, true);
	linear(b, "fc2", BLOCKS, BLOCKS, R * K, 4 * D, D, false);
	norm(b, "block norm", 2 * BLOCKS, 2 * BLOCKS, add, true, true);
	norm(b, "context norm", 1, 1, (d2v_norm){ .rows = R * K, .channels = D, .after_drop = { .p = .1f } }, true, false);
	linear(b, "teacher qkv", BLOCKS, 0, B * T, D, 3 * D, false);
	attention(b, "teacher attention", BLOCKS, 0, B, T, 0, true);
	linear(b, "teacher out", BLOCKS, 0, B * T, D, D, false);
	linear(b, "teacher fc1+gelu", BLOCKS, 0, B * T, D, 4 * D, true);
	linear(b, "teacher fc2", BLOCKS, 0, B * T, 4 * D, D, false);
	norm(b, "teacher block norm", 2 * BLOCKS, 0, (d2v_norm){ .rows = B * T, .channels = D }, true, true);
}

static void decoder(bench *b) {
	d2v_conv1d first = {
		.rows = R, .steps_in = T, .in = D, .out = DECODER, .kernel = 7, .stride = 1, .pad = 3, .groups = 4
	};
	conv(b, "decoder.0 conv", 1, 1, first, true, true);
	first.in = DECODER;
	conv(b, "decoder conv", 3, 3, first, true, true);
	norm(b, "decoder norm+gelu", 4, 4, (d2v_norm){ .rows = R * T, .channels = DECODER, .gelu = true }, false, false);
	linear(b, "decoder linear", 1, 1, R * T, DECODER, D, false);
}

// Every second token is masked.
static void copies(bench *b) {
	uint8_t *mask = room(b, (size_t)(R * T));
	int32_t *keep = room(b, (size_t)(R * K) * sizeof *keep), *restore = room(b, (size_t)(R * T) * sizeof *restore);
	for (int i = 0; i < R * T; i++) {
		mask[i] = i % T % 2;
		restore[i] = i % T / 2 + (i % T % 2 ? K : 0);
	}
	for (int i = 0; i < R * K; i++)
		keep[i] = i % K * 2;
	d2v_mask_rows rows = { .mask = mask, .batch = B, .clones = CLONES, .tokens = T, .width = D };
	d2v_gather gather = {
		.keep = keep, .restore = restore, .batch = B, .clones = CLONES, .tokens = T, .kept = K, .width = D
	};
	d2v_restore back = { .keep = keep, .restore = restore, .rows = R, .tokens = T, .kept = K, .width = D };
	gather.x = rows.x = reals(b, B * T * D);
	rows.out = back.out = reals(b, R * T * D);
	gather.out = reals(b, R * K * D);
	back.x = gather.out;
	gather.d_out = back.d_x = reals(b, R * K * D);
	rows.d_out = back.d_out = reals(b, R * T * D);
	gather.d_x = rows.d_x = reals(b, B * T * D);
	gather.add = gather.d_add = reals(b, R * T * D);
	back.drop.p = .1f;
	back.noise_std = .01f;
	double all = 4.0 * R * T * D, kept = 4.0 * R * K * D;
	row(b, "mask rows", 1, 0, all * 1.5, run_mask_rows_forward, &rows);
	row(b, "mask rows'", 1, 0, all * 1.5, run_mask_rows_backward, &rows);
	row(b, "gather", 1, 0, kept * 3, run_gather_forward, &gather);
	row(b, "gather'", 1, 0, kept * 2 + all, run_gather_backward, &gather);
	row(b, "restore", 1, 0, all * 1.5, run_restore_forward, &back);
	row(b, "restore'", 1, 0, kept * 2, run_restore_backward, &back);
	b->used = 0;
}

static void losses(bench *b) {
	const d2v_real *layers[4];
	int32_t *masked = room(b, (size_t)(R * (T - K)) * sizeof *masked);
	for (int i = 0; i < R * (T - K); i++)
		masked[i] = i / (T - K) * T + i % (T - K) * 2 + 1;
	for (int i = 0; i < 4; i++)
		layers[i] = reals(b, B * T * D);
	d2v_target target = {
		.layers = layers, .count = 4, .instance_norm_layer = true, .batch = B, .tokens = T, .width = D
	};
	target.y = floats(b, B * T * D);
	double values[3];
	d2v_regression loss = {
		.pred = reals(b, R * T * D), .target = target.y, .masked = masked, .masked_count = R * (T - K)
	};
	loss.scale = 1;
	loss.weight = 1;
	loss.batch = B;
	loss.clones = CLONES;
	loss.tokens = T;
	loss.width = D;
	loss.d_pred = reals(b, R * T * D);
	loss.loss = &values[0];
	loss.pred_var = &values[1];
	loss.target_var = &values[2];
	row(b, "targets", 1, 0, 4.0 * B * T * D * 9, run_target_forward, &target);
	row(b, "regression loss", 1, 0, 4.0 * R * T * D * 2, run_regression_loss, &loss);
	b->used = 0;
}

static void run_sum(d2v_device *dev, const void *op) {
	const d2v_adam *adam = op;
	double sum;
	d2v_sum_squares(dev, &sum, adam->grad, adam->ranges->count);
}

static void parameters(bench *b, const char *of, int64_t count, double times) {
	char name[3][32];
	double bytes = 4.0 * (double)count;
	d2v_range all = { 0, count };
	d2v_adam adam = {
		.param = floats(b, count), .grad = floats(b, count), .m = floats(b, count), .v = floats(b, count)
	};
	memset(adam.v, 0, (size_t)count * sizeof *adam.v);
	adam.ranges = &all;
	adam.range_count = 1;
	adam.lr = 1e-9;
	adam.beta1 = .9;
	adam.beta2 = .98;
	adam.eps = 1e-6;
	adam.grad_scale = 1;
	adam.step = 1;
	d2v_ema ema = { .teacher = adam.m, .student = adam.param, .teacher_ranges = &all, .student_ranges = &all };
	ema.range_count = 1;
	ema.rate = 1e-3;
	static const char *const what[] = { "adam", "teacher average", "sum of squares" };
	for (int i = 0; i < 3; i++)
		snprintf(name[i], sizeof name[i], "%s%s", of, what[i]);
	row(b, name[0], times, 0, 7 * bytes, run_adam_update, &adam);
	row(b, name[1], times, 0, 3 * bytes, run_ema_update, &ema);
	row(b, name[2], times, 0, bytes, run_sum, &adam);
	b->used = 0;
}

static void waves(bench *b) {
	d2v_wave wave = { .x = room(b, sizeof(int16_t) * B * 160000), .batch = B, .length = 160000 };
	wave.mean = wave.rstd = floats(b, B);
	wave.y = reals(b, B * 160000);
	row(b, "wave", 1, 0, 6.0 * B * 160000, run_wave_forward, &wave);
	b->used = 0;
}

static void conv_plane(bench *b, const char *name, d2v_conv2d op) {
	int64_t weights = op.out * op.in / op.groups * op.kernel * op.kernel, positions = op.rows * op.height * op.width;
	op.x = reals(b, positions * op.in);
	op.w = reals(b, weights);
	op.bias = reals(b, op.out);
	op.y = reals(b, positions * op.out);
	op.d_y = reals(b, positions * op.out);
	op.d_x = reals(b, positions * op.in);
	op.d_w = floats(b, weights);
	op.d_bias = floats(b, op.out);
	double flops = 2.0 * (double)(positions * weights);
	pair(b, name, 0, 1, flops, 2 * flops, 0, 0, run_conv2d_forward, run_conv2d_backward, &op);
}

// 32 pictures of 112 x 112 in patches of 8, 8 copies, 39 + 1 tokens.
static void pictures(bench *b) {
	enum { PICTURES = 32, SIDE = 112, PATCH = 8, PLACES = 14 };
	d2v_patches patches = { .batch = PICTURES, .height = SIDE, .width = SIDE, .in = 3, .patch = PATCH };
	patches.image = room(b, PICTURES * SIDE * SIDE * 3);
	patches.y = reals(b, PICTURES * SIDE * SIDE * 3);
	row(b, "image patches", 0, 0, 5.0 * PICTURES * SIDE * SIDE * 3, run_patches_forward, &patches);
	b->used = 0;
	d2v_conv2d plane = { .rows = PICTURES * 8, .height = PLACES, .width = PLACES, .in = D, .out = D, .kernel = 3 };
	plane.groups = 8;
	conv_plane(b, "image decoder conv", plane);
	plane.rows = PICTURES, plane.in = plane.out = 768, plane.groups = 16;
	conv_plane(b, "image-base decoder conv", plane);
	linear(b, "image qkv", 0, 1, PICTURES * 8 * 40, D, 3 * D, false);
	attention(b, "image attention", 0, 1, PICTURES * 8, 40, 0, false);
	attention(b, "image teacher attention", 0, 0, PICTURES, PLACES * PLACES + 1, 0, false);
}

// 8 rows of 256 tokens, 4 copies, 133 of them kept.
static void text(bench *b) {
	enum { ROWS = 8, TOKENS = 256, VOCABULARY = 50265, PARAMETERS = 34720128 };
	int32_t *tokens = room(b, ROWS * TOKENS * sizeof *tokens);
	for (int i = 0; i < ROWS * TOKENS; i++)
		tokens[i] = 2 + (int32_t)(i * 2654435761u % (VOCABULARY - 2));
	d2v_token_order order = { .places = NULL };
	D2V_ASSERT(d2v_token_order_set(&order, tokens, ROWS * TOKENS, VOCABULARY, NULL) == D2V_OK);
	d2v_embedding embed = { .x = tokens, .scale = 1, .batch = ROWS, .tokens = TOKENS, .width = D };
	embed.order = order.places;
	embed.vocabulary = VOCABULARY, embed.places = 514, embed.pad = 1;
	embed.table = reals(b, (int64_t)VOCABULARY * D);
	embed.positions = reals(b, (int64_t)514 * D);
	embed.y = reals(b, ROWS * TOKENS * D);
	embed.d_y = reals(b, ROWS * TOKENS * D);
	embed.d_table = floats(b, (int64_t)VOCABULARY * D);
	embed.d_positions = floats(b, (int64_t)514 * D);
	double bytes = 4.0 * ROWS * TOKENS * D;
	pair(b, "text embedding", 0, 1, 0, 0, 3 * bytes, 5 * bytes, run_embedding_forward, run_embedding_backward, &embed);
	d2v_token_order_release(&order);
	d2v_conv1d dense = { .rows = ROWS * 4, .steps_in = TOKENS, .in = D, .out = D, .kernel = 9, .stride = 1, .pad = 4 };
	dense.groups = 1;
	conv(b, "text decoder conv", 0, 1, dense, true, true);
	attention(b, "text attention", 0, 1, ROWS * 4, 133, .1f, false);
	parameters(b, "text ", PARAMETERS, 0);
}

static void measure_limits(bench *b) {
	enum { N = 2048 };
	size_t bytes = (size_t)256 << 20;
	d2v_gemm gemm = { .m = N, .n = N, .k = N, .lda = N, .ldb = N, .ldc = N, .trans_b = true };
	gemm.a = floats(b, N * N);
	gemm.b = floats(b, N * N);
	gemm.c = floats(b, N * N);
	char *from = room(b, bytes), *to = room(b, bytes);
	memset(from, 1, bytes);
	double product = INFINITY, copy = INFINITY;
	for (int i = 0; i < 8; i++) {
		double start = d2v_clock();
		d2v_cpu_gemm(&gemm);
		product = fmin(product, d2v_clock() - start);
		start = d2v_clock();
		d2v_device_copy(b->dev, to, from, bytes);
		copy = fmin(copy, d2v_clock() - start);
	}
	b->gemm_peak = 2.0 * N * N * N / product;
	b->copy_peak = 2.0 * (double)bytes / copy;
	printf("limits: product of %d^3 %.0f GFLOP/s, memcpy %.1f GB/s (read and written), %d threads\n", N,
		b->gemm_peak * 1e-9, b->copy_peak * 1e-9, d2v_device_threads(b->dev));
	b->used = 0;
}

int main(int argc, char **argv) {
	bench b = { .words = argv + (argc > 0) };
	d2v_error err = { 0 };
	if (d2v_device_open(&b.dev, "cpu", &err) || d2v_device_alloc(b.dev, &b.arena, ROOM, &err)) {
		fprintf(stderr, "bench_kernels: %s\n", err.text);
		return 1;
	}
	d2v_device_zero(b.dev, b.arena, ROOM);
	measure_limits(&b);
	extractor(&b);
	positions(&b);
	blocks(&b);
	decoder(&b);
	copies(&b);
	losses(&b);
	parameters(&b, "", PARAMS, 1);
	waves(&b);
	double ratio = b.flops / b.step / b.gemm_peak;
	printf("sum of %d rows: %.1f ms for %.3f TFLOP: %.2f of the best product\n", b.rows, b.step * 1e3, b.flops * 1e-12,
		ratio);
	printf(
		"{\"bench\":\"kernels\",\"op\":\"step\",\"seconds\":%.6g,\"ratio\":%.4g,\"limit\":\"gemm\"}\n", b.step, ratio);
	pictures(&b);
	text(&b);
	int failed = d2v_device_sync(b.dev, &err) != D2V_OK;
	if (failed)
		fprintf(stderr, "bench_kernels: %s\n", err.text);
	d2v_device_free(b.dev, b.arena);
	d2v_device_close(b.dev);
	return failed;
}
