#include "tests/gpu/gpu_rows.h"

#define SHARE 0.75 // of copying, wanted

BENCH_BODY(norm_forward, d2v_norm)
BENCH_BODY(norm_backward, d2v_norm)
BENCH_BODY(gather_forward, d2v_gather)
BENCH_BODY(gather_backward, d2v_gather)
BENCH_BODY(restore_forward, d2v_restore)
BENCH_BODY(restore_backward, d2v_restore)
BENCH_BODY(target_forward, d2v_target)
BENCH_BODY(adam_update, d2v_adam)
BENCH_BODY(ema_update, d2v_ema)

// add: of a decoder's layer, which has no gain. Behind a branch or a convolution there is a bias to sum for.
static void norm(bench *b, const char *name, int64_t rows, int64_t channels, bool residual, bool gelu, bool add) {
	d2v_norm op = { .rows = rows, .channels = channels, .eps = 1e-5f, .gelu = gelu };
	int64_t all = rows * channels;
	double size = (double)all * (double)d2v_device_real_size(b->dev), back = size * (residual ? 4 : 3);
	if (!bench_is_wanted(b, name))
		return;
	op.x = bench_reals(b, all), op.y = bench_reals(b, all);
	if (add) {
		op.add = bench_reals(b, all);
	} else {
		op.gain = bench_reals(b, channels), op.bias = bench_reals(b, channels);
		op.d_gain = bench_floats(b, channels), op.d_bias = bench_floats(b, channels);
	}
	op.mean = bench_floats(b, rows), op.rstd = bench_floats(b, rows), op.d_y = bench_reals(b, all),
	op.d_sum = bench_reals(b, all);
	if (residual)
		op.residual = bench_reals(b, all), op.sum = bench_reals(b, all), op.d_residual = bench_reals(b, all);
	if (residual || add) {
		bench_without_sums(b, &(bench_row){ .name = name, .bytes = back, .run = run_norm_backward, .op = &op });
		op.d_bias_before = bench_floats(b, channels);
	}
	bench_pair_print(b,
		&(bench_row){ .name = name,
			.bytes = size * (residual ? 4
								: add ? 3
									  : 2),
			.wanted = SHARE,
			.run = run_norm_forward,
			.op = &op },
		&(bench_row){ .bytes = back, .wanted = SHARE, .run = run_norm_backward, .op = &op });
}

static void copy(bench *b, const char *name, double bytes, bench_body *run, const void *op) {
	bench_row_print(b, &(bench_row){ .name = name, .bytes = bytes, .wanted = SHARE, .run = run, .op = op });
}

static void copies(bench *b) {
	enum { MOST = 64, M = 8, T = 512, K = 266, D = 768 };
	static int32_t keep[MOST * M * K], restore[MOST * M * T];
	const int64_t B = bench_rows(b, MOST);
	if (!bench_is_wanted(b, "gather") && !bench_is_wanted(b, "restore"))
		return;
	for (int i = 0; i < MOST * M * T; i++)
		restore[i] = i % T;
	for (int i = 0; i < MOST * M * K; i++)
		keep[i] = i % K;
	d2v_gather gather = { .batch = B, .clones = M, .tokens = T, .kept = K, .width = D };
	d2v_restore back = { .rows = B * M, .tokens = T, .kept = K, .width = D, .noise_std = .01f };
	gather.keep = back.keep = bench_table(b, keep, sizeof keep);
	gather.restore = back.restore = bench_table(b, restore, sizeof restore);
	gather.x = bench_reals(b, B * T * D), gather.d_x = bench_reals(b, B * T * D);
	gather.out = bench_reals(b, B * M * K * D), back.x = gather.out;
	gather.d_out = bench_reals(b, B * M * K * D), back.d_x = bench_reals(b, B * M * K * D);
	back.out = bench_reals(b, B * M * T * D), back.d_out = back.out;
	double size = (double)d2v_device_real_size(b->dev) * D * (double)B, kept = size * M * K, all = size * M * T;
	copy(b, "gather 64x8 of 512", kept * 2, run_gather_forward, &gather);
	copy(b, "gather 64x8 of 512, backward", kept + size * T * 2, run_gather_backward, &gather);
	copy(b, "restore 64x8 of 512", kept + all, run_restore_forward, &back);
	copy(b, "restore 64x8 of 512, backward", kept * 2, run_restore_backward, &back);
	bench_give_all(b);
}

// op: its options, and its sizes but the width.
static void targets(bench *b, const char *name, d2v_target op) {
	enum { D = 768, MOST = 12 };
	const d2v_real *layers[MOST];
	if (!bench_is_wanted(b, name))
		return;
	op.batch = bench_rows(b, op.batch);
	for (int i = 0; i < op.count; i++)
		layers[i] = bench_reals(b, op.batch * (op.tokens + op.extra_tokens) * D);
	op.layers = layers, op.width = D;
	op.y = bench_floats(b, op.batch * op.tokens * D);
	double size = (double)(op.batch * op.tokens) * D;
	double bytes = size * ((double)op.count * (double)d2v_device_real_size(b->dev) + 4);
	bench_row_print(b, &(bench_row){ .name = name, .bytes = bytes, .run = run_target_forward, .op = &op });
	bench_give_all(b);
}

static void parameters(bench *b) {
	const int64_t count = bench_rows(b, 93783308);
	const d2v_range all = { 0, count };
	if (!bench_is_wanted(b, "Adam") && !bench_is_wanted(b, "teacher"))
		return;
	d2v_adam op = { .ranges = &all, .range_count = 1, .lr = 1e-9, .beta1 = .9, .beta2 = .98, .eps = 1e-6 };
	op.grad_scale = 1, op.step = 1000;
	op.param = bench_floats(b, count), op.grad = bench_floats(b, count);
	op.m = bench_floats(b, count), op.v = bench_floats(b, count);
	op.working = bench_reals(b, count);
	d2v_ema ema = { .teacher_ranges = &all, .student_ranges = &all, .range_count = 1, .rate = 1e-4 };
	ema.teacher = op.m, ema.student = op.param, ema.working = op.working;
	copy(b, "Adam, 93.8 M parameters", 30.0 * (double)count, run_adam_update, &op);
	copy(b, "teacher's move, 93.8 M parameters", 14.0 * (double)count, run_ema_update, &ema);
	bench_give_all(b);
}

void pass_rows(bench *b) {
	const int64_t rows = bench_rows(b, 163840);
	norm(b, "layer norm 163840x768", rows, 768, false, false, false);
	norm(b, "layer norm+residual 163840x768", rows, 768, true, false, false);
	norm(b, "layer norm+gelu 800000x512", bench_rows(b, 800000), 512, false, true, false);
	norm(b, "layer norm+gelu+add 200704x768", bench_rows(b, 200704), 768, false, true, true);
	copies(b);
	targets(b, "targets of 10 layers", // of pictures
		(d2v_target){ .count = 10,
			.instance_norm_layer = true,
			.layer_norm_mean = true,
			.batch = 256,
			.tokens = 196,
			.extra_tokens = 1 });
	targets(b, "targets of 12 layers, 512 tokens",
		(d2v_target){ .count = 12, .instance_norm_layer = true, .batch = 64, .tokens = 512 });
	targets(b, "targets of 8 layers, 620 tokens",
		(d2v_target){ .count = 8, .instance_norm_layer = true, .batch = 40, .tokens = 620 });
	targets(b, "targets by token, 12 layers",
		(d2v_target){ .count = 12, .layer_norm_layer = true, .batch = 64, .tokens = 512 });
	parameters(b);
}
