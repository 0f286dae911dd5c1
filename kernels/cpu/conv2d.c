// Channels are last, so the window of an output position is `kernel` runs of memory, one a kernel row. The channels of
// one group of one picture are copied to a plane with a border of zeros; over that plane the convolution is one matrix
// product whose rows are read where they lie (tile_gemm.h). The gradient of the data is the same with flipped weights.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/outer.h"
#include "kernels/cpu/tile_gemm.h"

#include <omp.h>
#include <string.h>

#define WEIGHT_PARTS 32 // partial sums of the weights' gradient, shared by the groups

typedef struct shape {
	int64_t in, out;         // channels of one group
	int64_t wide, tall;      // of a plane, borders included
	int64_t lead;            // zeros before the first row and column, forward
	int64_t positions, taps; // of a picture, of a kernel
} shape;

static shape shape_of(const d2v_conv2d *op) {
	return (shape){ .in = op->in / op->groups,
		.out = op->out / op->groups,
		.wide = op->width + op->kernel - 1,
		.tall = op->height + op->kernel - 1,
		.lead = op->kernel / 2,
		.positions = op->height * op->width,
		.taps = op->kernel * op->kernel };
}

// Floats of a plane of `channels`; vectors may be read past its end.
static int64_t plane_room(const shape *s, int64_t channels) {
	return d2v_cpu_round(s->wide * s->tall * channels + D2V_TILE_LANES);
}

// plane (tall, wide, channels) = channels from `first` on of a picture (height, width, all), zeros around it.
static void fill_plane(const d2v_conv2d *op, const shape *s, float *plane, const float *picture, int64_t all,
	int64_t first, int64_t channels, int64_t lead) {
	memset(plane, 0, (size_t)plane_room(s, channels) * sizeof *plane);
	for (int64_t a = 0; a < op->height; a++)
		for (int64_t b = 0; b < op->width; b++)
			memcpy(plane + ((a + lead) * s->wide + b + lead) * channels, picture + (a * op->width + b) * all + first,
				(size_t)channels * sizeof *plane);
}

// out (positions, to), `all` floats apart, (+)= the plane's windows times weights (taps * from, to rounded up).
static void correlate(const d2v_conv2d *op, const shape *s, const float *plane, int64_t from, const float *weights,
	float *out, int64_t all, int64_t to, bool accumulate) {
	int64_t pitch = d2v_tile_round(to), window = op->kernel * from;
	d2v_cpu_tile_gemm(&(d2v_tile_gemm){ .m = s->positions,
		.n = to,
		.k = window,
		.a = plane,
		.a_row = from,
		.a_step = 1,
		.wrap = op->width,
		.a_wrap = s->wide * from,
		.b = weights,
		.b_step = pitch,
		.runs = op->kernel,
		.a_run = s->wide * from,
		.b_run = window * pitch,
		.c = out,
		.ldc = all,
		.accumulate = accumulate });
}

// From (out, in, kernel, kernel) to (taps, in, out rounded up), per group.
static void repack_weights(float *to, const d2v_conv2d *op, const shape *s) {
	int64_t pitch = d2v_tile_round(s->out);
	const float *w = d2v_cpu_in(op->w);
#pragma omp parallel for schedule(static)
	for (int64_t o = 0; o < op->out; o++)
		for (int64_t i = 0; i < s->in; i++)
			for (int64_t tap = 0; tap < s->taps; tap++)
				to[(o / s->out * s->taps * s->in + tap * s->in + i) * pitch + o % s->out] =
					w[(o * s->in + i) * s->taps + tap];
}

// From (out, in, kernel, kernel) to (taps backwards, out, in rounded up), per group.
static void flip_weights(float *to, const d2v_conv2d *op, const shape *s) {
	int64_t pitch = d2v_tile_round(s->in);
	const float *w = d2v_cpu_in(op->w);
#pragma omp parallel for schedule(static)
	for (int64_t o = 0; o < op->out; o++)
		for (int64_t i = 0; i < s->in; i++)
			for (int64_t tap = 0; tap < s->taps; tap++)
				to[((o / s->out * s->taps + s->taps - 1 - tap) * s->out + o % s->out) * pitch + i] =
					w[(o * s->in + i) * s->taps + tap];
}

static void add_bias(float *y, const float *bias, int64_t positions, int64_t pitch, int64_t out) {
	for (int64_t p = 0; p < positions; p++) {
#pragma omp simd
		for (int64_t o = 0; o < out; o++)
			y[p * pitch + o] += bias[o];
	}
}

void d2v_cpu_conv2d_forward(d2v_device *dev, const d2v_conv2d *op) {
	shape s = shape_of(op);
	if (op->rows * s.positions * op->out == 0)
		return;
	int64_t size = s.taps * s.in * d2v_tile_round(s.out), weights = d2v_cpu_round(op->groups * size);
	int64_t room = plane_room(&s, s.in);
	float *w = d2v_cpu_scratch(dev, weights + room * dev->threads);
	if (!w)
		return;
	repack_weights(w, op, &s);
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t row = 0; row < op->rows; row++)
		for (int64_t group = 0; group < op->groups; group++) {
			float *plane = w + weights + room * omp_get_thread_num();
			float *y = d2v_cpu_out(op->y) + row * s.positions * op->out + group * s.out;
			fill_plane(
				op, &s, plane, d2v_cpu_in(op->x) + row * s.positions * op->in, op->in, group * s.in, s.in, s.lead);
			correlate(op, &s, plane, s.in, w + group * size, y, op->out, s.out, false);
			if (op->bias)
				add_bias(y, d2v_cpu_in(op->bias) + group * s.out, s.positions, op->out, s.out);
		}
}

static void data_gradient(d2v_device *dev, const d2v_conv2d *op) {
	shape s = shape_of(op);
	int64_t size = s.taps * s.out * d2v_tile_round(s.in), weights = d2v_cpu_round(op->groups * size);
	int64_t room = plane_room(&s, s.out);
	float *w = d2v_cpu_scratch(dev, weights + room * dev->threads);
	if (!w)
		return;
	flip_weights(w, op, &s);
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t row = 0; row < op->rows; row++)
		for (int64_t group = 0; group < op->groups; group++) {
			float *plane = w + weights + room * omp_get_thread_num();
			fill_plane(op, &s, plane, d2v_cpu_in(op->d_y) + row * s.positions * op->out, op->out, group * s.out, s.out,
				op->kernel - 1 - s.lead);
			correlate(op, &s, plane, s.out, w + group * size,
				d2v_cpu_out(op->d_x) + row * s.positions * op->in + group * s.in, op->in, s.in, op->accumulate_d_x);
		}
}

// ---- gradient of the weights ----

// sum (out, taps, in) of one group (+)= the outer products of d_y and the windows of one picture. buffer: a plane and
// d_y of the group, dense.
static void outer_products(
	const d2v_conv2d *op, const shape *s, int64_t row, int64_t group, float *sum, bool accumulate, float *buffer) {
	float *d_y = buffer + plane_room(s, s->in);
	const float *from = d2v_cpu_in(op->d_y) + row * s->positions * op->out + group * s->out;
	fill_plane(op, s, buffer, d2v_cpu_in(op->x) + row * s->positions * op->in, op->in, group * s->in, s->in, s->lead);
	for (int64_t p = 0; p < s->positions; p++)
		memcpy(d_y + p * s->out, from + p * op->out, (size_t)s->out * sizeof *d_y);
	for (int64_t u = 0; u < op->kernel; u++)
		d2v_cpu_tile_gemm(&(d2v_tile_gemm){ .m = s->out,
			.n = op->kernel * s->in,
			.k = op->width,
			.a = d_y,
			.a_row = 1,
			.a_step = s->out,
			.b = buffer + u * s->wide * s->in,
			.b_step = s->in,
			.runs = op->height,
			.a_run = op->width * s->out,
			.b_run = s->wide * s->in,
			.c = sum + u * op->kernel * s->in,
			.ldc = s->taps * s->in,
			.accumulate = accumulate });
}

// d_w (out, in, taps) += the sum over parts of partial (out, taps, in).
static void add_weights(const d2v_conv2d *op, const shape *s, const float *partial, int64_t parts, int64_t stride) {
#pragma omp parallel for schedule(static)
	for (int64_t o = 0; o < op->out; o++)
		for (int64_t tap = 0; tap < s->taps; tap++)
			for (int64_t i = 0; i < s->in; i++) {
				double sum = 0;
				for (int64_t part = 0; part < parts; part++)
					sum += (double)partial[part * stride + (o * s->taps + tap) * s->in + i];
				op->d_w[(o * s->in + i) * s->taps + tap] += (float)sum;
			}
}

static void weight_gradient(d2v_device *dev, const d2v_conv2d *op) {
	shape s = shape_of(op);
	int64_t parts = d2v_cpu_min(d2v_cpu_max(WEIGHT_PARTS / op->groups, 1), op->rows);
	int64_t stride = d2v_cpu_round(op->out * s.taps * s.in);
	int64_t room = plane_room(&s, s.in) + d2v_cpu_round(s.positions * s.out);
	float *partial = d2v_cpu_scratch(dev, parts * stride + room * dev->threads);
	if (!partial)
		return;
#pragma omp parallel for collapse(2) schedule(dynamic)
	for (int64_t part = 0; part < parts; part++)
		for (int64_t group = 0; group < op->groups; group++) {
			float *sum = partial + part * stride + group * s.out * s.taps * s.in;
			int64_t first = op->rows * part / parts;
			for (int64_t row = first; row < op->rows * (part + 1) / parts; row++)
				outer_products(
					op, &s, row, group, sum, row > first, partial + parts * stride + room * omp_get_thread_num());
		}
	add_weights(op, &s, partial, parts, stride);
}

void d2v_cpu_conv2d_backward(d2v_device *dev, const d2v_conv2d *op) {
	int64_t positions = op->rows * op->height * op->width;
	if (positions == 0)
		return;
	if (op->d_x)
		data_gradient(dev, op);
	if (op->d_bias) {
		float *scratch = d2v_cpu_scratch(dev, d2v_cpu_column_sums_room(positions, op->out));
		if (!scratch)
			return;
		d2v_cpu_column_sums(op->d_bias, d2v_cpu_in(op->d_y), positions, op->out, scratch);
	}
	if (op->d_w)
		weight_gradient(dev, op);
}
