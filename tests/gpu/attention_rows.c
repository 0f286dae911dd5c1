#include "base/memory.h"
#include "kernels/cuda/attention_draws.h"
#include "tests/gpu/gpu_rows.h"

#include <stdio.h>
#include <stdlib.h>

BENCH_BODY(attention_forward, d2v_attention)
BENCH_BODY(attention_backward, d2v_attention)

// What a step's forward leaves for its backward.
static void *take_kept(bench *b, const d2v_attention *op) {
	size_t bytes = d2v_attention_kept_bytes(b->dev, op);
	return bytes ? bench_take(b, bytes) : NULL;
}

// The same by one of the ways there are (kernels/cuda/cuda_attention.cu): side by side they tell which is to be chosen.
static void attention_by(bench *b, const char *way, const char *name, double flops, const d2v_attention *op) {
	char text[64], back[80];
	snprintf(text, sizeof text, "%s, %s", name, way);
	snprintf(back, sizeof back, "%s, backward", text);
	setenv("D2V_ATTENTION", way, 1);
	bench_row_print(b, &(bench_row){ .name = text, .flops = flops, .run = run_attention_forward, .op = op });
	bench_row_print(b, &(bench_row){ .name = back, .flops = 2.5 * flops, .run = run_attention_backward, .op = op });
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
	bench_without_sums(b, &(bench_row){ .name = text, .bytes = bytes, .run = run_attention_backward, .op = &unsummed });
	snprintf(text, sizeof text, "%s, short, backward", name);
	bench_row_print(b, &(bench_row){ .name = text, .bytes = bytes, .run = run_attention_backward, .op = op });
	unsetenv("D2V_ATTENTION");
}

// Positions are every second one.
static void add_bias(bench *b, d2v_attention *op) {
	int64_t count = op->rows * op->tokens;
	int32_t *positions;
	D2V_ASSERT(d2v_alloc(&positions, (size_t)count, sizeof *positions, NULL) == D2V_OK);
	for (int64_t i = 0; i < count; i++)
		positions[i] = (int32_t)(i % op->tokens * 2);
	op->positions = bench_table(b, positions, (size_t)count * sizeof *positions);
	d2v_free(positions);
	op->slope = bench_floats(b, op->heads), op->scale = bench_floats(b, op->heads),
	op->d_scale = bench_floats(b, op->heads);
}

// What is wanted is wanted of rows of a length that fills the machine, without dropout.
static void attention(bench *b, const char *name, int64_t rows, int64_t tokens, bool bias, float drop) {
	enum { HEADS = 12, WIDTH = 768 };
	d2v_attention op = {
		.rows = bench_rows(b, rows), .tokens = tokens, .heads = HEADS, .width = WIDTH, .drop.p = drop
	};
	int64_t all = op.rows * tokens * WIDTH;
	bool has_mark = tokens >= 197 && drop <= 0;
	if (!bench_is_wanted(b, name))
		return;
	if (bias)
		add_bias(b, &op);
	op.qkv = bench_reals(b, 3 * all), op.out = bench_reals(b, all);
	op.d_out = bench_reals(b, all), op.d_qkv = bench_reals(b, 3 * all);
	op.lse = bench_floats(b, op.rows * HEADS * tokens);
	op.d_qkv_bias = bench_floats(b, 3 * WIDTH);
	op.kept = take_kept(b, &op);
	double flops = 4.0 * (double)(all * tokens);
	attention_by(b, "tiles", name, flops, &op);
	attention_by(b, "wgmma", name, flops, &op);
	if (tokens <= 64 && !bias && drop <= 0)
		attention_short(b, name, &op);
	d2v_attention unsummed = op;
	unsummed.d_qkv_bias = NULL;
	bench_without_sums(
		b, &(bench_row){ .name = name, .flops = 2.5 * flops, .run = run_attention_backward, .op = &unsummed });
	bench_row forward = { .name = name, .flops = flops, .run = run_attention_forward, .op = &op };
	bench_row backward = { .flops = 2.5 * flops, .run = run_attention_backward, .op = &op };
	forward.wanted = has_mark ? 300e12 : 0, backward.wanted = has_mark ? 260e12 : 0;
	bench_pair_print(b, &forward, &backward);
}

static void run_draws(d2v_device *dev, const void *op) {
	score_draws draws;
	d2v_cuda_attention_draw(dev, op, &draws);
}

// What dropout adds to attention before it begins, of a step forward alone: what is kept serves both ways. It is bound
// by instructions, not by what it writes, twice. A device that keeps nothing has none.
static void draws(bench *b, const char *name, int64_t rows, int64_t tokens) {
	d2v_attention op = { .rows = bench_rows(b, rows), .tokens = tokens, .heads = 12, .width = 768, .drop.p = .1f };
	double bytes = (double)d2v_attention_kept_bytes(b->dev, &op);
	if (!bench_is_wanted(b, name) || !(bytes > 0))
		return;
	op.kept = take_kept(b, &op);
	bench_row_print(b, &(bench_row){ .name = name, .bytes = bytes, .run = run_draws, .op = &op });
	bench_give_all(b);
}

void attention_rows(bench *b) {
	attention(b, "attention 4096x12, 40 tokens", 4096, 40, false, 0);
	attention(b, "attention 2048x12, 50 tokens", 2048, 50, false, 0); // of a large model
	attention(b, "attention 256x12, 192 tokens", 256, 192, false, 0); // whole tiles: the next row has a tail more
	attention(b, "attention 256x12, 197 tokens", 256, 197, false, 0);
	attention(b, "attention 512x12, 266 tokens", 512, 266, false, 0);
	attention(b, "attention 512x12, 266 tokens, dropout", 512, 266, false, .1f);
	attention(b, "attention 320x12, 310 tokens, alibi", 320, 310, true, 0);
	attention(b, "attention 320x12, 310 tokens, alibi, dropout", 320, 310, true, .1f);
	draws(b, "attention's draws 512x12, 266 tokens", 512, 266);
	draws(b, "attention's draws 320x12, 310 tokens", 320, 310);
	attention(b, "attention 64x12, 620 tokens, alibi", 64, 620, true, 0);
	attention(b, "attention 64x12, 999 tokens, alibi", 64, 999, true, 0);
}
