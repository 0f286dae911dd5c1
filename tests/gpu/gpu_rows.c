#include "tests/gpu/gpu_rows.h"

#include "base/progress.h"
#include "tests/gpu/mark.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 5
#define CALLS 10 // of an operation, between two looks at the clock

static void must(d2v_status status, const d2v_error *err) {
	if (status == D2V_OK)
		return;
	fprintf(stderr, "bench_gpu: %s\n", err->text);
	exit(d2v_status_exit_code(err->status));
}

// ---- memory

void *bench_take(bench *b, size_t bytes) {
	d2v_error err = { 0 };
	D2V_ASSERT(b->count < BENCH_ARRAYS);
	must(d2v_device_alloc(b->dev, &b->arrays[b->count], bytes, &err), &err);
	return b->arrays[b->count++];
}

float *bench_floats(bench *b, int64_t count) {
	enum { PIECE = 1 << 20 };
	static float host[PIECE];
	if (host[1] == 0)
		for (int i = 0; i < PIECE; i++)
			host[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f;
	float *p = bench_take(b, (size_t)count * sizeof *p);
	for (int64_t at = 0; at < count; at += PIECE) {
		size_t bytes = (size_t)(count - at < PIECE ? count - at : PIECE) * sizeof *p;
		if (at == 0)
			d2v_device_upload(b->dev, p, host, bytes);
		else
			d2v_device_copy(b->dev, p + at, p, bytes);
	}
	return p;
}

d2v_real *bench_reals(bench *b, int64_t count) {
	float *from = bench_floats(b, count);
	d2v_real *to = bench_take(b, (size_t)count * d2v_device_real_size(b->dev));
	d2v_device_to_real(b->dev, to, from, (size_t)count);
	d2v_error err = { 0 };
	must(d2v_device_sync(b->dev, &err), &err);
	d2v_device_free(b->dev, from);
	b->arrays[b->count - 2] = to;
	b->count--;
	return to;
}

void *bench_table(bench *b, const void *host, size_t bytes) {
	void *p = bench_take(b, bytes);
	d2v_device_upload(b->dev, p, host, bytes);
	return p;
}

void bench_give_all(bench *b) {
	while (b->count)
		d2v_device_free(b->dev, b->arrays[--b->count]);
}

int64_t bench_rows(const bench *b, int64_t rows) {
	return b->small ? (rows + 511) / 512 : rows;
}

// ---- rows

// Seconds of one call, the best of a few rounds.
static double seconds_of(bench *b, bench_body *run, const void *op) {
	double best = INFINITY;
	int repeats = b->small ? 1 : REPEATS, calls = b->small ? 1 : CALLS;
	d2v_error err = { 0 };
	for (int i = 0; i < repeats + 1; i++) { // the first warms up
		must(d2v_device_sync(b->dev, &err), &err);
		double start = d2v_clock();
		for (int call = 0; call < calls; call++)
			run(b->dev, op);
		must(d2v_device_sync(b->dev, &err), &err);
		best = i ? fmin(best, (d2v_clock() - start) / calls) : best;
	}
	return best;
}

bool bench_is_wanted(const bench *b, const char *name) {
	for (char **word = b->words; *word; word++)
		if (strstr(name, *word))
			return true;
	return !*b->words;
}

void bench_row_print(bench *b, const bench_row *row) {
	if (!bench_is_wanted(b, row->name))
		return;
	bool is_product = row->flops > 0;
	const char *limit = is_product ? "products" : "copying";
	double seconds = seconds_of(b, row->run, row->op), rate = (is_product ? row->flops : row->bytes) / seconds;
	double ratio = rate / (is_product ? b->product_peak : b->copy_peak);
	mark m = { row->name, "% of copying", 100 * ratio, 100 * row->wanted, false };
	if (is_product)
		m.unit = "TFLOP/s", m.reached = rate * 1e-12, m.wanted = row->wanted * 1e-12;
	printf("%-50s %9.3f ms %8.1f %-8s %5.1f %% of %s%s\n", row->name, seconds * 1e3, rate * (is_product ? 1e-12 : 1e-9),
		is_product ? "TFLOP/s" : "GB/s", 100 * ratio, limit, row->wanted > 0 ? mark_text(&m) : "");
	printf("{\"bench\":\"gpu\",\"op\":\"%s\",\"seconds\":%.6g,\"ratio\":%.4g,\"limit\":\"%s\"}\n", row->name, seconds,
		ratio, limit);
	if (row->wanted > 0)
		mark_print_json(&m);
	fflush(stdout);
}

void bench_pair_print(bench *b, const bench_row *forward, const bench_row *backward) {
	char text[96];
	bench_row back = *backward;
	snprintf(text, sizeof text, "%s, backward", forward->name);
	back.name = text;
	bench_row_print(b, forward);
	bench_row_print(b, &back);
	bench_give_all(b);
}

void bench_without_sums(bench *b, const bench_row *backward) {
	char text[128];
	bench_row without = *backward;
	snprintf(text, sizeof text, "%s, backward without sums", backward->name);
	without.name = text, without.wanted = 0;
	bench_row_print(b, &without);
}

// ---- limits

typedef struct copying {
	void *to, *from;
	size_t bytes;
} copying;

static void run_copy(d2v_device *dev, const void *op) {
	const copying *c = op;
	d2v_device_copy(dev, c->to, c->from, c->bytes);
}

BENCH_BODY(linear_forward, d2v_linear)

static void measure_limits(bench *b) {
	int64_t n = b->small ? 512 : 8192;
	d2v_linear op = { .rows = n, .in = n, .out = n };
	op.x = bench_reals(b, n * n), op.w = bench_reals(b, n * n), op.y = bench_reals(b, n * n);
	b->product_peak = 2.0 * (double)(n * n * n) / seconds_of(b, run_linear_forward, &op);
	bench_give_all(b);
	copying c = { .bytes = (size_t)1 << (b->small ? 22 : 30) };
	c.to = bench_take(b, c.bytes), c.from = bench_take(b, c.bytes);
	b->copy_peak = 2.0 * (double)c.bytes / seconds_of(b, run_copy, &c);
	bench_give_all(b);
	printf("%s: products of %lld^3 %.1f TFLOP/s, copying %.0f GB/s (read and written)\n", d2v_device_name(b->dev),
		(long long)n, b->product_peak * 1e-12, b->copy_peak * 1e-9);
	printf("{\"bench\":\"gpu\",\"device\":\"%s\",\"tflops\":%.6g,\"gbs\":%.6g}\n", d2v_device_name(b->dev),
		b->product_peak * 1e-12, b->copy_peak * 1e-9);
}

void bench_open(bench *b, const char *device, char **words) {
	const char *small = getenv("SMALL");
	d2v_error err = { 0 };
	*b = (bench){ .words = words, .small = small && *small };
	must(d2v_device_open(&b->dev, device, &err), &err);
	if (b->small)
		printf("a tryout: of what the names say a 512th, of recipes the tiny ones; times say nothing\n");
	measure_limits(b);
}

void bench_close(bench *b) {
	d2v_device_close(b->dev);
}
