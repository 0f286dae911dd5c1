#include "tests/gpu/gpu_rows.h"
#include "tests/gpu/mark.h"
#include "tests/gpu/whole_step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct step_row {
	whole_step step;
	double wanted; // % of the data sheet; 0: nothing
} step_row;

// m: or NULL.
static void print_times(const bench *b, const char *name, double flops, whole_step_times times, const mark *m) {
	printf("%-42s %9.1f ms (median %.1f) %8.1f TFLOP/s  %5.1f %% of products, %.1f %% of 989%s\n", name,
		times.mean * 1e3, times.median * 1e3, flops / times.mean * 1e-12, 100 * flops / times.mean / b->product_peak,
		100 * flops / times.mean / BENCH_DATASHEET, m ? mark_text(m) : "");
}

static void print_step(const bench *b, const char *name, const step_row *row, const whole_step_result *r) {
	const whole_step *step = &row->step;
	double off = 100 * (r->taken / r->planned - 1);
	mark rate = { name, "% of 989 TFLOP/s", 100 * r->flops / r->plain.mean / BENCH_DATASHEET, row->wanted, false };
	mark memory = { name, "% off the planned memory", fabs(off), 5, true };
	print_times(b, name, r->flops, r->plain, row->wanted > 0 ? &rate : NULL);
	print_times(b, "    as graphs", r->flops, r->as_graph, NULL);
	printf("    %.1f TFLOP a step%s; %.1f GB taken, %.1f GB planned, %+.1f %%%s; graphs so far: %llu launched, %llu "
		   "made, %llu changed\n",
		r->flops * 1e-12, step->layer_drop ? ", layers left out counted" : "", r->taken * 1e-9, r->planned * 1e-9, off,
		mark_text(&memory), (unsigned long long)r->graphs.launched, (unsigned long long)r->graphs.made,
		(unsigned long long)r->graphs.changed);
	printf("{\"bench\":\"gpu_step\",\"name\":\"%s\",\"recipe\":\"%s\",\"layer_drop\":%s,\"recompute\":%s,\"clone_"
		   "groups\":%lld,\"samples\":%d,"
		   "\"seconds\":%.6g,\"median\":%.6g,\"as_graph\":%.6g,\"as_graph_median\":%.6g,\"tflop\":%.6g,\"ratio\":%.4g,"
		   "\"mfu\":%.4g,\"bytes\":%.6g,\"planned\":%.6g}\n",
		name, step->recipe, step->layer_drop ? "true" : "false", step->memory.recompute ? "true" : "false",
		(long long)step->memory.clone_groups, step->samples, r->plain.mean, r->plain.median, r->as_graph.mean,
		r->as_graph.median, r->flops * 1e-12, r->flops / r->plain.mean / b->product_peak,
		r->flops / r->plain.mean / BENCH_DATASHEET, r->taken, r->planned);
	if (row->wanted > 0)
		mark_print_json(&rate);
	mark_print_json(&memory);
	fflush(stdout);
}

static void name_step(char *name, size_t size, const whole_step *step) {
	bool groups = step->memory.clone_groups > 1, recompute = step->memory.recompute;
	snprintf(name, size, "%s, %d a batch%s%s%s%s", step->recipe, step->samples, recompute ? " recomputed" : "",
		groups ? " in groups" : "", recompute || groups ? "" : " at once", step->layer_drop ? ", layer drop" : "");
}

// The tiny model of the same kind, on little.
static void make_small(whole_step *step) {
	step->recipe = *step->recipe == 'i' ? "image-tiny" : *step->recipe == 'a' ? "audio-tiny" : "text-tiny";
	step->samples = 4, step->updates = 1;
	step->length = step->length ? 8000 : 0, step->tokens = step->tokens ? 32 : 0;
}

// way: what is added to its name.
static void measure_step(bench *b, step_row row, const char *way) {
	d2v_error err = { 0 };
	char name[64], text[96];
	whole_step_result result;
	name_step(name, sizeof name, &row.step);
	snprintf(text, sizeof text, "%s%s", name, way);
	if (!bench_is_wanted(b, text))
		return;
	if (b->small)
		make_small(&row.step);
	if (whole_step_measure(b->dev, &row.step, BENCH_DATASHEET, &result, &err) == D2V_OK) {
		print_step(b, text, &row, &result);
	} else {
		printf("%-42s %s\n", text, err.text);
		b->failed = true;
	}
}

// Batches as published, in one process: 256 pictures x 16 copies, 500 s of speech x 8, 64 x 512 tokens x 8. What is
// wanted of speech is wanted of a step that leaves no layer out.
void step_rows(bench *b) {
	static const step_row list[] = {
		{ { "image-base", 256, 0, 0, { .clone_groups = 1 }, false, 0 }, 45 },
		{ { "image-base", 16, 0, 0, { .clone_groups = 1 }, false, 0 }, 0 }, // small enough for the host to count
		{ { "audio-base", 40, 200000, 0, { .clone_groups = 1 }, false, 0 }, 45 },
		// As published; enough updates for the mean of its drops.
		{ { "audio-base", 40, 200000, 0, { .clone_groups = 1 }, true, 40 }, 0 },
		{ { "text-base", 64, 0, 512, { .clone_groups = 1 }, false, 0 }, 50 },
		// The same in less memory.
		{ { "image-base", 256, 0, 0, { .clone_groups = 4 }, false, 0 }, 0 },
		{ { "image-base", 256, 0, 0, { .recompute = true, .clone_groups = 1 }, false, 0 }, 0 },
		{ { "image-base", 256, 0, 0, { .recompute = true, .clone_groups = 4 }, false, 0 }, 0 },
		{ { "audio-base", 40, 200000, 0, { .recompute = true, .clone_groups = 4 }, false, 0 }, 0 },
		{ { "text-base", 64, 0, 512, { .recompute = true, .clone_groups = 4 }, false, 0 }, 0 },
	};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		measure_step(b, list[i], "");
	step_row pictures = { list[0].step, 0 }; // a way to be tried, of which nothing is wanted
	setenv("D2V_ATTENTION", "short", 1);
	measure_step(b, pictures, ", short attention");
	unsetenv("D2V_ATTENTION");
}
