#include "shards/bicubic.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

#define PRECISION 22

// Sums are made for as many bytes at a time as the processor's vectors hold.
#if defined(__AVX512BW__)
#define LANES 64
#elif defined(__AVX2__)
#define LANES 32
#else
#define LANES 16
#endif

// Byte 4 * i + k of LANES bytes is byte k of word i. So shifting and masking the words gives four vectors of whole
// numbers, and or-ing four results the bytes again in their order, without a shuffle.
typedef uint32_t words __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef int32_t sums __attribute__((vector_size(LANES)));

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

typedef struct accumulator {
	sums of[4]; // bytes k, 4 + k, 8 + k, ... of LANES
} accumulator;

static inline void start(accumulator *a) {
	for (int k = 0; k < 4; k++)
		a->of[k] = (sums){ 0 } + (1 << (PRECISION - 1));
}

static inline void add(accumulator *a, const uint8_t *bytes, int32_t weight) {
	words all = *(const words *)bytes;
	for (int k = 0; k < 4; k++)
		a->of[k] += (sums)(all >> 8 * k & 255) * weight;
}

// Shifted down and clipped to 0..255.
static inline void store(uint8_t *bytes, const accumulator *a) {
	words all = { 0 };
	for (int k = 0; k < 4; k++) {
		sums value = a->of[k] >> PRECISION;
		value &= ~(value >> 31);
		value |= (255 - value) >> 31;
		all |= (words)(value & 255) << 8 * k;
	}
	*(words *)bytes = all;
}

// ---- turning a block of LANES rows on its side, by tiles of TILE x TILE bytes

#define TILE 16

typedef uint8_t tile_row __attribute__((vector_size(TILE), aligned(1), may_alias));

#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (tile_row){ __VA_ARGS__ })
#endif

static inline tile_row lower(tile_row a, tile_row b) {
	return INTERLEAVE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

static inline tile_row upper(tile_row a, tile_row b) {
	return INTERLEAVE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// out[j][i] = in[i][j]. Four rounds of interleaving row i with row i + 8: each moves one bit of the row's number to the
// column's.
static inline void turn_tile(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride) {
	tile_row a[TILE], b[TILE];
	for (int i = 0; i < TILE; i++)
		a[i] = *(const tile_row *)(in + (size_t)i * in_stride);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < TILE / 2; i++) {
			b[2 * i] = lower(a[i], a[i + TILE / 2]);
			b[2 * i + 1] = upper(a[i], a[i + TILE / 2]);
		}
		for (int i = 0; i < TILE / 2; i++) {
			a[2 * i] = lower(b[i], b[i + TILE / 2]);
			a[2 * i + 1] = upper(b[i], b[i + TILE / 2]);
		}
	}
	for (int i = 0; i < TILE; i++)
		*(tile_row *)(out + (size_t)i * out_stride) = a[i];
}

// Both sides are multiples of TILE.
static void turn(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride, size_t rows, size_t columns) {
	for (size_t column = 0; column < columns; column += TILE)
		for (size_t row = 0; row < rows; row += TILE)
			turn_tile(in + row * in_stride + column, in_stride, out + column * out_stride + row, out_stride);
}

// One channel of one column of the output, for all rows of the block.
static inline void sum_column(const uint8_t *in, const int32_t *weights, uint32_t taps, uint8_t *out) {
	accumulator a;
	start(&a);
	for (uint32_t tap = 0; tap < taps; tap++)
		add(&a, in + (size_t)tap * 3 * LANES, weights[tap]);
	store(out, &a);
}

// Narrows the rows that wait, and puts them behind those in `middle`.
static void narrow_rows(d2v_bicubic *self, uint8_t *out) {
	const axis *across = &self->across;
	turn(self->rows, self->row_stride, self->turned, LANES, LANES, self->row_stride);
	for (uint32_t i = 0; i < across->count; i++) {
		const uint8_t *in = self->turned + (size_t)across->starts[i] * 3 * LANES;
		const int32_t *weights = across->weights + (size_t)i * across->stride;
		uint8_t *to = self->narrowed + (size_t)(self->mirror ? across->count - 1 - i : i) * 3 * LANES;
		for (size_t channel = 0; channel < 3 * LANES; channel += LANES)
			sum_column(in + channel, weights, across->taps[i], to + channel);
	}
	turn(self->narrowed, LANES, out, self->out_stride, self->out_stride, LANES);
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
	accumulator a;
	start(&a);
	for (uint32_t tap = 0; tap < taps; tap++)
		add(&a, in + tap * stride + at, weights[tap]);
	store(out, &a);
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
