// Channels are last, so the window of an output step is one run of memory, kernel * in floats from x[t * stride]: a
// convolution is a matrix product whose rows overlap (stride * in floats apart). Where there is padding or there are
// groups, the windows of a piece of steps are copied to a small buffer first, once and not `kernel` times. Products
// with few channels are ours (tile_gemm.h), the others oneDNN's, which takes overlapping rows in parts (gemm.h).
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/outer.h"
#include "kernels/cpu/tile_gemm.h"

#include <omp.h>
#include <string.h>

#define STEPS 512       // output steps of a piece
#define WEIGHT_PARTS 32 // partial sums of the weights' gradient, shared by the groups or the taps

#define FEW 128 // floats from one window to the next, below which oneDNN's parts would be small

typedef struct shape {
	int64_t in, out; // channels of one group
	int64_t window;  // kernel * in
	int64_t pieces;  // of a row's output steps
	bool tiles;      // our own products
	bool direct;     // windows are read where they are
	int64_t packed;  // floats of the windows of a piece
	int64_t weights; // floats of the repacked weights of a group
} shape;

static shape shape_of(const d2v_conv1d *op) {
	shape s = { .in = op->in / op->groups, .out = op->out / op->groups };
	s.window = op->kernel * s.in;
	s.pieces = d2v_cpu_pieces(op->steps_out, STEPS);
	s.tiles = op->groups > 1 || op->stride * s.in < FEW;
	s.direct = !s.tiles && op->pad == 0;
	s.packed = s.direct ? 0 : d2v_cpu_round(((STEPS - 1) * op->stride + op->kernel) * s.in + D2V_TILE_LANES);
	s.weights = s.tiles ? s.window * d2v_tile_round(s.out) : s.window * s.out;
	return s;
}

// to (count, width) = rows first ... of from (steps, pitch), from column `column`; zeros outside [0, steps).
static void pack(float *to, const float *from, int64_t first, int64_t count, int64_t steps, int64_t pitch,
	int64_t column, int64_t width) {
	for (int64_t i = 0; i < count; i++, to += width) {
		int64_t step = first + i;
		if (step < 0 || step >= steps)
			memset(to, 0, (size_t)width * sizeof *to);
		else
			memcpy(to, from + step * pitch + column, (size_t)width * sizeof *to);
	}
}

// The windows of `count` output steps from `first`: a pointer to the first, stride * in apart.
static const float *windows(
	const d2v_conv1d *op, const shape *s, int64_t row, int64_t group, int64_t first, int64_t count, float *buffer) {
	const float *x = d2v_cpu_in(op->x) + row * op->steps_in * op->in;
	if (s->direct)
		return x + first * op->stride * op->in;
	int64_t steps = (count - 1) * op->stride + op->kernel;
	pack(buffer, x, first * op->stride - op->pad, steps, op->steps_in, op->in, group * s->in, s->in);
	return buffer;
}

// From (out, in, kernel) to (out, kernel, in), for oneDNN; a group's part of it for tiles: (kernel, in, out rounded
// up).
static void repack_weights(float *to, const float *w, const d2v_conv1d *op, const shape *s) {
	int64_t pitch = d2v_tile_round(s->out);
#pragma omp parallel for schedule(static)
	for (int64_t o = 0; o < op->out; o++)
		for (int64_t k = 0; k < op->kernel; k++)
			for (int64_t i = 0; i < s->in; i++) {
				float *group = to + o / s->out * s->weights;
				int64_t place = k * s->in + i, local = o % s->out;
				group[s->tiles ? place * pitch + local : local * s->window + place] =
					w[(o * s->in + i) * op->kernel + k];
			}
}

static void add_bias(float *y, const float *bias, int64_t steps, int64_t pitch, int64_t out) {
	for (int64_t t = 0; t < steps; t++) {
#pragma omp simd
		for (int64_t o = 0; o < out; o++)
			y[t * pitch + o] += bias[o];
	}
}

// c (count, out) = windows times weights; `step` floats from window to window, `length` in one, weights as repacked.
static bool window_product(float *c, int64_t ldc, const float *window, int64_t step, int64_t length, int64_t count,
	const float *w, int64_t out, bool tiles, bool accumulate) {
	if (!tiles)
		return d2v_cpu_gemm(&(d2v_gemm){ .m = count,
			.n = out,
			.k = length,
			.a = window,
			.lda = step,
			.b = w,
			.ldb = length,
			.trans_b = true,
			.c = c,
			.ldc = ldc,
			.accumulate = accumulate });
	d2v_cpu_tile_gemm(&(d2v_tile_gemm){ .m = count,
		.n = out,
		.k = length,
		.a = window,
		.a_row = step,
		.a_step = 1,
		.b = w,
		.b_step = d2v_tile_round(out),
		.c = c,
		.ldc = ldc,
		.accumulate = accumulate });
	return true;
}

static bool forward_piece(
	const d2v_conv1d *op, const shape *s, const float *w, int64_t row, int64_t group, int64_t first, float *buffer) {
	int64_t count = d2v_cpu_min(STEPS, op->steps_out - first);
	float *y = d2v_cpu_out(op->y) + (row * op->steps_out + first) * op->out + group * s->out;
	bool ok = window_product(y, op->out, windows(op, s, row, group, first, count, buffer), op->stride * s->in,
		s->window, count, w + group * s->weights, s->out, s->tiles, false);
	if (op->bias)
		add_bias(y, d2v_cpu_in(op->bias) + group * s->out, count, op->out, s->out);
	return ok;
}

void d2v_cpu_conv1d_forward(d2v_device *dev, const d2v_conv1d *op) {
	if (op->rows * op->steps_out * op->out == 0)
		return;
	shape s = shape_of(op);
	int64_t weights = d2v_cpu_round(op->groups * s.weights);
	float *w = d2v_cpu_scratch(dev, weights + s.packed * dev->threads);
	if (!w)
		return;
	repack_weights(w, d2v_cpu_in(op->w), op, &s);
	bool ok = true;
#pragma omp parallel for collapse(3) schedule(dynamic) reduction(&& : ok)
	for (int64_t row = 0; row < op->rows; row++)
		for (int64_t group = 0; group < op->groups; group++)
			for (int64_t piece = 0; piece < s.pieces; piece++)
				ok = forward_piece(
						 op, &s, w, row, group, piece * STEPS, w + weights + s.packed * omp_get_thread_num()) &&
					 ok;
	if (!ok)
		d2v_cpu_gemm_failed(dev);
}

// ---- gradient of the weights ----

// sum (out, window) (+)= the outer products of d_y and window over `count` steps.
static void outer_product(const d2v_conv1d *op, const shape *s, float *sum, const float *d_y, const float *window,
	int64_t count, bool accumulate, float *buffer) {
	pack(buffer, d_y, 0, count, count, op->out, 0, s->out);
	d2v_cpu_tile_gemm(&(d2v_tile_gemm){ .m = s->out,
		.n = s->window,
		.k = count,
		.a = buffer,
		.a_row = 1,
		.a_step = s->out,
		.b = window,
		.b_step = op->stride * s->in,
		.c = sum,
		.ldc = s->window,
		.accumulate = accumulate });
}

// Items are (row, piece) pairs; each part takes a run of them for one group and sums into its own (out, kernel, in).
static void weight_part(
	const d2v_conv1d *op, const shape *s, int64_t group, int64_t begin, int64_t end, float *sum, float *buffer) {
	for (int64_t item = begin; item < end; item++) {
		int64_t row = item / s->pieces, first = item % s->pieces * STEPS;
		int64_t count = d2v_cpu_min(STEPS, op->steps_out - first);
		const float *d_y = d2v_cpu_in(op->d_y) + (row * op->steps_out + first) * op->out + group * s->out;
		const float *window = windows(op, s, row, group, first, count, buffer);
		outer_product(op, s, sum + group * s->out * s->window, d_y, window, count, item > begin, buffer + s->packed);
	}
}

// Without groups a tap is a plain product of d_y and the steps that it falls on: no windows, nothing is copied. Into
// sum (out, kernel, in).
static bool weight_tap(const d2v_conv1d *op, const shape *s, int64_t tap, int64_t begin, int64_t end, float *sum) {
	int64_t lead = op->pad - tap; // step t falls on t * stride - lead
	int64_t least = lead > 0 ? d2v_cpu_pieces(lead, op->stride) : 0;
	int64_t most = op->steps_in + lead > 0 ? d2v_cpu_pieces(op->steps_in + lead, op->stride) : 0; // first one outside
	bool ok = true, begun = false;
	for (int64_t item = begin; item < end; item++) {
		int64_t row = item / s->pieces, start = item % s->pieces * STEPS;
		int64_t first = d2v_cpu_max(start, least);
		int64_t last = d2v_cpu_min(d2v_cpu_min(start + STEPS, op->steps_out), most);
		if (first >= last)
			continue;
		ok = d2v_cpu_gemm(&(d2v_gemm){ .m = s->out,
				 .n = s->in,
				 .k = last - first,
				 .a = d2v_cpu_in(op->d_y) + (row * op->steps_out + first) * op->out,
				 .lda = op->out,
				 .trans_a = true,
				 .b = d2v_cpu_in(op->x) + (row * op->steps_in + first * op->stride - lead) * op->in,
				 .ldb = op->stride * s->in,
				 .c = sum + tap * s->in,
				 .ldc = s->window,
				 .accumulate = begun }) &&
			 ok;
		begun = true;
	}
	for (int64_t o = 0; !begun && o < s->out; o++)
		memset(sum + o * s->window + tap * s->in, 0, (size_t)s->in * sizeof *sum);
	return ok;
}

// d_w (out, in, kernel) += the sum over parts of partial (out, kernel, in).
static void add_weights(const d2v_conv1d *op, const shape *s, const float *partial, int64_t parts, int64_t stride) {
#pragma omp parallel for schedule(static)
	for (int64_t o = 0; o < op->out; o++)
		for (int64_t k = 0; k < op->kernel; k++)
			for (int64_t i = 0; i < s->in; i++) {
				double sum = 0;
				for (int64_t part = 0; part < parts; part++)
					sum += (double)partial[part * stride + (o * op->kernel + k) * s->in + i];
				op->d_w[(o * s->in + i) * op->kernel + k] += (float)sum;
			}
}

static bool weight_gradient(d2v_device *dev, const d2v_conv1d *op) {
	shape s = shape_of(op);
	int64_t tasks = s.tiles ? op->groups : op->kernel, items = op->rows * s.pieces;
	int64_t parts = d2v_cpu_min(d2v_cpu_max(WEIGHT_PARTS / tasks, 1), items);
	int64_t stride = d2v_cpu_round(op->out * s.window);
	int64_t room = s.tiles ? s.packed + d2v_cpu_round(STEPS * s.out) : 0;
	float *partial = d2v_cpu_scratch(dev, parts * stride + room * dev->threads);
	if (!partial)
		return true; // the device has the error
	float *buffers = partial + parts * stride;
	bool ok = true;
#pragma omp parallel for collapse(2) schedule(dynamic) reduction(&& : ok)
	for (int64_t part = 0; part < parts; part++)
		for (int64_t task = 0; task < tasks; task++) {
			int64_t begin = items * part / parts, end = items * (part + 1) / parts;
			float *sum = partial + part * stride;
			if (s.tiles)
				weight_part(op, &s, task, begin, end, sum, buffers + room * omp_get_thread_num());
			else
				ok = weight_tap(op, &s, task, begin, end, sum) && ok;
		}
	add_weights(op, &s, partial, parts, stride);
	return ok;
}

// ---- gradient of the data ----

// Stride 1: d_x[u] = sum over k of d_y[u + pad - k] w[:, k], a convolution of the padded d_y with the flipped,
// transposed weights: (in, kernel, out) for oneDNN, per group (kernel, out, in rounded up) for tiles.
static void flip_weights(float *to, const float *w, const d2v_conv1d *op, const shape *s, bool tiles, int64_t size) {
	int64_t window = op->kernel * s->out, pitch = d2v_tile_round(s->in);
#pragma omp parallel for schedule(static)
	for (int64_t o = 0; o < op->out; o++)
		for (int64_t i = 0; i < s->in; i++)
			for (int64_t k = 0; k < op->kernel; k++) {
				float *group = to + o / s->out * size;
				int64_t place = (op->kernel - 1 - k) * s->out + o % s->out;
				group[tiles ? place * pitch + i : i * window + place] = w[(o * s->in + i) * op->kernel + k];
			}
}

static bool correlate_piece(const d2v_conv1d *op, const shape *s, const float *w, bool tiles, int64_t row,
	int64_t group, int64_t first, float *buffer) {
	int64_t count = d2v_cpu_min(STEPS, op->steps_in - first), lead = op->kernel - 1 - op->pad;
	pack(buffer, d2v_cpu_in(op->d_y) + row * op->steps_out * op->out, first - lead, count + op->kernel - 1,
		op->steps_out, op->out, group * s->out, s->out);
	float *d_x = d2v_cpu_out(op->d_x) + (row * op->steps_in + first) * op->in + group * s->in;
	return window_product(d_x, op->in, buffer, s->out, op->kernel * s->out, count, w, s->in, tiles, op->accumulate_d_x);
}

static bool data_gradient_stride_1(d2v_device *dev, const d2v_conv1d *op) {
	shape s = shape_of(op);
	bool tiles = op->groups > 1 || s.out < FEW;
	int64_t size = op->kernel * s.out * (tiles ? d2v_tile_round(s.in) : s.in),
			weights = d2v_cpu_round(op->groups * size);
	int64_t packed = d2v_cpu_round((STEPS + op->kernel) * s.out), pieces = d2v_cpu_pieces(op->steps_in, STEPS);
	float *w = d2v_cpu_scratch(dev, weights + packed * dev->threads);
	if (!w)
		return true;
	flip_weights(w, d2v_cpu_in(op->w), op, &s, tiles, size);
	bool ok = true;
#pragma omp parallel for collapse(3) schedule(dynamic) reduction(&& : ok)
	for (int64_t row = 0; row < op->rows; row++)
		for (int64_t group = 0; group < op->groups; group++)
			for (int64_t piece = 0; piece < pieces; piece++)
				ok = correlate_piece(op, &s, w + group * size, tiles, row, group, piece * STEPS,
						 w + weights + packed * omp_get_thread_num()) &&
					 ok;
	return ok;
}

// Any stride: tap k of step t goes to position t * stride + k. Taps are taken `stride` at a time: within such a block
// no two steps write the same position, so it is one product with ldc = stride * in. The blocks follow one another.
static bool scatter_block(const d2v_conv1d *op, const shape *s, const float *w, int64_t row, int64_t group,
	int64_t first, int64_t count, int64_t tap, float *d_x) {
	int64_t taps = d2v_cpu_min(op->stride, op->kernel - tap);
	return d2v_cpu_gemm(&(d2v_gemm){ .m = count,
		.n = taps * s->in,
		.k = s->out,
		.a = d2v_cpu_in(op->d_y) + (row * op->steps_out + first) * op->out + group * s->out,
		.lda = op->out,
		.b = w + group * s->out * s->window + tap * s->in,
		.ldb = s->window,
		.c = d_x + (first * op->stride + tap) * s->in,
		.ldc = op->stride * s->in,
		.accumulate = true });
}

static bool data_gradient_direct(const d2v_conv1d *op, const shape *s, const float *w) {
	bool ok = true;
	for (int64_t tap = 0; tap < op->kernel; tap += op->stride) {
#pragma omp parallel for collapse(2) schedule(dynamic) reduction(&& : ok)
		for (int64_t row = 0; row < op->rows; row++)
			for (int64_t piece = 0; piece < s->pieces; piece++)
				ok = scatter_block(op, s, w, row, 0, piece * STEPS, d2v_cpu_min(STEPS, op->steps_out - piece * STEPS),
						 tap, d2v_cpu_out(op->d_x) + row * op->steps_in * op->in) &&
					 ok;
	}
	return ok;
}

// With padding or groups: one (row, group) at a time in a padded buffer, then added to where it belongs.
static bool scatter_padded(
	const d2v_conv1d *op, const shape *s, const float *w, int64_t row, int64_t group, float *buffer) {
	int64_t reach = (op->steps_out - 1) * op->stride + op->kernel;
	bool ok = true;
	memset(buffer, 0, (size_t)(reach * s->in) * sizeof *buffer);
	for (int64_t tap = 0; tap < op->kernel; tap += op->stride)
		ok = scatter_block(op, s, w, row, group, 0, op->steps_out, tap, buffer) && ok;
	for (int64_t u = 0; u < op->steps_in && u + op->pad < reach; u++) {
		float *to = d2v_cpu_out(op->d_x) + (row * op->steps_in + u) * op->in + group * s->in;
		for (int64_t i = 0; i < s->in; i++)
			to[i] += buffer[(u + op->pad) * s->in + i];
	}
	return ok;
}

static bool data_gradient_scatter(d2v_device *dev, const d2v_conv1d *op) {
	shape s = shape_of(op);
	int64_t weights = d2v_cpu_round(op->out * s.window);
	s.tiles = false; // these products are oneDNN's whatever their size
	s.direct = op->groups == 1 && op->pad == 0;
	s.weights = s.window * s.out;
	int64_t room = s.direct ? 0 : d2v_cpu_round(((op->steps_out - 1) * op->stride + op->kernel) * s.in);
	float *w = d2v_cpu_scratch(dev, weights + room * dev->threads);
	if (!w)
		return true;
	repack_weights(w, d2v_cpu_in(op->w), op, &s);
	if (!op->accumulate_d_x)
		dev->backend->zero(dev, op->d_x, (size_t)(op->rows * op->steps_in * op->in) * sizeof(float));
	if (s.direct)
		return data_gradient_direct(op, &s, w);
	bool ok = true;
#pragma omp parallel for collapse(2) schedule(dynamic) reduction(&& : ok)
	for (int64_t row = 0; row < op->rows; row++)
		for (int64_t group = 0; group < op->groups; group++)
			ok = scatter_padded(op, &s, w, row, group, w + weights + room * omp_get_thread_num()) && ok;
	return ok;
}

static bool data_gradient(d2v_device *dev, const d2v_conv1d *op) {
	if (op->stride == 1 && op->pad < op->kernel)
		return data_gradient_stride_1(dev, op);
	return data_gradient_scatter(dev, op);
}

void d2v_cpu_conv1d_backward(d2v_device *dev, const d2v_conv1d *op) {
	bool empty = op->rows * op->steps_out * op->out == 0;
	if (empty) {
		if (op->d_x && !op->accumulate_d_x && op->rows * op->steps_in * op->in > 0)
			dev->backend->zero(dev, op->d_x, (size_t)(op->rows * op->steps_in * op->in) * sizeof(float));
		return;
	}
	bool ok = true;
	if (op->d_x)
		ok = data_gradient(dev, op);
	if (op->d_bias) {
		int64_t rows = op->rows * op->steps_out;
		float *scratch = d2v_cpu_scratch(dev, d2v_cpu_column_sums_room(rows, op->out));
		if (!scratch)
			return;
		d2v_cpu_column_sums(op->d_bias, d2v_cpu_in(op->d_y), rows, op->out, scratch);
	}
	if (op->d_w)
		ok = weight_gradient(dev, op) && ok;
	if (!ok)
		d2v_cpu_gemm_failed(dev);
}
