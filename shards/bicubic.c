#include "shards/bicubic.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

// Rows are narrowed LANES at a time: a block of rows is turned so that the same column of all its rows lies together,
// and every step of the sum is then a vector operation without a shuffle, whatever the width of the processor's
// vectors.
#define LANES 16
#define PRECISION 22

typedef uint8_t bytes_of_lanes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef int32_t sums_of_lanes __attribute__((vector_size(4 * LANES)));

// One direction of a resize: output i of the window is the weighted sum of inputs starts[i] .. starts[i] + taps[i],
// counted from the first input that is needed.
typedef struct axis {
	uint32_t first, needed; // inputs
	uint32_t count, stride; // outputs of the window; weights from one output to the next
	uint32_t *starts, *taps;
	int32_t *weights;
	double *exact; // of one output, before rounding
	size_t starts_capacity, taps_capacity, weights_capacity, exact_capacity;
} axis;

struct d2v_bicubic {
	axis across, down;
	bool mirror;
	uint8_t *rows;     // (LANES, row_stride) rows waiting to be narrowed
	uint8_t *turned;   // (row_stride, LANES) the same with columns first
	uint8_t *narrowed; // (columns, LANES) the window's columns of those rows
	uint8_t *middle;   // (needed rows rounded up to LANES, out_stride)
	size_t rows_capacity, turned_capacity, narrowed_capacity, middle_capacity;
	size_t row_stride, out_stride; // bytes, multiples of LANES
	uint32_t row_count;            // rows that came in
};

d2v_status d2v_bicubic_new(d2v_bicubic **resizer, d2v_error *err) {
	return d2v_alloc_zero(resizer, 1, sizeof **resizer, err);
}

static void axis_release(axis *a) {
	d2v_free(a->starts);
	d2v_free(a->taps);
	d2v_free(a->weights);
	d2v_free(a->exact);
}

void d2v_bicubic_free(d2v_bicubic *resizer) {
	if (!resizer)
		return;
	axis_release(&resizer->across);
	axis_release(&resizer->down);
	d2v_free(resizer->rows);
	d2v_free(resizer->turned);
	d2v_free(resizer->narrowed);
	d2v_free(resizer->middle);
	d2v_free(resizer);
}

// ---- weights: doubles in the order in which Pillow computes them

static double cubic(double x) {
	const double a = -0.5;
	x = fabs(x);
	if (x < 1)
		return ((a + 2) * x - (a + 3)) * x * x + 1;
	if (x < 2)
		return (((x - 5) * x + 8) * x - 4) * a;
	return 0;
}

typedef struct span {
	uint32_t start, taps;
	double centre, narrowing; // of the cubic: 1 / max(scale, 1)
} span;

static span span_of(uint32_t in, uint32_t out, uint32_t at) {
	double scale = (double)in / out, widening = scale < 1 ? 1 : scale, support = 2 * widening;
	double centre = (at + 0.5) * scale, first = centre - support + 0.5, end = centre + support + 0.5;
	span s = { .start = first < 0 ? 0 : (uint32_t)first, .centre = centre, .narrowing = 1 / widening };
	s.taps = (end > in ? in : (uint32_t)end) - s.start;
	return s;
}

static void weigh(const span *s, double *exact, int32_t *weights) {
	double sum = 0;
	for (uint32_t i = 0; i < s->taps; i++) {
		exact[i] = cubic((i + s->start - s->centre + 0.5) * s->narrowing);
		sum += exact[i];
	}
	for (uint32_t i = 0; i < s->taps; i++) {
		double weight = sum != 0 ? exact[i] / sum : exact[i];
		weights[i] = (int32_t)(weight * (1 << PRECISION) + (weight < 0 ? -0.5 : 0.5));
	}
}

static d2v_status axis_reserve(axis *a, d2v_error *err) {
	D2V_TRY(d2v_reserve(&a->starts, &a->starts_capacity, a->count, sizeof *a->starts, err));
	D2V_TRY(d2v_reserve(&a->taps, &a->taps_capacity, a->count, sizeof *a->taps, err));
	D2V_TRY(d2v_reserve(&a->exact, &a->exact_capacity, a->stride, sizeof *a->exact, err));
	return d2v_reserve(&a->weights, &a->weights_capacity, (size_t)a->count * a->stride, sizeof *a->weights, err);
}

static d2v_status axis_plan(axis *a, uint32_t in, uint32_t out, uint32_t from, uint32_t count, d2v_error *err) {
	double scale = (double)in / out;
	span last = span_of(in, out, from + count - 1);
	a->first = span_of(in, out, from).start;
	a->needed = last.start + last.taps - a->first;
	a->count = count;
	a->stride = (uint32_t)ceil(2 * (scale < 1 ? 1 : scale)) * 2 + 1;
	D2V_TRY(axis_reserve(a, err));
	for (uint32_t i = 0; i < count; i++) {
		span s = span_of(in, out, from + i);
		weigh(&s, a->exact, a->weights + (size_t)i * a->stride);
		a->starts[i] = s.start - a->first;
		a->taps[i] = s.taps;
	}
	return D2V_OK;
}

static size_t round_up(size_t bytes) {
	return (bytes + LANES - 1) / LANES * LANES;
}

d2v_status d2v_bicubic_begin(
	d2v_bicubic *resizer, const d2v_bicubic_job *job, d2v_image_region *needs, d2v_error *err) {
	d2v_image_region window = job->window;
	if (!window.height)
		window = (d2v_image_region){ .height = job->out_height, .width = job->out_width };
	D2V_ASSERT(job->in_width && job->in_height && window.width && window.top + window.height <= job->out_height &&
			   window.left + window.width <= job->out_width);
	D2V_TRY(axis_plan(&resizer->across, job->in_width, job->out_width, window.left, window.width, err));
	D2V_TRY(axis_plan(&resizer->down, job->in_height, job->out_height, window.top, window.height, err));
	resizer->mirror = job->mirror;
	resizer->row_count = 0;
	resizer->row_stride = round_up((size_t)resizer->across.needed * 3);
	resizer->out_stride = round_up((size_t)window.width * 3);
	size_t block = resizer->row_stride * LANES, out_block = resizer->out_stride * LANES;
	size_t middle = round_up(resizer->down.needed) * resizer->out_stride;
	D2V_TRY(d2v_reserve(&resizer->rows, &resizer->rows_capacity, block, 1, err));
	D2V_TRY(d2v_reserve(&resizer->turned, &resizer->turned_capacity, block, 1, err));
	D2V_TRY(d2v_reserve(&resizer->narrowed, &resizer->narrowed_capacity, out_block, 1, err));
	D2V_TRY(d2v_reserve(&resizer->middle, &resizer->middle_capacity, middle, 1, err));
	*needs = (d2v_image_region){ .top = resizer->down.first,
		.left = resizer->across.first,
		.height = resizer->down.needed,
		.width = resizer->across.needed };
	return D2V_OK;
}

// ---- sums (vectors are handed over by pointer: how they would travel by value depends on the processor)

static inline void start(sums_of_lanes *sum) {
	*sum = (sums_of_lanes){ 0 } + (1 << (PRECISION - 1));
}

static inline void add(sums_of_lanes *sum, const uint8_t *bytes, int32_t weight) {
	*sum += __builtin_convertvector(*(const bytes_of_lanes *)bytes, sums_of_lanes) * weight;
}

// Shifted down and clipped to 0..255.
static inline void store(uint8_t *bytes, const sums_of_lanes *sum) {
	sums_of_lanes value = *sum >> PRECISION;
	value &= ~(value >> 31);
	value |= (255 - value) >> 31;
	*(bytes_of_lanes *)bytes = __builtin_convertvector(value, bytes_of_lanes);
}

// ---- turning blocks of LANES x LANES bytes

#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (bytes_of_lanes){ __VA_ARGS__ })
#endif

static inline bytes_of_lanes lower(bytes_of_lanes a, bytes_of_lanes b) {
	return INTERLEAVE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

static inline bytes_of_lanes upper(bytes_of_lanes a, bytes_of_lanes b) {
	return INTERLEAVE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// out[j][i] = in[i][j]. Four rounds of interleaving row i with row i + 8: each moves one bit of the row's number to the
// column's.
static inline void turn(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride) {
	bytes_of_lanes a[LANES], b[LANES];
	for (int i = 0; i < LANES; i++)
		a[i] = *(const bytes_of_lanes *)(in + (size_t)i * in_stride);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < LANES / 2; i++) {
			b[2 * i] = lower(a[i], a[i + LANES / 2]);
			b[2 * i + 1] = upper(a[i], a[i + LANES / 2]);
		}
		for (int i = 0; i < LANES / 2; i++) {
			a[2 * i] = lower(b[i], b[i + LANES / 2]);
			a[2 * i + 1] = upper(b[i], b[i + LANES / 2]);
		}
	}
	for (int i = 0; i < LANES; i++)
		*(bytes_of_lanes *)(out + (size_t)i * out_stride) = a[i];
}

// Narrows the rows that wait, and puts them behind those in `middle`.
static void narrow_rows(d2v_bicubic *self, uint8_t *out) {
	const axis *across = &self->across;
	for (size_t column = 0; column < self->row_stride; column += LANES)
		turn(self->rows + column, self->row_stride, self->turned + column * LANES, LANES);
	for (uint32_t i = 0; i < across->count; i++) {
		const uint8_t *in = self->turned + (size_t)across->starts[i] * 3 * LANES;
		const int32_t *weights = across->weights + (size_t)i * across->stride;
		sums_of_lanes red, green, blue;
		start(&red), start(&green), start(&blue);
		for (uint32_t tap = 0; tap < across->taps[i]; tap++, in += 3 * LANES) {
			add(&red, in, weights[tap]);
			add(&green, in + LANES, weights[tap]);
			add(&blue, in + 2 * LANES, weights[tap]);
		}
		uint8_t *to = self->narrowed + (size_t)(self->mirror ? across->count - 1 - i : i) * 3 * LANES;
		store(to, &red);
		store(to + LANES, &green);
		store(to + 2 * LANES, &blue);
	}
	for (size_t column = 0; column < self->out_stride; column += LANES)
		turn(self->narrowed + column * LANES, LANES, out + column, self->out_stride);
}

void d2v_bicubic_row(d2v_bicubic *resizer, const uint8_t *rgb) {
	D2V_ASSERT(resizer->row_count < resizer->down.needed);
	uint32_t lane = resizer->row_count++ % LANES, first = resizer->row_count - 1 - lane;
	memcpy(resizer->rows + lane * resizer->row_stride, rgb, (size_t)resizer->across.needed * 3);
	if (lane == LANES - 1 || resizer->row_count == resizer->down.needed)
		narrow_rows(resizer, resizer->middle + first * resizer->out_stride);
}

// One row of the output, LANES bytes at a time.
static void sum_rows(const uint8_t *in, size_t stride, const int32_t *weights, uint32_t taps, size_t at, uint8_t *out) {
	sums_of_lanes sum;
	start(&sum);
	for (uint32_t tap = 0; tap < taps; tap++)
		add(&sum, in + tap * stride + at, weights[tap]);
	store(out, &sum);
}

void d2v_bicubic_finish(d2v_bicubic *resizer, uint8_t *pixels) {
	const axis *down = &resizer->down;
	size_t size = (size_t)resizer->across.count * 3, stride = resizer->out_stride, whole = size / LANES * LANES;
	D2V_ASSERT(resizer->row_count == down->needed);
	for (uint32_t i = 0; i < down->count; i++) {
		const uint8_t *in = resizer->middle + down->starts[i] * stride;
		const int32_t *weights = down->weights + (size_t)i * down->stride;
		uint8_t last[LANES];
		for (size_t at = 0; at < whole; at += LANES)
			sum_rows(in, stride, weights, down->taps[i], at, pixels + i * size + at);
		sum_rows(in, stride, weights, down->taps[i], stride - LANES, last);
		memcpy(pixels + i * size + whole, last + (whole - (stride - LANES)), size - whole);
	}
}

d2v_status d2v_bicubic_resize(
	d2v_bicubic *resizer, const d2v_bicubic_job *job, const uint8_t *in, uint8_t *out, d2v_error *err) {
	d2v_image_region needs;
	D2V_TRY(d2v_bicubic_begin(resizer, job, &needs, err));
	for (uint32_t y = 0; y < needs.height; y++)
		d2v_bicubic_row(resizer, in + ((size_t)(needs.top + y) * job->in_width + needs.left) * 3);
	d2v_bicubic_finish(resizer, out);
	return D2V_OK;
}
