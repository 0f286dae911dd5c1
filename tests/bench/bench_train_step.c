// Whole training steps of the recipes for machines without a GPU (upload, student, teacher, targets, losses, backward
// pass, Adam, teacher's move) as a ratio to the best oneDNN f32 matrix product of the same run: `audio-small` with 6 x
// 10 s, `image-small` with 32 pictures, `text-small` with 8 x 256 tokens (spec/recipes.md). Products and steps take
// turns, so that both see the same machine. Then where the time of a step goes, by stage and operation, and what the
// options that save memory cost: steps with and without, taking turns, by the clock and in processor time.
// Arguments: [RECIPE [STEPS]], with 0 steps the last part alone.
#include "base/memory.h"
#include "base/progress.h"
#include "tests/train/synthetic_batches.h"
#include "train/model.h"
#include "train/optimizer.h"
#include "train/profile.h"
#include "train/recipe.h"

#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LENGTH 160000 // samples of an utterance
#define STEPS 6
#define PRODUCTS 3

typedef struct bench {
	d2v_config config;
	d2v_device *device;
	d2v_model *model;
	d2v_optimizer *optimizer;
	d2v_source *source;
	uint64_t updates;
	float *a, *b, *c; // matrices of the product
	double peak;      // FLOP per second of the best product
} bench;

static d2v_status open_source(bench *b, d2v_error *err) {
	static const synthetic_shape shapes[] = {
		[D2V_AUDIO] = { .samples = 6, .length = LENGTH },
		[D2V_IMAGE] = { .samples = 32 },
		[D2V_TEXT] = { .samples = 8, .tokens = 256 },
	};
	return synthetic_batches_open(
		&b->source, &b->config, shapes[b->config.model.supported_modality], b->device, err);
}

static d2v_status open_bench(bench *b, const char *recipe, d2v_error *err) {
	D2V_TRY(d2v_recipe_load(&b->config, recipe, NULL, 0, err));
	D2V_TRY(d2v_device_open(&b->device, "cpu", err));
	D2V_TRY(d2v_model_new(&b->model, b->device, &b->config.model, err));
	D2V_TRY(d2v_model_init(b->model, err));
	d2v_optimizer_config optimizer = {
		.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.98, .adam_eps = 1e-6, .weight_decay = 0.01
	};
	optimizer.decay_all = true;
	D2V_TRY(d2v_optimizer_new(&b->optimizer, b->model, &optimizer, err));
	return open_source(b, err);
}

static void close_bench(bench *b) {
	d2v_source_close(b->source);
	d2v_optimizer_free(b->optimizer);
	d2v_model_free(b->model);
	d2v_device_close(b->device);
	d2v_free(b->a);
	d2v_free(b->b);
	d2v_free(b->c);
}

static d2v_status measure_product(bench *b, d2v_error *err) {
	enum { N = 2048 };
	if (!b->a) {
		D2V_TRY(d2v_alloc_zero(&b->a, N * N, sizeof *b->a, err));
		D2V_TRY(d2v_alloc_zero(&b->b, N * N, sizeof *b->b, err));
		D2V_TRY(d2v_alloc_zero(&b->c, N * N, sizeof *b->c, err));
	}
	for (int i = 0; i < PRODUCTS; i++) {
		double start = d2v_clock();
		if (dnnl_sgemm('N', 'T', N, N, N, 1, b->a, N, b->b, N, 0, b->c, N) != dnnl_success)
			return d2v_fail(err, D2V_UNSUPPORTED, "oneDNN refused a product");
		b->peak = fmax(b->peak, 2.0 * N * N * N / (d2v_clock() - start));
	}
	return D2V_OK;
}

static d2v_status run_step(bench *b, double *seconds, double *flops, d2v_error *err) {
	const d2v_batch *batch;
	d2v_step_result result;
	d2v_optimizer_result optimized;
	D2V_TRY(d2v_source_next(b->source, &batch, err));
	double start = d2v_clock();
	d2v_model_move_teacher(b->model, b->updates);
	d2v_model_zero_gradients(b->model);
	d2v_status status = d2v_model_step(b->model, batch, b->updates, &result, err);
	if (status == D2V_OK)
		status = d2v_optimizer_update(b->optimizer, (double)result.sample_size, 1e-4, &optimized, err);
	*seconds = d2v_clock() - start;
	*flops = result.flops;
	b->updates++;
	d2v_source_give(b->source, batch);
	return status;
}

static double seconds_of(const d2v_profile_row *row) {
	return row->seconds[D2V_PROFILE_FORWARD] + row->seconds[D2V_PROFILE_AGAIN] + row->seconds[D2V_PROFILE_BACKWARD];
}

static int by_time(const void *left, const void *right) {
	const d2v_profile_row *a = left, *b = right;
	double x = seconds_of(a), y = seconds_of(b);
	return x < y ? 1 : x > y ? -1 : 0;
}

static d2v_status print_profile(bench *b, d2v_error *err) {
	d2v_profile *profile;
	double seconds, flops, known = 0;
	D2V_TRY(d2v_alloc_zero(&profile, 1, sizeof *profile, err));
	d2v_model_set_profile(b->model, profile);
	d2v_status status = run_step(b, &seconds, &flops, err);
	d2v_model_set_profile(b->model, NULL);
	qsort(profile->rows, (size_t)profile->count, sizeof *profile->rows, by_time);
	printf("%-12s %-12s %6s %10s %10s %10s %7s\n", "stage", "operation", "calls", "forward ms", "again", "backward",
		"share");
	for (int i = 0; i < profile->count; i++) {
		const d2v_profile_row *row = &profile->rows[i];
		known += seconds_of(row);
		printf("%-12s %-12s %6ld %10.1f %10.1f %10.1f %6.1f%%\n", row->stage, row->kind, row->calls,
			row->seconds[D2V_PROFILE_FORWARD] * 1e3, row->seconds[D2V_PROFILE_AGAIN] * 1e3,
			row->seconds[D2V_PROFILE_BACKWARD] * 1e3, 100 * seconds_of(row) / seconds);
	}
	printf("%-12s %-12s %6s %10.1f %10s %10s %6.1f%%   (optimizer, teacher's move, what lies between)\n", "rest", "",
		"", (seconds - known) * 1e3, "", "", 100 * (seconds - known) / seconds);
	d2v_free(profile);
	return status;
}

static d2v_status step_bytes(bench *b, size_t *bytes, d2v_error *err) {
	const d2v_step_view *view = d2v_model_view(b->model);
	d2v_step_shape shape = { .modality = (d2v_modality)b->config.model.supported_modality, .batch = view->batch };
	shape.clones = view->clones, shape.length = LENGTH, shape.tokens = view->tokens, shape.kept = view->kept;
	return d2v_model_step_memory(b->model, &shape, bytes, err);
}

#define WAY_ROUNDS 3
static d2v_status compare_ways(bench *b, const char *recipe, d2v_error *err) {
	static const d2v_memory_options ways[] = { { 0 }, { .recompute = true }, { .clone_groups = 2 },
		{ .clone_groups = 4 }, { .recompute = true, .clone_groups = 4 } };
	enum { WAYS = sizeof ways / sizeof *ways };
	double best[WAYS], least[WAYS], seconds, flops;
	size_t bytes[WAYS];
	for (int round = 0; round < WAY_ROUNDS; round++)
		for (int i = 0; i < WAYS; i++) {
			d2v_model_set_memory(b->model, ways[i]);
			clock_t start = clock();
			D2V_TRY(run_step(b, &seconds, &flops, err));
			double spent = (double)(clock() - start) / CLOCKS_PER_SEC;
			best[i] = round ? fmin(best[i], seconds) : seconds;
			least[i] = round ? fmin(least[i], spent) : spent;
			D2V_TRY(step_bytes(b, &bytes[i], err));
		}
	d2v_model_set_memory(b->model, ways[0]);
	for (int i = 0; i < WAYS; i++)
		printf("{\"bench\":\"train_step_memory\",\"recipe\":\"%s\",\"recompute\":%s,\"clone_groups\":%lld,"
			   "\"seconds\":%.6g,\"time_ratio\":%.4g,\"cpu_ratio\":%.4g,\"bytes\":%zu,\"memory_ratio\":%.4g}\n",
			recipe, ways[i].recompute ? "true" : "false", (long long)(ways[i].clone_groups ? ways[i].clone_groups : 1),
			best[i], best[i] / best[0], least[i] / least[0], bytes[i], (double)bytes[i] / (double)bytes[0]);
	return D2V_OK;
}

static d2v_status run(bench *b, const char *recipe, int steps, d2v_error *err) {
	double best = INFINITY, seconds, flops = 0;
	D2V_TRY(open_bench(b, recipe, err));
	D2V_TRY(run_step(b, &seconds, &flops, err)); // takes the memory
	if (steps == 0)
		return compare_ways(b, recipe, err);
	for (int i = 0; i < steps; i++) {
		D2V_TRY(measure_product(b, err));
		D2V_TRY(run_step(b, &seconds, &flops, err));
		best = fmin(best, seconds);
	}
	D2V_TRY(print_profile(b, err));
	size_t memory = 0;
	D2V_TRY(step_bytes(b, &memory, err));
	double ratio = flops / best / b->peak;
	printf("%s: step of %.3f TFLOP in %.3f s, %.0f GFLOP/s; best product %.0f GFLOP/s; %.2f of it; %.0f MB a step\n",
		recipe, flops * 1e-12, best, flops / best * 1e-9, b->peak * 1e-9, ratio, (double)memory * 1e-6);
	printf("{\"bench\":\"train_step\",\"recipe\":\"%s\",\"threads\":%d,\"seconds\":%.6g,\"tflop\":%.6g,\"gemm_gflops\":"
		   "%.6g,"
		   "\"ratio\":%.4g,\"limit\":\"gemm\",\"target\":0.6}\n",
		recipe, d2v_device_threads(b->device), best, flops * 1e-12, b->peak * 1e-9, ratio);
	return compare_ways(b, recipe, err);
}

static bool bench_recipe(const char *recipe, int steps) {
	bench *b;
	d2v_error err = { 0 };
	d2v_status status = d2v_alloc_zero(&b, 1, sizeof *b, &err);
	if (status == D2V_OK) {
		status = run(b, recipe, steps > 0 ? steps : 0, &err);
		close_bench(b);
		d2v_free(b);
	}
	if (status != D2V_OK)
		fprintf(stderr, "bench_train_step: %s: %s\n", recipe, err.text);
	return status == D2V_OK;
}

int main(int argc, char **argv) {
	static const char *const recipes[] = { "audio-small", "image-small", "text-small" };
	if (argc > 1)
		return bench_recipe(argv[1], argc > 2 ? atoi(argv[2]) : STEPS) ? 0 : 1;
	bool ok = true;
	for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
		ok = bench_recipe(recipes[i], STEPS) && ok;
	return ok ? 0 : 1;
}
