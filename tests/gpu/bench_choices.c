// The ways that cuBLASLt and cuDNN propose for the products and dense convolutions of the base recipes, each with its time:
// the backend chooses by shape, and this shows what another choice would give. Arguments: [DEVICE [WORD...]].
// A line each: the way's number, milliseconds, TFLOP/s, what the library says of it; * marks the fastest. Number 0 is the
// choice; of products all proposals follow, of convolutions those behind it. The choice is timed again at the end: what it
// moves by means nothing among the others either.
//
// Then what cuBLASLt's epilogues would give that the backend does not use: its GELU is the tanh form, up to 4.7e-4 from the
// exact one, and sums of gradients could differ between runs. The product with its epilogue against the product and our
// kernel, in the same words; of epilogues the fastest proposal, and whether what it summed had the same bytes twice.
#include "base/memory.h"
#include "base/progress.h"
#include "kernels/cuda/cuda_dnn.h"
#include "kernels/cuda/cuda_product.h"
#include "kernels/device.h"
#include "kernels/ops.h"

#include <cublasLt.h>
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

// ---- epilogues

#define WORKSPACE ((size_t)32 << 20)
#define SUMS 3072 // elements of the longest bias

// As d2v_cuda_product, of arrays 0 and 1 to array 2; `pre` of the epilogues that have one is array 3.
typedef struct fused {
	int64_t m, n, k;
	bool trans_a, trans_b, float_out;
	cublasLtEpilogue_t epilogue;
} fused;

typedef struct fused_plan {
	cublasLtMatmulDesc_t what;
	cublasLtMatrixLayout_t left, right, result;
	cublasLtMatmulHeuristicResult_t found[MOST];
	int count;
} fused_plan;

// Behind everything: a bias, or the gradient of one, and what cuBLASLt works in.
static char *sums_of(const bench *b) {
	return b->arrays[1] + room - WORKSPACE - SUMS * sizeof(float);
}

static bool describe(const bench *b, cublasLtHandle_t handle, const fused *f, fused_plan *p) {
	cublasOperation_t left = f->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, right = f->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
	const void *sums = sums_of(b), *pre = b->arrays[3];
	cublasLtMatmulPreference_t wish = NULL;
	uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
	size_t workspace = WORKSPACE;
	int64_t rows = f->n;
	memset(p, 0, sizeof *p);
#define SET(name, value) cublasLtMatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_##name, &(value), sizeof(value))
	bool fine = cublasLtMatmulDescCreate(&p->what, CUBLAS_COMPUTE_32F, CUDA_R_32F) == 0 && SET(TRANSA, left) == 0 &&
		SET(TRANSB, right) == 0 && SET(EPILOGUE, f->epilogue) == 0 && SET(BIAS_POINTER, sums) == 0;
	if (f->epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || f->epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
		fine = fine && SET(EPILOGUE_AUX_POINTER, pre) == 0 && SET(EPILOGUE_AUX_LD, rows) == 0;
#undef SET
	int64_t left_rows = f->trans_b ? f->k : f->n, right_rows = f->trans_a ? f->m : f->k;
	fine = fine && cublasLtMatrixLayoutCreate(&p->left, CUDA_R_16BF, (uint64_t)left_rows, (uint64_t)(f->n + f->k - left_rows), left_rows) == 0 &&
		cublasLtMatrixLayoutCreate(&p->right, CUDA_R_16BF, (uint64_t)right_rows, (uint64_t)(f->m + f->k - right_rows), right_rows) == 0 &&
		cublasLtMatrixLayoutCreate(&p->result, f->float_out ? CUDA_R_32F : CUDA_R_16BF, (uint64_t)f->n, (uint64_t)f->m, f->n) == 0 &&
		cublasLtMatmulPreferenceCreate(&wish) == 0 &&
		cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace) == 0 &&
		cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions) == 0 &&
		cublasLtMatmulAlgoGetHeuristic(
			handle, p->what, p->left, p->right, p->result, p->result, wish, MOST, p->found, &p->count) == 0;
	if (wish)
		cublasLtMatmulPreferenceDestroy(wish);
	return fine && p->count > 0;
}

static void run_fused(const bench *b, cublasLtHandle_t handle, const fused_plan *p, int number) {
	float one = 1, none = 0;
	cublasLtMatmul(handle, p->what, &one, b->arrays[1], p->left, b->arrays[0], p->right, &none, b->arrays[2], p->result,
		b->arrays[2], p->result, &p->found[number].algo, b->arrays[1] + room - WORKSPACE, WORKSPACE, d2v_cuda_of(b->dev)->stream);
}

// Whether the sums have the same bytes after another call.
static bool repeats(bench *b, cublasLtHandle_t handle, const fused_plan *p, int number) {
	static char sums[2][SUMS * sizeof(float)];
	d2v_error err = { 0 };
	for (int i = 0; i < 2; i++) {
		run_fused(b, handle, p, number);
		d2v_device_download(b->dev, sums[i], sums_of(b), sizeof sums[i]);
		must(d2v_device_sync(b->dev, &err), &err);
	}
	return memcmp(sums[0], sums[1], sizeof sums[0]) == 0;
}

static void time_fused(bench *b, const char *name, const fused *f, double ours) {
	cublasLtHandle_t handle = NULL;
	fused_plan plan;
	double best = INFINITY;
	int which = 0;
	if (cublasLtCreate(&handle) != 0 || !describe(b, handle, f, &plan)) {
		printf("%s: cuBLASLt has no such epilogue\n", name);
		return;
	}
	for (int number = 0; number < plan.count; number++) {
		double seconds;
		TIME(b, seconds, run_fused(b, handle, &plan, number));
		which = seconds < best ? number : which;
		best = fmin(best, seconds);
	}
	printf("%s\n  product and our kernel %8.3f ms\n  with the epilogue      %8.3f ms, proposal %d of %d, sums %s\n", name, ours * 1e3,
		best * 1e3, which, plan.count, repeats(b, handle, &plan, which) ? "the same twice" : "DIFFER between two calls");
	fflush(stdout);
	cublasLtMatrixLayoutDestroy(plan.result);
	cublasLtMatrixLayoutDestroy(plan.right);
	cublasLtMatrixLayoutDestroy(plan.left);
	cublasLtMatmulDescDestroy(plan.what);
	cublasLtDestroy(handle);
}

// The two layers of a block's feed-forward part, (rows, width) to (rows, wide) and back; bf16.
static void epilogues(bench *b, int64_t rows, int64_t width, int64_t wide) {
	const d2v_real *in = (const d2v_real *)b->arrays[0], *w = (const d2v_real *)b->arrays[1];
	d2v_real *out = (d2v_real *)b->arrays[2], *pre = (d2v_real *)b->arrays[3];
	float *sums = (float *)(void *)sums_of(b), *d_w = (float *)(void *)b->arrays[3];
	double seconds;
	if (wanted(b, "epilogue: bias and GELU")) {
		d2v_linear op = { .x = in, .w = w, .bias = (const d2v_real *)sums, .y = out, .gelu = true, .pre = pre };
		op.rows = rows, op.in = width, op.out = wide;
		TIME(b, seconds, d2v_linear_forward(b->dev, &op));
		time_fused(b, "epilogue: bias and GELU, its input kept (GELU_AUX_BIAS)",
			&(fused){ .m = rows, .n = wide, .k = width, .trans_b = true, .epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS }, seconds);
	}
	if (wanted(b, "epilogue: GELU's and bias's gradient")) {
		d2v_cuda_product p = { .m = rows, .n = wide, .k = width, .a = in, .b = w, .c = out };
		d2v_linear op = { .gelu = true, .pre = pre, .rows = rows, .in = width, .out = wide, .d_y = out, .d_bias = sums };
		TIME(b, seconds, (d2v_cuda_multiply(b->dev, &p), d2v_linear_backward(b->dev, &op)));
		time_fused(b, "epilogue: GELU's and bias's gradient (DGELU_BGRAD)",
			&(fused){ .m = rows, .n = wide, .k = width, .epilogue = CUBLASLT_EPILOGUE_DGELU_BGRAD }, seconds);
	}
	if (wanted(b, "epilogue: bias's gradient")) {
		d2v_linear op = { .x = w, .rows = rows, .in = width, .out = wide, .d_y = (d2v_real *)b->arrays[0], .d_w = d_w, .d_bias = sums };
		TIME(b, seconds, d2v_linear_backward(b->dev, &op));
		time_fused(b, "epilogue: bias's gradient beside the weights' (BGRADB)",
			&(fused){ .m = wide, .n = width, .k = rows, .trans_a = true, .float_out = true, .epilogue = CUBLASLT_EPILOGUE_BGRADB },
			seconds);
	}
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
	epilogues(b, 163840, 768, 3072);
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
