// The ways that cuBLASLt and cuDNN propose for the products and dense convolutions of the base recipes, each with its time:
// the backend chooses by shape, and this shows what another choice would give. Arguments: [DEVICE [WORD...]].
// A line each: the way's number, milliseconds, TFLOP/s, what the library says of it; * marks the fastest. Number 0 is the
// choice; of products all proposals follow, of convolutions those behind it. The choice is timed again at the end: what it
// moves by means nothing among the others either.
#include "base/memory.h"
#include "base/progress.h"
#include "kernels/cuda/cuda_dnn.h"
#include "kernels/cuda/cuda_product.h"
#include "kernels/device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 2
#define CALLS 5
#define MOST 16 // ways of one shape

typedef struct way {
	double seconds;
	char text[160];
} way;

typedef struct bench {
	d2v_device *dev;
	char **words;
	char *arrays[4]; // of `room` bytes, filled with bf16 that are no zeros
} bench;

static const size_t room = (size_t)3 << 29;

static void must(d2v_status status, const d2v_error *err) {
	if (status == D2V_OK)
		return;
	fprintf(stderr, "bench_choices: %s\n", err->text);
	exit(d2v_status_exit_code(err->status));
}

static void fill(bench *b, char *array) {
	enum { COUNT = 1 << 22 };
	uint16_t *host;
	d2v_error err = { 0 };
	must(d2v_alloc(&host, COUNT, sizeof *host, &err), &err);
	for (int i = 0; i < COUNT; i++) // of both signs, between a quarter and a half
		host[i] = (uint16_t)(0x3e80 | ((uint32_t)i * 2654435761u >> 25) | ((uint32_t)i * 2246822519u >> 31) << 15);
	for (size_t at = 0; at < room; at += COUNT * sizeof *host)
		d2v_device_upload(b->dev, array + at, host, COUNT * sizeof *host);
	must(d2v_device_sync(b->dev, &err), &err);
	d2v_free(host);
}

static bool wanted(const bench *b, const char *name) {
	for (char **word = b->words; *word; word++)
		if (strstr(name, *word))
			return true;
	return !*b->words;
}

static void print(const char *name, double flops, const way *ways, int count, double again) {
	int best = 0;
	for (int i = 1; i < count; i++)
		best = ways[i].seconds < ways[best].seconds ? i : best;
	printf("%s\n", name);
	for (int i = 0; i < count; i++)
		printf("  %2d%c %8.3f ms %6.1f TFLOP/s  %s\n", i, i == best ? '*' : ' ', ways[i].seconds * 1e3,
			flops / ways[i].seconds * 1e-12, ways[i].text);
	printf("  again %6.3f ms\n", again * 1e3);
	fflush(stdout);
}

#define TIME(b, seconds, call) \
	do { \
		d2v_error err_ = { 0 }; \
		(seconds) = INFINITY; \
		call; \
		for (int round_ = 0; round_ < ROUNDS; round_++) { \
			must(d2v_device_sync((b)->dev, &err_), &err_); \
			double start_ = d2v_clock(); \
			for (int i_ = 0; i_ < CALLS; i_++) \
				call; \
			must(d2v_device_sync((b)->dev, &err_), &err_); \
			(seconds) = fmin((seconds), (d2v_clock() - start_) / CALLS); \
		} \
	} while (0)

// ---- products

static void product(bench *b, const char *name, d2v_cuda_product op) {
	way ways[MOST];
	d2v_cuda_algorithm how;
	if (!wanted(b, name))
		return;
	op.a = (const d2v_real *)b->arrays[0], op.b = (const d2v_real *)b->arrays[1], op.c = b->arrays[2];
	for (op.candidate = 0; op.candidate < MOST && d2v_cuda_product_algorithm(b->dev, &op, &how); op.candidate++) {
		TIME(b, ways[op.candidate].seconds, d2v_cuda_multiply(b->dev, &op));
		snprintf(ways[op.candidate].text, sizeof ways->text,
			"id %d tile %d stages %d inner %d cluster %d split %d reduction %d swizzle %d custom %d waves %.2f workspace %zu",
			how.id, how.tile, how.stages, how.inner_shape, how.cluster, how.split_k, how.reduction, how.swizzle, how.custom,
			(double)how.waves, how.workspace);
	}
	int count = op.candidate;
	double again;
	op.candidate = 0;
	TIME(b, again, d2v_cuda_multiply(b->dev, &op));
	print(name, 2.0 * (double)op.m * (double)op.n * (double)op.k, ways, count, again);
}

// A linear layer's products: forward with its bias, back to its input, to its weights.
static void linear(bench *b, const char *name, int64_t rows, int64_t in, int64_t out) {
	char text[96];
	snprintf(text, sizeof text, "%s %ldx%ldx%ld forward", name, (long)rows, (long)in, (long)out);
	product(b, text,
		(d2v_cuda_product){ .m = rows, .n = out, .k = in, .trans_b = true, .bias = (const d2v_real *)b->arrays[3] });
	snprintf(text, sizeof text, "%s %ldx%ldx%ld back to x", name, (long)rows, (long)in, (long)out);
	product(b, text, (d2v_cuda_product){ .m = rows, .n = in, .k = out });
	snprintf(text, sizeof text, "%s %ldx%ldx%ld back to x, added", name, (long)rows, (long)in, (long)out);
	product(b, text, (d2v_cuda_product){ .m = rows, .n = in, .k = out, .accumulate = true });
	for (int added = 0; added < 2; added++) {
		snprintf(text, sizeof text, "%s %ldx%ldx%ld back to w%s", name, (long)rows, (long)in, (long)out, added ? ", added" : "");
		product(b, text,
			(d2v_cuda_product){ .m = out, .n = in, .k = rows, .trans_a = true, .float_out = true, .accumulate = added });
	}
}

// ---- convolutions

static void convolution(bench *b, const char *name, d2v_dnn_shape s) {
	static const char *const names[] = { "forward", "back to x", "back to w" };
	way ways[MOST];
	char text[96];
	for (s.way = D2V_DNN_FORWARD; s.way <= D2V_DNN_BACKWARD_W; s.way++) {
		snprintf(text, sizeof text, "%s, %s", name, names[s.way]);
		if (!wanted(b, text))
			continue;
		for (s.candidate = 0; s.candidate < MOST; s.candidate++) {
			double start = d2v_clock();
			const d2v_dnn_plan *plan = d2v_cuda_dnn_find(b->dev, &s);
			double planning = d2v_clock() - start;
			if (!plan)
				break;
			D2V_ASSERT(plan->workspace <= room);
			TIME(b, ways[s.candidate].seconds,
				d2v_cuda_dnn_run(b->dev, plan, b->arrays[0], b->arrays[3], b->arrays[1], b->arrays[2]));
			snprintf(ways[s.candidate].text, sizeof ways->text, "engine %ld workspace %zu, found in %.1f ms", (long)plan->engine,
				plan->workspace, planning * 1e3);
		}
		int count = s.candidate;
		s.candidate = 0;
		const d2v_dnn_plan *plan = d2v_cuda_dnn_find(b->dev, &s);
		double again = 0;
		if (plan)
			TIME(b, again, d2v_cuda_dnn_run(b->dev, plan, b->arrays[0], b->arrays[3], b->arrays[1], b->arrays[2]));
		print(text, 2.0 * (double)(s.rows * s.out_h * s.out_w * s.in * s.out * s.kernel_h * s.kernel_w), ways, count, again);
	}
}

static void extractor_layer(bench *b, const char *name, int64_t steps, int kernel) {
	convolution(b, name, (d2v_dnn_shape){ .rows = 20, .in_h = 1, .in_w = steps, .out_h = 1, .out_w = (steps - kernel) / 2 + 1,
		.in = 512, .out = 512, .kernel_h = 1, .kernel_w = kernel, .stride_h = 1, .stride_w = 2 });
}

static void all(bench *b) {
	linear(b, "image qkv", 163840, 768, 2304);
	linear(b, "image out", 163840, 768, 768);
	linear(b, "image fc1", 163840, 768, 3072);
	linear(b, "image fc2", 163840, 3072, 768);
	linear(b, "image teacher", 50432, 768, 768);
	linear(b, "audio qkv", 100000, 768, 2304);
	linear(b, "audio out", 100000, 768, 768);
	linear(b, "text out", 136192, 768, 768);
	convolution(b, "text decoder, 9 taps", (d2v_dnn_shape){ .rows = 128, .in_h = 1, .in_w = 512, .out_h = 1, .out_w = 512,
		.in = 768, .out = 768, .kernel_h = 1, .kernel_w = 9, .stride_h = 1, .stride_w = 1, .pad_w = 4 });
	extractor_layer(b, "extractor 1", 39679, 3);
	extractor_layer(b, "extractor 2", 19839, 3);
	extractor_layer(b, "extractor 4", 4959, 3);
	extractor_layer(b, "extractor 5", 2479, 2);
	extractor_layer(b, "extractor 6", 1239, 2);
}

int main(int argc, char **argv) {
	bench b = { .words = argv + (argc > 1 ? 2 : 1) };
	d2v_error err = { 0 };
	must(d2v_device_open(&b.dev, argc > 1 ? argv[1] : "cuda", &err), &err);
	for (int i = 0; i < 4; i++) {
		must(d2v_device_alloc(b.dev, &b.arrays[i], room, &err), &err);
		fill(&b, b.arrays[i]);
	}
	all(&b);
	for (int i = 0; i < 4; i++)
		d2v_device_free(b.dev, b.arrays[i]);
	d2v_device_close(b.dev);
	return 0;
}
